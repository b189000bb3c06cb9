/* The weights of a transformer: which tensors, of which shapes, under which names.
 * Its step is in transformer-step.c. Reference: moshi/modules/{transformer,gating}.py. */
#include "transformer.h"

#include <glib.h>

#include "positions.h"

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
  load_projections(
      l, layer->in_proj, t, t->n_sets, moshi_qkv_width(c), name, "in_projs");
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
    int half = moshi_head_dim(config) / 2;
    t->frequencies = g_new(float, half);
    moshi_rope_frequencies(t->frequencies, half, config->max_period);
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
