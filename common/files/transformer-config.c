/* moshi/modules/transformer.py and gating.py, as far as sizes go. */
#include "transformer-config.h"

static const struct {
  const char *name;
  MoshiAct act;
} gatings[] = {
    {"none", MOSHI_ACT_GELU},
    {"silu", MOSHI_ACT_SILU},
    {"gelu", MOSHI_ACT_GELU},
    {"relu", MOSHI_ACT_RELU},
    {"sigmoid", MOSHI_ACT_SIGMOID},
    {"tanh", MOSHI_ACT_TANH},
    {"elu", MOSHI_ACT_ELU},
    {"identity", MOSHI_ACT_NONE},
};
const char *const moshi_gatings[] = {
    "none", "silu", "gelu", "relu", "sigmoid", "tanh", "elu", "identity", NULL};
G_STATIC_ASSERT(G_N_ELEMENTS(gatings) + 1 == G_N_ELEMENTS(moshi_gatings));

const char *const moshi_norms[] = {
    [MOSHI_NORM_RMS_F32] = "rms_norm_f32",
    [MOSHI_NORM_RMS] = "rms_norm",
    [MOSHI_NORM_LAYER] = "layer_norm",
    [MOSHI_NORM_LAYER_F32] = "layer_norm_f32",
    NULL,
};

const char *const moshi_positions[] = {
    [MOSHI_POSITION_NONE] = "none",
    [MOSHI_POSITION_SIN] = "sin",
    [MOSHI_POSITION_ROPE] = "rope",
    [MOSHI_POSITION_SIN_ROPE] = "sin_rope",
    [MOSHI_POSITION_ROPE_CONCAT] = "rope_concat",
    NULL,
};

void
moshi_transformer_set_gating(MoshiTransformerConfig *t, int gating)
{
  t->gated = gating != 0;
  t->act = gatings[gating].act;
}

int
moshi_transformer_hidden(const MoshiTransformerConfig *t, int dim_feedforward)
{
  if (!t->gated)
    return dim_feedforward;
  return dim_feedforward == 4 * t->dim ? 21 * t->dim / 8 : 2 * dim_feedforward / 3;
}

int
moshi_transformer_check(const MoshiTransformerConfig *t, const MoshiJsonPlace *place,
    const char *heads_key, const char *kv_repeat_key)
{
  bool rope = t->position >= MOSHI_POSITION_ROPE;
  bool sine =
      t->position == MOSHI_POSITION_SIN || t->position == MOSHI_POSITION_SIN_ROPE;
  if (t->dim % t->n_heads != 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, heads_key,
        "is %d, which does not divide the width %d", t->n_heads, t->dim);
  if (t->dim / t->n_heads > MOSHI_MAX_HEAD_DIM)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, heads_key,
        "gives heads of width %d; they can be %d wide", t->dim / t->n_heads,
        MOSHI_MAX_HEAD_DIM);
  if (t->n_heads % t->kv_repeat != 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, kv_repeat_key,
        "is %d, which does not divide the %d heads", t->kv_repeat, t->n_heads);
  if (rope && t->dim / t->n_heads % 2 != 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, heads_key,
        "gives heads of width %d; rotary positions need an even one",
        t->dim / t->n_heads);
  /* The sinusoids divide by dim/2 - 1. */
  if (sine && (t->dim % 2 != 0 || t->dim < 4))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, heads_key,
        "go with a width of %d; sinusoidal positions need an even one from 4 on",
        t->dim);
  return 0;
}
