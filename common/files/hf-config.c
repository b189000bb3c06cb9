/* transformers' MoshiConfig and MoshiDepthConfig (configuration_moshi.py), with its
 * defaults: keys that equal them may be absent. What the class fixes in code, such as
 * delays and positions, is fixed here. */
#include "hf-config.h"

#include <string.h>

#include "../error.h"
#include "transformer-config.h"

typedef struct {
  int dim, n_layers, n_heads, n_kv_heads, head_dim, width, act, context, codebooks;
  double theta, eps;
} Stack;

typedef struct {
  Stack main, depth;
  int text_card, card, codebook_size;
  bool tied;
} Raw;

static const char *const acts[] = {"silu", "gelu", NULL};
static const int gatings[] = {1, 2}; /* in moshi_gatings */

#define STACK_FIELD(key, member, min, max)                                             \
  {                                                                                    \
    key, MOSHI_FIELD_INT, offsetof(Stack, member), min, max, true                      \
  }

static int
read_rope(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  static const MoshiField fields[] = {
      {"rope_theta", MOSHI_FIELD_FLOAT, offsetof(Stack, theta), 1, 1e9},
  };
  return moshi_json_object(place, key, node, fields, G_N_ELEMENTS(fields), out, true);
}

static const MoshiField stack_fields[] = {
    STACK_FIELD("hidden_size", dim, 1, MOSHI_MAX_DIM),
    STACK_FIELD("num_hidden_layers", n_layers, 1, MOSHI_MAX_LAYERS),
    STACK_FIELD("num_attention_heads", n_heads, 1, MOSHI_MAX_DIM),
    STACK_FIELD("num_key_value_heads", n_kv_heads, 1, MOSHI_MAX_DIM),
    STACK_FIELD("head_dim", head_dim, 1, MOSHI_MAX_DIM),
    STACK_FIELD("ffn_dim", width, 2, MOSHI_MAX_HIDDEN),
    STACK_FIELD("sliding_window", context, 1, MOSHI_MAX_CONTEXT),
    STACK_FIELD("num_codebooks", codebooks, 1, MOSHI_MAX_CODEBOOKS / 2),
    {"hidden_act", MOSHI_FIELD_CHOICE, offsetof(Stack, act), .choices = acts},
    {"rope_theta", MOSHI_FIELD_FLOAT, offsetof(Stack, theta), 1, 1e9},
    {"rope_parameters", MOSHI_FIELD_CUSTOM, 0, .null = true, .read = read_rope},
    {"rms_norm_eps", MOSHI_FIELD_FLOAT, offsetof(Stack, eps), 0, 1},
};

static int
read_depth(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  return moshi_json_object(place, key, node, stack_fields, G_N_ELEMENTS(stack_fields),
      &((Raw *)out)->depth, true);
}

static int
read_codec(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  static const MoshiField fields[] = {
      {"codebook_size", MOSHI_FIELD_INT, offsetof(Raw, codebook_size), 1, 65535},
  };
  return moshi_json_object(place, key, node, fields, G_N_ELEMENTS(fields), out, true);
}

static const MoshiField fields[] = {
    {"vocab_size", MOSHI_FIELD_INT, offsetof(Raw, text_card), 4, 1 << 20},
    {"audio_vocab_size", MOSHI_FIELD_INT, offsetof(Raw, card), 1, 65535, true},
    {"tie_word_embeddings", MOSHI_FIELD_BOOL, offsetof(Raw, tied)},
    {"depth_decoder_config", MOSHI_FIELD_CUSTOM, 0, .read = read_depth},
    {"audio_encoder_config", MOSHI_FIELD_CUSTOM, 0, .read = read_codec},
};

static int
resolve_stack(MoshiTransformerConfig *t, const Stack *s, const MoshiJsonPlace *place)
{
  int kv_heads = s->n_kv_heads ? s->n_kv_heads : s->n_heads;
  *t = (MoshiTransformerConfig){.dim = s->dim,
      .n_heads = s->n_heads,
      .n_layers = s->n_layers,
      .kv_repeat = MAX(s->n_heads / kv_heads, 1),
      .hidden = s->width / 2,
      .norm = s->eps > 1e-6 ? MOSHI_NORM_RMS : MOSHI_NORM_RMS_F32,
      .max_period = s->theta,
      .context = s->context};
  moshi_transformer_set_gating(t, gatings[s->act]);
  if (s->n_heads % kv_heads)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "num_key_value_heads",
        "is %d, which does not divide the %d heads", kv_heads, s->n_heads);
  if (s->head_dim && s->head_dim * (int64_t)s->n_heads != s->dim)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "head_dim",
        "is %d; it must be hidden_size / num_attention_heads", s->head_dim);
  if (s->eps != 1e-8 && s->eps != 1e-5)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "rms_norm_eps",
        "is %g; it must be 1e-8 or 1e-5", s->eps);
  return moshi_transformer_check(
      t, place, "num_attention_heads", "num_key_value_heads");
}

/* What MoshiForConditionalGeneration has in code. */
static void
resolve_streams(MoshiLmConfig *lm, int own, int steps)
{
  lm->n_q = 2 * own;
  lm->dep_q = steps;
  for (int k = 0; k < lm->n_q; k++)
    lm->delays[1 + k] = k % own != 0;
  lm->max_delay = own > 1;
  lm->main.position = MOSHI_POSITION_ROPE;
  lm->depth.position = MOSHI_POSITION_NONE;
  lm->depth.context = steps;
  lm->multi_linear = lm->weights_per_step = true;
  lm->n_sets = lm->n_in_sets = steps;
  for (int k = 0; k < steps; k++) {
    lm->schedule[k] = k;
    lm->depth_hidden[k] = lm->depth.hidden;
  }
}

bool
moshi_hf_is(JsonObject *object, const char *model_type)
{
  JsonNode *type = json_object_get_member(object, "model_type");
  const char *name = type ? moshi_json_string(type) : NULL;
  return name && !strcmp(name, model_type) &&
         (json_object_has_member(object, "architectures") ||
             json_object_has_member(object, "transformers_version"));
}

int
moshi_hf_lm_config(MoshiLmConfig *lm, JsonObject *object, const MoshiJsonPlace *place)
{
  Raw raw = {
      .main = {.dim = 4096,
          .n_layers = 32,
          .n_heads = 32,
          .width = 22528,
          .context = 3000,
          .codebooks = 8,
          .theta = 10000,
          .eps = 1e-8},
      .depth = {.dim = 1024,
          .n_layers = 6,
          .n_heads = 16,
          .width = 5632,
          .context = 8,
          .theta = 10000,
          .eps = 1e-8},
      .text_card = 32000,
      .codebook_size = 2048,
  };
  int status = moshi_json_fields(
      place, object, stack_fields, G_N_ELEMENTS(stack_fields), &raw.main, true);
  if (status == 0)
    status = moshi_json_fields(place, object, fields, G_N_ELEMENTS(fields), &raw, true);
  if (status == 0 && raw.tied)
    status = moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "tie_word_embeddings", "must be false");
  *lm = (MoshiLmConfig){.moshi_name = "model.safetensors",
      .mimi_name = "model.safetensors",
      .tokenizer_name = "tokenizer_spm_32k_3.model",
      .model_type = "moshi",
      .transformers = true,
      .card = raw.card ? raw.card : raw.codebook_size,
      .text_card = raw.text_card,
      .text_card_out = raw.text_card,
      .text_padding = 3,
      .extra_head_size = 6,
      .cross_pos_emb_scale = 1,
      .temp = 0.8,
      .temp_text = 0.7,
      .cfg_coef = 1,
      .top_k = 250,
      .top_k_text = 25,
      .use_sampling = true};
  if (status == 0)
    status = resolve_stack(&lm->main, &raw.main, place);
  MoshiJsonPlace depth = *place;
  depth.prefix = "depth_decoder_config.";
  if (status == 0)
    status = resolve_stack(&lm->depth, &raw.depth, &depth);
  int own = raw.main.codebooks;
  int steps = raw.depth.codebooks ? raw.depth.codebooks : own;
  if (status == 0 && steps > 2 * own)
    status = moshi_json_fail(&depth, MOSHI_ERROR_FORMAT, "num_codebooks",
        "is %d, more than the %d that are heard", steps, 2 * own);
  if (status == 0)
    resolve_streams(lm, own, steps);
  return status;
}
