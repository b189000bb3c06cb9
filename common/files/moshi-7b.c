/* The one configuration that is known without a file. It is taken when the tensors
 * agree with it, and never else: sizes are not guessed. */
#include "moshi-7b.h"

#include <glib.h>

#include "dialect.h"

const char moshi_7b_config[] =
    "{\"model_type\": \"moshi\", \"moshi_name\": \"model.safetensors\", "
    "\"mimi_name\": \"tokenizer-e351c8d8-checkpoint125.safetensors\", "
    "\"tokenizer_name\": \"tokenizer_spm_32k_3.model\", \"dim\": 4096, "
    "\"text_card\": 32000, \"existing_text_padding_id\": 3, \"n_q\": 16, \"dep_q\": 8, "
    "\"card\": 2048, \"num_heads\": 32, \"num_layers\": 32, \"hidden_scale\": 4.125, "
    "\"causal\": true, \"layer_scale\": null, \"context\": 3000, \"max_period\": "
    "10000, "
    "\"gating\": \"silu\", \"norm\": \"rms_norm_f32\", "
    "\"positional_embedding\": \"rope\", \"depformer_dim\": 1024, "
    "\"depformer_dim_feedforward\": 4224, \"depformer_num_heads\": 16, "
    "\"depformer_num_layers\": 6, \"depformer_layer_scale\": null, "
    "\"depformer_multi_linear\": true, \"depformer_context\": 8, "
    "\"depformer_max_period\": 10000, \"depformer_gating\": \"silu\", "
    "\"depformer_pos_emb\": \"none\", \"depformer_weights_per_step\": true, "
    "\"delays\": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]}";

/* Rows of a table, 0 where there is none. */
static int64_t
rows_of(const MoshiNames *names, const MoshiCheckpoint *c, const char *name)
{
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  moshi_names_locate(names, c, name, pieces);
  if (!moshi_checkpoint_has(c, pieces[0].name))
    return 0;
  const MoshiTensor *t = moshi_checkpoint_find(c, pieces[0].name);
  return t->n_dims ? t->dims[0] : 0;
}

bool
moshi_7b_is(const MoshiCheckpoint *c)
{
  static const struct {
    const char *name;
    int64_t rows; /* 0: there is none */
  } signs[] = {
      {"text_emb.weight", 32001},
      {"emb.15.weight", 2049},
      {"emb.16.weight", 0},
      {"linears.7.weight", 2048},
      {"linears.8.weight", 0},
      {"transformer.layers.31.self_attn.out_projs.0.weight", 4096},
      {"transformer.layers.32.self_attn.out_projs.0.weight", 0},
      {"depformer_in.7.weight", 1024},
      {"extra_heads.0.weight", 0},
  };
  MoshiNames names;
  if (!moshi_names_of_lm(&names, c, NULL))
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS(signs); i++)
    if (rows_of(&names, c, signs[i].name) != signs[i].rows)
      return false;
  return true;
}
