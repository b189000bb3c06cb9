/* Residual vector quantization: a vector is named by the nearest row of a first
 * codebook, what is left by the nearest of a second, and so on.
 *
 * Checkpoints hold the running sums of training: a codebook's row is
 * embedding_sum / max(cluster_usage, 1e-5) (core_vq.py EuclideanCodebook).
 * The nearest row is found as argmin |E|²/2 − r·E, which orders rows as the
 * distance |r − E| does. */
#include "rvq.h"

#include <float.h>
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 256

const char *const moshi_codebook_sums[] = {
    "embedding_sum", "embed_avg", "embed_sum", NULL};
const char *const moshi_codebook_usages[] = {"cluster_usage", "cluster_size", NULL};
static const char *const initialized_names[] = {"_initialized", "inited", NULL};

/* Of the names that a tensor has had, the one in this file; the newest when it has
 * none. */
static void
pick_name(const MoshiLoader *l, char name[NAME_SIZE], const char *prefix, int level,
    const char *const *names)
{
  const char *found = names[0];
  for (; *names; names++)
    if (moshi_load_has(l, "%s.vq.layers.%d._codebook.%s", prefix, level, *names)) {
      found = *names;
      break;
    }
  snprintf(name, NAME_SIZE, "%s.vq.layers.%d._codebook.%s", prefix, level, found);
}

static float *
make_rows(const MoshiTensor *sum, const MoshiTensor *usage, int bins, int q_dim)
{
  float *rows = g_try_new(float, (size_t)bins *q_dim);
  for (int i = 0; rows && i < bins; i++) {
    float u = moshi_tensor_at(usage, i);
    u = u > 1e-5f ? u : 1e-5f;
    for (int j = 0; j < q_dim; j++) {
      size_t at = (size_t)i * q_dim + j;
      rows[at] = moshi_tensor_at(sum, at) / u;
    }
  }
  return rows;
}

typedef struct {
  const float *rows;
  int q_dim;
} RowsContext;

static void
row_weights(const void *ctx, int row, int col, int count, float *to)
{
  const RowsContext *r = ctx;
  memcpy(to, r->rows + (size_t)row * r->q_dim + col, count * sizeof *to);
}

/* Where the device does not keep the host's rows, they are not needed longer. */
static bool
keep_rows(MoshiCodebook *b, MoshiDevice *d, float *rows, int bins, int q_dim)
{
  const MoshiRows m = {
      .type = MOSHI_TYPE_F32, .rows = bins, .cols = q_dim, .data = rows};
  return d->ops->rows_matrix(d, &b->rows, &m) == 0;
}

/* Of a row: |row|²/2, and the bound of MoshiCodebook.errors: what rounding to bf16
 * takes away, and what two f32 sums of q_dim products may lose. */
static void
measure_row(const float *row, int q_dim, float *half_norm, float *error)
{
  double norm = 0, rounding = 0;
  for (int j = 0; j < q_dim; j++) {
    double lost = row[j] - moshi_bf16_to_f32(moshi_f32_to_bf16(row[j]));
    norm += (double)row[j] * row[j];
    rounding += lost * lost;
  }
  *half_norm = norm / 2;
  *error = sqrt(rounding) + 2 * (q_dim + 2) * FLT_EPSILON * sqrt(norm);
}

static bool
upload_search(MoshiCodebook *b, MoshiDevice *d, const float *rows, int bins, int q_dim)
{
  RowsContext ctx = {rows, q_dim};
  size_t bytes = bins * sizeof(float);
  float *host = g_try_new(float, 2 * (size_t)bins);
  b->half_norms = d->ops->alloc(d, bytes);
  b->errors = d->ops->alloc(d, bytes);
  bool ok = host && b->half_norms && b->errors &&
            d->ops->packed_matrix(
                d, &b->search, MOSHI_TYPE_BF16, bins, q_dim, row_weights, &ctx) == 0;
  for (int i = 0; ok && i < bins; i++)
    measure_row(rows + (size_t)i * q_dim, q_dim, host + i, host + bins + i);
  if (ok) {
    d->ops->upload(d, b->half_norms, host, bytes);
    d->ops->upload(d, b->errors, host + bins, bytes);
  }
  g_free(host);
  return ok;
}

static void
load_level(MoshiRvq *r, MoshiLoader *l, const char *prefix, int level)
{
  char name[NAME_SIZE];
  int64_t dims[] = {r->bins, r->q_dim};
  pick_name(l, name, prefix, level, initialized_names);
  moshi_load_ignore(l, name); /* of training only */
  pick_name(l, name, prefix, level, moshi_codebook_usages);
  const MoshiTensor *usage = moshi_load_tensor(l, name, 1, dims);
  pick_name(l, name, prefix, level, moshi_codebook_sums);
  const MoshiTensor *sum = moshi_load_tensor(l, name, 2, dims);
  if (!usage || !sum || !l->device)
    return;
  float *rows = make_rows(sum, usage, r->bins, r->q_dim);
  MoshiCodebook *book = &r->levels[level];
  if (!rows || !keep_rows(book, l->device, rows, r->bins, r->q_dim) ||
      (r->encoder && !upload_search(book, l->device, rows, r->bins, r->q_dim)))
    moshi_load_no_memory(l, name);
  if (book->rows.m.data == rows)
    book->owned = rows;
  else
    g_free(rows);
}

int
moshi_rvq_load(MoshiRvq *r, MoshiLoader *l, const char *prefix)
{
  r->levels = g_new0(MoshiCodebook, r->n_levels);
  moshi_load_packed(l, &r->proj, r->encoder ? r->q_dim : r->dim,
      r->encoder ? r->dim : r->q_dim, "%s.%s.weight", prefix,
      r->encoder ? "input_proj" : "output_proj");
  for (int i = 0; i < r->n_levels && !l->status; i++)
    load_level(r, l, prefix, i);
  return l->status;
}

void
moshi_rvq_free(MoshiRvq *r, MoshiDevice *d)
{
  for (int i = 0; d && r->levels && i < r->n_levels; i++) {
    MoshiCodebook *b = &r->levels[i];
    if (b->search.m.data)
      d->ops->free_matrix(d, &b->search);
    if (b->rows.m.data)
      d->ops->free_matrix(d, &b->rows);
    g_free(b->owned);
    d->ops->free(d, b->half_norms);
    d->ops->free(d, b->errors);
  }
  if (d)
    moshi_linear_free(d, &r->proj);
  g_free(r->levels);
  *r = (MoshiRvq){0};
}

void
moshi_rvq_encode(const MoshiRvq *r, MoshiDevice *d, const float *x, float *residual,
    float *scores, int32_t *codes, size_t code_stride, int n_levels, int n)
{
  MoshiLinearOp project = {.w = &r->proj.w,
      .x = {(float *)x, r->dim, r->dim},
      .y = {residual, r->q_dim, r->q_dim},
      .batch = n,
      .steps = 1};
  d->ops->linear(d, &project);
  for (int i = 0; i < n_levels; i++)
    d->ops->quantize(d, &r->levels[i], residual, scores, codes + i, code_stride, n);
}

void
moshi_rvq_decode(const MoshiRvq *r, MoshiDevice *d, const int32_t *codes,
    size_t code_stride, int n_levels, float *sum, float *y, bool accumulate, int n)
{
  for (int i = 0; i < n_levels; i++)
    d->ops->embed(d, sum, r->q_dim, &r->levels[i].rows, codes + i, code_stride, n);
  MoshiView out = {y, r->dim, r->dim};
  MoshiLinearOp project = {.w = &r->proj.w,
      .x = {sum, r->q_dim, r->q_dim},
      .y = out,
      .residual = {accumulate ? y : NULL, r->dim, r->dim},
      .batch = n,
      .steps = 1};
  d->ops->linear(d, &project);
}
