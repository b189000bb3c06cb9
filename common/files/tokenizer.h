/* Sentencepiece .model files: the table from ids to pieces. Encoding is not
 * needed to listen and speak. */
#ifndef MOSHI_FILES_TOKENIZER_H
#define MOSHI_FILES_TOKENIZER_H

#include "../moshi.h"

typedef enum {
  MOSHI_PIECE_NORMAL = 1,
  MOSHI_PIECE_UNKNOWN,
  MOSHI_PIECE_CONTROL,
  MOSHI_PIECE_USER_DEFINED,
  MOSHI_PIECE_UNUSED,
  MOSHI_PIECE_BYTE,
} MoshiPieceType;

typedef struct {
  const char *text; /* valid UTF-8, NUL-terminated; "▁" is a space */
  MoshiPieceType type;
  uint8_t byte; /* of a MOSHI_PIECE_BYTE */
} MoshiPiece;

typedef struct MoshiTokenizer MoshiTokenizer;

/* n_pieces: the number that the model's config demands, 0: any. */
MoshiTokenizer *moshi_tokenizer_open(const char *path, int n_pieces, MoshiError *error);
MoshiTokenizer *moshi_tokenizer_parse(
    const void *data, size_t size, const char *label, int n_pieces, MoshiError *error);
void moshi_tokenizer_free(MoshiTokenizer *tokenizer);
int moshi_tokenizer_size(const MoshiTokenizer *tokenizer);
/* NULL when id is outside of the table. */
const MoshiPiece *moshi_tokenizer_piece(const MoshiTokenizer *tokenizer, int id);

#endif
