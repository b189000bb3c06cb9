/* Bytes of tokens and of .mimi headers: the examples of docs/token-format.md,
 * and every size back and forth. */
#include <glib.h>
#include <string.h>
#include "mimifile.h"

static const guint16 example[8] = { 1, 2047, 1024, 3, 512, 5, 6, 7 };

static void
test_packed_example (void)
{
  static const guint8 bytes[] = {
    0x00, 0x3f, 0xfe, 0x00, 0x00, 0x34, 0x00, 0x01, 0x40, 0x30, 0x07
  };
  guint8 data[sizeof bytes];

  g_assert_cmpint (mimi_tokens_size (MIMI_STREAM_PACKED, 8, 2048), ==, 11);
  mimi_tokens_write (MIMI_STREAM_PACKED, 8, 2048, example, data);
  g_assert_cmpmem (data, sizeof data, bytes, sizeof bytes);

  g_assert_cmpint (mimi_tokens_size (MIMI_STREAM_PACKED, 3, 2048), ==, 5);
  mimi_tokens_write (MIMI_STREAM_PACKED, 3, 2048, example, data);
  g_assert_cmpmem (data, 5, bytes, 5);
}

static void
test_u16_example (void)
{
  static const guint8 bytes[] = {
    1, 0, 0xff, 7, 0, 4, 3, 0, 0, 2, 5, 0, 6, 0, 7, 0
  };
  guint8 data[sizeof bytes];

  g_assert_cmpint (mimi_tokens_size (MIMI_STREAM_U16, 8, 2048), ==, 16);
  mimi_tokens_write (MIMI_STREAM_U16, 8, 2048, example, data);
  g_assert_cmpmem (data, sizeof data, bytes, sizeof bytes);
}

static void
round_trip (MimiStreamFormat format, guint codebooks, guint size)
{
  gsize bytes = mimi_tokens_size (format, codebooks, size);
  guint8 *data = g_malloc (bytes);
  guint16 in[MIMI_MAX_CODEBOOKS], out[MIMI_MAX_CODEBOOKS];

  for (guint i = 0; i < codebooks; i++)
    in[i] = g_test_rand_int_range (i % 3 == 0 ? size - 1 : 0, size);
  mimi_tokens_write (format, codebooks, size, in, data);
  g_assert_cmpint (mimi_tokens_read (format, codebooks, size, data, bytes, out),
      ==, MIMI_TOKENS_OK);
  g_assert_cmpmem (in, codebooks * 2, out, codebooks * 2);
  g_assert_cmpint (mimi_tokens_read (format, codebooks, size, data, bytes - 1,
          out), ==, MIMI_TOKENS_WRONG_SIZE);
  g_assert_cmpint (mimi_tokens_read (format, codebooks, size, data, bytes + 1,
          out), ==, MIMI_TOKENS_WRONG_SIZE);
  g_free (data);
}

static void
test_round_trip (void)
{
  static const guint sizes[] = { 2, 3, 64, 100, 256, 1000, 2048, 2049, 65536 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    for (guint k = 1; k <= MIMI_MAX_CODEBOOKS; k++) {
      round_trip (MIMI_STREAM_PACKED, k, sizes[i]);
      round_trip (MIMI_STREAM_U16, k, sizes[i]);
    }
  }
}

static void
test_out_of_range (void)
{
  guint16 codes[2] = { 5, 100 }, out[2];
  guint8 data[4];

  mimi_tokens_write (MIMI_STREAM_U16, 2, 101, codes, data);
  g_assert_cmpint (mimi_tokens_read (MIMI_STREAM_U16, 2, 100, data, 4, out),
      ==, MIMI_TOKENS_OUT_OF_RANGE);
  mimi_tokens_write (MIMI_STREAM_PACKED, 2, 101, codes, data);
  g_assert_cmpint (mimi_tokens_read (MIMI_STREAM_PACKED, 2, 100, data, 2, out),
      ==, MIMI_TOKENS_OUT_OF_RANGE);
}

/* ----------------------------------------------------------------- headers */

static const guint8 header_example[] = {
  0x89, 0x4d, 0x49, 0x4d, 0x49, 0x0d, 0x0a, 0x1a,
  0x01, 0x00, 0x50, 0x00, 0x08, 0x00, 0x00, 0x00,
  0x00, 0x08, 0x00, 0x00, 0xc0, 0x5d, 0x00, 0x00,
  0x80, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
  0xc0, 0x5d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
  0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37,
  0x38, 0x39, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66,
  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
  0x00, 0x00, 0x00, 0x00, 0xb5, 0xae, 0xb1, 0x57
};

static MimiFileResult
read_header (const guint8 * data, gsize size, MimiFileHeader * header)
{
  guint8 *exact = g_memdup2 (data, size);
  const gchar *why;
  gsize need;
  MimiFileResult result;

  result = mimi_file_header_read (exact, size, header, &need, &why);
  if (result == MIMI_FILE_SHORT)
    g_assert_cmpuint (need, >, size);
  g_assert_true ((result == MIMI_FILE_BROKEN) == (why != NULL));
  g_free (exact);
  return result;
}

static void
test_header_example (void)
{
  MimiFileHeader header = { 0 };
  guint8 data[MIMI_FILE_HEADER_SIZE];

  header.codebooks = 8;
  header.codebook_size = 2048;
  header.samples = 24000;
  strcpy (header.model_id, "0123456789abcdef");
  mimi_file_header_write (&header, data);
  g_assert_cmpmem (data, sizeof data, header_example, sizeof header_example);

  memset (&header, 0xff, sizeof header);
  g_assert_cmpint (read_header (data, sizeof data, &header), ==, MIMI_FILE_OK);
  g_assert_cmpuint (header.header_size, ==, 80);
  g_assert_cmpuint (header.codebooks, ==, 8);
  g_assert_cmpuint (header.codebook_size, ==, 2048);
  g_assert_cmpuint (header.samples, ==, 24000);
  g_assert_cmpstr (header.model_id, ==, "0123456789abcdef");
  g_assert_cmpuint (mimi_file_frame_size (&header), ==, 11);
}

static void
test_header_short (void)
{
  MimiFileHeader header;

  for (gsize n = 0; n < sizeof header_example; n++)
    g_assert_cmpint (read_header (header_example, n, &header), ==,
        MIMI_FILE_SHORT);
}

/* Whatever bit is flipped, it is noticed. */
static void
test_header_damaged (void)
{
  MimiFileHeader header;

  for (gsize bit = 0; bit < 8 * sizeof header_example; bit++) {
    guint8 data[sizeof header_example];

    memcpy (data, header_example, sizeof data);
    data[bit / 8] ^= 1 << (bit % 8);
    g_assert_cmpint (read_header (data, sizeof data, &header), !=,
        MIMI_FILE_OK);
  }
}

/* A right checksum does not make wrong numbers right. */
static void
test_header_hostile (void)
{
  static const MimiFileHeader hostile[] = {
    {.codebooks = 0,.codebook_size = 2048,.samples = 1},
    {.codebooks = 33,.codebook_size = 2048,.samples = 1},
    {.codebooks = 65535,.codebook_size = 2048,.samples = 1},
    {.codebooks = 8,.codebook_size = 0,.samples = 1},
    {.codebooks = 8,.codebook_size = 1,.samples = 1},
    {.codebooks = 8,.codebook_size = 65537,.samples = 1},
    {.codebooks = 8,.codebook_size = 4294967295u,.samples = 1},
    {.codebooks = 8,.codebook_size = 2048,.samples = G_MAXUINT64 - 1},
    {.codebooks = 8,.codebook_size = 2048,.samples = 1,.model_id = "a\nb"},
  };
  guint8 data[MIMI_FILE_HEADER_SIZE];
  MimiFileHeader header;

  for (guint i = 0; i < G_N_ELEMENTS (hostile); i++) {
    mimi_file_header_write (&hostile[i], data);
    g_assert_cmpint (read_header (data, sizeof data, &header), ==,
        MIMI_FILE_BROKEN);
  }
}

/* A later edition may have more fields, before the checksum. */
static void
test_header_longer (void)
{
  const gsize size = sizeof header_example + 20;
  guint8 data[sizeof header_example + 20] = { 0 };
  guint32 crc = 0xffffffff;
  MimiFileHeader header;

  memcpy (data, header_example, sizeof header_example - 4);
  data[10] = size;
  data[sizeof header_example] = 42;
  for (gsize i = 0; i < size - 4; i++)
    for (gint bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (((crc ^ data[i] >> bit) & 1) ? 0xedb88320 : 0);
  for (gint i = 0; i < 4; i++)
    data[size - 4 + i] = ~crc >> (8 * i);
  g_assert_cmpint (read_header (data, size - 1, &header), ==, MIMI_FILE_SHORT);
  g_assert_cmpint (read_header (data, size, &header), ==, MIMI_FILE_OK);
  g_assert_cmpuint (header.header_size, ==, size);
  g_assert_cmpuint (header.codebooks, ==, 8);
}

static void
test_header_version (void)
{
  guint8 data[sizeof header_example];
  MimiFileHeader header;

  memcpy (data, header_example, sizeof data);
  data[8] = 2;
  g_assert_cmpint (read_header (data, sizeof data, &header), ==,
      MIMI_FILE_VERSION);
  g_assert_cmpuint (header.version, ==, 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/tokens/packed-example", test_packed_example);
  g_test_add_func ("/tokens/u16-example", test_u16_example);
  g_test_add_func ("/tokens/round-trip", test_round_trip);
  g_test_add_func ("/tokens/out-of-range", test_out_of_range);
  g_test_add_func ("/header/example", test_header_example);
  g_test_add_func ("/header/short", test_header_short);
  g_test_add_func ("/header/damaged", test_header_damaged);
  g_test_add_func ("/header/hostile", test_header_hostile);
  g_test_add_func ("/header/longer", test_header_longer);
  g_test_add_func ("/header/version", test_header_version);
  return g_test_run ();
}
