/* The CPU device: kernels over a thread pool, every operation at once. */
#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"

/* A piece that takes less than its thread's waking is not worth it: some 5 µs of
 * arithmetic. */
#define LEAST_WORK 200000.0
/* Pieces a thread, so that one that is late leaves the rest to the others: large ones
 * first, which a thread reads in sequence, and small ones last, for which nobody waits
 * long. Where they begin, in parts of a thread's share. */
enum { PIECES = 4, PARTS = 8 };
static const int starts[PIECES + 1] = {0, 4, 6, 7, PARTS};

typedef struct {
  int total, grain, pieces, threads;
  void (*job)(void *ctx, int begin, int end);
  void *ctx;
} Split;

/* Where piece i begins, in grains; equal ones where there are too few grains. */
static int64_t
piece_start(const Split *s, int64_t grains, int i)
{
  if (s->pieces < s->threads * PIECES || grains < s->threads * PARTS)
    return grains * i / s->pieces;
  const int round = i / s->threads, which = i % s->threads;
  const int width = round < PIECES ? starts[round + 1] - starts[round] : 0;
  return grains * (starts[round] * s->threads + width * which) / (s->threads * PARTS);
}

static void
run_piece(void *ctx, int i)
{
  const Split *s = ctx;
  const int64_t grains = (s->total + (int64_t)s->grain - 1) / s->grain;
  const int64_t begin = piece_start(s, grains, i) * s->grain;
  const int64_t end = piece_start(s, grains, i + 1) * s->grain;
  s->job(s->ctx, (int)begin, (int)(end < s->total ? end : s->total));
}

void
moshi_cpu_split(MoshiCpu *cpu, int total, int grain, double work,
    void (*job)(void *ctx, int begin, int end), void *ctx)
{
  const int threads = moshi_pool_threads(cpu->pool);
  const int grains = (int)(((int64_t)total + grain - 1) / grain);
  double pieces = work / LEAST_WORK;

  if (pieces > threads * PIECES)
    pieces = threads * PIECES;
  if (pieces > grains)
    pieces = grains;
  if (threads == 1 || pieces < 2) {
    if (total > 0)
      job(ctx, 0, total);
    return;
  }
  Split s = {total, grain, (int)pieces, threads, job, ctx};
  moshi_pool_run(cpu->pool, s.pieces, run_piece, &s);
}

/* ----------------------------------------------------------------- memory */

static void *
cpu_alloc(MoshiDevice *d, size_t bytes)
{
  return moshi_cpu_alloc(bytes, false);
}

static void
cpu_free(MoshiDevice *d, void *p)
{
  moshi_cpu_free(p);
}

static void
cpu_copy(MoshiDevice *d, void *dst, const void *src, size_t bytes)
{
  memcpy(dst, src, bytes);
}

static int
cpu_sync(MoshiDevice *d, MoshiError *error)
{
  return 0;
}

static int
cpu_rows_matrix(MoshiDevice *d, MoshiMatrix *m, const MoshiRows *host)
{
  *m = (MoshiMatrix){.m = *host};
  return 0;
}

typedef struct {
  void *panels;
  const MoshiRows *rows;
} PackRows;

static void
pack_rows(void *ctx, int begin, int end)
{
  const PackRows *p = ctx;
  moshi_pack_rows(p->panels, p->rows, begin, end);
}

static int
cpu_linear_matrix(MoshiDevice *d, MoshiMatrix *m, const MoshiRows *host)
{
  const size_t bytes = moshi_row_panels_bytes(host);
  if (!bytes)
    return cpu_rows_matrix(d, m, host);
  PackRows p = {moshi_cpu_alloc(bytes, true), host};
  if (!p.panels)
    return MOSHI_ERROR_MEMORY;
  moshi_cpu_split(moshi_cpu(d), (host->rows + MOSHI_PANEL_ROWS - 1) / MOSHI_PANEL_ROWS,
      1, bytes, pack_rows, &p);
  *m = (MoshiMatrix){.m = *host, .packed = true};
  m->m.data = p.panels;
  m->m.scales = m->m.biases = NULL;
  return 0;
}

typedef struct {
  void *panels;
  MoshiType type;
  int rows, cols;
  MoshiWeights weights;
  const void *ctx;
} Pack;

static void
pack_some(void *ctx, int begin, int end)
{
  const Pack *p = ctx;
  moshi_pack_panels(
      p->panels, p->type, p->rows, p->cols, begin, end, p->weights, p->ctx);
}

static int
cpu_packed_matrix(MoshiDevice *d, MoshiMatrix *m, MoshiType type, int rows, int cols,
    MoshiWeights weights, const void *ctx)
{
  const size_t bytes = moshi_panels_bytes(type, rows, cols);
  Pack p = {moshi_cpu_alloc(bytes, true), type, rows, cols, weights, ctx};

  if (!p.panels)
    return MOSHI_ERROR_MEMORY;
  moshi_cpu_split(
      moshi_cpu(d), (rows + MOSHI_PANEL - 1) / MOSHI_PANEL, 1, bytes, pack_some, &p);
  *m = (MoshiMatrix){.m = {.type = type, .rows = rows, .cols = cols, .data = p.panels},
      .packed = true};
  return 0;
}

static void
cpu_free_matrix(MoshiDevice *d, MoshiMatrix *m)
{
  if (m->packed)
    moshi_cpu_free((void *)m->m.data);
  m->m.data = NULL;
}

/* ------------------------------------------------------------ elementwise */

static void
cpu_norm(
    MoshiDevice *d, const MoshiNormOp *op, float *y, const float *x, int n, int dim)
{
  const MoshiKernels *k = &moshi_cpu(d)->k;
  for (size_t i = 0; i < (size_t)n * dim; i += dim)
    if (op->rms)
      k->rms_norm(y + i, x + i, op->weight, dim, op->eps);
    else
      k->layer_norm(y + i, x + i, op->weight, op->bias, dim, op->eps);
}

typedef struct {
  const MoshiKernels *k;
  MoshiAct act;
  MoshiView y, x;
  int steps, width;
} Activation;

static void
act_rows(void *ctx, int begin, int end)
{
  const Activation *a = ctx;
  for (int r = begin; r < end; r++) {
    const int item = r / a->steps, step = r % a->steps;
    a->k->act[a->act](a->y.data + item * a->y.batch_stride + step * a->y.step_stride,
        a->x.data + item * a->x.batch_stride + step * a->x.step_stride, a->width);
  }
}

static void
cpu_act(MoshiDevice *d, MoshiAct act, MoshiView y, MoshiView x, int batch, int steps,
    int width)
{
  Activation a = {&moshi_cpu(d)->k, act, y, x, steps, width};
  const double work = (double)batch * steps * width * 32;
  moshi_cpu_split(moshi_cpu(d), batch * steps, 1, work, act_rows, &a);
}

static void
cpu_gate(MoshiDevice *d, MoshiAct act, float *y, const float *u, int n, int hidden)
{
  const MoshiKernels *k = &moshi_cpu(d)->k;
  for (int i = 0; i < n; i++) {
    const float *row = u + (size_t)i * 2 * hidden;
    k->act[act](y + (size_t)i * hidden, row, hidden);
    k->mul(y + (size_t)i * hidden, y + (size_t)i * hidden, row + hidden, hidden);
  }
}

static void
cpu_add(MoshiDevice *d, float *y, const float *x, size_t x_stride, const float *s,
    int n, int dim)
{
  for (int i = 0; i < n; i++)
    moshi_cpu(d)->k.add(y + (size_t)i * dim, x + i * x_stride, s, dim);
}

static void
cpu_guide(
    MoshiDevice *d, float *y, const float *a, const float *b, float coef, size_t n)
{
  for (size_t i = 0; i < n; i++)
    y[i] = b[i] + coef * (a[i] - b[i]);
}

static void
cpu_edit(MoshiDevice *d, float *logits, int size, const MoshiEdit *edits, int n)
{
  for (int i = 0; i < n; i++) {
    const MoshiEdit *e = &edits[i];
    float *x = &logits[(size_t)e->row * size + e->token];
    *x = (*x >= 0 ? *x / e->penalty : *x * e->penalty) + e->bonus;
  }
}

static void
cpu_softmax(MoshiDevice *d, float *y, const float *x, int n, int size)
{
  const MoshiKernels *k = &moshi_cpu(d)->k;
  for (int i = 0; i < n; i++) {
    float *row = y + (size_t)i * size;
    const float sum = k->softmax_exp(row, x + (size_t)i * size, size, 1);
    for (int j = 0; j < size; j++)
      row[j] /= sum;
  }
}

/* -------------------------------------------------------- states, tables */

static void
cpu_load(MoshiDevice *d, float *dense, size_t dense_stride, const float *state,
    size_t state_stride, int width, const int *slots, int n)
{
  for (int i = 0; i < n; i++)
    memcpy(dense + i * dense_stride, state + slots[i] * state_stride,
        width * sizeof(float));
}

static void
cpu_store(MoshiDevice *d, const float *dense, size_t dense_stride, float *state,
    size_t state_stride, int width, const int *slots, int n)
{
  for (int i = 0; i < n; i++)
    memcpy(state + slots[i] * state_stride, dense + i * dense_stride,
        width * sizeof(float));
}

/* y += row `token` of a table, a stackful at a time. */
static void
add_entry(const MoshiKernels *k, float *y, const MoshiRows *table, int32_t token)
{
  enum { PART = 512 };
  float part[PART];

  for (int c = 0; c < table->cols; c += PART) {
    const int n = table->cols - c < PART ? table->cols - c : PART;
    k->widen[table->type](part, table, token, c, n);
    k->add(y + c, part, NULL, n);
  }
}

static void
cpu_embed(MoshiDevice *d, float *y, size_t y_stride, const MoshiMatrix *table,
    const int32_t *tokens, size_t token_stride, int n)
{
  for (int i = 0; i < n; i++) {
    const int32_t token = tokens[i * token_stride];
    if (token >= 0 && token < table->m.rows)
      add_entry(&moshi_cpu(d)->k, y + i * y_stride, &table->m, token);
  }
}

/* ---------------------------------------------------------------- opening */

static void
cpu_close(MoshiDevice *d)
{
  moshi_pool_free(moshi_cpu(d)->pool);
  free(d);
}

static const MoshiDeviceOps cpu_ops = {
    .name = "cpu",
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .sync = cpu_sync,
    .rows_matrix = cpu_rows_matrix,
    .linear_matrix = cpu_linear_matrix,
    .packed_matrix = cpu_packed_matrix,
    .free_matrix = cpu_free_matrix,
    .linear = moshi_cpu_linear,
    .norm = cpu_norm,
    .act = cpu_act,
    .gate = cpu_gate,
    .add = cpu_add,
    .attend = moshi_cpu_attend,
    .cross = moshi_cpu_cross,
    .load = cpu_load,
    .store = cpu_store,
    .embed = cpu_embed,
    .quantize = moshi_cpu_quantize,
    .sample = moshi_cpu_sample,
    .edit = cpu_edit,
    .guide = cpu_guide,
    .softmax = cpu_softmax,
};

MoshiDevice *
moshi_device_cpu(int threads, MoshiError *error)
{
  MoshiCpu *cpu = calloc(1, sizeof *cpu);

  if (cpu)
    cpu->pool = moshi_pool_new(threads);
  if (!cpu || !cpu->pool) {
    free(cpu);
    moshi_fail(error, MOSHI_ERROR_MEMORY, "not enough memory for a pool of threads");
    return NULL;
  }
  moshi_kernels_init(&cpu->k, moshi_cpu_parse_mask(getenv("MOSHI_CPU_MASK")));
  cpu->base.ops = &cpu_ops;
  const int n = moshi_pool_threads(cpu->pool);
  snprintf(cpu->base.description, sizeof cpu->base.description, "cpu (%s, %d thread%s)",
      cpu->k.name, n, n == 1 ? "" : "s");
  return &cpu->base;
}
