/* mimi_config.json: the arguments of SEANet, of the transformers and of the
 * quantizer, as moshi/models/loaders.py passes them on. A key that is absent
 * has the default of that constructor; without any file the sizes are those
 * of the released Mimi. What the codec here does not do is refused by name. */
#include <string.h>

#include "../error.h"
#include "hf-config.h"
#include "mapped.h"
#include "transformer-config.h"

#define MAX_FILE (1 << 20)
#define FRAME_SIZE 1920

void
mimi_config_default(MimiConfig *config)
{
  *config = (MimiConfig){
      .sample_rate = 24000,
      .frame_size = FRAME_SIZE,
      .steps = 2,
      .dimension = 512,
      .n_filters = 64,
      .n_residual_layers = 1,
      .kernel_size = 7,
      .residual_kernel_size = 3,
      .last_kernel_size = 3,
      .dilation_base = 2,
      .compress = 2,
      .n_ratios = 4,
      .ratios = {8, 6, 5, 4},
      .transformer = {.dim = 512,
          .n_heads = 8,
          .n_layers = 8,
          .kv_repeat = 1,
          .act = MOSHI_ACT_GELU,
          .hidden = 2048,
          .norm = MOSHI_NORM_LAYER,
          .layer_scale = true,
          .position = MOSHI_POSITION_ROPE,
          .max_period = 10000,
          .context = 250},
      .q_dim = 256,
      .n_q = 32,
      .bins = 2048,
  };
}

typedef struct {
  MimiConfig mimi;
  bool seanet, transformer, quantizer; /* were given */
  double sample_rate, frame_rate, max_period;
  bool seanet_causal, true_skip, transformer_causal;
  int seanet_norm, pad_mode, activation; /* choices of one */
  int input_dimension, output_dimension;
  int q_input_dimension, q_output_dimension;
  int dim_feedforward, gating, norm, position;
} RawConfig;

static const char *const only_none[] = {"none", NULL};
static const char *const only_constant[] = {"constant", NULL};
static const char *const only_elu[] = {"ELU", NULL};

#define INT_FIELD(key, member, min, max)                                               \
  {                                                                                    \
    key, MOSHI_FIELD_INT, offsetof(RawConfig, member), min, max                        \
  }
#define FLOAT_FIELD(key, member, min, max)                                             \
  {                                                                                    \
    key, MOSHI_FIELD_FLOAT, offsetof(RawConfig, member), min, max                      \
  }
#define BOOL_FIELD(key, member)                                                        \
  {                                                                                    \
    key, MOSHI_FIELD_BOOL, offsetof(RawConfig, member)                                 \
  }
#define CHOICE_FIELD(key, member, names)                                               \
  {                                                                                    \
    key, MOSHI_FIELD_CHOICE, offsetof(RawConfig, member), .choices = names             \
  }

static int
read_one(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  bool one = JSON_NODE_HOLDS_VALUE(node) &&
             (json_node_get_value_type(node) == G_TYPE_INT64 ||
                 json_node_get_value_type(node) == G_TYPE_DOUBLE) &&
             json_node_get_double(node) == 1;
  if (!one)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, key, "must be 1");
  return 0;
}

static int
read_ratios(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  MimiConfig *c = &((RawConfig *)out)->mimi;
  return moshi_json_ints(
      place, key, node, c->ratios, &c->n_ratios, MOSHI_MAX_RATIOS, 1, FRAME_SIZE);
}

static int
read_outputs(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  int n, status = moshi_json_ints(
             place, key, node, &raw->output_dimension, &n, 1, 1, MOSHI_MAX_DIM);
  if (status == 0 && n != 1)
    status = moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "must have one entry");
  return status;
}

static const MoshiField seanet_fields[] = {
    {"channels", MOSHI_FIELD_CUSTOM, .read = read_one},
    INT_FIELD("dimension", mimi.dimension, 1, MOSHI_MAX_DIM),
    INT_FIELD("n_filters", mimi.n_filters, 1, 4096),
    INT_FIELD("n_residual_layers", mimi.n_residual_layers, 0, 16),
    {"ratios", MOSHI_FIELD_CUSTOM, .read = read_ratios},
    CHOICE_FIELD("activation", activation, only_elu),
    CHOICE_FIELD("norm", seanet_norm, only_none),
    {"norm_params", MOSHI_FIELD_IGNORED},
    INT_FIELD("kernel_size", mimi.kernel_size, 1, 1024),
    INT_FIELD("last_kernel_size", mimi.last_kernel_size, 1, 1024),
    INT_FIELD("residual_kernel_size", mimi.residual_kernel_size, 1, 1024),
    INT_FIELD("dilation_base", mimi.dilation_base, 1, 16),
    BOOL_FIELD("causal", seanet_causal),
    CHOICE_FIELD("pad_mode", pad_mode, only_constant),
    BOOL_FIELD("true_skip", true_skip),
    INT_FIELD("compress", mimi.compress, 1, 4096),
    {"disable_norm_outer_blocks", MOSHI_FIELD_IGNORED},
};

static const MoshiField transformer_fields[] = {
    INT_FIELD("d_model", mimi.transformer.dim, 1, MOSHI_MAX_DIM),
    INT_FIELD("num_heads", mimi.transformer.n_heads, 1, MOSHI_MAX_DIM),
    INT_FIELD("num_layers", mimi.transformer.n_layers, 1, MOSHI_MAX_LAYERS),
    INT_FIELD("kv_repeat", mimi.transformer.kv_repeat, 1, MOSHI_MAX_DIM),
    BOOL_FIELD("causal", transformer_causal),
    {"layer_scale", MOSHI_FIELD_PRESENT,
        offsetof(RawConfig, mimi.transformer.layer_scale)},
    INT_FIELD("context", mimi.transformer.context, 1, MOSHI_MAX_CONTEXT),
    {"conv_layout", MOSHI_FIELD_IGNORED},
    FLOAT_FIELD("max_period", max_period, 1, 1e9),
    CHOICE_FIELD("gating", gating, moshi_gatings),
    CHOICE_FIELD("norm", norm, moshi_norms),
    CHOICE_FIELD("positional_embedding", position, moshi_positions),
    INT_FIELD("dim_feedforward", dim_feedforward, 1, MOSHI_MAX_HIDDEN),
    INT_FIELD("input_dimension", input_dimension, 1, MOSHI_MAX_DIM),
    {"output_dimensions", MOSHI_FIELD_CUSTOM, .read = read_outputs},
};

static const MoshiField quantizer_fields[] = {
    INT_FIELD("dimension", mimi.q_dim, 1, MOSHI_MAX_DIM),
    INT_FIELD("n_q", mimi.n_q, 2, MOSHI_MAX_CODEBOOKS),
    INT_FIELD("bins", mimi.bins, 1, 65535),
    INT_FIELD("input_dimension", q_input_dimension, 1, MOSHI_MAX_DIM),
    INT_FIELD("output_dimension", q_output_dimension, 1, MOSHI_MAX_DIM),
    {"n_q_semantic", MOSHI_FIELD_CUSTOM, .read = read_one},
    /* training only */
    {"q_dropout", MOSHI_FIELD_IGNORED},
    {"no_quantization_rate", MOSHI_FIELD_IGNORED},
    {"decay", MOSHI_FIELD_IGNORED},
    {"threshold_usage_ratio", MOSHI_FIELD_IGNORED},
    {"replaced_usage_ratio", MOSHI_FIELD_IGNORED},
};

static int
read_seanet(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  raw->seanet = true;
  return moshi_json_object(
      place, key, node, seanet_fields, G_N_ELEMENTS(seanet_fields), out, false);
}

static int
read_transformer(
    const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  raw->transformer = true;
  return moshi_json_object(place, key, node, transformer_fields,
      G_N_ELEMENTS(transformer_fields), out, false);
}

static int
read_quantizer(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  RawConfig *raw = out;
  raw->quantizer = true;
  return moshi_json_object(
      place, key, node, quantizer_fields, G_N_ELEMENTS(quantizer_fields), out, false);
}

static const MoshiField fields[] = {
    FLOAT_FIELD("sample_rate", sample_rate, 1, 1e6),
    FLOAT_FIELD("frame_rate", frame_rate, 1e-3, 1e6),
    {"channels", MOSHI_FIELD_CUSTOM, .read = read_one},
    {"seanet", MOSHI_FIELD_CUSTOM, .read = read_seanet},
    {"transformer", MOSHI_FIELD_CUSTOM, .read = read_transformer},
    {"quantizer", MOSHI_FIELD_CUSTOM, .read = read_quantizer},
};

/* ----------------------------------------------------- transformers' MimiConfig */

static const char *const only_gelu[] = {"gelu", NULL};

typedef struct {
  RawConfig raw;
  int n_kv_heads, head_dim, q_hidden, groups, n_semantic;
  bool shortcut, bias;
  double eps;
} HfConfig;

/* configuration_mimi.py */
static const MoshiField hf_fields[] = {
    FLOAT_FIELD("sampling_rate", sample_rate, 1, 1e6),
    {"frame_rate", MOSHI_FIELD_FLOAT, offsetof(RawConfig, frame_rate), 1e-3, 1e6, true},
    {"_frame_rate", MOSHI_FIELD_FLOAT, offsetof(RawConfig, frame_rate), 1e-3, 1e6,
        true},
    {"audio_channels", MOSHI_FIELD_CUSTOM, .read = read_one},
    INT_FIELD("hidden_size", mimi.dimension, 1, MOSHI_MAX_DIM),
    INT_FIELD("num_filters", mimi.n_filters, 1, 4096),
    INT_FIELD("num_residual_layers", mimi.n_residual_layers, 0, 16),
    {"upsampling_ratios", MOSHI_FIELD_CUSTOM, .null = true, .read = read_ratios},
    INT_FIELD("kernel_size", mimi.kernel_size, 1, 1024),
    INT_FIELD("last_kernel_size", mimi.last_kernel_size, 1, 1024),
    INT_FIELD("residual_kernel_size", mimi.residual_kernel_size, 1, 1024),
    INT_FIELD("dilation_growth_rate", mimi.dilation_base, 1, 16),
    BOOL_FIELD("use_causal_conv", seanet_causal),
    CHOICE_FIELD("pad_mode", pad_mode, only_constant),
    INT_FIELD("compress", mimi.compress, 1, 4096),
    {"trim_right_ratio", MOSHI_FIELD_CUSTOM, .read = read_one},
    INT_FIELD("codebook_size", mimi.bins, 1, 65535),
    INT_FIELD("codebook_dim", mimi.q_dim, 1, MOSHI_MAX_DIM),
    INT_FIELD("num_quantizers", mimi.n_q, 2, MOSHI_MAX_CODEBOOKS),
    {"num_semantic_quantizers", MOSHI_FIELD_CUSTOM, .read = read_one},
    INT_FIELD("num_hidden_layers", mimi.transformer.n_layers, 1, MOSHI_MAX_LAYERS),
    INT_FIELD("intermediate_size", dim_feedforward, 1, MOSHI_MAX_HIDDEN),
    INT_FIELD("num_attention_heads", mimi.transformer.n_heads, 1, MOSHI_MAX_DIM),
    CHOICE_FIELD("hidden_act", activation, only_gelu),
    FLOAT_FIELD("rope_theta", max_period, 1, 1e9),
    INT_FIELD("sliding_window", mimi.transformer.context, 1, MOSHI_MAX_CONTEXT),
};
static const MoshiField hf_others[] = {
    {"num_key_value_heads", MOSHI_FIELD_INT, offsetof(HfConfig, n_kv_heads), 1,
        MOSHI_MAX_DIM, true},
    {"head_dim", MOSHI_FIELD_INT, offsetof(HfConfig, head_dim), 1, MOSHI_MAX_DIM, true},
    {"vector_quantization_hidden_dimension", MOSHI_FIELD_INT,
        offsetof(HfConfig, q_hidden), 1, MOSHI_MAX_DIM},
    {"upsample_groups", MOSHI_FIELD_INT, offsetof(HfConfig, groups), 1, MOSHI_MAX_DIM},
    {"use_conv_shortcut", MOSHI_FIELD_BOOL, offsetof(HfConfig, shortcut)},
    {"attention_bias", MOSHI_FIELD_BOOL, offsetof(HfConfig, bias)},
    {"norm_eps", MOSHI_FIELD_FLOAT, offsetof(HfConfig, eps), 0, 1},
};

/* What can differ in transformers and not here. */
static int
check_hf(const HfConfig *hf, const MoshiJsonPlace *place)
{
  const MimiConfig *c = &hf->raw.mimi;
  const struct {
    const char *key;
    bool fits;
    const char *must;
  } rules[] = {
      {"num_key_value_heads",
          !hf->n_kv_heads || hf->n_kv_heads == c->transformer.n_heads,
          "must be num_attention_heads"},
      {"head_dim",
          !hf->head_dim ||
              (int64_t)hf->head_dim * c->transformer.n_heads == c->dimension,
          "must be hidden_size / num_attention_heads"},
      {"vector_quantization_hidden_dimension", hf->q_hidden == c->q_dim,
          "must be codebook_dim"},
      {"upsample_groups", hf->groups == c->dimension, "must be hidden_size"},
      {"use_conv_shortcut", !hf->shortcut, "must be false"},
      {"attention_bias", !hf->bias, "must be false"},
      {"norm_eps", hf->eps == 1e-5, "must be 1e-5"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(rules); i++)
    if (!rules[i].fits)
      return moshi_json_fail(
          place, MOSHI_ERROR_MODEL, rules[i].key, "%s", rules[i].must);
  return 0;
}

static int
read_hf(RawConfig *raw, JsonObject *object, const MoshiJsonPlace *place)
{
  HfConfig hf = {.q_hidden = 256, .groups = 512, .eps = 1e-5};
  mimi_config_default(&hf.raw.mimi);
  hf.raw.sample_rate = 24000;
  hf.raw.frame_rate = 12.5;
  hf.raw.seanet_causal = hf.raw.true_skip = hf.raw.transformer_causal = true;
  hf.raw.max_period = 10000;
  hf.raw.dim_feedforward = 2048;
  int status = moshi_json_fields(
      place, object, hf_fields, G_N_ELEMENTS(hf_fields), &hf.raw, true);
  if (status == 0)
    status =
        moshi_json_fields(place, object, hf_others, G_N_ELEMENTS(hf_others), &hf, true);
  if (status == 0)
    status = check_hf(&hf, place);
  *raw = hf.raw;
  int dimension = raw->mimi.dimension;
  raw->seanet = raw->transformer = raw->quantizer = true;
  raw->mimi.transformer.dim = raw->input_dimension = raw->output_dimension = dimension;
  raw->q_input_dimension = raw->q_output_dimension = dimension;
  raw->norm = MOSHI_NORM_LAYER;
  raw->position = MOSHI_POSITION_ROPE;
  return status;
}

bool
mimi_config_is(const char *path)
{
  JsonNode *root;
  if (moshi_json_read(&root, path, MAX_FILE, NULL) < 0)
    return false;
  bool is = moshi_hf_is(json_node_get_object(root), "mimi");
  json_node_unref(root);
  return is;
}

/* The constructors' own defaults (SEANetEncoder, StreamingTransformer,
 * ResidualVectorQuantizer). */
static void
set_defaults(RawConfig *raw)
{
  *raw = (RawConfig){
      .mimi = {.dimension = 128,
          .n_filters = 32,
          .n_residual_layers = 3,
          .kernel_size = 7,
          .last_kernel_size = 7,
          .residual_kernel_size = 3,
          .dilation_base = 2,
          .compress = 2,
          .n_ratios = 4,
          .ratios = {8, 5, 4, 2},
          .transformer = {.kv_repeat = 1},
          .q_dim = 128,
          .n_q = 8,
          .bins = 1024},
      .true_skip = true,
      .pad_mode = -1, /* "reflect" */
      .max_period = 10000,
      .norm = MOSHI_NORM_LAYER,
      .position = MOSHI_POSITION_SIN,
      .dim_feedforward = 2048,
  };
}

static int
resolve_seanet(RawConfig *raw, const MoshiJsonPlace *place)
{
  MimiConfig *c = &raw->mimi;
  if (!raw->seanet_causal)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "seanet.causal", "must be true");
  if (!raw->true_skip)
    return moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "seanet.true_skip", "must be true");
  if (raw->pad_mode < 0)
    return moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "seanet.pad_mode", "must be \"constant\"");
  if (raw->sample_rate != 24000)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "sample_rate",
        "is %g; only codecs of 24000 Hz are supported", raw->sample_rate);
  if (raw->frame_rate != 12.5)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "frame_rate",
        "is %g; only codecs of 12.5 frames a second are supported", raw->frame_rate);
  c->sample_rate = 24000;
  c->frame_size = FRAME_SIZE;
  int64_t hop = 1;
  for (int i = 0; i < c->n_ratios && hop <= FRAME_SIZE; i++)
    hop *= c->ratios[i];
  if (c->n_ratios == 0 || hop > FRAME_SIZE || FRAME_SIZE % hop != 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "seanet.ratios",
        "must have a product that divides the %d samples of a frame", FRAME_SIZE);
  c->steps = FRAME_SIZE / hop;
  int64_t width = (int64_t)c->n_filters << c->n_ratios;
  if (width > MOSHI_MAX_DIM || c->n_filters % c->compress != 0)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "seanet.n_filters",
        "is %d: must be a multiple of compress, and the widest layer at most %d",
        c->n_filters, MOSHI_MAX_DIM);
  int64_t dilation = 1;
  for (int i = 0; i < c->n_residual_layers && dilation <= MOSHI_MAX_DIM; i++)
    dilation *= c->dilation_base;
  if (dilation > MOSHI_MAX_DIM)
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, "seanet.n_residual_layers", "gives a huge dilation");
  return 0;
}

static int
resolve_transformer(RawConfig *raw, const MoshiJsonPlace *place)
{
  MoshiTransformerConfig *t = &raw->mimi.transformer;
  int dimension = raw->mimi.dimension;
  static const char *const required[] = {"transformer.d_model", "transformer.num_heads",
      "transformer.num_layers", "transformer.context", "transformer.input_dimension",
      "transformer.output_dimensions"};
  int values[] = {t->dim, t->n_heads, t->n_layers, t->context, raw->input_dimension,
      raw->output_dimension};
  for (size_t i = 0; i < G_N_ELEMENTS(required); i++)
    if (values[i] == 0)
      return moshi_json_fail(place, MOSHI_ERROR_FORMAT, required[i], "is missing");
  if (!raw->transformer_causal)
    return moshi_json_fail(
        place, MOSHI_ERROR_MODEL, "transformer.causal", "must be true");
  if (t->dim != dimension || raw->input_dimension != dimension ||
      raw->output_dimension != dimension)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "transformer.d_model",
        "and its input and output dimensions must equal seanet.dimension, %d",
        dimension);
  if (t->context < raw->mimi.steps)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, "transformer.context",
        "is %d, less than the %d steps of a frame", t->context, raw->mimi.steps);
  moshi_transformer_set_gating(t, raw->gating);
  t->norm = raw->norm;
  t->position = raw->position;
  t->max_period = raw->max_period;
  t->hidden = moshi_transformer_hidden(t, raw->dim_feedforward);
  if (t->hidden < 1)
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, "transformer.dim_feedforward", "is too small");
  return moshi_transformer_check(
      t, place, "transformer.num_heads", "transformer.kv_repeat");
}

static int
resolve(RawConfig *raw, const MoshiJsonPlace *place)
{
  static const char *const required[] = {
      "seanet", "transformer", "quantizer", "sample_rate", "frame_rate"};
  bool given[] = {raw->seanet, raw->transformer, raw->quantizer, raw->sample_rate > 0,
      raw->frame_rate > 0};
  for (size_t i = 0; i < G_N_ELEMENTS(required); i++)
    if (!given[i])
      return moshi_json_fail(place, MOSHI_ERROR_FORMAT, required[i], "is missing");
  int status = resolve_seanet(raw, place);
  if (status == 0)
    status = resolve_transformer(raw, place);
  int dimension = raw->mimi.dimension, q_dim = raw->mimi.q_dim;
  if (status == 0 &&
      ((raw->q_input_dimension ? raw->q_input_dimension : q_dim) != dimension ||
          (raw->q_output_dimension ? raw->q_output_dimension : q_dim) != dimension))
    status = moshi_json_fail(place, MOSHI_ERROR_MODEL, "quantizer.input_dimension",
        "and output_dimension must equal seanet.dimension, %d", dimension);
  return status;
}

int
mimi_config_parse(MimiConfig *config, const char *json, size_t size, const char *label,
    MoshiError *error)
{
  JsonNode *root;
  int status = moshi_json_parse(&root, json, size, label, error);
  if (status < 0)
    return status;
  RawConfig raw;
  set_defaults(&raw);
  MoshiJsonPlace place = {label, "", error};
  JsonObject *object = json_node_get_object(root);
  JsonNode *inner = json_object_get_member(object, "audio_encoder_config");
  if (moshi_hf_is(object, "moshi") && inner && JSON_NODE_HOLDS_OBJECT(inner)) {
    place.prefix = "audio_encoder_config.";
    status = read_hf(&raw, json_node_get_object(inner), &place);
  } else if (moshi_hf_is(object, "mimi")) {
    status = read_hf(&raw, object, &place);
  } else {
    /* The reference looks only at the keys it knows of the outermost object. */
    status =
        moshi_json_fields(&place, object, fields, G_N_ELEMENTS(fields), &raw, true);
  }
  if (status == 0)
    status = resolve(&raw, &place);
  if (status == 0)
    *config = raw.mimi;
  json_node_unref(root);
  return status;
}

int
mimi_config_read(MimiConfig *config, const char *path, MoshiError *error)
{
  MoshiMapped mapped;
  int status = moshi_mapped_open(&mapped, path, MAX_FILE, error);
  if (status < 0)
    return status;
  status =
      mimi_config_parse(config, (const char *)mapped.data, mapped.size, path, error);
  moshi_mapped_close(&mapped);
  return status;
}
