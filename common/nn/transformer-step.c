/* The transformer that all models share: pre-norm layers of causal attention
 * over a ring of keys and values, optional cross attention, and a gated or
 * plain MLP. Reference: moshi/modules/{transformer,gating,rope}.py.
 *
 *   x += scale1 ⊙ out_proj · attend(in_proj · norm1(x))
 *   x += scale_cross ⊙ cross_out · cross(cross_in · norm_cross(x))
 *   x += scale2 ⊙ linear2 · (act(g) ⊙ v),  (g, v) = linear1 · norm2(x)
 */
#include "transformer.h"

#include <glib.h>

#include "../error.h"
#include "positions.h"

static int
max_hidden(const MoshiTransformer *t)
{
  int hidden = 0;
  for (int i = 0; i < t->n_sets; i++)
    hidden = MAX(hidden, t->hidden[i]);
  return hidden;
}

/* ---------------------------------------------------------------- state */

/* A product of sizes; SIZE_MAX once it overflows. */
static size_t
product(int n, const int64_t *factors)
{
  size_t total = 1;
  for (int i = 0; i < n; i++)
    if (__builtin_mul_overflow(total, (size_t)factors[i], &total))
      return SIZE_MAX;
  return total;
}

size_t
moshi_transformer_cache_bytes(
    const MoshiTransformerConfig *c, MoshiKv kv, int batch, int context)
{
  int64_t sizes[] = {moshi_ring_bytes(kv, context, moshi_head_dim(c)), 2,
      moshi_kv_heads(c), batch, c->n_layers};
  return product(G_N_ELEMENTS(sizes), sizes);
}

static float *
place_rows(const MoshiTransformerState *s, void *memory, size_t *used, int64_t width)
{
  int64_t sizes[] = {sizeof(float), s->batch, s->steps, width};
  return moshi_place(memory, used, product(G_N_ELEMENTS(sizes), sizes));
}

int
moshi_transformer_state_plan(MoshiTransformerState *s, const MoshiTransformer *t,
    int batch, int steps, int context, MoshiKv kv, MoshiError *error)
{
  const MoshiTransformerConfig *c = &t->config;
  *s = (MoshiTransformerState){
      .batch = batch, .steps = steps, .context = context, .kv = kv};
  if (batch < 1 || steps < 1 || context < steps)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "attention over %d steps cannot take %d steps at a time; raise \"context\"",
        context, steps);
  s->positions = g_try_new0(int64_t, batch);
  s->row_positions = g_try_new0(int64_t, batch);
  if (t->periods)
    s->sin_host = g_try_malloc_n((gsize)batch * steps, c->dim * sizeof(float));
  if (t->frequencies)
    s->turn_host =
        g_try_malloc_n((gsize)batch * steps, moshi_head_dim(c) * sizeof(float));
  if (!s->positions || !s->row_positions || (t->periods && !s->sin_host) ||
      (t->frequencies && !s->turn_host))
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory for the attention of %d streams; take fewer", batch);
  return 0;
}

void
moshi_transformer_state_place(
    MoshiTransformerState *s, const MoshiTransformer *t, void *memory, size_t *used)
{
  const MoshiTransformerConfig *c = &t->config;
  int hidden = max_hidden(t);
  size_t cache = moshi_transformer_cache_bytes(c, s->kv, s->batch, s->context);
  s->layer_stride = cache / c->n_layers;
  s->slot_stride = s->layer_stride / s->batch;
  s->cache = moshi_place(memory, used, cache);
  s->h = place_rows(s, memory, used, c->dim);
  s->attended = place_rows(s, memory, used, c->dim);
  /* Holds the gated product too, when queries, keys and values are done with. */
  s->qkv = place_rows(s, memory, used, MAX(moshi_qkv_width(c), hidden));
  s->u = place_rows(s, memory, used, c->gated ? 2 * (int64_t)hidden : hidden);
  if (t->periods)
    s->sin = place_rows(s, memory, used, c->dim);
  if (t->frequencies)
    s->turn = place_rows(s, memory, used, moshi_head_dim(c));
}

int
moshi_transformer_state_init(MoshiTransformerState *s, const MoshiTransformer *t,
    MoshiDevice *d, int batch, int steps, int context, MoshiError *error)
{
  size_t used = 0;
  int status =
      moshi_transformer_state_plan(s, t, batch, steps, context, MOSHI_KV_F32, error);
  if (status)
    return status;
  moshi_transformer_state_place(s, t, NULL, &used);
  s->memory = used < SIZE_MAX ? d->ops->alloc(d, used) : NULL;
  if (!s->memory)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory on %s for the attention of %d streams over %d steps (%.1f MB); "
        "lower \"context\" or the number of streams",
        d->description, batch, context, used / 1e6);
  used = 0;
  moshi_transformer_state_place(s, t, s->memory, &used);
  return 0;
}

void
moshi_transformer_state_free(MoshiTransformerState *s, MoshiDevice *d)
{
  d->ops->free(d, s->memory);
  d->ops->free(d, s->cross);
  g_free(s->sin_host);
  g_free(s->turn_host);
  g_free(s->positions);
  g_free(s->row_positions);
  *s = (MoshiTransformerState){0};
}

void
moshi_transformer_state_reset(MoshiTransformerState *s, int slot)
{
  /* What is left in the ring is later than position 0, so no query sees it. */
  s->positions[slot] = 0;
}

/* ---------------------------------------------------------------- steps */

/* y[n][steps][rows of w] = residual + scale ⊙ act(W·x), everything dense. */
static void
apply(MoshiDevice *d, const MoshiLinear *w, MoshiAct act, const float *x, float *y,
    const float *residual, const float *scale, int n, int steps)
{
  size_t in = w->w.m.cols, out = w->w.m.rows;
  MoshiLinearOp op = {.w = &w->w,
      .x = {(float *)x, in * steps, in},
      .y = {y, out * steps, out},
      .residual = {(float *)residual, out * steps, out},
      .batch = n,
      .steps = steps,
      .scale = scale,
      .act = act};
  d->ops->linear(d, &op);
}

int
moshi_transformer_set_cross(const MoshiTransformer *t, MoshiTransformerState *s,
    MoshiDevice *d, int slot, const float *source, int length, MoshiError *error)
{
  const MoshiTransformerConfig *c = &t->config;
  int dim = c->dim, hd = moshi_head_dim(c);
  if (!s->cross) {
    int64_t sizes[] = {sizeof(float), 2, length, dim, s->batch, c->n_layers};
    size_t total = product(G_N_ELEMENTS(sizes), sizes);
    s->cross = total < SIZE_MAX ? d->ops->alloc(d, total) : NULL;
    if (!s->cross)
      return moshi_fail(error, MOSHI_ERROR_MEMORY,
          "no memory on %s for the cross attention over %d steps (%.1f MB); give a "
          "shorter condition",
          d->description, length, total / 1e6);
    s->cross_length = length;
    s->cross_slot_stride = (size_t)2 * length * dim;
    s->cross_layer_stride = s->cross_slot_stride * s->batch;
  } else if (length != s->cross_length) {
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "a cross attention source of %d steps; the other streams have %d", length,
        s->cross_length);
  }
  for (int i = 0; i < c->n_layers; i++) {
    float *kv = s->cross + i * s->cross_layer_stride + slot * s->cross_slot_stride;
    /* Rows of the projection: queries, keys, values, each head after head. */
    for (int h = 0; h < 2 * c->n_heads; h++) {
      MoshiLinearOp op = {.w = &t->layers[i].cross_in.w,
          .first_row = dim + h * hd,
          .n_rows = hd,
          .x = {(float *)source, (size_t)length * dim, dim},
          .y = {kv + (size_t)h * length * hd, (size_t)length * hd, hd},
          .batch = 1,
          .steps = length};
      d->ops->linear(d, &op);
    }
  }
  return 0;
}

static void
add_sin(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, float *x,
    int steps, int n)
{
  int dim = t->config.dim;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < steps; j++)
      moshi_sin_embedding(s->sin_host + ((size_t)i * steps + j) * dim,
          s->row_positions[i] + j, t->periods, dim);
  d->ops->upload(d, s->sin, s->sin_host, (size_t)n * steps * dim * sizeof(float));
  d->ops->add(d, x, s->sin, dim, NULL, n * steps, dim);
}

/* By how much the call's queries and keys turn, once for all layers. */
static void
set_turn(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, int steps,
    int n)
{
  int width = moshi_head_dim(&t->config);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < steps; j++)
      moshi_rope_turn(s->turn_host + ((size_t)i * steps + j) * width,
          s->row_positions[i] + j, t->frequencies, width / 2);
  d->ops->upload(d, s->turn, s->turn_host, (size_t)n * steps * width * sizeof(float));
}

static void
attend(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, int layer,
    int steps, const int *slots, int n)
{
  const MoshiTransformerConfig *c = &t->config;
  MoshiAttendOp op = {.qkv = s->qkv,
      .out = s->attended,
      .cache = s->cache + layer * s->layer_stride,
      .slot_stride = s->slot_stride,
      .kv = s->kv,
      .n_heads = c->n_heads,
      .n_kv_heads = moshi_kv_heads(c),
      .head_dim = moshi_head_dim(c),
      .context = s->context,
      .batch = n,
      .steps = steps,
      .slots = slots,
      .positions = s->row_positions,
      .turn = s->turn,
      .concat_pairs = c->position == MOSHI_POSITION_ROPE_CONCAT};
  d->ops->attend(d, &op);
}

static void
attend_cross(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d,
    int layer, float *x, const int *slots, int n)
{
  const MoshiTransformerConfig *c = &t->config;
  const MoshiTransformerLayer *w = &t->layers[layer];
  size_t dim = c->dim;
  d->ops->norm(d, &w->norm_cross.op, s->h, x, n, dim);
  MoshiLinearOp query = {.w = &w->cross_in.w,
      .n_rows = dim,
      .x = {s->h, dim, dim},
      .y = {s->qkv, dim, dim},
      .batch = n,
      .steps = 1};
  d->ops->linear(d, &query);
  MoshiCrossOp op = {.q = s->qkv,
      .out = s->attended,
      .kv = s->cross + layer * s->cross_layer_stride,
      .slot_stride = s->cross_slot_stride,
      .n_heads = c->n_heads,
      .head_dim = moshi_head_dim(c),
      .length = s->cross_length,
      .batch = n,
      .slots = slots};
  d->ops->cross(d, &op);
  apply(d, &w->cross_out, MOSHI_ACT_NONE, s->attended, x, x, w->scale_cross, n, 1);
}

/* u[n][steps][hidden] = act(g) ⊙ v, (g, v) = linear1·h */
static void
gated_inner(MoshiTransformerState *s, MoshiDevice *d, const MoshiLinear *w,
    MoshiAct act, int n, int steps)
{
  size_t in = w->w.m.cols, hidden = w->w.m.rows / 2;
  MoshiLinearOp op = {.w = &w->w,
      .x = {s->h, in * steps, in},
      .y = {s->u, hidden * steps, hidden},
      .batch = n,
      .steps = steps,
      .act = act,
      .gated = true};
  d->ops->linear(d, &op);
}

static void
mlp(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, int layer,
    float *x, int steps, int n, int set)
{
  const MoshiTransformerConfig *c = &t->config;
  const MoshiTransformerLayer *w = &t->layers[layer];
  const MoshiLinear *inner = &w->linear1[set];
  const float *u = s->u;
  d->ops->norm(d, &w->norm2.op, s->h, x, n * steps, c->dim);
  if (c->gated && !inner->w.packed) {
    gated_inner(s, d, inner, c->act, n, steps);
  } else if (c->gated) {
    apply(d, inner, MOSHI_ACT_NONE, s->h, s->u, NULL, NULL, n, steps);
    d->ops->gate(d, c->act, s->qkv, s->u, n * steps, t->hidden[set]);
    u = s->qkv;
  } else {
    apply(d, inner, MOSHI_ACT_GELU, s->h, s->u, NULL, NULL, n, steps);
  }
  apply(d, &w->linear2[set], MOSHI_ACT_NONE, u, x, x, w->scale2, n, steps);
}

void
moshi_transformer_step(const MoshiTransformer *t, MoshiTransformerState *s,
    MoshiDevice *d, float *x, int steps, const int *slots, int n, int set)
{
  const MoshiTransformerConfig *c = &t->config;
  for (int i = 0; i < n; i++)
    s->row_positions[i] = s->positions[slots[i]];
  if (t->periods)
    add_sin(t, s, d, x, steps, n);
  if (t->frequencies)
    set_turn(t, s, d, steps, n);
  for (int i = 0; i < c->n_layers; i++) {
    const MoshiTransformerLayer *w = &t->layers[i];
    d->ops->norm(d, &w->norm1.op, s->h, x, n * steps, c->dim);
    apply(d, &w->in_proj[set], MOSHI_ACT_NONE, s->h, s->qkv, NULL, NULL, n, steps);
    attend(t, s, d, i, steps, slots, n);
    apply(d, &w->out_proj[set], MOSHI_ACT_NONE, s->attended, x, x, w->scale1, n, steps);
    if (s->cross)
      attend_cross(t, s, d, i, x, slots, n);
    mlp(t, s, d, i, x, steps, n, set);
  }
  for (int i = 0; i < n; i++)
    s->positions[slots[i]] += steps;
}
