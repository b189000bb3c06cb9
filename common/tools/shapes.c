/* See shapes.h. */
#include "shapes.h"

#include <string.h>

/* ---------------------------------------------------------------- shapes */

#define COMMON                                                                         \
  "\"card\": 2048, \"hidden_scale\": 4.125, \"causal\": true, \"gating\": \"silu\", "  \
  "\"norm\": \"rms_norm_f32\", \"positional_embedding\": \"rope\", "                   \
  "\"existing_text_padding_id\": 3"
#define DEPTH                                                                          \
  "\"depformer_dim\": 1024, \"depformer_num_heads\": 16, "                             \
  "\"depformer_multi_linear\": true, \"depformer_weights_per_step\": true, "           \
  "\"depformer_pos_emb\": \"none\", \"depformer_gating\": \"silu\""
#define DELAYS_8 "0, 1, 1, 1, 1, 1, 1, 1"
#define DELAYS_8_2 "0, 2, 2, 2, 2, 2, 2, 2"
#define DELAYS_16_2 DELAYS_8_2 ", 2, 2, 2, 2, 2, 2, 2, 2"
#define ZEROS_8 "0, 0, 0, 0, 0, 0, 0, 0"
#define ZEROS_32 ZEROS_8 ", " ZEROS_8 ", " ZEROS_8 ", " ZEROS_8
#define DESCRIPTION                                                                    \
  "\"conditioners\": {\"description\": {\"type\": \"lut\", \"lut\": {\"n_bins\": 31, " \
  "\"dim\": 16, \"tokenizer\": \"noop\", \"possible_values\": [\"very_good\"]}}}, "    \
  "\"fuser\": {\"sum\": [\"description\"]}"

const Shape bench_shapes[] = {
    {"mimi", "the released codec", NULL, NULL},
    {"moshi-7b", "Moshiko, Moshika", NULL,
        "{" COMMON ", " DEPTH
        ", \"model_type\": \"moshi\", \"dim\": 4096, \"num_heads\": 32, "
        "\"num_layers\": 32, \"context\": 3000, \"max_period\": 10000, "
        "\"text_card\": 32000, \"n_q\": 16, \"dep_q\": 8, "
        "\"depformer_dim_feedforward\": 4224, \"depformer_num_layers\": 6, "
        "\"delays\": [0, " DELAYS_8 ", " DELAYS_8 "]}"},
    {"moshi-7b-depth", "the 7B with one of its 32 temporal layers", NULL,
        "{" COMMON ", " DEPTH
        ", \"model_type\": \"moshi\", \"dim\": 4096, \"num_heads\": 32, "
        "\"num_layers\": 1, \"context\": 3000, \"max_period\": 10000, "
        "\"text_card\": 32000, \"n_q\": 16, \"dep_q\": 8, "
        "\"depformer_dim_feedforward\": 4224, \"depformer_num_layers\": 6, "
        "\"delays\": [0, " DELAYS_8 ", " DELAYS_8 "]}"},
    {"stt-1b", "speech to text, English and French", NULL,
        "{" COMMON ", \"model_type\": \"stt\", \"dim\": 2048, \"num_heads\": 16, "
        "\"num_layers\": 16, \"context\": 750, \"max_period\": 100000, "
        "\"text_card\": 8000, \"n_q\": 32, \"dep_q\": 0, \"extra_heads_num_heads\": 4, "
        "\"extra_heads_dim\": 6, \"depformer_dim\": 1024, \"depformer_num_heads\": 16, "
        "\"delays\": [0, " ZEROS_32 "]}"},
    {"stt-2.6b", "speech to text, English", NULL,
        "{" COMMON ", \"model_type\": \"stt\", \"dim\": 2048, \"num_heads\": 32, "
        "\"num_layers\": 48, \"context\": 375, \"max_period\": 100000, "
        "\"text_card\": 4000, \"n_q\": 32, \"dep_q\": 0, \"depformer_dim\": 1024, "
        "\"depformer_num_heads\": 16, \"delays\": [0, " ZEROS_32 "]}"},
    {"hibiki-1b", "speech translation, 8 codebooks", NULL,
        "{" COMMON ", " DEPTH ", " DESCRIPTION
        ", \"model_type\": \"hibiki\", \"dim\": 2048, \"num_heads\": 16, "
        "\"num_layers\": 16, \"context\": 500, \"max_period\": 100000, "
        "\"text_card\": 48000, \"n_q\": 16, \"dep_q\": 8, "
        "\"depformer_dim_feedforward\": 4224, \"depformer_num_layers\": 6, "
        "\"delays\": [0, " DELAYS_8_2 ", " DELAYS_8_2 "]}"},
    {"hibiki-2b", "speech translation, 16 codebooks", NULL,
        "{" COMMON ", " DEPTH ", " DESCRIPTION
        ", \"model_type\": \"hibiki\", \"dim\": 2560, \"num_heads\": 20, "
        "\"num_layers\": 24, \"context\": 1500, \"max_period\": 100000, "
        "\"text_card\": 48000, \"n_q\": 32, \"dep_q\": 16, "
        "\"depformer_low_rank_embeddings\": 128, "
        "\"depformer_weights_per_step_schedule\": "
        "[0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8], "
        "\"depformer_dim_feedforward\": 3072, \"depformer_num_layers\": 4, "
        "\"delays\": [0, " DELAYS_16_2 ", " DELAYS_16_2 "]}"},
    {"narrow-7b", "as many layers as Moshiko's: what the host does for a frame", NULL,
        "{" COMMON ", \"model_type\": \"moshi\", \"dim\": 64, \"num_heads\": 2, "
        "\"num_layers\": 32, \"context\": 3000, \"max_period\": 10000, "
        "\"text_card\": 512, \"n_q\": 16, \"dep_q\": 8, "
        "\"depformer_dim\": 32, \"depformer_num_heads\": 2, "
        "\"depformer_multi_linear\": true, \"depformer_weights_per_step\": true, "
        "\"depformer_pos_emb\": \"none\", \"depformer_gating\": \"silu\", "
        "\"depformer_dim_feedforward\": 132, \"depformer_num_layers\": 6, "
        "\"delays\": [0, " DELAYS_8 ", " DELAYS_8 "]}"},
    {"tiny", "the model in the box",
        "{\"sample_rate\": 24000, \"channels\": 1, \"frame_rate\": 12.5, "
        "\"seanet\": {\"channels\": 1, \"dimension\": 128, \"causal\": true, "
        "\"n_filters\": 16, \"n_residual_layers\": 1, \"activation\": \"ELU\", "
        "\"compress\": 2, \"dilation_base\": 2, \"kernel_size\": 7, "
        "\"residual_kernel_size\": 3, \"last_kernel_size\": 3, \"norm\": \"none\", "
        "\"pad_mode\": \"constant\", \"ratios\": [8, 6, 5, 4], \"true_skip\": true}, "
        "\"transformer\": {\"d_model\": 128, \"num_heads\": 4, \"num_layers\": 2, "
        "\"causal\": true, \"layer_scale\": 0.01, \"context\": 32, "
        "\"conv_layout\": true, \"max_period\": 10000, \"gating\": \"none\", "
        "\"norm\": \"layer_norm\", \"positional_embedding\": \"rope\", "
        "\"dim_feedforward\": 256, \"input_dimension\": 128, "
        "\"output_dimensions\": [128]}, \"quantizer\": {\"dimension\": 64, \"n_q\": 8, "
        "\"bins\": 256, \"input_dimension\": 128, \"output_dimension\": 128}}",
        "{\"model_type\": \"moshi\", \"dim\": 128, \"text_card\": 512, "
        "\"existing_text_padding_id\": 3, \"n_q\": 16, \"dep_q\": 8, \"card\": 256, "
        "\"num_heads\": 4, \"num_layers\": 4, \"hidden_scale\": 4.125, "
        "\"causal\": true, \"context\": 64, \"max_period\": 10000, "
        "\"gating\": \"silu\", \"norm\": \"rms_norm_f32\", "
        "\"positional_embedding\": \"rope\", \"depformer_dim\": 64, "
        "\"depformer_dim_feedforward\": 128, \"depformer_num_heads\": 4, "
        "\"depformer_num_layers\": 2, \"depformer_multi_linear\": true, "
        "\"depformer_gating\": \"silu\", \"depformer_pos_emb\": \"none\", "
        "\"depformer_weights_per_step\": true, "
        "\"delays\": [0, " DELAYS_8 ", " DELAYS_8 "]}"},
    {0},
};

const Shape *
bench_shape_find(const char *name)
{
  for (const Shape *shape = bench_shapes; shape->name; shape++)
    if (!strcmp(shape->name, name))
      return shape;
  return NULL;
}
