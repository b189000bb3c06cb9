/* Attention on the CPU. The work is cut by the heads of keys: one piece writes its
 * head's keys and values of the call into the ring, and then its queries look. */
#include "cpu.h"

#include <math.h>
#include <string.h>

typedef struct {
  MoshiCpu *cpu;
  const MoshiAttendOp *op;
} Attend;

/* Half a ring of keys and values: of one item and one head. */
typedef struct {
  char *rows;
  float *scales;
} Ring;

static Ring
ring(const MoshiAttendOp *op, int item, bool values, int kv_head)
{
  const size_t bytes = moshi_ring_bytes(op->kv, op->context, op->head_dim);
  char *rows = op->cache + op->slots[item] * op->slot_stride +
               ((values ? op->n_kv_heads : 0) + kv_head) * bytes;
  return (Ring){
      rows, (float *)(rows + moshi_ring_scales(op->kv, op->context, op->head_dim))};
}

/* Rotary embedding of one head of a row of the call. */
static void
rotate(const Attend *a, float *x, size_t row)
{
  const MoshiAttendOp *op = a->op;
  const int half = op->head_dim / 2;
  const float *cos = op->turn + row * op->head_dim, *sin = cos + half;

  if (op->concat_pairs)
    a->cpu->k.rope_halves(x, x + half, cos, sin, half);
  else
    a->cpu->k.rope(x, cos, sin, half);
}

static void
write_step(const Attend *a, const Ring *keys, const Ring *values, int item, int step,
    int kv_head)
{
  const MoshiAttendOp *op = a->op;
  const size_t d = op->head_dim, row = (size_t)item * op->steps + step;
  const size_t width = (op->n_heads + 2 * op->n_kv_heads) * d;
  const float *k = op->qkv + row * width + (op->n_heads + kv_head) * d;
  const size_t entry = (op->positions[item] + step) % op->context;
  const size_t at = entry * d * moshi_kv_size(op->kv);
  float key[MOSHI_MAX_HEAD_DIM];

  memcpy(key, k, d * sizeof *k);
  if (op->turn)
    rotate(a, key, row);
  moshi_kv_store(op->kv, keys->rows + at, keys->scales + entry, key, d);
  moshi_kv_store(
      op->kv, values->rows + at, values->scales + entry, k + op->n_kv_heads * d, d);
}

/* One query: over the positions still in the ring after the call's last step, up to
 * its own. */
static void
look(
    const Attend *a, const Ring *keys, const Ring *values, int item, int step, int head)
{
  const MoshiAttendOp *op = a->op;
  const int d = op->head_dim;
  const int64_t last = op->positions[item] + op->steps - 1;
  const int64_t first = last + 1 > op->context ? last + 1 - op->context : 0;
  const size_t row = (size_t)item * op->steps + step;
  const size_t width = (op->n_heads + 2 * (size_t)op->n_kv_heads) * d;
  float *out = op->out + (row * op->n_heads + head) * d;

  memcpy(out, op->qkv + row * width + (size_t)head * d, d * sizeof *out);
  if (op->turn)
    rotate(a, out, row);
  a->cpu->k.attention[op->kv](&(MoshiAttention){
      .q = out,
      .k = keys->rows,
      .v = values->rows,
      .k_scales = keys->scales,
      .v_scales = values->scales,
      .stride = d,
      .d = d,
      .capacity = op->context,
      .first = (int)(first % op->context),
      .count = (int)(op->positions[item] + step - first + 1),
      .scale = 1 / sqrtf((float)d),
      .out = out,
  });
}

static void
some_heads(void *ctx, int begin, int end)
{
  const Attend *a = ctx;
  const MoshiAttendOp *op = a->op;
  const int group = op->n_heads / op->n_kv_heads;

  for (int i = begin; i < end; i++) {
    const int item = i / op->n_kv_heads, kv_head = i % op->n_kv_heads;
    const Ring keys = ring(op, item, false, kv_head);
    const Ring values = ring(op, item, true, kv_head);
    for (int step = 0; step < op->steps; step++)
      write_step(a, &keys, &values, item, step, kv_head);
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
      for (int step = 0; step < op->steps; step++)
        look(a, &keys, &values, item, step, head);
  }
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
  const double writing = 8.0 * op->batch * op->steps * width;
  moshi_cpu_split(a.cpu, op->batch * op->n_kv_heads, 1,
      keys * width * (2 * op->steps + 8) + writing, some_heads, &a);
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
    c->cpu->k.attention[MOSHI_KV_F32](&(MoshiAttention){
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
