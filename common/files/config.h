/* config.json of a language model and the optional mimi_config.json of a
 * codec: every field with the reference's default (moshi/models/loaders.py,
 * lm.py), checked against limits before use. Unknown keys are an error, as in
 * the reference. */
#ifndef MOSHI_FILES_CONFIG_H
#define MOSHI_FILES_CONFIG_H

#include <stdbool.h>

#include "../moshi.h"
#include "../../kernels/kernels.h"

#define MOSHI_MAX_CODEBOOKS 64
#define MOSHI_MAX_CONDITIONS 16
#define MOSHI_MAX_LUT 256
#define MOSHI_MAX_RATIOS 8
#define MOSHI_NAME_SIZE 256

typedef enum {
  MOSHI_NORM_RMS_F32,   /* eps 1e-8 */
  MOSHI_NORM_RMS,       /* eps 1e-5 */
  MOSHI_NORM_LAYER,     /* eps 1e-5 */
  MOSHI_NORM_LAYER_F32, /* eps 1e-8 */
} MoshiNormKind;

typedef enum {
  MOSHI_POSITION_NONE,
  MOSHI_POSITION_SIN,
  MOSHI_POSITION_ROPE,
  MOSHI_POSITION_SIN_ROPE,
  MOSHI_POSITION_ROPE_CONCAT, /* pairs (j, j + d/2) */
} MoshiPosition;

/* One transformer stack. */
typedef struct {
  int dim, n_heads, n_layers, kv_repeat;
  bool gated; /* gated MLP of activation `act`; else linear2(gelu(linear1)) */
  MoshiAct act;
  int hidden; /* inner width of the MLP; of set 0 */
  MoshiNormKind norm;
  bool layer_scale;
  MoshiPosition position;
  float max_period;
  int context; /* keys a query sees; ring size */
  bool cross_attention;
} MoshiTransformerConfig;

typedef struct {
  char name[MOSHI_NAME_SIZE];
  bool tensor; /* else a lookup table */
  int n_bins, dim;
  int n_values; /* 0: values are hashed */
  char values[MOSHI_MAX_LUT][64];
} MoshiConditionerConfig;

typedef struct {
  /* files, as written in the config ("" when absent); hf:// and file:// too */
  char moshi_name[MOSHI_NAME_SIZE], mimi_name[MOSHI_NAME_SIZE];
  char tokenizer_name[MOSHI_NAME_SIZE], mimi_config_name[MOSHI_NAME_SIZE];
  char lora_name[MOSHI_NAME_SIZE];
  char model_type[64];
  MoshiTransformerConfig main, depth;
  int n_q, dep_q, card, text_card, text_card_out;
  int delays[MOSHI_MAX_CODEBOOKS + 1]; /* text, own, user */
  int max_delay;
  int text_padding, text_end_padding;
  bool norm_emb, bias_proj, demux;
  /* depth transformer */
  bool multi_linear, weights_per_step;
  int schedule[MOSHI_MAX_CODEBOOKS];     /* set of each step, where steps have sets */
  int n_sets, n_in_sets;                 /* weight sets; input projections */
  int depth_hidden[MOSHI_MAX_CODEBOOKS]; /* MLP width of each set */
  int low_rank;                          /* 0: none */
  bool depth_norm;
  MoshiNormKind depth_norm_kind;
  int extra_heads, extra_head_size;
  /* conditions */
  int n_conditioners;
  MoshiConditionerConfig *conditioners;
  int n_sum, sum[MOSHI_MAX_CONDITIONS]; /* indices of conditioners */
  int n_cross, cross[MOSHI_MAX_CONDITIONS];
  bool cross_pos_emb;
  float cross_pos_emb_scale;
  /* lm_gen_config */
  float temp, temp_text, cfg_coef;
  int top_k, top_k_text;
  bool use_sampling;
  /* stt_config, tts_config */
  float audio_delay, silence_prefix;
  bool multistream;
  bool quantize;
  bool transformers; /* the file is transformers' own, the codec's sizes are in it */
} MoshiLmConfig;

/* NULL on error. Free with moshi_lm_config_free. */
MoshiLmConfig *moshi_lm_config_read(const char *path, MoshiError *error);
MoshiLmConfig *moshi_lm_config_parse(
    const char *json, size_t size, const char *label, MoshiError *error);
void moshi_lm_config_free(MoshiLmConfig *config);

typedef struct {
  int sample_rate;
  int frame_size; /* samples, sample_rate / frame_rate */
  int steps;      /* of the transformers in a frame: the stride of the downsampling */
  /* SEANet */
  int dimension, n_filters, n_residual_layers, kernel_size;
  int residual_kernel_size, last_kernel_size, dilation_base, compress;
  int n_ratios, ratios[MOSHI_MAX_RATIOS]; /* in the decoder's order */
  MoshiTransformerConfig transformer;     /* hidden = dim_feedforward */
  /* quantizer */
  int q_dim, n_q, bins;
} MimiConfig;

/* The released Mimi: moshi/models/loaders.py. */
void mimi_config_default(MimiConfig *config);
/* mimi_config.json, or transformers' config.json of a Mimi or of a Moshi with one. */
int mimi_config_read(MimiConfig *config, const char *path, MoshiError *error);
int mimi_config_parse(MimiConfig *config, const char *json, size_t size,
    const char *label, MoshiError *error);
/* Whether a file is transformers' config.json of a MimiModel. */
bool mimi_config_is(const char *path);

#endif
