/* Reading mapped weights before they are needed: see prefault.h. */
#include "prefault.h"

#include <glib.h>
#include <string.h>

#include "crew.h"

/* Bytes that a thread reads at a time, and pieces that are asked of the disk before. */
#define PIECE ((size_t)8 << 20)
#define AHEAD 2

typedef struct {
  const char *data;
  size_t bytes;
} Piece;

typedef struct {
  const MoshiCheckpoint *checkpoint;
  GArray *pieces; /* Piece */
} Prefault;

static const Piece *
piece_at(const Prefault *p, size_t i)
{
  return i < p->pieces->len ? &g_array_index(p->pieces, Piece, i) : NULL;
}

static int
read_piece(void *ctx, size_t i, void *scratch, MoshiError *error)
{
  const Prefault *p = ctx;
  const Piece *piece = piece_at(p, i), *ahead = piece_at(p, i + AHEAD);
  if (ahead)
    moshi_checkpoint_advise(p->checkpoint, ahead->data, ahead->bytes, MOSHI_WILL_READ);
  moshi_checkpoint_advise(p->checkpoint, piece->data, piece->bytes, MOSHI_READ_NOW);
  return 0;
}

static bool
is_copied(const MoshiTensor *t, const GArray *copied)
{
  for (guint i = 0; i < copied->len; i++) {
    const uint8_t *at = g_array_index(copied, const void *, i), *data = t->data;
    if (at >= data && at < data + t->bytes)
      return true;
  }
  return false;
}

int
moshi_prefault(const MoshiCheckpoint *checkpoint, const GArray *copied, int threads,
    MoshiProgress progress, void *cookie, MoshiError *error)
{
  Prefault p = {checkpoint, g_array_new(FALSE, FALSE, sizeof(Piece))};
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(checkpoint, i)); i++) {
    if (is_copied(t, copied))
      continue;
    /* A step reads a few rows of a table of embeddings. */
    if (strstr(t->name, "emb")) {
      moshi_checkpoint_advise(checkpoint, t->data, t->bytes, MOSHI_WILL_READ);
      continue;
    }
    for (size_t at = 0; at < t->bytes; at += PIECE) {
      Piece piece = {(const char *)t->data + at, MIN(PIECE, t->bytes - at)};
      g_array_append_val(p.pieces, piece);
    }
  }
  MoshiCrew crew = {.threads = threads,
      .n = p.pieces->len,
      .piece = read_piece,
      .ctx = &p,
      .progress = progress,
      .cookie = cookie};
  int status = moshi_crew_run(&crew, error);
  g_array_free(p.pieces, TRUE);
  return status;
}
