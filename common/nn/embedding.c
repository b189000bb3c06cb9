/* Token embeddings. */
#include "embedding.h"

#include <glib.h>
#include <stdio.h>

#include "../error.h"

#define NAME_SIZE 256

/* A norm sees the table's rows alone, so it is applied to them at load; a
 * missing token then still adds zero, as it should. */
static void
load_normed(MoshiEmbedding *e, MoshiLoader *l, const char *prefix)
{
  char name[NAME_SIZE];
  int64_t table_dims[] = {e->rows, e->width}, vector_dims[] = {e->width};
  snprintf(name, sizeof name, "%s.weight", prefix);
  const MoshiTensor *table = moshi_load_tensor(l, name, 2, table_dims);
  snprintf(name, sizeof name, "%s.norm.weight", prefix);
  const MoshiTensor *weight = moshi_load_tensor(l, name, 1, vector_dims);
  snprintf(name, sizeof name, "%s.norm.bias", prefix);
  const MoshiTensor *bias = moshi_load_tensor(l, name, 1, vector_dims);
  if (l->status || !l->device)
    return;
  MoshiKernels k;
  moshi_kernels_init(&k, 0);
  size_t width = e->width;
  float *vectors = g_try_new(float, 2 * width);
  e->normed = g_try_malloc_n(e->rows, width * sizeof(float));
  if (!vectors || !e->normed) {
    g_free(vectors);
    l->status = moshi_fail(
        l->error, MOSHI_ERROR_MEMORY, "no memory for the embedding \"%s\"", prefix);
    return;
  }
  for (size_t i = 0; i < width; i++) {
    vectors[i] = moshi_tensor_at(weight, i);
    vectors[width + i] = moshi_tensor_at(bias, i);
  }
  for (int r = 0; r < e->rows; r++) {
    float *row = e->normed + r * width;
    for (size_t i = 0; i < width; i++)
      row[i] = moshi_tensor_at(table, r * width + i);
    k.layer_norm(row, row, vectors, vectors + width, width, 1e-5f);
  }
  g_free(vectors);
  MoshiRows rows = {
      .type = MOSHI_TYPE_F32, .rows = e->rows, .cols = e->width, .data = e->normed};
  if (l->device->ops->rows_matrix(l->device, &e->table.w, &rows))
    l->status = moshi_fail(
        l->error, MOSHI_ERROR_MEMORY, "no memory for the embedding \"%s\"", prefix);
}

int
moshi_embedding_load(MoshiEmbedding *e, MoshiLoader *l, int rows, int dim,
    MoshiEmbeddingKind kind, const char *prefix)
{
  *e = (MoshiEmbedding){.rows = rows,
      .dim = dim,
      .width = kind.low_rank ? kind.low_rank : dim,
      .demux = kind.demux};
  if (kind.norm)
    load_normed(e, l, prefix);
  else
    moshi_load_table(l, &e->table, rows, e->width, "%s.weight", prefix);
  if (kind.demux) {
    moshi_load_linear(l, &e->out1, dim, e->width, "%s.out1.weight", prefix);
    moshi_load_linear(l, &e->out2, dim, e->width, "%s.out2.weight", prefix);
    /* The reference's module has this one too, and never applies it. */
    char unused[NAME_SIZE];
    snprintf(unused, sizeof unused, "%s.low_rank.weight", prefix);
    moshi_load_ignore(l, unused);
  } else if (kind.low_rank) {
    moshi_load_linear(l, &e->low_rank, dim, e->width, "%s.low_rank.weight", prefix);
  }
  return l->status;
}

void
moshi_embedding_free(MoshiEmbedding *e, MoshiDevice *d)
{
  if (d) {
    moshi_linear_free(d, &e->table);
    moshi_linear_free(d, &e->low_rank);
    moshi_linear_free(d, &e->out1);
    moshi_linear_free(d, &e->out2);
  }
  g_free(e->normed);
  *e = (MoshiEmbedding){0};
}

void
moshi_embedding_scratch_init(MoshiEmbeddingScratch *s, int n)
{
  *s = (MoshiEmbeddingScratch){.slots = g_new(int, n)};
  for (int i = 0; i < n; i++)
    s->slots[i] = i;
}

void
moshi_embedding_scratch_clear(MoshiEmbeddingScratch *s)
{
  g_free(s->slots);
  *s = (MoshiEmbeddingScratch){0};
}

void
moshi_embedding_scratch_place(
    MoshiEmbeddingScratch *s, int n, int width, void *memory, size_t *used)
{
  s->rows = moshi_place(memory, used, (size_t)n * width * sizeof(float));
  s->zeros = moshi_place(memory, used, width * sizeof(float));
}

void
moshi_embedding_clear(
    const MoshiEmbeddingScratch *s, MoshiDevice *d, float *x, int n, int width)
{
  /* Every row is loaded from the same state, of stride 0. */
  d->ops->load(d, x, width, s->zeros, 0, width, s->slots, n);
}

/* y[c][i] += W·(table row of tokens[i]) */
static void
add_projected(const MoshiEmbedding *e, const MoshiLinear *w, MoshiDevice *d,
    const MoshiEmbeddingScratch *s, float *y, const int32_t *tokens, size_t stride,
    int n, int copies)
{
  size_t width = e->width, dim = e->dim;
  moshi_embedding_clear(s, d, s->rows, n, width);
  d->ops->embed(d, s->rows, width, &e->table.w, tokens, stride, n);
  MoshiLinearOp op = {.w = &w->w,
      .x = {s->rows, 0, width},
      .y = {y, n * dim, dim},
      .residual = {y, n * dim, dim},
      .batch = copies,
      .steps = n};
  d->ops->linear(d, &op);
}

void
moshi_embedding_add(const MoshiEmbedding *e, MoshiDevice *d,
    const MoshiEmbeddingScratch *s, float *y, const int32_t *tokens,
    const int32_t *second, size_t stride, int n, int copies)
{
  if (e->demux) {
    add_projected(e, &e->out1, d, s, y, tokens, stride, n, copies);
    if (second)
      add_projected(e, &e->out2, d, s, y, second, stride, n, copies);
  } else if (e->low_rank.w.m.data) {
    add_projected(e, &e->low_rank, d, s, y, tokens, stride, n, copies);
  } else {
    for (int c = 0; c < copies; c++)
      d->ops->embed(
          d, y + (size_t)c * n * e->dim, e->dim, &e->table.w, tokens, stride, n);
  }
}
