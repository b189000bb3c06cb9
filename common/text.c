/* MoshiText: text tokens to UTF-8. Padding and control tokens are silent, "▁"
 * is a space, and the byte pieces of a character are held back until it is
 * whole, however many frames they are spread over. */
#include <glib.h>
#include <string.h>

#include "engine/model.h"
#include "error.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define WORD_MARK "\xe2\x96\x81"   /* U+2581, ▁ */
/* <unk>, <s>, </s>, <pad> in every tokenizer of the family. */
#define N_SILENT 4

struct MoshiText {
  MoshiModel *model;
  const MoshiTokenizer *tokenizer;
  uint8_t pending[4]; /* bytes of an unfinished character */
  int n_pending;
  char *out; /* room for the longest piece after an unfinished character */
  size_t used;
};

MoshiText *
moshi_text_new(MoshiModel *model, MoshiError *error)
{
  const MoshiTokenizer *tokenizer = moshi_model_tokenizer(model);
  if (!tokenizer) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "the model was opened without MOSHI_PART_TEXT, so it has no tokenizer");
    return NULL;
  }
  size_t longest = 0;
  for (int i = 0; i < moshi_tokenizer_size(tokenizer); i++)
    longest = MAX(longest, strlen(moshi_tokenizer_piece(tokenizer, i)->text));
  MoshiText *t = g_new0(MoshiText, 1);
  t->out = g_try_malloc0(longest + 2 * strlen(REPLACEMENT) + 1);
  if (!t->out) {
    moshi_fail(error, MOSHI_ERROR_MEMORY, "no memory for text");
    g_free(t);
    return NULL;
  }
  t->tokenizer = tokenizer;
  t->model = moshi_model_ref(model);
  return t;
}

void
moshi_text_free(MoshiText *t)
{
  if (!t)
    return;
  moshi_model_unref(t->model);
  g_free(t->out);
  g_free(t);
}

static void
append(MoshiText *t, const void *bytes, size_t n)
{
  memcpy(t->out + t->used, bytes, n);
  t->used += n;
}

/* Bytes of the character that starts with `lead`; 0: none does. */
static int
character_length(uint8_t lead)
{
  return lead >= 0x01 && lead < 0x80    ? 1
         : lead >= 0xc2 && lead <= 0xdf ? 2
         : lead >= 0xe0 && lead <= 0xef ? 3
         : lead >= 0xf0 && lead <= 0xf4 ? 4
                                        : 0;
}

/* May `byte` follow the pending ones? (Unicode's table of well-formed UTF-8.) */
static bool
continues(const MoshiText *t, uint8_t byte)
{
  uint8_t low = 0x80, high = 0xbf;
  if (t->n_pending == 1)
    switch (t->pending[0]) {
    case 0xe0:
      low = 0xa0;
      break;
    case 0xed:
      high = 0x9f;
      break;
    case 0xf0:
      low = 0x90;
      break;
    case 0xf4:
      high = 0x8f;
      break;
    }
  return byte >= low && byte <= high;
}

static void
drop_pending(MoshiText *t)
{
  if (t->n_pending)
    append(t, REPLACEMENT, strlen(REPLACEMENT));
  t->n_pending = 0;
}

static void
push_byte(MoshiText *t, uint8_t byte)
{
  if (t->n_pending && !continues(t, byte))
    drop_pending(t);
  t->pending[t->n_pending++] = byte;
  int length = character_length(t->pending[0]);
  if (length == 0) {
    drop_pending(t);
  } else if (t->n_pending == length) {
    append(t, t->pending, length);
    t->n_pending = 0;
  }
}

static void
push_piece(MoshiText *t, const char *piece)
{
  size_t mark = strlen(WORD_MARK);
  drop_pending(t);
  while (*piece) {
    if (!strncmp(piece, WORD_MARK, mark)) {
      append(t, " ", 1);
      piece += mark;
    } else {
      append(t, piece++, 1);
    }
  }
}

static const char *
finish(MoshiText *t)
{
  t->out[t->used] = '\0';
  return t->out;
}

const char *
moshi_text_push(MoshiText *t, int32_t token)
{
  const MoshiPiece *piece =
      token >= N_SILENT ? moshi_tokenizer_piece(t->tokenizer, token) : NULL;
  t->used = 0;
  if (piece && piece->type == MOSHI_PIECE_BYTE)
    push_byte(t, piece->byte);
  else if (piece && piece->type != MOSHI_PIECE_CONTROL &&
           piece->type != MOSHI_PIECE_UNKNOWN)
    push_piece(t, piece->text);
  return finish(t);
}

const char *
moshi_text_flush(MoshiText *t)
{
  t->used = 0;
  drop_pending(t);
  return finish(t);
}
