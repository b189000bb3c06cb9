/* config.json: the keys of moshi/models/loaders.py (files, generation), and the
 * constructor arguments of LMModel and StreamingTransformer (lm.py,
 * transformer.py), with their defaults. Where the reference raises an error or
 * asserts, so do we; every number is limited so that no product of sizes
 * overflows later. */
#include "config.h"

#include <string.h>

#include "../error.h"
#include "conditions-config.h"
#include "hf-config.h"
#include "mapped.h"
#include "transformer-config.h"

#define MAX_FILE (1 << 20)
#define MAX_TEXT_CARD (1 << 20)
#define MAX_DELAY 10000
#define MAX_BINS (1 << 20)
/* Two multiplexed text tokens make one id: (V+2)·(V+1) must fit an int. */
#define MAX_DEMUX_TEXT_CARD 46000

/* The file as it is written; what depends on other keys is resolved after all
 * of them have been read. */
typedef struct {
  MoshiLmConfig lm;
  double hidden_scale, max_period, depth_max_period;
  int gating, norm, position;
  int depth_gating, depth_position, depth_norm;
  bool causal, layer_scale, depth_layer_scale, lora;
  int context; /* 0: null */
  int text_card_out, text_end_padding;
  int n_delays, n_schedule;
  bool has_schedule;
  int n_feedforward; /* 0: null, -1: one for all, else a list */
  int feedforward[MOSHI_MAX_CODEBOOKS];
  double temp, temp_text, cfg_coef;
  double stt_delay, stt_prefix, tts_delay;
  JsonNode *conditioners, *fuser;
} RawConfig;

#define INT_FIELD(key, member, min, max)                                               \
  {                                                                                    \
    key, MOSHI_FIELD_INT, offsetof(RawConfig, member), min, max                        \
  }
#define NULL_INT_FIELD(key, member, min, max)                                          \
  {                                                                                    \
    key, MOSHI_FIELD_INT, offsetof(RawConfig, member), min, max, true                  \
  }
#define FLOAT_FIELD(key, member, min, max)                                             \
  {                                                                                    \
    key, MOSHI_FIELD_FLOAT, offsetof(RawConfig, member), min, max                      \
  }
#define BOOL_FIELD(key, member)                                                        \
  {                                                                                    \
    key, MOSHI_FIELD_BOOL, offsetof(RawConfig, member)                                 \
  }
#define STRING_FIELD(key, member)                                                      \
  {                                                                                    \
    key, MOSHI_FIELD_STRING, offsetof(RawConfig, lm.member),                           \
        .max = sizeof((MoshiLmConfig *)0)->member, .null = true                        \
  }
#define CHOICE_FIELD(key, member, names)                                               \
  {                                                                                    \
    key, MOSHI_FIELD_CHOICE, offsetof(RawConfig, member), .choices = names             \
  }
#define CUSTOM_FIELD(key, member, function)                                            \
  {                                                                                    \
    key, MOSHI_FIELD_CUSTOM, offsetof(RawConfig, member), .null = true,                \
                                                          .read = function             \
  }
#define IGNORED_FIELD(key)                                                             \
  {                                                                                    \
    key, MOSHI_FIELD_IGNORED                                                           \
  }

static int
keep_node(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  *(JsonNode **)out = node;
  return 0;
}

static int
read_delays(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  return moshi_json_ints(place, key, node, raw->lm.delays, &raw->n_delays,
      MOSHI_MAX_CODEBOOKS + 1, 0, MAX_DELAY);
}

static int
read_schedule(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  raw->has_schedule = true;
  return moshi_json_ints(place, key, node, raw->lm.schedule, &raw->n_schedule,
      MOSHI_MAX_CODEBOOKS, 0, MOSHI_MAX_CODEBOOKS - 1);
}

static int
read_feedforward(
    const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  if (JSON_NODE_HOLDS_ARRAY(node)) {
    int status = moshi_json_ints(place, key, node, raw->feedforward,
        &raw->n_feedforward, MOSHI_MAX_CODEBOOKS, 1, MOSHI_MAX_HIDDEN);
    if (status == 0 && raw->n_feedforward == 0)
      status = moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "is an empty list");
    return status;
  }
  MoshiField field = {key, MOSHI_FIELD_INT, 0, 1, MOSHI_MAX_HIDDEN};
  JsonObject *object = json_object_new();
  json_object_set_member(object, key, json_node_copy(node));
  int status = moshi_json_fields(place, object, &field, 1, raw->feedforward, false);
  json_object_unref(object);
  raw->n_feedforward = -1;
  return status;
}

static int
read_generation(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  static const MoshiField fields[] = {
      FLOAT_FIELD("temp", temp, -1000, 1000),
      FLOAT_FIELD("temp_text", temp_text, -1000, 1000),
      INT_FIELD("top_k", lm.top_k, -1, MAX_TEXT_CARD),
      INT_FIELD("top_k_text", lm.top_k_text, -1, MAX_TEXT_CARD),
      FLOAT_FIELD("cfg_coef", cfg_coef, -1000, 1000),
      BOOL_FIELD("use_sampling", lm.use_sampling),
  };
  /* The published TTS files hold names that LMGen does not know. */
  return moshi_json_object(place, key, node, fields, G_N_ELEMENTS(fields), out, true);
}

static int
read_stt(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  static const MoshiField fields[] = {
      FLOAT_FIELD("audio_delay_seconds", stt_delay, 0, 600),
      FLOAT_FIELD("audio_silence_prefix_seconds", stt_prefix, 0, 600),
  };
  return moshi_json_object(place, key, node, fields, G_N_ELEMENTS(fields), out, true);
}

static int
read_tts(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  static const MoshiField fields[] = {
      FLOAT_FIELD("audio_delay", tts_delay, 0, 600),
      BOOL_FIELD("multistream", lm.multistream),
  };
  return moshi_json_object(place, key, node, fields, G_N_ELEMENTS(fields), out, true);
}

static const MoshiField fields[] = {
    /* loaders.py: files and generation */
    STRING_FIELD("moshi_name", moshi_name),
    STRING_FIELD("mimi_name", mimi_name),
    STRING_FIELD("tokenizer_name", tokenizer_name),
    STRING_FIELD("mimi_config_name", mimi_config_name),
    STRING_FIELD("lora_name", lora_name),
    STRING_FIELD("model_type", model_type),
    {"lm_gen_config", MOSHI_FIELD_CUSTOM, 0, .null = true, .read = read_generation},
    {"stt_config", MOSHI_FIELD_CUSTOM, 0, .null = true, .read = read_stt},
    {"tts_config", MOSHI_FIELD_CUSTOM, 0, .null = true, .read = read_tts},
    IGNORED_FIELD("model_id"),
    BOOL_FIELD("lora", lora),
    IGNORED_FIELD("lora_rank"),
    IGNORED_FIELD("lora_scaling"),
    CUSTOM_FIELD("conditioners", conditioners, keep_node),
    CUSTOM_FIELD("fuser", fuser, keep_node),
    /* LMModel */
    {"delays", MOSHI_FIELD_CUSTOM, 0, .read = read_delays},
    INT_FIELD("n_q", lm.n_q, 1, MOSHI_MAX_CODEBOOKS),
    INT_FIELD("dep_q", lm.dep_q, 0, MOSHI_MAX_CODEBOOKS),
    INT_FIELD("card", lm.card, 1, 65535),
    INT_FIELD("text_card", lm.text_card, 1, MAX_TEXT_CARD),
    NULL_INT_FIELD("text_card_out", text_card_out, 1, MAX_TEXT_CARD),
    BOOL_FIELD("demux_second_stream", lm.demux),
    BOOL_FIELD("demux_second_text_stream", lm.demux),
    INT_FIELD("dim", lm.main.dim, 1, MOSHI_MAX_DIM),
    INT_FIELD("num_heads", lm.main.n_heads, 1, MOSHI_MAX_DIM),
    FLOAT_FIELD("hidden_scale", hidden_scale, 1e-3, 64),
    CHOICE_FIELD("norm", norm, moshi_norms),
    BOOL_FIELD("norm_emb", lm.norm_emb),
    BOOL_FIELD("bias_proj", lm.bias_proj),
    INT_FIELD("depformer_dim", lm.depth.dim, 1, MOSHI_MAX_DIM),
    {"depformer_dim_feedforward", MOSHI_FIELD_CUSTOM, 0, .null = true,
        .read = read_feedforward},
    BOOL_FIELD("depformer_multi_linear", lm.multi_linear),
    BOOL_FIELD("depformer_weights_per_step", lm.weights_per_step),
    {"depformer_weights_per_step_schedule", MOSHI_FIELD_CUSTOM, 0, .null = true,
        .read = read_schedule},
    NULL_INT_FIELD("depformer_low_rank_embeddings", lm.low_rank, 1, MOSHI_MAX_DIM),
    CHOICE_FIELD("depformer_pos_emb", depth_position, moshi_positions),
    {"depformer_norm", MOSHI_FIELD_CHOICE, offsetof(RawConfig, depth_norm),
        .null = true, .choices = moshi_norms},
    INT_FIELD("existing_text_padding_id", lm.text_padding, 0, MAX_TEXT_CARD),
    INT_FIELD("existing_text_end_padding_id", text_end_padding, 0, MAX_TEXT_CARD),
    INT_FIELD("extra_heads_num_heads", lm.extra_heads, 0, MOSHI_MAX_CODEBOOKS),
    INT_FIELD("extra_heads_dim", lm.extra_head_size, 1, 4096),
    NULL_INT_FIELD("context", context, 1, MOSHI_MAX_CONTEXT),
    BOOL_FIELD("causal", causal),
    BOOL_FIELD("quantize", lm.quantize),
    IGNORED_FIELD("gradient_checkpointing"),
    /* StreamingTransformer and its layers */
    INT_FIELD("num_layers", lm.main.n_layers, 1, MOSHI_MAX_LAYERS),
    {"layer_scale", MOSHI_FIELD_PRESENT, offsetof(RawConfig, layer_scale)},
    FLOAT_FIELD("max_period", max_period, 1, 1e9),
    CHOICE_FIELD("gating", gating, moshi_gatings),
    CHOICE_FIELD("positional_embedding", position, moshi_positions),
    INT_FIELD("kv_repeat", lm.main.kv_repeat, 1, MOSHI_MAX_DIM),
    BOOL_FIELD("cross_attention", lm.main.cross_attention),
    INT_FIELD("depformer_num_heads", lm.depth.n_heads, 1, MOSHI_MAX_DIM),
    INT_FIELD("depformer_num_layers", lm.depth.n_layers, 1, MOSHI_MAX_LAYERS),
    {"depformer_layer_scale", MOSHI_FIELD_PRESENT,
        offsetof(RawConfig, depth_layer_scale)},
    FLOAT_FIELD("depformer_max_period", depth_max_period, 1, 1e9),
    CHOICE_FIELD("depformer_gating", depth_gating, moshi_gatings),
    INT_FIELD("depformer_kv_repeat", lm.depth.kv_repeat, 1, MOSHI_MAX_DIM),
    /* LMModel overwrites these or drops them */
    IGNORED_FIELD("depformer_causal"),
    IGNORED_FIELD("depformer_context"),
    IGNORED_FIELD("depformer_cross_attention"),
    IGNORED_FIELD("depformer_positional_embedding"),
};

static void
set_defaults(RawConfig *raw)
{
  *raw = (RawConfig){
      .lm =
          {
              .moshi_name = "model.safetensors",
              .mimi_name = "tokenizer-e351c8d8-checkpoint125.safetensors",
              .tokenizer_name = "tokenizer_spm_32k_3.model",
              .model_type = "moshi",
              .main = {.dim = 128, .n_heads = 8, .kv_repeat = 1},
              .depth = {.dim = 256},
              .n_q = 8,
              .dep_q = 8,
              .card = 1024,
              .text_card = 32000,
              .text_padding = 3,
              .extra_head_size = 6,
              .top_k = 250,
              .top_k_text = 25,
              .use_sampling = true,
              .cross_pos_emb_scale = 1,
          },
      .hidden_scale = 4,
      .max_period = 10000,
      .norm = MOSHI_NORM_LAYER,
      .position = MOSHI_POSITION_SIN,
      .depth_position = MOSHI_POSITION_SIN,
      .depth_norm = -1,
      .causal = true,
      .n_delays = 1,
      .temp = 0.8,
      .temp_text = 0.7,
      .cfg_coef = 1,
  };
}

/* A list that is shorter than the streams is extended by its last entry. */
static int
resolve_delays(RawConfig *raw, const MoshiJsonPlace *place)
{
  MoshiLmConfig *c = &raw->lm;
  if (raw->n_delays == 0 || raw->n_delays > c->n_q + 1)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "delays",
        "has %d entries, it needs one for text and one for each of the %d codebooks "
        "(n_q)",
        raw->n_delays, c->n_q);
  for (int i = 0; i <= c->n_q; i++) {
    if (i >= raw->n_delays)
      c->delays[i] = c->delays[raw->n_delays - 1];
    c->max_delay = MAX(c->max_delay, c->delays[i]);
  }
  return 0;
}

static int
resolve_main(RawConfig *raw, const MoshiJsonPlace *place)
{
  MoshiTransformerConfig *t = &raw->lm.main;
  if (t->n_layers == 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "num_layers", "is missing");
  if (!raw->causal)
    return moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "causal", "is false; only causal models can stream");
  if (raw->context == 0)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "context",
        "is missing or null; a stream needs a bounded one");
  moshi_transformer_set_gating(t, raw->gating);
  t->norm = raw->norm;
  t->position = raw->position;
  t->layer_scale = raw->layer_scale;
  t->max_period = raw->max_period;
  t->context = raw->context;
  t->hidden = moshi_transformer_hidden(t, (int)(raw->hidden_scale * t->dim));
  if (t->hidden < 1 || t->hidden > MOSHI_MAX_HIDDEN)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "hidden_scale",
        "gives an MLP of width %d", t->hidden);
  if (t->cross_attention && t->kv_repeat != 1)
    return moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "kv_repeat", "must be 1 with cross_attention");
  return moshi_transformer_check(t, place, "num_heads", "kv_repeat");
}

/* Weight sets of the depth transformer: which step uses which. */
static int
resolve_schedule(RawConfig *raw, const MoshiJsonPlace *place)
{
  static const char key[] = "depformer_weights_per_step_schedule";
  MoshiLmConfig *c = &raw->lm;
  if (!raw->has_schedule) {
    for (int i = 0; i < c->dep_q; i++)
      c->schedule[i] = i;
    c->n_sets = c->weights_per_step ? c->dep_q : 1;
    c->n_in_sets = c->multi_linear ? c->dep_q : 1;
    return 0;
  }
  if (raw->n_schedule != c->dep_q)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "has %d entries, dep_q is %d", raw->n_schedule, c->dep_q);
  if (!c->weights_per_step)
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, key, "needs depformer_weights_per_step");
  for (int i = 0; i < c->dep_q; i++)
    c->n_sets = MAX(c->n_sets, c->schedule[i] + 1);
  c->n_in_sets = c->multi_linear ? c->n_sets : 1;
  return 0;
}

static int
resolve_depth_hidden(RawConfig *raw, const MoshiJsonPlace *place)
{
  static const char key[] = "depformer_dim_feedforward";
  MoshiLmConfig *c = &raw->lm;
  if (raw->n_feedforward > 0 && (!c->depth.gated || !c->weights_per_step))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "is a list, which needs depformer_weights_per_step and a gating");
  if (raw->n_feedforward > 0 && raw->n_feedforward != c->n_sets)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "has %d entries, there are %d sets of weights", raw->n_feedforward, c->n_sets);
  if (raw->n_feedforward == 0)
    raw->feedforward[0] = (int)(raw->hidden_scale * c->depth.dim);
  for (int i = 0; i < c->n_sets; i++) {
    int width = raw->feedforward[raw->n_feedforward > 0 ? i : 0];
    c->depth_hidden[i] = moshi_transformer_hidden(&c->depth, width);
    if (c->depth_hidden[i] < 1 || c->depth_hidden[i] > MOSHI_MAX_HIDDEN)
      return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "gives an MLP of width %d",
          c->depth_hidden[i]);
  }
  c->depth.hidden = c->depth_hidden[0];
  return 0;
}

static int
resolve_depth(RawConfig *raw, JsonObject *object, const MoshiJsonPlace *place)
{
  MoshiLmConfig *c = &raw->lm;
  MoshiTransformerConfig *t = &c->depth;
  if (c->dep_q > c->n_q)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "dep_q",
        "is %d, more than the %d codebooks of n_q", c->dep_q, c->n_q);
  /* Speech-to-text files carry depformer keys that mean nothing. */
  if (c->dep_q == 0) {
    memset(t, 0, sizeof *t);
    memset(c->schedule, 0, sizeof c->schedule);
    c->low_rank = 0;
    return 0;
  }
  if (t->n_heads == 0)
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, "depformer_num_heads", "is missing");
  if (t->n_layers == 0)
    t->n_layers = c->main.n_layers;
  if (t->kv_repeat == 0)
    t->kv_repeat = c->main.kv_repeat;
  bool inherit = !json_object_has_member(object, "depformer_gating");
  moshi_transformer_set_gating(t, inherit ? raw->gating : raw->depth_gating);
  inherit = !json_object_has_member(object, "depformer_layer_scale");
  t->layer_scale = inherit ? raw->layer_scale : raw->depth_layer_scale;
  t->max_period = raw->depth_max_period ? raw->depth_max_period : raw->max_period;
  t->norm = raw->norm;
  t->position = raw->depth_position;
  t->context = c->dep_q;
  c->depth_norm = raw->depth_norm >= 0;
  c->depth_norm_kind = c->depth_norm ? (MoshiNormKind)raw->depth_norm : 0;
  if (c->weights_per_step && !t->gated)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "depformer_weights_per_step",
        "needs a depformer_gating other than \"none\"");
  int status = resolve_schedule(raw, place);
  if (status == 0)
    status = resolve_depth_hidden(raw, place);
  if (status == 0)
    status =
        moshi_transformer_check(t, place, "depformer_num_heads", "depformer_kv_repeat");
  return status;
}

static int
resolve_text(RawConfig *raw, const MoshiJsonPlace *place)
{
  MoshiLmConfig *c = &raw->lm;
  c->text_card_out = raw->text_card_out ? raw->text_card_out : c->text_card;
  c->text_end_padding = raw->text_end_padding;
  if (c->demux && c->text_card > MAX_DEMUX_TEXT_CARD)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "text_card",
        "is %d, at most %d are allowed with demux_second_stream", c->text_card,
        MAX_DEMUX_TEXT_CARD);
  if (c->text_padding >= c->text_card)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "existing_text_padding_id",
        "is %d, beyond text_card, %d", c->text_padding, c->text_card);
  if (c->text_end_padding >= c->text_card)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "existing_text_end_padding_id",
        "is %d, beyond text_card, %d", c->text_end_padding, c->text_card);
  return 0;
}

static void
resolve_generation(RawConfig *raw)
{
  MoshiLmConfig *c = &raw->lm;
  c->temp = raw->temp;
  c->temp_text = raw->temp_text;
  c->cfg_coef = raw->cfg_coef;
  c->top_k = MAX(c->top_k, 0);
  c->top_k_text = MAX(c->top_k_text, 0);
  c->audio_delay = raw->stt_delay ? raw->stt_delay : raw->tts_delay;
  c->silence_prefix = raw->stt_prefix;
}

/* The reference's own file. */
static int
parse(RawConfig *raw, JsonObject *object, const MoshiJsonPlace *place)
{
  set_defaults(raw);
  int status =
      moshi_json_fields(place, object, fields, G_N_ELEMENTS(fields), raw, false);
  if (status == 0 && raw->lora)
    status = moshi_json_fail(place, MOSHI_ERROR_MODEL, "lora",
        "is true; adapters are not supported, merge it into the weights");
  if (status == 0)
    status = resolve_delays(raw, place);
  if (status == 0)
    status = resolve_text(raw, place);
  if (status == 0)
    status = resolve_main(raw, place);
  if (status == 0)
    status = resolve_depth(raw, object, place);
  if (status == 0)
    status = moshi_conditions_parse(&raw->lm, raw->conditioners, raw->fuser, place);
  resolve_generation(raw);
  return status;
}

MoshiLmConfig *
moshi_lm_config_parse(
    const char *json, size_t size, const char *label, MoshiError *error)
{
  JsonNode *root;
  if (moshi_json_parse(&root, json, size, label, error) < 0)
    return NULL;
  RawConfig *raw = g_new0(RawConfig, 1);
  JsonObject *object = json_node_get_object(root);
  MoshiJsonPlace place = {label, "", error};
  int status;
  if (moshi_hf_is(object, "mimi"))
    status = moshi_fail(error, MOSHI_ERROR_MODEL,
        "%s: is of a Mimi codec; there is no language model with it", label);
  else if (moshi_hf_is(object, "moshi"))
    status = moshi_hf_lm_config(&raw->lm, object, &place);
  else
    status = parse(raw, object, &place);

  MoshiLmConfig *config = g_memdup2(&raw->lm, sizeof raw->lm);
  g_free(raw);
  json_node_unref(root);
  if (status == 0)
    return config;
  moshi_lm_config_free(config);
  return NULL;
}

MoshiLmConfig *
moshi_lm_config_read(const char *path, MoshiError *error)
{
  MoshiMapped mapped;
  if (moshi_mapped_open(&mapped, path, MAX_FILE, error) < 0)
    return NULL;
  MoshiLmConfig *config =
      moshi_lm_config_parse((const char *)mapped.data, mapped.size, path, error);
  moshi_mapped_close(&mapped);
  return config;
}

void
moshi_lm_config_free(MoshiLmConfig *config)
{
  if (!config)
    return;
  g_free(config->conditioners);
  g_free(config);
}
