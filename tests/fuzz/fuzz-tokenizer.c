/* Every piece of an accepted tokenizer is a string of valid UTF-8. */
#include <glib.h>

#include "files/tokenizer.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  MoshiError error = {0};
  MoshiTokenizer *t = moshi_tokenizer_parse(data, size, "fuzz", 0, &error);
  if (!t) {
    FUZZ_EXPECT(error.status < 0 && error.message[0]);
    return 0;
  }
  int n = moshi_tokenizer_size(t);
  FUZZ_EXPECT(n > 0);
  for (int i = 0; i < n; i++) {
    const MoshiPiece *piece = moshi_tokenizer_piece(t, i);
    FUZZ_EXPECT(piece && piece->text[0] && g_utf8_validate(piece->text, -1, NULL));
    FUZZ_EXPECT(piece->type >= MOSHI_PIECE_NORMAL && piece->type <= MOSHI_PIECE_BYTE);
  }
  FUZZ_EXPECT(!moshi_tokenizer_piece(t, n) && !moshi_tokenizer_piece(t, -1));
  moshi_tokenizer_free(t);
  return 0;
}
