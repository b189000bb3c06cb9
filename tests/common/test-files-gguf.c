/* GGUF files, good and hostile: every row of the table of odd files in
 * docs/model-files.md, with the words a user would read. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "../kernels/kernels.h"
#include "files/gguf-writer.h"
#include "hostile.h"

/* Assembles an image: words of N:VALUE (a number of N bytes), s:TEXT (a string with its
 * length), l:TEXT (bytes alone), z:N (zeros), p:N (zeros up to a multiple of N). */
static GByteArray *
assemble(const char *source)
{
  GByteArray *out = g_byte_array_new();
  char **words = g_strsplit(source, " ", 0);
  for (char **word = words; *word; word++) {
    if (!**word) /* two spaces */
      continue;
    const char *text = *word + 2;
    guint64 value = GUINT64_TO_LE(g_ascii_strtoull(text, NULL, 0));
    guint64 length = GUINT64_TO_LE(strlen(text));
    guint old = out->len, n = value;
    g_assert_true((*word)[1] == ':');
    switch (**word) {
    case '1':
    case '2':
    case '4':
    case '8':
      g_byte_array_append(out, (guint8 *)&value, **word - '0');
      break;
    case 's':
      g_byte_array_append(out, (guint8 *)&length, 8);
      G_GNUC_FALLTHROUGH;
    case 'l':
      g_byte_array_append(out, (const guint8 *)text, strlen(text));
      break;
    case 'p':
      n = (n - old % n) % n;
      G_GNUC_FALLTHROUGH;
    case 'z':
      g_byte_array_set_size(out, old + n);
      memset(out->data + old, 0, n);
      break;
    default:
      g_assert_not_reached();
    }
  }
  g_strfreev(words);
  return out;
}

#define HEAD(tensors, pairs) "l:GGUF 4:3 8:" #tensors " 8:" #pairs " "
/* F32 [2][3] and its 24 bytes */
#define T(name, offset) "s:" name " 4:2 8:3 8:2 4:0 8:" #offset " "
#define ONE HEAD(1, 0) T("t", 0) "p:32 z:32"

static const struct {
  const char *source, *message; /* NULL: accepted */
} cases[] = {
    /* accepted */
    {ONE, NULL},
    {HEAD(1, 0) T("t", 0) "p:32 z:24", NULL}, /* without the last padding */
    {"l:GGUF 4:2 8:1 8:0 " T("t", 0) "p:32 z:32", NULL},
    {HEAD(0, 0), NULL},
    {HEAD(0, 1) "s:a 4:8 s:text", NULL},
    {HEAD(2, 0) T("b", 32) T("a", 0) "p:32 z:64", NULL},
    {HEAD(1, 0) "s:t 4:0 4:0 8:0 p:32 z:32", NULL}, /* a scalar */
    {HEAD(2, 0) "s:e 4:2 8:0 8:5 4:0 8:0 " T("t", 0) "p:32 z:32", NULL},
    {HEAD(1, 0) "s:t 4:1 8:64 4:8 8:0 p:32 z:68", NULL},
    {HEAD(1, 0) "s:t 4:2 8:32 8:2 4:2 8:0 p:32 z:36", NULL},
    {HEAD(1, 0) "s:t 4:1 8:256 4:12 8:0 p:32 z:144", NULL},
    {HEAD(2, 1) "s:general.alignment 4:4 4:8 " T("a", 0) T("b", 24) "p:8 z:48", NULL},
    /* every kind of value */
    {HEAD(0, 12) "s:a 4:0 1:1 s:b 4:1 1:1 s:c 4:2 2:1 s:d 4:3 2:1 s:e 4:4 4:1 "
                 "s:f 4:5 4:1 s:g 4:6 4:1 s:h 4:7 1:1 s:i 4:8 s:x s:j 4:10 8:1 "
                 "s:k 4:11 8:1 s:l 4:12 8:1",
        NULL},
    {HEAD(0, 2) "s:a 4:9 4:4 8:2 4:1 4:2 s:b 4:9 4:8 8:2 s:x s:yy", NULL},
    /* versions */
    {"l:GGUF 4:1 4:0 4:0", "m: is GGUF of version 1; 2 and 3 are read"},
    {"l:GGUF 4:4 8:0 8:0", "is GGUF of version 4"},
    {"l:GGUF 4:0x3000000 8:0 8:0", "is a big-endian GGUF file"},
    /* the header's end */
    {"l:GGUF", "m: truncated: the file ends in the header (the version)"},
    {"l:GGUF 4:3 8:1", "(the number of pairs of the metadata); download it again"},
    {HEAD(1, 0), "truncated: the file ends in the header (tensors)"},
    {HEAD(1, 0) "s:t 4:2 8:3", "ends in the header (tensors)"},
    {HEAD(1, 0) "s:tensorname 4:2 8:3 1:2", "ends in the header (tensorname)"},
    {HEAD(0, 1) "s:a 4:8 8:1", "ends in the header (a)"},
    /* counts and lengths */
    {HEAD(65537, 0), "claims 65537 tensors, 65536 are allowed"},
    {HEAD(0xffffffffffffffff, 0), "claims 18446744073709551615 tensors"},
    {HEAD(0, 0x8000000000000000), "claims 9223372036854775808 pairs of the metadata"},
    {HEAD(0, 65536), "ends in the header (pairs of the metadata)"},
    {HEAD(0, 1) "8:0xffffffffffffffff 4:4 4:1", "(a key of the metadata)"},
    {HEAD(0, 1) "s:a 4:8 8:0xffffffffffffffff 4:1", "ends in the header (a)"},
    {HEAD(0, 1) "s:a 4:9 4:12 8:0x2000000000000001 8:1", "ends in the header (a)"},
    {HEAD(0, 1) "s:a 4:9 4:8 8:0xffffffffffffffff s:x s:y", "ends in the header (a)"},
    {HEAD(1, 0) "8:0xfffffffffffffff0 z:64", "(the name of a tensor)"},
    {HEAD(1, 0) "8:65537 z:65600", "the name of a tensor has 65537 bytes"},
    /* strings */
    {HEAD(1, 0) "s:\xff 4:1 8:1 4:0 8:0 p:32 z:32", "name of a tensor is not UTF-8"},
    {HEAD(1, 0) "8:3 l:a z:1 l:b 4:1 8:1 4:0 8:0 p:32 z:32", "is not UTF-8 text"},
    {HEAD(0, 1) "s:\xc3 4:4 4:1", "a key of the metadata is not UTF-8 text"},
    /* metadata */
    {HEAD(0, 1) "s:a 4:13 8:1", "metadata a: unknown kind 13 of value"},
    {HEAD(0, 1) "s:a 4:9 4:13 8:1 8:1", "metadata a: unknown kind 13"},
    {HEAD(0, 1) "s:a 4:9 4:9 8:1 4:0 8:1 1:1", "metadata a: is an array of arrays"},
    {HEAD(0, 2) "s:a 4:4 4:1 s:a 4:4 4:1", "metadata a: is given twice"},
    {HEAD(0, 1) "s:general.alignment 4:4 4:0", "is 0, which is no power of two"},
    {HEAD(0, 1) "s:general.alignment 4:4 4:48", "is 48, which is no power of two"},
    {HEAD(0, 1) "s:general.alignment 4:10 8:32", "alignment must be of 32 bits"},
    /* shapes and types */
    {HEAD(1, 0) "s:t 4:5 8:1 8:1 8:1 8:1 8:1 4:0 8:0 p:32 z:32", "than 4 dimensions"},
    {HEAD(1, 0) "s:t 4:0xffffffff 8:1 4:0 8:0 p:32 z:32", "than 4 dimensions"},
    {HEAD(1, 0) "s:t 4:1 8:0x8000000000000000 4:0 8:0 p:32 z:32", "beyond 63 bits"},
    {HEAD(1, 0) "s:t 4:2 8:0x4000000000000000 8:4 4:0 8:0 p:32 z:32",
        "m: tensor t: the size of its shape overflows"},
    {HEAD(1, 0) "s:t 4:1 8:48 4:8 8:0 p:32 z:64",
        "tensor t: its rows of 48 are no multiple of the 32 of a block of Q8_0"},
    {HEAD(1, 0) "s:t 4:2 8:16 8:2 4:2 8:0 p:32 z:32", "its rows of 16 are no multiple"},
    {HEAD(1, 0) "s:t 4:0 4:12 8:0 p:32 z:160", "the 256 of a block of Q4_K"},
    {HEAD(1, 0) "s:t 4:1 8:256 4:13 8:0 p:32 z:256",
        "m: type Q5_K of tensor t cannot be run; F32, F16, BF16, Q8_0, Q4_0, Q4_K can"},
    {HEAD(1, 0) "s:t 4:1 8:32 4:4 8:0 p:32 z:32", "unknown type 4 of tensor t"},
    {HEAD(1, 0) "s:t 4:1 8:32 4:0xffffffff 8:0 p:32 z:32", "unknown type 4294967295"},
    /* places */
    {HEAD(1, 0) T("t", 8) "p:32 z:64", "its offset 8 is no multiple of the alignment"},
    {HEAD(1, 0) T("t", 32) "p:32 z:64",
        "tensor t: its data begins at byte 32, where nothing fills the gap that begins "
        "at byte 0"},
    {HEAD(2, 0) T("a", 0) T("b", 0) "p:32 z:64",
        "m: tensor b: its data begins at byte 0, where it overlaps another one that "
        "ends at byte 32"},
    {HEAD(2, 0) T("a", 0) T("b", 64) "p:32 z:96", "nothing fills the gap"},
    {HEAD(1, 0) T("t", 0) "p:32 z:23",
        "truncated: tensor t has 24 bytes from byte 0 of the data on, the file holds "
        "23; download it again"},
    {HEAD(1, 0) T("t", 0), "truncated: tensor t"}, /* not even the padding */
    {HEAD(1, 0) T("t", 0xffffffffffffffe0) "p:32 z:64", "truncated: tensor t has 24"},
    {ONE " z:1", "m: 1 bytes follow the last tensor; download it again"},
    {HEAD(2, 0) T("t", 0) T("t", 32) "p:32 z:64", "m: tensor t: is given twice"},
};

static void
test_cases(void)
{
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    GByteArray *bytes = assemble(cases[i].source);
    expect_checkpoint(cases[i].source, bytes->data, bytes->len, cases[i].message);
    g_byte_array_unref(bytes);
  }
}

/* Cut anywhere, and with any byte of the header another one: refused or read, and
 * never beyond its bytes. */
static void
test_damage(void)
{
  GByteArray *bytes = assemble(HEAD(2, 2) "s:a 4:8 s:text s:b 4:9 4:4 8:2 4:1 4:2 " T(
      "t", 0) "s:q 4:1 8:32 4:8 8:32 p:32 z:66");
  for (guint n = 4; n < bytes->len; n++) {
    void *cut = g_memdup2(bytes->data, n);
    MoshiError error = {0};
    g_assert_null(moshi_checkpoint_from_memory(cut, n, "m", &error));
    g_assert_nonnull(strstr(error.message, "truncated"));
    g_free(cut);
  }
  for (guint i = 4; i < bytes->len; i++)
    for (int bit = 0; bit < 8; bit++) {
      guint8 *other = g_memdup2(bytes->data, bytes->len);
      other[i] ^= 1 << bit;
      MoshiCheckpoint *c = moshi_checkpoint_from_memory(other, bytes->len, "m", NULL);
      const MoshiTensor *t;
      for (size_t k = 0; c && (t = moshi_checkpoint_nth(c, k)); k++)
        g_assert_true((const guint8 *)t->data >= other &&
                      (const guint8 *)t->data + t->bytes <= other + bytes->len);
      moshi_checkpoint_unref(c);
      g_free(other);
    }
  g_byte_array_unref(bytes);
}

static void
test_read(void)
{
  GByteArray *bytes = assemble(HEAD(1, 3) "s:z 4:8 s:last s:n 4:4 4:7 s:a 4:8 s:first "
                                          "s:q 4:2 8:64 8:3 4:2 8:0 p:32 z:108");
  for (int i = 0; i < 108; i++)
    bytes->data[bytes->len - 108 + i] = i;
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(bytes->data, bytes->len, "m", NULL);
  g_assert_nonnull(c);
  g_assert_cmpstr(moshi_checkpoint_metadata(c, "a"), ==, "first");
  g_assert_cmpstr(moshi_checkpoint_metadata(c, "z"), ==, "last");
  g_assert_null(moshi_checkpoint_metadata(c, "n")); /* no string */
  g_assert_null(moshi_checkpoint_metadata(c, "other"));
  const MoshiTensor *t = moshi_checkpoint_find(c, "q");
  g_assert_nonnull(t);
  g_assert_cmpint(t->dtype, ==, MOSHI_DTYPE_Q4_0);
  g_assert_cmpint(t->n_dims, ==, 2);
  g_assert_cmpint(t->dims[0], ==, 3); /* outermost first */
  g_assert_cmpint(t->dims[1], ==, 64);
  g_assert_cmpuint(t->bytes, ==, 3 * 2 * 18);
  g_assert_cmpint(((const guint8 *)t->data)[107], ==, 107);
  moshi_checkpoint_unref(c);
  g_byte_array_unref(bytes);
}

/* A header longer than any is: refused before it is read. */
static void
test_long_header(void)
{
  const size_t size = 100000001 + 64;
  guint8 *data = g_malloc0(size);
  GByteArray *head = assemble(HEAD(0, 1) "s:a 4:8 8:100000001");
  memcpy(data, head->data, head->len);
  g_byte_array_unref(head);
  expect_checkpoint(
      "long header", data, size, "m: its header has more than 100000000 bytes");
  g_free(data);
}

/* --------------------------------------------------------------------- types */

/* What gguf-py wrote is decoded to what gguf-py decodes: tests/vectors/tools. */
static void
test_types(void)
{
  static const struct {
    const char *name;
    MoshiType type;
  } types[] = {
      {"F32", MOSHI_TYPE_F32},
      {"F16", MOSHI_TYPE_F16},
      {"BF16", MOSHI_TYPE_BF16},
      {"Q8_0", MOSHI_TYPE_Q8_0},
      {"Q4_0", MOSHI_TYPE_Q4_0},
      {"Q4_K", MOSHI_TYPE_Q4_K},
  };
  char *path =
      g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), "gguf-types.gguf", NULL);
  MoshiCheckpoint *c = moshi_checkpoint_open(path, NULL);
  g_assert_nonnull(c);
  g_assert_cmpstr(moshi_checkpoint_metadata(c, "general.name"), ==, "types");
  for (unsigned tier = 0; tier < 2; tier++)
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
      MoshiKernels k;
      moshi_kernels_init(&k, tier ? moshi_cpu_detect() : 0);
      char *decoded = g_strconcat(types[i].name, ".f32", NULL);
      const MoshiTensor *t = moshi_checkpoint_find(c, types[i].name);
      const MoshiTensor *want = moshi_checkpoint_find(c, decoded);
      g_assert_cmpstr(moshi_dtype_name(t->dtype), ==, types[i].name);
      g_assert_cmpint(t->dims[0], ==, 3);
      g_assert_cmpint(t->dims[1], ==, 512);
      MoshiRows rows = {.type = types[i].type, .rows = 3, .cols = 512, .data = t->data};
      g_assert_cmpuint(moshi_rows_size(&rows), ==, t->bytes);
      float have[3 * 512];
      for (int r = 0; r < 3; r++)
        k.widen[rows.type](have + r * 512, &rows, r, 0, 512);
      g_assert_cmpmem(have, sizeof have, want->data, want->bytes);
      g_free(decoded);
    }
  moshi_checkpoint_unref(c);
  g_free(path);
}

/* -------------------------------------------------------------------- writer */

static const MoshiTensor written[] = {
    {.name = "matrix", .dtype = MOSHI_DTYPE_Q4_0, .n_dims = 2, .dims = {3, 64}},
    {.name = "odd", .dtype = MOSHI_DTYPE_BF16, .n_dims = 3, .dims = {1, 1, 5}},
    {.name = "scalar", .dtype = MOSHI_DTYPE_F32},
    {.name = "blocks", .dtype = MOSHI_DTYPE_Q4_K, .n_dims = 1, .dims = {256}},
    {.name = "empty", .dtype = MOSHI_DTYPE_F16, .n_dims = 2, .dims = {0, 7}},
};
static const size_t written_bytes[] = {3 * 36, 10, 4, 144, 0};

static MoshiGgufWriter *
declare(void)
{
  MoshiGgufWriter *w = moshi_gguf_writer_new();
  moshi_gguf_writer_string(w, "text", "value");
  moshi_gguf_writer_u32(w, "number", 7);
  for (size_t i = 0; i < G_N_ELEMENTS(written); i++)
    g_assert_cmpuint(moshi_gguf_writer_tensor(w, &written[i]), ==, i);
  return w;
}

/* Out of order, and each in two parts. */
static void
write_tensors(MoshiGgufWriter *w)
{
  for (size_t i = G_N_ELEMENTS(written); i-- > 0;) {
    guint8 data[256];
    memset(data, 'a' + i, sizeof data);
    size_t half = written_bytes[i] / 2;
    g_assert_cmpint(
        moshi_gguf_writer_data(w, i, half, data, written_bytes[i] - half, NULL), ==, 0);
    g_assert_cmpint(moshi_gguf_writer_data(w, i, 0, data, half, NULL), ==, 0);
  }
}

static void
check_written(const MoshiCheckpoint *c)
{
  g_assert_nonnull(c);
  g_assert_cmpstr(moshi_checkpoint_metadata(c, "text"), ==, "value");
  for (size_t i = 0; i < G_N_ELEMENTS(written); i++) {
    const MoshiTensor *t = moshi_checkpoint_nth(c, i);
    g_assert_cmpstr(t->name, ==, written[i].name);
    g_assert_cmpint(t->dtype, ==, written[i].dtype);
    g_assert_cmpint(t->n_dims, ==, written[i].n_dims);
    g_assert_cmpmem(t->dims, sizeof t->dims, written[i].dims, sizeof t->dims);
    g_assert_cmpuint(t->bytes, ==, written_bytes[i]);
    for (size_t b = 0; b < t->bytes; b++)
      g_assert_cmpint(((const guint8 *)t->data)[b], ==, 'a' + i);
  }
  g_assert_null(moshi_checkpoint_nth(c, G_N_ELEMENTS(written)));
}

static guint
count_files(const char *path)
{
  GDir *dir = g_dir_open(path, 0, NULL);
  guint n = 0;
  while (g_dir_read_name(dir))
    n++;
  g_dir_close(dir);
  return n;
}

static void
test_writer(void)
{
  char *dir = g_dir_make_tmp("moshi-gguf-XXXXXX", NULL);
  char *path = g_build_filename(dir, "a.gguf", NULL);
  MoshiError error = {0};
  /* in memory */
  MoshiGgufWriter *w = declare();
  MoshiMapped image;
  g_assert_cmpint(moshi_gguf_writer_begin(w, NULL, &error), ==, 0);
  write_tensors(w);
  g_assert_cmpint(moshi_gguf_writer_finish(w, &image, &error), ==, 0);
  g_assert_cmpuint(image.size, ==, moshi_gguf_writer_size(w));
  moshi_gguf_writer_free(w);
  MoshiCheckpoint *c = moshi_checkpoint_from_mapped(&image, "memory", &error);
  check_written(c);

  /* a file that is not finished was never there */
  w = declare();
  g_assert_cmpint(moshi_gguf_writer_begin(w, path, &error), ==, 0);
  write_tensors(w);
  g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
  moshi_gguf_writer_free(w);
  g_assert_cmpuint(count_files(dir), ==, 0);

  /* twice: the second takes the place of the first */
  for (int i = 0; i < 2; i++) {
    char *data;
    gsize size;
    w = declare();
    g_assert_cmpint(moshi_gguf_writer_begin(w, path, &error), ==, 0);
    write_tensors(w);
    g_assert_cmpint(moshi_gguf_writer_finish(w, NULL, &error), ==, 0);
    moshi_gguf_writer_free(w);
    g_assert_cmpuint(count_files(dir), ==, 1);
    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    g_assert_cmpmem(data, size, image.data, image.size);
    g_free(data);
  }
  moshi_checkpoint_unref(c);
  c = moshi_checkpoint_open(path, &error);
  check_written(c);
  moshi_checkpoint_unref(c);
  g_remove(path);
  g_rmdir(dir);
  g_free(path);
  g_free(dir);
}

static void
test_writer_fails(void)
{
  char *dir = g_dir_make_tmp("moshi-gguf-XXXXXX", NULL);
  char *path = g_build_filename(dir, "none", "a.gguf", NULL);
  MoshiError error = {0};
  MoshiGgufWriter *w = declare();
  g_assert_cmpint(moshi_gguf_writer_begin(w, path, &error), <, 0);
  g_assert_true(g_str_has_prefix(error.message, path));
  g_assert_nonnull(strstr(error.message, "cannot be written: No such file"));
  moshi_gguf_writer_free(w);
  g_free(path);

  path = g_build_filename(dir, "a.gguf", NULL);
  struct rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = (struct rlimit){100, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
  w = declare();
  g_assert_cmpint(moshi_gguf_writer_begin(w, path, &error), <, 0);
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &old), ==, 0);
  g_assert_nonnull(strstr(error.message, g_strerror(EFBIG)));
  moshi_gguf_writer_free(w);
  g_assert_cmpuint(count_files(dir), ==, 0);

  /* its place is taken by a directory */
  g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
  w = declare();
  g_assert_cmpint(moshi_gguf_writer_begin(w, path, &error), ==, 0);
  g_assert_cmpint(moshi_gguf_writer_finish(w, NULL, &error), <, 0);
  moshi_gguf_writer_free(w);
  g_assert_cmpuint(count_files(dir), ==, 1);
  g_rmdir(path);
  g_rmdir(dir);
  g_free(path);
  g_free(dir);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/files/gguf/cases", test_cases);
  g_test_add_func("/files/gguf/damage", test_damage);
  g_test_add_func("/files/gguf/read", test_read);
  g_test_add_func("/files/gguf/long-header", test_long_header);
  g_test_add_func("/files/gguf/types", test_types);
  g_test_add_func("/files/gguf/writer", test_writer);
  g_test_add_func("/files/gguf/writer-fails", test_writer_fails);
  return g_test_run();
}
