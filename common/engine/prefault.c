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

/* Q4_K is read, and packed, by the walk (device/cpu.c). */
static bool
stays_mapped(const MoshiTensor *t)
{
  return t->dtype != MOSHI_DTYPE_Q4_K || strstr(t->name, "emb");
}

double
moshi_prefault_share(const MoshiCheckpoint *checkpoint)
{
  const MoshiTensor *t;
  double mapped = 0, all = 1;
  for (size_t i = 0; (t = moshi_checkpoint_nth(checkpoint, i)); i++) {
    all += t->bytes;
    mapped += stays_mapped(t) ? t->bytes : 0;
  }
  return mapped / all;
}

int
moshi_prefault(const MoshiCheckpoint *checkpoint, int threads, MoshiProgress progress,
    void *cookie, MoshiError *error)
{
  Prefault p = {checkpoint, g_array_new(FALSE, FALSE, sizeof(Piece))};
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(checkpoint, i)); i++) {
    if (!stays_mapped(t))
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
