/* Attention on the CPU. First every row of the call has its key and value put
 * into the ring and its queries turned, in place in the output; then every
 * (item, query head) looks. */
#include "cpu.h"

#include <math.h>
#include <string.h>

enum { PAIRS = 64 }; /* turned at a time */

typedef struct {
  MoshiCpu *cpu;
  const MoshiAttendOp *op;
} Attend;

/* Rotary embedding of n_heads heads in a row, position p: the angle is taken in
 * f32, as the reference does (moshi/modules/rope.py). */
static void
rotate(const Attend *a, float *x, int n_heads, int64_t position)
{
  const MoshiAttendOp *op = a->op;
  const MoshiKernels *k = &a->cpu->k;
  const int half = op->head_dim / 2;
  float c[PAIRS], s[PAIRS];

  for (int first = 0; first < half; first += PAIRS) {
    const int n = half - first < PAIRS ? half - first : PAIRS;
    for (int i = 0; i < n; i++) {
      const float angle = (float)position * op->frequencies[first + i];
      c[i] = cosf(angle);
      s[i] = sinf(angle);
    }
    for (int h = 0; h < n_heads; h++) {
      float *head = x + (size_t)h * op->head_dim;
      if (op->concat_pairs)
        k->rope_halves(head + first, head + half + first, c, s, n);
      else
        k->rope(head + 2 * first, c, s, n);
    }
  }
}

static float *
ring(const MoshiAttendOp *op, int item, bool values, int kv_head)
{
  const size_t head = (size_t)op->context * op->head_dim;
  return op->cache + op->slots[item] * op->slot_stride +
         ((values ? op->n_kv_heads : 0) + kv_head) * head;
}

static void
write_row(const Attend *a, int item, int step)
{
  const MoshiAttendOp *op = a->op;
  const size_t d = op->head_dim, dim = op->n_heads * d, kv_dim = op->n_kv_heads * d;
  const size_t row = (size_t)item * op->steps + step;
  const float *q = op->qkv + row * (dim + 2 * kv_dim);
  const float *k = q + dim, *v = k + kv_dim;
  const int64_t position = op->positions[item] + step;
  const size_t entry = (size_t)(position % op->context) * d;

  memcpy(op->out + row * dim, q, dim * sizeof *q);
  if (op->frequencies)
    rotate(a, op->out + row * dim, op->n_heads, position);
  for (int h = 0; h < op->n_kv_heads; h++) {
    float *key = ring(op, item, false, h) + entry;
    memcpy(key, k + h * d, d * sizeof *k);
    if (op->frequencies)
      rotate(a, key, 1, position);
    memcpy(ring(op, item, true, h) + entry, v + h * d, d * sizeof *v);
  }
}

static void
write_rows(void *ctx, int begin, int end)
{
  const Attend *a = ctx;
  for (int r = begin; r < end; r++)
    write_row(a, r / a->op->steps, r % a->op->steps);
}

/* The positions still in the ring after the call's last step, up to the
 * query's own. */
static void
look(const Attend *a, int item, int head)
{
  const MoshiAttendOp *op = a->op;
  const int d = op->head_dim, kv_head = head / (op->n_heads / op->n_kv_heads);
  const int64_t last = op->positions[item] + op->steps - 1;
  const int64_t first = last + 1 > op->context ? last + 1 - op->context : 0;

  for (int step = 0; step < op->steps; step++) {
    const int64_t position = op->positions[item] + step;
    float *out = op->out + (((size_t)item * op->steps + step) * op->n_heads + head) * d;
    a->cpu->k.attention(&(MoshiAttention){
        .q = out,
        .k = ring(op, item, false, kv_head),
        .v = ring(op, item, true, kv_head),
        .stride = d,
        .d = d,
        .capacity = op->context,
        .first = (int)(first % op->context),
        .count = (int)(position - first + 1),
        .scale = 1 / sqrtf((float)d),
        .out = out,
    });
  }
}

static void
some_heads(void *ctx, int begin, int end)
{
  const Attend *a = ctx;
  for (int i = begin; i < end; i++)
    look(a, i / a->op->n_heads, i % a->op->n_heads);
}

void
moshi_cpu_attend(MoshiDevice *d, const MoshiAttendOp *op)
{
  Attend a = {moshi_cpu(d), op};
  const double width = (double)op->n_heads * op->head_dim;
  double keys = 0;

  for (int i = 0; i < op->batch; i++) {
    const int64_t end = op->positions[i] + op->steps;
    keys += end < op->context ? end : op->context;
  }
  const int rows = op->batch * op->steps;
  moshi_cpu_split(a.cpu, rows, 1, rows * width * 8, write_rows, &a);
  moshi_cpu_split(a.cpu, op->batch * op->n_heads, 1, keys * width * (2 * op->steps + 8),
      some_heads, &a);
}

/* -------------------------------------------------------- cross attention */

typedef struct {
  MoshiCpu *cpu;
  const MoshiCrossOp *op;
} Cross;

static void
some_cross_heads(void *ctx, int begin, int end)
{
  const Cross *c = ctx;
  const MoshiCrossOp *op = c->op;
  const size_t d = op->head_dim, head_size = op->length * d;

  for (int i = begin; i < end; i++) {
    const int item = i / op->n_heads, head = i % op->n_heads;
    const float *keys = op->kv + op->slots[item] * op->slot_stride + head * head_size;
    c->cpu->k.attention(&(MoshiAttention){
        .q = op->q + i * d,
        .k = keys,
        .v = keys + op->n_heads * head_size,
        .stride = d,
        .d = op->head_dim,
        .capacity = op->length,
        .first = 0,
        .count = op->length,
        .scale = 1 / sqrtf((float)d),
        .out = op->out + i * d,
    });
  }
}

void
moshi_cpu_cross(MoshiDevice *d, const MoshiCrossOp *op)
{
  Cross c = {moshi_cpu(d), op};
  const int heads = op->batch * op->n_heads;
  moshi_cpu_split(c.cpu, heads, 1, (double)heads * op->length * op->head_dim * 10,
      some_cross_heads, &c);
}
