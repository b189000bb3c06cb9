/* Writing and checking the header of a .mimi file. */
#include "mimifile.h"

#include <string.h>

#define VERSION 1
#define RATE 24000
#define FRAME_SAMPLES 1920
/* 186 years: times in ns still fit 63 bits. */
#define MAX_SAMPLES (G_GUINT64_CONSTANT (1) << 47)

/* Offsets of the fields, all little-endian. */
enum
{
  AT_VERSION = 8,               /* u16 */
  AT_HEADER_SIZE = 10,          /* u16 */
  AT_CODEBOOKS = 12,            /* u16, then u16 of zero */
  AT_CODEBOOK_SIZE = 16,        /* u32 */
  AT_RATE = 20,                 /* u32 */
  AT_FRAME_SAMPLES = 24,        /* u32, then u32 of zero */
  AT_SAMPLES = 32,              /* u64 */
  AT_MODEL_ID = 40              /* 36 bytes; the CRC is the header's last u32 */
};

static void
put (guint8 * data, guint bytes, guint64 value)
{
  for (guint i = 0; i < bytes; i++)
    data[i] = value >> (8 * i) & 0xff;
}

static guint64
get (const guint8 * data, guint bytes)
{
  guint64 value = 0;

  for (guint i = 0; i < bytes; i++)
    value |= (guint64) data[i] << (8 * i);
  return value;
}

/* CRC-32 of IEEE 802.3, as zlib's. */
static guint32
crc32 (const guint8 * data, gsize size)
{
  guint32 crc = 0xffffffff;

  for (gsize i = 0; i < size; i++) {
    crc ^= data[i];
    for (guint bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

void
mimi_file_header_write (const MimiFileHeader * header,
    guint8 data[MIMI_FILE_HEADER_SIZE])
{
  gsize id = strlen (header->model_id);

  memset (data, 0, MIMI_FILE_HEADER_SIZE);
  memcpy (data, MIMI_FILE_MAGIC, MIMI_FILE_MAGIC_SIZE);
  put (data + AT_VERSION, 2, VERSION);
  put (data + AT_HEADER_SIZE, 2, MIMI_FILE_HEADER_SIZE);
  put (data + AT_CODEBOOKS, 2, header->codebooks);
  put (data + AT_CODEBOOK_SIZE, 4, header->codebook_size);
  put (data + AT_RATE, 4, RATE);
  put (data + AT_FRAME_SAMPLES, 4, FRAME_SAMPLES);
  put (data + AT_SAMPLES, 8, header->samples);
  memcpy (data + AT_MODEL_ID, header->model_id, id);
  put (data + MIMI_FILE_HEADER_SIZE - 4, 4,
      crc32 (data, MIMI_FILE_HEADER_SIZE - 4));
}

static const gchar *
find_fault (const guint8 * data, const MimiFileHeader * header)
{
  if (get (data + header->header_size - 4, 4) !=
      crc32 (data, header->header_size - 4))
    return "the checksum of the header is wrong";
  if (header->codebooks < 1 || header->codebooks > MIMI_MAX_CODEBOOKS)
    return "the number of codebooks is not 1 to 32";
  if (header->codebook_size < 2 ||
      header->codebook_size > MIMI_MAX_CODEBOOK_SIZE)
    return "the size of the codebooks is not 2 to 65536";
  if (get (data + AT_RATE, 4) != RATE ||
      get (data + AT_FRAME_SAMPLES, 4) != FRAME_SAMPLES)
    return "the frames are not 1920 samples at 24000 Hz";
  if (header->samples != MIMI_FILE_UNKNOWN && header->samples > MAX_SAMPLES)
    return "the length is impossible";
  for (const gchar * c = header->model_id; *c; c++)
    if (*c < 0x21 || *c > 0x7e)
      return "the model id is not printable";
  return NULL;
}

MimiFileResult
mimi_file_header_read (const guint8 * data, gsize size,
    MimiFileHeader * header, gsize * need, const gchar ** why)
{
  *why = NULL;
  *need = MIMI_FILE_START_SIZE;
  if (size && memcmp (data, MIMI_FILE_MAGIC, MIN (size, MIMI_FILE_MAGIC_SIZE)))
    return MIMI_FILE_NOT_MIMI;
  if (size < MIMI_FILE_START_SIZE)
    return MIMI_FILE_SHORT;

  memset (header, 0, sizeof *header);
  header->version = get (data + AT_VERSION, 2);
  if (header->version != VERSION)
    return MIMI_FILE_VERSION;
  header->header_size = get (data + AT_HEADER_SIZE, 2);
  if (header->header_size < MIMI_FILE_HEADER_SIZE ||
      header->header_size > MIMI_FILE_MAX_HEADER_SIZE) {
    *why = "the size of the header is not 80 to 4096";
    return MIMI_FILE_BROKEN;
  }
  *need = header->header_size;
  if (size < header->header_size)
    return MIMI_FILE_SHORT;

  header->codebooks = get (data + AT_CODEBOOKS, 2);
  header->codebook_size = get (data + AT_CODEBOOK_SIZE, 4);
  header->samples = get (data + AT_SAMPLES, 8);
  memcpy (header->model_id, data + AT_MODEL_ID, MIMI_FILE_MODEL_ID_SIZE);
  *why = find_fault (data, header);

  return *why ? MIMI_FILE_BROKEN : MIMI_FILE_OK;
}

gsize
mimi_file_frame_size (const MimiFileHeader * header)
{
  return mimi_tokens_size (MIMI_STREAM_PACKED, header->codebooks,
      header->codebook_size);
}
