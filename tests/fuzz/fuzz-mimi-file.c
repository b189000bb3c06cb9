/* A header of a .mimi file that is accepted keeps its promises, and is the same
 * when written again. Inputs are read as they are and with a right checksum,
 * which a fuzzer would not guess. */
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "mimifile.h"

static void
expect_equal(const MimiFileHeader *a, const MimiFileHeader *b)
{
  FUZZ_EXPECT(a->codebooks == b->codebooks && a->codebook_size == b->codebook_size);
  FUZZ_EXPECT(a->samples == b->samples && !strcmp(a->model_id, b->model_id));
}

static void
read_header(const uint8_t *data, size_t size)
{
  MimiFileHeader header, again;
  const gchar *why;
  gsize need;
  MimiFileResult result = mimi_file_header_read(data, size, &header, &need, &why);
  FUZZ_EXPECT((result == MIMI_FILE_BROKEN) == (why != NULL));
  if (result == MIMI_FILE_SHORT)
    FUZZ_EXPECT(need > size && need <= MIMI_FILE_MAX_HEADER_SIZE);
  if (result != MIMI_FILE_OK)
    return;

  FUZZ_EXPECT(header.header_size <= size);
  FUZZ_EXPECT(header.codebooks >= 1 && header.codebooks <= MIMI_MAX_CODEBOOKS);
  FUZZ_EXPECT(header.codebook_size >= 2);
  FUZZ_EXPECT(mimi_file_frame_size(&header) >= 1);
  FUZZ_EXPECT(mimi_file_frame_size(&header) <= MIMI_MAX_FRAME_BYTES);
  uint8_t written[MIMI_FILE_HEADER_SIZE];
  mimi_file_header_write(&header, written);
  result = mimi_file_header_read(written, sizeof written, &again, &need, &why);
  FUZZ_EXPECT(result == MIMI_FILE_OK);
  expect_equal(&header, &again);
}

/* Gives a header that has a size its right checksum. */
static void
repair(uint8_t *data, size_t size)
{
  size_t header_size = size >= 12 ? data[10] | (size_t)data[11] << 8 : 0;
  if (header_size < 4 || header_size > size)
    return;
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < header_size - 4; i++)
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ ((crc ^ data[i] >> bit) & 1 ? 0xedb88320 : 0);
  for (int i = 0; i < 4; i++)
    data[header_size - 4 + i] = ~crc >> 8 * i;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  read_header(data, size);
  uint8_t *copy = g_memdup2(data, size);
  if (copy) {
    repair(copy, size);
    read_header(copy, size);
  }
  g_free(copy);
  return 0;
}
