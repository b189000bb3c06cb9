/* A frame of tokens that is accepted has indices in range, and is the same when
 * written again, but for the bits that pad it. The first four bytes of an input
 * choose the format, the codebooks and their size. */
#include <glib.h>

#include "fuzz.h"
#include "mimitokens.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 4)
    return 0;
  MimiStreamFormat format = data[0] & 1 ? MIMI_STREAM_U16 : MIMI_STREAM_PACKED;
  guint codebooks = 1 + data[1] % MIMI_MAX_CODEBOOKS;
  guint codebook_size = 2 + (data[2] | data[3] << 8) % (MIMI_MAX_CODEBOOK_SIZE - 1);
  gsize bytes = mimi_tokens_size(format, codebooks, codebook_size);
  FUZZ_EXPECT(bytes >= 1 && bytes <= MIMI_MAX_FRAME_BYTES);

  guint16 codes[MIMI_MAX_CODEBOOKS];
  /* An exact copy, so that a read past the end is seen. */
  uint8_t *frame = g_memdup2(data + 4, size - 4);
  MimiTokensResult result =
      mimi_tokens_read(format, codebooks, codebook_size, frame, size - 4, codes);
  FUZZ_EXPECT((result == MIMI_TOKENS_WRONG_SIZE) == (size - 4 != bytes));
  if (result == MIMI_TOKENS_OK) {
    uint8_t written[MIMI_MAX_FRAME_BYTES];
    for (guint i = 0; i < codebooks; i++)
      FUZZ_EXPECT(codes[i] < codebook_size);
    mimi_tokens_write(format, codebooks, codebook_size, codes, written);
    for (gsize i = 0; i + 1 < bytes; i++)
      FUZZ_EXPECT(written[i] == frame[i]);
    FUZZ_EXPECT((written[bytes - 1] & frame[bytes - 1]) == written[bytes - 1]);
  }
  g_free(frame);
  return 0;
}
