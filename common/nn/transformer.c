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
#include <math.h>

#include "../error.h"

static int
head_dim(const MoshiTransformerConfig *c)
{
  return c->dim / c->n_heads;
}

static int
kv_heads(const MoshiTransformerConfig *c)
{
  return c->n_heads / c->kv_repeat;
}

static int
qkv_width(const MoshiTransformerConfig *c)
{
  return (c->n_heads + 2 * kv_heads(c)) * head_dim(c);
}

static bool
has_rope(const MoshiTransformerConfig *c)
{
  return c->position == MOSHI_POSITION_ROPE || c->position == MOSHI_POSITION_SIN_ROPE ||
         c->position == MOSHI_POSITION_ROPE_CONCAT;
}

static bool
has_sin(const MoshiTransformerConfig *c)
{
  return c->position == MOSHI_POSITION_SIN || c->position == MOSHI_POSITION_SIN_ROPE;
}

static int
max_hidden(const MoshiTransformer *t)
{
  int hidden = 0;
  for (int i = 0; i < t->n_sets; i++)
    hidden = MAX(hidden, t->hidden[i]);
  return hidden;
}

/* -------------------------------------------------------------- weights */

static void
load_matrix(MoshiLoader *l, MoshiLinear *out, bool packed, int rows, int cols,
    const char *prefix, const char *name)
{
  if (packed)
    moshi_load_packed(l, out, rows, cols, "%s.%s.weight", prefix, name);
  else
    moshi_load_linear(l, out, rows, cols, "%s.%s.weight", prefix, name);
}

/* A projection of each set: "in_projs.0.weight". */
static void
load_projections(MoshiLoader *l, MoshiLinear *out, const MoshiTransformer *t,
    int n_sets, int rows, const char *prefix, const char *projections)
{
  char name[32];
  for (int i = 0; i < n_sets; i++) {
    g_snprintf(name, sizeof name, "%s.%d", projections, i);
    load_matrix(l, &out[i], t->packed, rows, t->config.dim, prefix, name);
  }
}

static void
load_mlp(MoshiLoader *l, const MoshiTransformer *t, MoshiTransformerLayer *layer,
    bool per_step, const char *prefix)
{
  int dim = t->config.dim;
  char name[64];
  for (int i = 0; i < t->n_sets; i++) {
    int hidden = t->hidden[i];
    if (!t->config.gated) {
      load_matrix(l, &layer->linear1[i], t->packed, hidden, dim, prefix, "linear1");
      load_matrix(l, &layer->linear2[i], t->packed, dim, hidden, prefix, "linear2");
      continue;
    }
    g_snprintf(
        name, sizeof name, per_step ? "gating.%d.linear_in" : "gating.linear_in", i);
    load_matrix(l, &layer->linear1[i], t->packed, 2 * hidden, dim, prefix, name);
    g_snprintf(
        name, sizeof name, per_step ? "gating.%d.linear_out" : "gating.linear_out", i);
    load_matrix(l, &layer->linear2[i], t->packed, dim, hidden, prefix, name);
  }
}

static void
load_cross(MoshiLoader *l, const MoshiTransformer *t, MoshiTransformerLayer *layer,
    const char *prefix)
{
  int dim = t->config.dim;
  char name[256];
  g_snprintf(name, sizeof name, "%s.cross_attention", prefix);
  load_projections(l, &layer->cross_in, t, 1, 3 * dim, name, "in_projs");
  load_projections(l, &layer->cross_out, t, 1, dim, name, "out_projs");
  /* A layer norm, whatever the others are. */
  moshi_load_norm(
      l, &layer->norm_cross, MOSHI_NORM_LAYER, dim, "%s.norm_cross", prefix);
  if (t->config.layer_scale)
    moshi_load_vector(
        l, &layer->scale_cross, dim, "%s.layer_scale_cross.scale", prefix);
}

static void
load_layer(MoshiLoader *l, const MoshiTransformer *t, MoshiTransformerLayer *layer,
    bool per_step, const char *prefix)
{
  const MoshiTransformerConfig *c = &t->config;
  char name[256];
  layer->in_proj = g_new0(MoshiLinear, t->n_sets);
  layer->out_proj = g_new0(MoshiLinear, t->n_sets);
  layer->linear1 = g_new0(MoshiLinear, t->n_sets);
  layer->linear2 = g_new0(MoshiLinear, t->n_sets);
  moshi_load_norm(l, &layer->norm1, c->norm, c->dim, "%s.norm1", prefix);
  moshi_load_norm(l, &layer->norm2, c->norm, c->dim, "%s.norm2", prefix);
  g_snprintf(name, sizeof name, "%s.self_attn", prefix);
  load_projections(l, layer->in_proj, t, t->n_sets, qkv_width(c), name, "in_projs");
  load_projections(l, layer->out_proj, t, t->n_sets, c->dim, name, "out_projs");
  load_mlp(l, t, layer, per_step, prefix);
  if (c->layer_scale) {
    moshi_load_vector(l, &layer->scale1, c->dim, "%s.layer_scale_1.scale", prefix);
    moshi_load_vector(l, &layer->scale2, c->dim, "%s.layer_scale_2.scale", prefix);
  }
  if (c->cross_attention)
    load_cross(l, t, layer, prefix);
}

int
moshi_transformer_load(MoshiTransformer *t, MoshiLoader *l,
    const MoshiTransformerConfig *config, int n_sets, const int *hidden, bool per_step,
    bool packed, const char *prefix)
{
  *t = (MoshiTransformer){.config = *config, .n_sets = n_sets, .packed = packed};
  t->hidden = g_new(int, n_sets);
  for (int i = 0; i < n_sets; i++)
    t->hidden[i] = hidden ? hidden[i] : config->hidden;
  if (has_rope(config)) {
    int d = head_dim(config);
    t->frequencies = g_new(float, d / 2);
    float rate = -log(config->max_period) * 2 / d;
    for (int i = 0; i < d / 2; i++)
      t->frequencies[i] = expf(i * rate);
  }
  if (has_sin(config)) {
    t->periods = g_new(float, config->dim / 2);
    moshi_sin_periods(t->periods, config->dim, config->max_period);
  }
  t->layers = g_new0(MoshiTransformerLayer, config->n_layers);
  for (int i = 0; i < config->n_layers && !l->status; i++) {
    char name[256];
    g_snprintf(name, sizeof name, "%s.layers.%d", prefix, i);
    load_layer(l, t, &t->layers[i], per_step, name);
  }
  return l->status;
}

static void
free_sets(MoshiDevice *d, MoshiLinear *sets, int n)
{
  for (int i = 0; d && sets && i < n; i++)
    moshi_linear_free(d, &sets[i]);
  g_free(sets);
}

static void
free_layer(MoshiDevice *d, MoshiTransformerLayer *layer, int n_sets)
{
  free_sets(d, layer->in_proj, n_sets);
  free_sets(d, layer->out_proj, n_sets);
  free_sets(d, layer->linear1, n_sets);
  free_sets(d, layer->linear2, n_sets);
  if (!d)
    return;
  moshi_norm_free(d, &layer->norm1);
  moshi_norm_free(d, &layer->norm2);
  moshi_norm_free(d, &layer->norm_cross);
  moshi_linear_free(d, &layer->cross_in);
  moshi_linear_free(d, &layer->cross_out);
  d->ops->free(d, layer->scale1);
  d->ops->free(d, layer->scale2);
  d->ops->free(d, layer->scale_cross);
}

void
moshi_transformer_free(MoshiTransformer *t, MoshiDevice *d)
{
  for (int i = 0; t->layers && i < t->config.n_layers; i++)
    free_layer(d, &t->layers[i], t->n_sets);
  g_free(t->layers);
  g_free(t->hidden);
  g_free(t->frequencies);
  g_free(t->periods);
  *t = (MoshiTransformer){0};
}

/* -------------------------------------------------------- positions: sin */

void
moshi_sin_periods(float *periods, int dim, float max_period)
{
  int half = dim / 2;
  for (int i = 0; i < half; i++)
    periods[i] = powf(max_period, (float)i / (half - 1));
}

void
moshi_sin_embedding(float *out, int64_t position, const float *periods, int dim)
{
  int half = dim / 2;
  for (int i = 0; i < half; i++) {
    float phase = (float)position / periods[i];
    out[i] = cosf(phase);
    out[half + i] = sinf(phase);
  }
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
moshi_transformer_cache_bytes(const MoshiTransformerConfig *c, int batch, int context)
{
  int64_t sizes[] = {
      sizeof(float), 2, kv_heads(c), context, head_dim(c), batch, c->n_layers};
  return product(G_N_ELEMENTS(sizes), sizes);
}

static float *
alloc_rows(MoshiDevice *d, const MoshiTransformerState *s, int64_t width)
{
  int64_t sizes[] = {sizeof(float), s->batch, s->steps, width};
  size_t bytes = product(G_N_ELEMENTS(sizes), sizes);
  return bytes < SIZE_MAX ? d->ops->alloc(d, bytes) : NULL;
}

static bool
alloc_scratch(MoshiTransformerState *s, const MoshiTransformer *t, MoshiDevice *d)
{
  const MoshiTransformerConfig *c = &t->config;
  int hidden = max_hidden(t);
  s->positions = g_new0(int64_t, s->batch);
  s->row_positions = g_new0(int64_t, s->batch);
  s->h = alloc_rows(d, s, c->dim);
  s->attended = alloc_rows(d, s, c->dim);
  /* Holds the gated product too, when queries, keys and values are done with. */
  s->qkv = alloc_rows(d, s, MAX(qkv_width(c), hidden));
  s->u = alloc_rows(d, s, c->gated ? 2 * (int64_t)hidden : hidden);
  if (t->periods) {
    s->sin = alloc_rows(d, s, c->dim);
    s->sin_host = g_try_malloc_n((gsize)s->batch * s->steps, c->dim * sizeof(float));
  }
  return s->h && s->attended && s->qkv && s->u &&
         (!t->periods || (s->sin && s->sin_host));
}

int
moshi_transformer_state_init(MoshiTransformerState *s, const MoshiTransformer *t,
    MoshiDevice *d, int batch, int steps, int context, MoshiError *error)
{
  const MoshiTransformerConfig *c = &t->config;
  *s = (MoshiTransformerState){.batch = batch, .steps = steps, .context = context};
  if (batch < 1 || steps < 1 || context < steps)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "attention over %d steps cannot take %d steps at a time; raise \"context\"",
        context, steps);
  size_t cache = moshi_transformer_cache_bytes(c, batch, context);
  if (cache < SIZE_MAX) {
    s->layer_stride = cache / sizeof(float) / c->n_layers;
    s->slot_stride = s->layer_stride / batch;
    s->cache = d->ops->alloc(d, cache);
  }
  if (!s->cache || !alloc_scratch(s, t, d))
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory on %s for the attention of %d streams over %d steps (%.1f MB); "
        "lower \"context\" or the number of streams",
        d->description, batch, context, cache / 1e6);
  return 0;
}

void
moshi_transformer_state_free(MoshiTransformerState *s, MoshiDevice *d)
{
  float *device[] = {s->cache, s->h, s->qkv, s->attended, s->u, s->sin, s->cross};
  for (size_t i = 0; i < G_N_ELEMENTS(device); i++)
    d->ops->free(d, device[i]);
  g_free(s->sin_host);
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
  int dim = c->dim, hd = head_dim(c);
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

static void
attend(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, int layer,
    int steps, const int *slots, int n)
{
  const MoshiTransformerConfig *c = &t->config;
  MoshiAttendOp op = {.qkv = s->qkv,
      .out = s->attended,
      .cache = s->cache + layer * s->layer_stride,
      .slot_stride = s->slot_stride,
      .n_heads = c->n_heads,
      .n_kv_heads = kv_heads(c),
      .head_dim = head_dim(c),
      .context = s->context,
      .batch = n,
      .steps = steps,
      .slots = slots,
      .positions = s->row_positions,
      .frequencies = t->frequencies,
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
      .head_dim = head_dim(c),
      .length = s->cross_length,
      .batch = n,
      .slots = slots};
  d->ops->cross(d, &op);
  apply(d, &w->cross_out, MOSHI_ACT_NONE, s->attended, x, x, w->scale_cross, n, 1);
}

static void
mlp(const MoshiTransformer *t, MoshiTransformerState *s, MoshiDevice *d, int layer,
    float *x, int steps, int n, int set)
{
  const MoshiTransformerConfig *c = &t->config;
  const MoshiTransformerLayer *w = &t->layers[layer];
  const float *inner = s->u;
  d->ops->norm(d, &w->norm2.op, s->h, x, n * steps, c->dim);
  apply(d, &w->linear1[set], c->gated ? MOSHI_ACT_NONE : MOSHI_ACT_GELU, s->h, s->u,
      NULL, NULL, n, steps);
  if (c->gated) {
    d->ops->gate(d, c->act, s->qkv, s->u, n * steps, t->hidden[set]);
    inner = s->qkv;
  }
  apply(d, &w->linear2[set], MOSHI_ACT_NONE, inner, x, x, w->scale2, n, steps);
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
