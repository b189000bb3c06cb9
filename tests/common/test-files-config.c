/* config.json and mimi_config.json: the reference's defaults and inheritance,
 * and what a user reads when a key is wrong. A case changes one key of a good
 * configuration. */
#include <json-glib/json-glib.h>
#include <string.h>

#include "files/config.h"

static const char lm_base[] =
    "{\"dim\":64,\"text_card\":200,\"existing_text_padding_id\":3,\"n_q\":4,\"dep_q\":"
    "2,"
    "\"card\":64,\"num_heads\":4,\"num_layers\":3,\"hidden_scale\":4.125,\"causal\":"
    "true,"
    "\"layer_scale\":null,\"context\":40,\"max_period\":10000,\"gating\":\"silu\","
    "\"norm\":\"rms_norm_f32\",\"positional_embedding\":\"rope\",\"depformer_dim\":32,"
    "\"depformer_num_heads\":2,\"depformer_num_layers\":2,\"depformer_multi_linear\":"
    "true,"
    "\"depformer_pos_emb\":\"none\",\"depformer_weights_per_step\":true,"
    "\"delays\":[0,0,1,0,1]}";

static const char mimi_base[] =
    "{\"sample_rate\":24000,\"channels\":1,\"frame_rate\":12.5,\"seanet\":{"
    "\"channels\":1,"
    "\"dimension\":32,\"causal\":true,\"n_filters\":8,\"n_residual_layers\":1,"
    "\"activation\":\"ELU\",\"compress\":2,\"dilation_base\":2,"
    "\"disable_norm_outer_blocks\":0,\"kernel_size\":7,\"residual_kernel_size\":3,"
    "\"last_kernel_size\":3,\"norm\":\"none\",\"pad_mode\":\"constant\","
    "\"ratios\":[8,6,5,4],\"true_skip\":true},\"quantizer\":{\"dimension\":16,\"n_q\":"
    "32,"
    "\"bins\":64,\"input_dimension\":32,\"output_dimension\":32},\"transformer\":{"
    "\"d_model\":32,\"num_heads\":4,\"num_layers\":2,\"causal\":true,\"layer_scale\":0."
    "01,"
    "\"context\":20,\"conv_layout\":true,\"max_period\":10000,\"gating\":\"none\","
    "\"norm\":\"layer_norm\",\"positional_embedding\":\"rope\",\"dim_feedforward\":96,"
    "\"input_dimension\":32,\"output_dimensions\":[32]}}";

/* `base` after some changes, one a line: "a.b=JSON" sets a member, "a.b" alone
 * removes it. */
static char *
change(const char *base, const char *changes)
{
  JsonNode *root = json_from_string(base, NULL);
  g_assert_nonnull(root);
  char **lines = g_strsplit(changes, "\n", 0);
  for (char **line = lines; *line && **line; line++) {
    char **halves = g_strsplit(*line, "=", 2);
    char **keys = g_strsplit(halves[0], ".", 0);
    JsonObject *object = json_node_get_object(root);
    int last = g_strv_length(keys) - 1;
    for (int i = 0; i < last; i++)
      object = json_object_get_object_member(object, keys[i]);
    if (halves[1]) {
      char *wrapped = g_strdup_printf("[%s]", halves[1]);
      JsonNode *value = json_from_string(wrapped, NULL);
      g_assert_nonnull(value);
      json_object_set_member(object, keys[last],
          json_node_copy(json_array_get_element(json_node_get_array(value), 0)));
      json_node_unref(value);
      g_free(wrapped);
    } else {
      json_object_remove_member(object, keys[last]);
    }
    g_strfreev(keys);
    g_strfreev(halves);
  }
  g_strfreev(lines);
  char *text = json_to_string(root, FALSE);
  json_node_unref(root);
  return text;
}

static MoshiLmConfig *
lm(const char *changes)
{
  MoshiError error = {0};
  char *text = change(lm_base, changes);
  MoshiLmConfig *c = moshi_lm_config_parse(text, strlen(text), "config.json", &error);
  if (!c)
    g_error("%s: %s", changes, error.message);
  g_free(text);
  return c;
}

/* --------------------------------------------------------- good values */

static void
test_lm_base(void)
{
  MoshiLmConfig *c = lm("");
  g_assert_cmpstr(c->model_type, ==, "moshi");
  g_assert_cmpstr(c->moshi_name, ==, "model.safetensors");
  g_assert_cmpstr(c->mimi_name, ==, "tokenizer-e351c8d8-checkpoint125.safetensors");
  g_assert_cmpstr(c->tokenizer_name, ==, "tokenizer_spm_32k_3.model");
  g_assert_cmpstr(c->mimi_config_name, ==, "");
  g_assert_cmpint(c->main.hidden, ==, 2 * 264 / 3);
  g_assert_true(c->main.gated);
  g_assert_cmpint(c->main.act, ==, MOSHI_ACT_SILU);
  g_assert_cmpint(c->main.norm, ==, MOSHI_NORM_RMS_F32);
  g_assert_cmpint(c->main.position, ==, MOSHI_POSITION_ROPE);
  g_assert_cmpint(c->main.context, ==, 40);
  g_assert_cmpint(c->main.kv_repeat, ==, 1);
  g_assert_false(c->main.layer_scale);
  g_assert_cmpint(c->text_card_out, ==, 200);
  g_assert_cmpint(c->max_delay, ==, 1);
  g_assert_cmpint(c->depth.hidden, ==, 2 * 132 / 3);
  g_assert_cmpint(c->depth.context, ==, 2);
  g_assert_cmpint(c->depth.position, ==, MOSHI_POSITION_NONE);
  g_assert_true(c->depth.gated);
  g_assert_cmpint(c->n_sets, ==, 2);
  g_assert_cmpint(c->n_in_sets, ==, 2);
  g_assert_cmpint(c->schedule[1], ==, 1);
  g_assert_cmpint(c->low_rank, ==, 0);
  g_assert_false(c->depth_norm);
  g_assert_cmpfloat(c->temp, ==, 0.8f);
  g_assert_cmpfloat(c->temp_text, ==, 0.7f);
  g_assert_cmpint(c->top_k, ==, 250);
  g_assert_cmpint(c->top_k_text, ==, 25);
  g_assert_cmpfloat(c->cfg_coef, ==, 1);
  g_assert_true(c->use_sampling);
  g_assert_cmpint(c->extra_head_size, ==, 6);
  moshi_lm_config_free(c);
}

/* Every default of LMModel and StreamingTransformer. */
static void
test_lm_defaults(void)
{
  MoshiError error = {0};
  static const char least[] =
      "{\"num_layers\":2,\"context\":10,\"depformer_num_heads\":8,\"delays\":[0]}";
  MoshiLmConfig *c = moshi_lm_config_parse(least, strlen(least), "c", &error);
  if (!c)
    g_error("%s", error.message);
  g_assert_cmpint(c->main.dim, ==, 128);
  g_assert_cmpint(c->main.n_heads, ==, 8);
  g_assert_cmpint(c->main.hidden, ==, 512);
  g_assert_false(c->main.gated);
  g_assert_cmpint(c->main.act, ==, MOSHI_ACT_GELU);
  g_assert_cmpint(c->main.norm, ==, MOSHI_NORM_LAYER);
  g_assert_cmpint(c->main.position, ==, MOSHI_POSITION_SIN);
  g_assert_cmpfloat(c->main.max_period, ==, 10000);
  g_assert_false(c->main.cross_attention);
  g_assert_cmpint(c->n_q, ==, 8);
  g_assert_cmpint(c->dep_q, ==, 8);
  g_assert_cmpint(c->card, ==, 1024);
  g_assert_cmpint(c->text_card, ==, 32000);
  g_assert_cmpint(c->text_padding, ==, 3);
  g_assert_cmpint(c->text_end_padding, ==, 0);
  g_assert_cmpint(c->depth.dim, ==, 256);
  g_assert_cmpint(c->depth.n_layers, ==, 2); /* inherited */
  g_assert_cmpint(c->depth.position, ==, MOSHI_POSITION_SIN);
  g_assert_cmpint(c->depth.hidden, ==, 1024);
  g_assert_cmpint(c->n_sets, ==, 1);
  g_assert_cmpint(c->n_in_sets, ==, 1);
  g_assert_cmpint(c->schedule[7], ==, 7);
  g_assert_cmpint(c->delays[8], ==, 0);
  g_assert_false(c->norm_emb || c->bias_proj || c->demux || c->multi_linear);
  g_assert_cmpint(c->extra_heads, ==, 0);
  moshi_lm_config_free(c);
}

static void
test_lm_rules(void)
{
  MoshiLmConfig *c = lm("hidden_scale=4"); /* 4·dim: the other rule */
  g_assert_cmpint(c->main.hidden, ==, 21 * 64 / 8);
  moshi_lm_config_free(c);

  c = lm("delays=[0,2]\nn_q=4");
  g_assert_cmpint(c->delays[4], ==, 2);
  g_assert_cmpint(c->max_delay, ==, 2);
  moshi_lm_config_free(c);

  c = lm("depformer_dim_feedforward=[128,96]");
  g_assert_cmpint(c->depth_hidden[0], ==, 21 * 32 / 8);
  g_assert_cmpint(c->depth_hidden[1], ==, 64);
  moshi_lm_config_free(c);
  c = lm("depformer_dim_feedforward=96");
  g_assert_cmpint(c->depth_hidden[1], ==, 64);
  moshi_lm_config_free(c);
  c = lm("depformer_dim_feedforward=null");
  g_assert_cmpint(c->depth_hidden[1], ==, 88);
  moshi_lm_config_free(c);

  c = lm("n_q=8\ndep_q=4\ndelays=[0]\n"
         "depformer_weights_per_step_schedule=[0,1,1,1]\ndepformer_dim_feedforward=[96,"
         "48]");
  g_assert_cmpint(c->n_sets, ==, 2);
  g_assert_cmpint(c->n_in_sets, ==, 2);
  g_assert_cmpint(c->schedule[3], ==, 1);
  g_assert_cmpint(c->depth_hidden[1], ==, 32);
  moshi_lm_config_free(c);
  c = lm("depformer_weights_per_step_schedule=null");
  g_assert_cmpint(c->n_sets, ==, 2);
  moshi_lm_config_free(c);

  /* what the depth transformer inherits and what not */
  c = lm("gating=\"gelu\"\nlayer_scale=0.1\nmax_period=500\nkv_repeat=2");
  g_assert_cmpint(c->depth.act, ==, MOSHI_ACT_GELU);
  g_assert_true(c->depth.gated && c->depth.layer_scale);
  g_assert_cmpfloat(c->depth.max_period, ==, 500);
  g_assert_cmpint(c->depth.kv_repeat, ==, 2);
  moshi_lm_config_free(c);
  c = lm("gating=\"none\"\nlayer_scale=0.1\nmax_period=500\ndepformer_gating=\"silu\"\n"
         "depformer_layer_scale=null\ndepformer_max_period=7\ndepformer_kv_repeat=2\n"
         "depformer_norm=\"layer_norm_f32\"\ndepformer_low_rank_embeddings=12\n"
         "depformer_context=8\ndepformer_causal=true");
  g_assert_true(!c->main.gated && c->depth.gated);
  g_assert_true(c->main.layer_scale && !c->depth.layer_scale);
  g_assert_cmpfloat(c->depth.max_period, ==, 7);
  g_assert_cmpint(c->depth.kv_repeat, ==, 2);
  g_assert_true(c->depth_norm);
  g_assert_cmpint(c->depth_norm_kind, ==, MOSHI_NORM_LAYER_F32);
  g_assert_cmpint(c->low_rank, ==, 12);
  moshi_lm_config_free(c);

  /* no depth transformer, whatever its keys say */
  c = lm(
      "dep_q=0\nextra_heads_num_heads=4\nmodel_type=\"stt\"\n"
      "depformer_weights_per_step_schedule=[]\n"
      "stt_config={\"audio_delay_seconds\":0.5,\"audio_silence_prefix_seconds\":1}\n"
      "lm_gen_config={\"temp\":0,\"temp_text\":0,\"top_k_text\":50,\"text_temp\":1}");
  g_assert_cmpint(c->depth.n_layers, ==, 0);
  g_assert_cmpint(c->n_sets, ==, 0);
  g_assert_cmpint(c->extra_heads, ==, 4);
  g_assert_cmpfloat(c->audio_delay, ==, 0.5f);
  g_assert_cmpfloat(c->silence_prefix, ==, 1);
  g_assert_cmpfloat(c->temp, ==, 0);
  g_assert_cmpint(c->top_k_text, ==, 50);
  moshi_lm_config_free(c);

  c = lm("text_card_out=5\ndemux_second_stream=true\nbias_proj=true\nnorm_emb=true\n"
         "tts_config={\"audio_delay\":1.28,\"second_stream_ahead\":2,\"multistream\":"
         "true}\n"
         "model_id={\"sig\":\"1e68beda\",\"epoch\":240}\nlora=false\nlora_rank=128\n"
         "lora_scaling=2.0\ngradient_checkpointing=false\nquantize=true\n"
         "lora_name=null\nmimi_name=\"hf://kyutai/x/mimi.safetensors\"");
  g_assert_cmpint(c->text_card_out, ==, 5);
  g_assert_true(
      c->demux && c->bias_proj && c->norm_emb && c->multistream && c->quantize);
  g_assert_cmpfloat(c->audio_delay, ==, 1.28f);
  g_assert_cmpstr(c->mimi_name, ==, "hf://kyutai/x/mimi.safetensors");
  moshi_lm_config_free(c);
}

#define LUT                                                                            \
  "{\"a\":{\"type\":\"lut\",\"lut\":{\"n_bins\":31,\"dim\":16,\"tokenizer\":\"noop\"," \
  "\"possible_values\":[\"x\",\"y\"]}},\"h\":{\"type\":\"lut\",\"lut\":{\"n_bins\":3," \
  "\"dim\":4,\"tokenizer\":\"noop\"}},\"t\":{\"type\":\"tensor\",\"tensor\":{\"dim\":" \
  "24}}}"

static void
test_lm_conditions(void)
{
  MoshiLmConfig *c = lm("conditioners=" LUT "\ncross_attention=true\n"
                        "fuser={\"sum\":[\"h\",\"a\"],\"cross\":[\"t\"],\"prepend\":[],"
                        "\"cross_attention_pos_emb\":true,"
                        "\"cross_attention_pos_emb_scale\":1}");
  g_assert_cmpint(c->n_conditioners, ==, 3);
  g_assert_cmpint(c->conditioners[0].n_values, ==, 2);
  g_assert_cmpstr(c->conditioners[0].values[1], ==, "y");
  g_assert_cmpint(c->conditioners[0].n_bins, ==, 31);
  g_assert_cmpint(c->conditioners[1].n_values, ==, 0);
  g_assert_true(c->conditioners[2].tensor);
  g_assert_cmpint(c->conditioners[2].dim, ==, 24);
  g_assert_cmpint(c->n_sum, ==, 2);
  g_assert_cmpint(c->sum[0], ==, 1);
  g_assert_cmpint(c->sum[1], ==, 0);
  g_assert_cmpint(c->n_cross, ==, 1);
  g_assert_true(c->cross_pos_emb);
  g_assert_cmpfloat(c->cross_pos_emb_scale, ==, 1);
  moshi_lm_config_free(c);
  c = lm("fuser=null\nconditioners={}");
  g_assert_cmpint(c->n_sum + c->n_cross + c->n_conditioners, ==, 0);
  moshi_lm_config_free(c);
}

/* -------------------------------------------------------------- errors */

typedef struct {
  const char *changes, *message;
} Wrong;

static const Wrong wrong_lm[] = {
    {"foo=1", "config.json: unknown key \"foo\""},
    {"num_layers", "config.json: num_layers is missing"},
    {"context", "context is missing or null"},
    {"context=null", "context is missing or null"},
    {"causal=false", "causal is false"},
    {"dim=0", "config.json: dim is 0, it must be from 1 to 65536"},
    {"dim=-1", "dim is -1"},
    {"dim=99999999999", "dim is 99999999999"},
    {"dim=64.0", "dim must be an integer"},
    {"dim=\"64\"", "dim must be an integer"},
    {"dim=[64]", "dim must be an integer"},
    {"dim=null", "dim must be an integer"},
    {"num_heads=5", "num_heads is 5, which does not divide the width 64"},
    {"num_heads=64", "num_heads gives heads of width 1; rotary positions"},
    {"kv_repeat=3", "kv_repeat is 3, which does not divide the 4 heads"},
    {"kv_repeat=2\ncross_attention=true\ndepformer_kv_repeat=1", "kv_repeat must be 1"},
    {"dim=2\nnum_heads=1\npositional_embedding=\"sin\"", "sinusoidal positions need"},
    {"num_layers=1025", "num_layers is 1025"},
    {"hidden_scale=1e9", "hidden_scale is 1e+09"},
    {"hidden_scale=0.01", "hidden_scale gives an MLP of width 0"},
    {"hidden_scale=true", "hidden_scale must be a number"},
    {"max_period=0", "max_period is 0"},
    {"context=0", "context is 0"},
    {"context=1048577", "context is 1048577"},
    {"card=65536", "card is 65536, it must be from 1 to 65535"},
    {"text_card=9999999", "text_card is 9999999"},
    {"demux_second_stream=true\ntext_card=46001", "text_card is 46001, at most 46000"},
    {"existing_text_padding_id=200",
        "existing_text_padding_id is 200, beyond text_card"},
    {"existing_text_end_padding_id=200", "existing_text_end_padding_id is 200"},
    {"n_q=0", "n_q is 0, it must be from 1 to 64"},
    {"n_q=65", "n_q is 65"},
    {"dep_q=5", "dep_q is 5, more than the 4 codebooks of n_q"},
    {"delays=[]", "delays has 0 entries"},
    {"delays=[0,0,0,0,0,0]", "delays has 6 entries"},
    {"delays=[0,-1]", "delays is -1"},
    {"delays=[0,10001]", "delays is 10001"},
    {"delays=[0,\"1\"]", "delays must be an integer"},
    {"delays=0", "delays must be an array of integers"},
    {"gating=\"mish\"",
        "gating is \"mish\", which is not supported (supported: none, silu"},
    {"gating=null", "gating must be a string"},
    {"norm=\"batch_norm\"", "norm is \"batch_norm\", which is not supported"},
    {"positional_embedding=\"alibi\"", "positional_embedding is \"alibi\""},
    {"depformer_norm=\"x\"", "depformer_norm is \"x\""},
    {"depformer_num_heads", "depformer_num_heads is missing"},
    {"depformer_num_heads=3", "depformer_num_heads is 3, which does not divide"},
    {"depformer_gating=\"none\"",
        "depformer_weights_per_step needs a depformer_gating"},
    {"depformer_weights_per_step_schedule=[0]", "schedule has 1 entries, dep_q is 2"},
    {"depformer_weights_per_step_schedule=[0,64]", "schedule is 64"},
    {"depformer_weights_per_step_schedule=[0,0]\ndepformer_weights_per_step=false",
        "schedule needs depformer_weights_per_step"},
    {"depformer_dim_feedforward=[]", "depformer_dim_feedforward is an empty list"},
    {"depformer_dim_feedforward=[96]", "has 1 entries, there are 2 sets of weights"},
    {"depformer_dim_feedforward=[96,96]\ndepformer_weights_per_step=false",
        "is a list, which needs depformer_weights_per_step"},
    {"depformer_dim_feedforward=0", "depformer_dim_feedforward is 0"},
    {"depformer_dim_feedforward=1", "gives an MLP of width 0"},
    {"depformer_dim_feedforward=\"x\"", "depformer_dim_feedforward must be an integer"},
    {"depformer_low_rank_embeddings=0", "depformer_low_rank_embeddings is 0"},
    {"extra_heads_num_heads=65", "extra_heads_num_heads is 65"},
    {"lora=true", "lora is true; adapters are not supported"},
    {"quantize=1", "quantize must be true or false"},
    {"moshi_name=1", "moshi_name must be a string"},
    {"lm_gen_config=1", "lm_gen_config must be an object"},
    {"lm_gen_config={\"top_k\":-9}", "lm_gen_config.top_k is -9"},
    {"lm_gen_config={\"temp\":1e9}", "lm_gen_config.temp is 1e+09"},
    {"stt_config={\"audio_delay_seconds\":-1}", "stt_config.audio_delay_seconds is -1"},
    {"tts_config={\"multistream\":1}", "tts_config.multistream must be true or false"},
    {"conditioners=1", "conditioners must be an object"},
    {"conditioners={\"a\":1}", "conditioners.a has no type"},
    {"conditioners={\"a\":{\"type\":\"t5\"}}", "conditioners.a is of type \"t5\""},
    {"conditioners={\"a\":{\"type\":\"lut\"}}", "conditioners.a has no \"lut\""},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"n_bins\":4,\"tokenizer\":"
     "\"noop\"}}}",
        "conditioners.a has no dim"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"dim\":4}}}",
        "conditioners.a has no n_bins"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"tokenizer\":\"bpe\"}}}",
        "conditioners.a.tokenizer must be \"noop\""},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"x\":1}}}",
        "unknown key \"conditioners.a.x\""},
    {"conditioners={\"a\":{\"type\":\"tensor\",\"tensor\":{\"dim\":0}}}",
        "conditioners.a.dim is 0"},
    {"conditioners={\"a\":{\"type\":\"tensor\",\"tensor\":{\"learn_padding\":false}}}",
        "conditioners.a.learn_padding false is not supported"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"n_bins\":1,\"dim\":4,"
     "\"possible_values\":[\"x\",\"y\"]}}}",
        "conditioners.a has 2 possible values for 1 bins"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"possible_values\":[\"x\",\"x\"]}"
     "}}",
        "possible_values holds \"x\" twice"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"possible_values\":[]}}}",
        "possible_values must be an array of 1 to 256 strings"},
    {"conditioners={\"a\":{\"type\":\"lut\",\"lut\":{\"possible_values\":[1]}}}",
        "possible_values must hold strings"},
    {"conditioners={\"\":{\"type\":\"lut\"}}", "holds a name of 0 bytes"},
    {"fuser={\"sum\":[\"a\"]}", "fuser.sum names \"a\", which is no conditioner"},
    {"fuser={\"sum\":\"a\"}", "fuser.sum must be an array of names"},
    {"fuser={\"add\":[]}", "unknown key \"fuser.add\""},
    {"fuser={\"prepend\":[\"a\"]}", "fuser.prepend must be an empty array"},
    {"conditioners=" LUT "\nfuser={\"sum\":[\"t\"]}", "fuser.sum names t, a tensor"},
    {"conditioners=" LUT "\nfuser={\"cross\":[\"t\"]}", "cross_attention is not set"},
};

static const Wrong wrong_mimi[] = {
    {"sample_rate=16000", "sample_rate is 16000; only codecs of 24000 Hz"},
    {"sample_rate", "sample_rate is missing"},
    {"frame_rate=25", "frame_rate is 25; only codecs of 12.5 frames"},
    {"channels=2", "channels must be 1"},
    {"seanet", "seanet is missing"},
    {"transformer", "transformer is missing"},
    {"quantizer", "quantizer is missing"},
    {"seanet=1", "seanet must be an object"},
    {"seanet.foo=1", "unknown key \"seanet.foo\""},
    {"seanet.channels=2", "seanet.channels must be 1"},
    {"seanet.causal=false", "seanet.causal must be true"},
    {"seanet.causal", "seanet.causal must be true"},
    {"seanet.true_skip=false", "seanet.true_skip must be true"},
    {"seanet.pad_mode=\"reflect\"", "seanet.pad_mode is \"reflect\""},
    {"seanet.pad_mode", "seanet.pad_mode must be \"constant\""},
    {"seanet.norm=\"weight_norm\"", "seanet.norm is \"weight_norm\""},
    {"seanet.activation=\"ReLU\"", "seanet.activation is \"ReLU\""},
    {"seanet.ratios=[]", "seanet.ratios must have a product"},
    {"seanet.ratios=[7]", "seanet.ratios must have a product"},
    {"seanet.ratios=[1920,1920,1920,1920,1920,1920,1920,1920]",
        "seanet.ratios must have"},
    {"seanet.ratios=[1,1,1,1,1,1,1,1,1]", "seanet.ratios has 9 entries"},
    {"seanet.ratios=[0]", "seanet.ratios is 0"},
    {"seanet.n_filters=3", "seanet.n_filters is 3: must be a multiple of compress"},
    {"seanet.n_filters=4098", "seanet.n_filters is 4098"},
    {"seanet.n_residual_layers=17", "seanet.n_residual_layers is 17"},
    {"seanet.n_residual_layers=16\nseanet.dilation_base=16", "gives a huge dilation"},
    {"seanet.kernel_size=0", "seanet.kernel_size is 0"},
    {"seanet.compress=0", "seanet.compress is 0"},
    {"transformer.d_model=64", "transformer.d_model and its input and output"},
    {"transformer.d_model", "transformer.d_model is missing"},
    {"transformer.num_heads=5", "transformer.num_heads is 5, which does not divide"},
    {"transformer.context=1", "transformer.context is 1, less than the 2 steps"},
    {"transformer.context=null", "transformer.context must be an integer"},
    {"transformer.causal=false", "transformer.causal must be true"},
    {"transformer.output_dimensions=[32,32]", "output_dimensions has 2 entries"},
    {"transformer.output_dimensions=[]", "output_dimensions must have one entry"},
    {"transformer.dim_feedforward=1\ntransformer.gating=\"silu\"",
        "transformer.dim_feedforward is too small"},
    {"transformer.weights_per_step=8", "unknown key \"transformer.weights_per_step\""},
    {"quantizer.n_q=1", "quantizer.n_q is 1"},
    {"quantizer.n_q=65", "quantizer.n_q is 65"},
    {"quantizer.bins=65536", "quantizer.bins is 65536"},
    {"quantizer.n_q_semantic=2", "quantizer.n_q_semantic must be 1"},
    {"quantizer.input_dimension=16", "quantizer.input_dimension and output_dimension"},
    {"quantizer.output_dimension", "quantizer.input_dimension and output_dimension"},
    {"quantizer.force_projection=true", "unknown key \"quantizer.force_projection\""},
};

static void
test_lm_wrong(void)
{
  for (size_t i = 0; i < G_N_ELEMENTS(wrong_lm); i++) {
    MoshiError error = {0};
    char *text = change(lm_base, wrong_lm[i].changes);
    if (moshi_lm_config_parse(text, strlen(text), "config.json", &error))
      g_error("%s: accepted", wrong_lm[i].changes);
    if (!strstr(error.message, wrong_lm[i].message) ||
        !g_str_has_prefix(error.message, "config.json: "))
      g_error("%s: says \"%s\"", wrong_lm[i].changes, error.message);
    g_assert_true(
        error.status == MOSHI_ERROR_FORMAT || error.status == MOSHI_ERROR_MODEL);
    g_free(text);
  }
}

static void
test_mimi_wrong(void)
{
  for (size_t i = 0; i < G_N_ELEMENTS(wrong_mimi); i++) {
    MoshiError error = {0};
    MimiConfig config;
    char *text = change(mimi_base, wrong_mimi[i].changes);
    if (mimi_config_parse(&config, text, strlen(text), "m.json", &error) == 0)
      g_error("%s: accepted", wrong_mimi[i].changes);
    if (!strstr(error.message, wrong_mimi[i].message) ||
        !g_str_has_prefix(error.message, "m.json: "))
      g_error("%s: says \"%s\"", wrong_mimi[i].changes, error.message);
    g_free(text);
  }
}

/* Field by field: what lies between them is the compiler's. */
static void
assert_same(const MimiConfig *a, const MimiConfig *b)
{
  const MoshiTransformerConfig *s = &a->transformer, *t = &b->transformer;

  g_assert_cmpint(a->sample_rate, ==, b->sample_rate);
  g_assert_cmpint(a->frame_size, ==, b->frame_size);
  g_assert_cmpint(a->steps, ==, b->steps);
  g_assert_cmpint(a->dimension, ==, b->dimension);
  g_assert_cmpint(a->n_filters, ==, b->n_filters);
  g_assert_cmpint(a->n_residual_layers, ==, b->n_residual_layers);
  g_assert_cmpint(a->kernel_size, ==, b->kernel_size);
  g_assert_cmpint(a->residual_kernel_size, ==, b->residual_kernel_size);
  g_assert_cmpint(a->last_kernel_size, ==, b->last_kernel_size);
  g_assert_cmpint(a->dilation_base, ==, b->dilation_base);
  g_assert_cmpint(a->compress, ==, b->compress);
  g_assert_cmpmem(a->ratios, a->n_ratios * sizeof *a->ratios, b->ratios,
      b->n_ratios * sizeof *b->ratios);
  g_assert_cmpint(a->q_dim, ==, b->q_dim);
  g_assert_cmpint(a->n_q, ==, b->n_q);
  g_assert_cmpint(a->bins, ==, b->bins);

  g_assert_cmpint(s->dim, ==, t->dim);
  g_assert_cmpint(s->n_heads, ==, t->n_heads);
  g_assert_cmpint(s->n_layers, ==, t->n_layers);
  g_assert_cmpint(s->kv_repeat, ==, t->kv_repeat);
  g_assert_cmpint(s->gated, ==, t->gated);
  g_assert_cmpint(s->act, ==, t->act);
  g_assert_cmpint(s->hidden, ==, t->hidden);
  g_assert_cmpint(s->norm, ==, t->norm);
  g_assert_cmpint(s->layer_scale, ==, t->layer_scale);
  g_assert_cmpint(s->position, ==, t->position);
  g_assert_cmpfloat(s->max_period, ==, t->max_period);
  g_assert_cmpint(s->context, ==, t->context);
  g_assert_cmpint(s->cross_attention, ==, t->cross_attention);
}

static void
test_mimi_good(void)
{
  MoshiError error = {0};
  MimiConfig c;
  if (mimi_config_parse(&c, mimi_base, strlen(mimi_base), "m", &error) < 0)
    g_error("%s", error.message);
  g_assert_cmpint(c.frame_size, ==, 1920);
  g_assert_cmpint(c.steps, ==, 2);
  g_assert_cmpint(c.dimension, ==, 32);
  g_assert_cmpint(c.n_ratios, ==, 4);
  g_assert_cmpint(c.ratios[0], ==, 8);
  g_assert_cmpint(c.transformer.hidden, ==, 96);
  g_assert_false(c.transformer.gated);
  g_assert_true(c.transformer.layer_scale);
  g_assert_cmpint(c.transformer.context, ==, 20);
  g_assert_cmpint(c.bins, ==, 64);
  g_assert_cmpint(c.q_dim, ==, 16);
  g_assert_cmpint(c.n_q, ==, 32);

  /* the released Mimi: what its own configuration says */
  MimiConfig released;
  mimi_config_default(&released);
  char *text = change(mimi_base,
      "seanet.dimension=512\nseanet.n_filters=64\nquantizer.dimension=256\n"
      "quantizer.bins=2048\nquantizer.input_dimension=512\nquantizer.output_dimension="
      "512\n"
      "transformer.d_model=512\ntransformer.num_heads=8\ntransformer.num_layers=8\n"
      "transformer.context=250\ntransformer.dim_feedforward=2048\n"
      "transformer.input_dimension=512\ntransformer.output_dimensions=[512]");
  if (mimi_config_parse(&c, text, strlen(text), "m", &error) < 0)
    g_error("%s", error.message);
  assert_same(&c, &released);
  g_free(text);
}

/* What json-glib alone would take, or choke on. */
static void
test_not_json(void)
{
  static const Wrong texts[] = {
      {"", "c: broken JSON at byte 0: the text ends too early"},
      {"[]", "c: is not a JSON object"},
      {"1", "c: is not a JSON object"},
      {"{/* */}", "an unexpected character"},
      {"{'a':1}", "an unexpected character"},
      {"{\"a\":NaN}", "an unexpected character"},
      {"{\"a\":1,}", "a comma before the end"},
      {"{\"a\" 1}", "broken JSON at byte 5"},
      {"{\"a\":\"\\u0000\"}", "a NUL character"},
      {"{\"a\":01}", "a number with a leading zero"},
      {"{\"a\":1.}", "a broken number"},
      {"{\"a\":-}", "a broken number"},
      {"{}{}", "text after the end"},
      {"{\"model_type\":\"\xff\"}", "invalid UTF-8"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
    MoshiError error = {0};
    g_assert_null(
        moshi_lm_config_parse(texts[i].changes, strlen(texts[i].changes), "c", &error));
    if (!strstr(error.message, texts[i].message))
      g_error("%s: says \"%s\"", texts[i].changes, error.message);
  }
  GString *deep = g_string_new("{\"a\":");
  for (int i = 0; i < 500000; i++)
    g_string_append_c(deep, '[');
  MoshiError error = {0};
  g_assert_null(moshi_lm_config_parse(deep->str, deep->len, "c", &error));
  g_assert_nonnull(strstr(error.message, "nested too deep"));
  g_string_free(deep, TRUE);
}

static void
test_files(void)
{
  MoshiError error = {0};
  g_assert_null(moshi_lm_config_read("/nonexistent/config.json", &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_NOT_FOUND);
  g_assert_nonnull(strstr(error.message, "/nonexistent/config.json: cannot be opened"));
  const char *source = g_getenv("MOSHI_TEST_SOURCE");
  if (!source)
    return g_test_skip("MOSHI_TEST_SOURCE is not set");
  char *path = g_build_filename(source, "docs", "configs", "moshi-7b.json", NULL);
  MoshiLmConfig *c = moshi_lm_config_read(path, &error);
  if (!c)
    g_error("%s", error.message);
  g_assert_cmpint(c->main.hidden, ==, 11264);
  g_assert_cmpint(c->depth.hidden, ==, 2816);
  g_assert_cmpint(c->n_sets, ==, 8);
  moshi_lm_config_free(c);
  g_free(path);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/config/lm/base", test_lm_base);
  g_test_add_func("/config/lm/defaults", test_lm_defaults);
  g_test_add_func("/config/lm/rules", test_lm_rules);
  g_test_add_func("/config/lm/conditions", test_lm_conditions);
  g_test_add_func("/config/lm/wrong", test_lm_wrong);
  g_test_add_func("/config/mimi/good", test_mimi_good);
  g_test_add_func("/config/mimi/wrong", test_mimi_wrong);
  g_test_add_func("/config/not-json", test_not_json);
  g_test_add_func("/config/files", test_files);
  return g_test_run();
}
