/* Reading the pieces of a sentencepiece ModelProto:
 *
 *   message ModelProto { repeated SentencePiece pieces = 1; … }
 *   message SentencePiece { string piece = 1; float score = 2; Type type = 3; }
 *
 * A small protobuf reader: fields we have no use for are skipped, and every
 * length is checked against what encloses it. */
#include "tokenizer.h"

#include <glib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "../error.h"
#include "mapped.h"

#define MAX_FILE (64 << 20)
#define MAX_PIECES (1 << 20)
#define MAX_PIECE_BYTES 4096

struct MoshiTokenizer {
  GArray *pieces; /* MoshiPiece */
  GStringChunk *text;
};

/* ------------------------------------------------------------ protobuf */

typedef struct {
  const uint8_t *at, *end;
} Bytes;

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

typedef struct {
  uint64_t number;
  int wire;
  uint64_t value; /* varint, or the bits of a fixed one */
  Bytes bytes;
} Field;

static bool
read_varint(Bytes *b, uint64_t *value)
{
  *value = 0;
  for (int shift = 0; shift < 64 && b->at < b->end; shift += 7) {
    uint8_t byte = *b->at++;
    *value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80)
      return shift < 63 || byte <= 1;
  }
  return false;
}

static bool
read_fixed(Bytes *b, int size, uint64_t *value)
{
  if (b->end - b->at < size)
    return false;
  *value = 0;
  for (int i = size - 1; i >= 0; i--)
    *value = *value << 8 | b->at[i];
  b->at += size;
  return true;
}

/* The next field of the message; false when it is broken. */
static bool
read_field(Bytes *b, Field *f)
{
  uint64_t key;
  if (!read_varint(b, &key))
    return false;
  f->number = key >> 3;
  f->wire = key & 7;
  if (f->number == 0 || f->number > 0x1fffffff)
    return false;
  switch (f->wire) {
  case WIRE_VARINT:
    return read_varint(b, &f->value);
  case WIRE_64:
    return read_fixed(b, 8, &f->value);
  case WIRE_32:
    return read_fixed(b, 4, &f->value);
  case WIRE_BYTES:
    if (!read_varint(b, &f->value) || f->value > (uint64_t)(b->end - b->at))
      return false;
    f->bytes = (Bytes){b->at, b->at + f->value};
    b->at += f->value;
    return true;
  default: /* groups are not used in this format */
    return false;
  }
}

/* -------------------------------------------------------------- pieces */

/* "<0x0A>" to 10, or -1. */
static int
parse_byte_piece(const char *text)
{
  if (strlen(text) != 6 || strncmp(text, "<0x", 3) != 0 || text[5] != '>')
    return -1;
  int high = g_ascii_xdigit_value(text[3]), low = g_ascii_xdigit_value(text[4]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* NULL when the piece was added, else what is wrong with it. seen: bytes that
 * have a piece. */
static const char *
add_piece(MoshiTokenizer *t, Bytes message, bool seen[256])
{
  Field f;
  Bytes text = {NULL, NULL};
  uint64_t type = MOSHI_PIECE_NORMAL;
  union {
    uint32_t bits;
    float value;
  } score = {0};

  while (message.at < message.end) {
    if (!read_field(&message, &f))
      return "its record is broken";
    if (f.number == 1 && f.wire == WIRE_BYTES)
      text = f.bytes;
    else if (f.number == 2 && f.wire == WIRE_32)
      score.bits = f.value;
    else if (f.number == 3 && f.wire == WIRE_VARINT)
      type = f.value;
    else if (f.number <= 3)
      return "its record has a field of the wrong type";
  }
  size_t n = text.end - text.at;
  if (n == 0)
    return "is empty";
  if (n > MAX_PIECE_BYTES)
    return "is too long";
  if (!g_utf8_validate((const char *)text.at, n, NULL))
    return "is not valid UTF-8";
  if (!isfinite(score.value))
    return "its score is not finite";
  if (type < MOSHI_PIECE_NORMAL || type > MOSHI_PIECE_BYTE)
    return "is of an unknown type";

  MoshiPiece piece = {
      .text = g_string_chunk_insert_len(t->text, (const char *)text.at, n),
      .type = type};
  if (type == MOSHI_PIECE_BYTE) {
    int byte = parse_byte_piece(piece.text);
    if (byte < 0)
      return "is a byte, but not of the form <0xHH>";
    if (seen[byte])
      return "is a byte that an earlier piece has";
    seen[byte] = true;
    piece.byte = byte;
  }
  g_array_append_val(t->pieces, piece);
  return NULL;
}

static int
parse_pieces(MoshiTokenizer *t, Bytes model, const char *label, MoshiError *error)
{
  Field f;
  bool seen[256] = {false};
  while (model.at < model.end) {
    if (!read_field(&model, &f))
      return moshi_fail(error, MOSHI_ERROR_FORMAT,
          "%s: broken or truncated after %u pieces; it must be a sentencepiece model",
          label, t->pieces->len);
    if (f.number != 1)
      continue;
    if (f.wire != WIRE_BYTES)
      return moshi_fail(error, MOSHI_ERROR_FORMAT,
          "%s: is not a sentencepiece model (its pieces are no records)", label);
    if (t->pieces->len == MAX_PIECES)
      return moshi_fail(
          error, MOSHI_ERROR_FORMAT, "%s: more than %d pieces", label, MAX_PIECES);
    const char *problem = add_piece(t, f.bytes, seen);
    if (problem)
      return moshi_fail(
          error, MOSHI_ERROR_FORMAT, "%s: piece %u %s", label, t->pieces->len, problem);
  }
  return 0;
}

MoshiTokenizer *
moshi_tokenizer_parse(
    const void *data, size_t size, const char *label, int n_pieces, MoshiError *error)
{
  MoshiTokenizer *t = g_new0(MoshiTokenizer, 1);
  t->pieces = g_array_new(FALSE, FALSE, sizeof(MoshiPiece));
  t->text = g_string_chunk_new(4096);
  Bytes model = {data, size ? (const uint8_t *)data + size : data};
  int status = parse_pieces(t, model, label, error);
  if (status == 0 && t->pieces->len == 0)
    status = moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: holds no pieces; it must be a sentencepiece model", label);
  if (status == 0 && n_pieces > 0 && t->pieces->len != (guint)n_pieces)
    status = moshi_fail(error, MOSHI_ERROR_MODEL,
        "%s: has %u pieces, but text_card in config.json is %d: it is another model's",
        label, t->pieces->len, n_pieces);
  if (status == 0)
    return t;
  moshi_tokenizer_free(t);
  return NULL;
}

MoshiTokenizer *
moshi_tokenizer_open(const char *path, int n_pieces, MoshiError *error)
{
  MoshiMapped mapped;
  if (moshi_mapped_open(&mapped, path, MAX_FILE, error) < 0)
    return NULL;
  MoshiTokenizer *t =
      moshi_tokenizer_parse(mapped.data, mapped.size, path, n_pieces, error);
  moshi_mapped_close(&mapped);
  return t;
}

void
moshi_tokenizer_free(MoshiTokenizer *tokenizer)
{
  if (!tokenizer)
    return;
  g_array_free(tokenizer->pieces, TRUE);
  g_string_chunk_free(tokenizer->text);
  g_free(tokenizer);
}

int
moshi_tokenizer_size(const MoshiTokenizer *tokenizer)
{
  return tokenizer->pieces->len;
}

const MoshiPiece *
moshi_tokenizer_piece(const MoshiTokenizer *tokenizer, int id)
{
  if (id < 0 || id >= moshi_tokenizer_size(tokenizer))
    return NULL;
  return &g_array_index(tokenizer->pieces, MoshiPiece, id);
}
