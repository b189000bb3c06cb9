/* See shapes.h. */
#include "shapes.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "../error.h"

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

/* -------------------------------------------------------- random weights */

/* A prime number of values is repeated, so that no two rows are equal. */
enum { TILE = 1000003 };

typedef struct {
  MoshiTensor tensor;
  bool filled;
} Invented;

struct RandomWeights {
  GHashTable *tensors; /* name → Invented */
  MoshiDtype dtype;    /* of matrices; vectors are f32 */
  void *tile;          /* of dtype, nothing that grows or dies over the layers */
  bool filling;
  MoshiInvention invention;
};

static void
invented_free(void *item)
{
  Invented *v = item;
  if (v->tensor.data)
    munmap((void *)v->tensor.data, v->tensor.bytes);
  g_free((char *)v->tensor.name);
  g_free(v);
}

/* Untouched, and so without memory, until it is filled. */
static Invented *
invent(RandomWeights *r, const char *name, int n_dims, const int64_t *dims)
{
  Invented *v = g_new0(Invented, 1);
  MoshiTensor *t = &v->tensor;
  t->name = g_strdup(name);
  t->dtype = n_dims > 1 ? r->dtype : MOSHI_DTYPE_F32;
  t->n_dims = n_dims;
  t->bytes = t->dtype == MOSHI_DTYPE_F32 ? 4 : 2;
  for (int i = 0; i < n_dims; i++)
    t->bytes *= t->dims[i] = dims[i];
  void *data = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  t->data = data == MAP_FAILED ? NULL : data;
  g_hash_table_insert(r->tensors, (char *)t->name, v);
  return v;
}

static void
fill(RandomWeights *r, Invented *v)
{
  const MoshiTensor *t = &v->tensor;
  char *data = (char *)t->data;
  v->filled = true;
  if (t->n_dims == 1) {
    /* Norms, usage counts and biases: ones do for all of them. */
    for (size_t i = 0; i < t->bytes / 4; i++)
      ((float *)data)[i] = 1;
    return;
  }
  size_t tile_bytes = (size_t)TILE * (t->dtype == MOSHI_DTYPE_F32 ? 4 : 2);
  for (size_t done = 0; done < t->bytes; done += tile_bytes)
    memcpy(data + done, r->tile, MIN(tile_bytes, t->bytes - done));
}

static const MoshiTensor *
source(void *cookie, const char *name, int n_dims, const int64_t *dims)
{
  RandomWeights *r = cookie;
  Invented *v = g_hash_table_lookup(r->tensors, name);
  if (!v)
    v = invent(r, name, n_dims, dims);
  if (!v->tensor.data)
    return NULL;
  if (r->filling && !v->filled)
    fill(r, v);
  return &v->tensor;
}

static RandomWeights *
random_new(const Shape *shape, MoshiDtype dtype)
{
  RandomWeights *r = g_new0(RandomWeights, 1);
  r->tensors = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, invented_free);
  r->dtype = dtype;
  r->tile = g_malloc((size_t)TILE * (dtype == MOSHI_DTYPE_F32 ? 4 : 2));
  GRand *rand = g_rand_new_with_seed(1);
  for (int i = 0; i < TILE; i++) {
    float value = g_rand_double_range(rand, -0.04, 0.04);
    if (dtype == MOSHI_DTYPE_F32)
      ((float *)r->tile)[i] = value;
    else
      ((uint16_t *)r->tile)[i] = moshi_f32_to_bf16(value);
  }
  g_rand_free(rand);
  r->invention = (MoshiInvention){.name = shape->name,
      .mimi = shape->mimi,
      .lm = shape->lm,
      .source = source,
      .cookie = r};
  return r;
}

MoshiModel *
bench_random_model(RandomWeights **weights, const Shape *shape,
    const MoshiModelOptions *options, MoshiError *error)
{
  bool lm = options->parts & MOSHI_PART_LM;
  if (lm && !shape->lm) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "shape \"%s\" has no language model; see --help", shape->name);
    return NULL;
  }
  RandomWeights *r = random_new(shape, lm ? MOSHI_DTYPE_BF16 : MOSHI_DTYPE_F32);
  MoshiModel *model = moshi_model_invent(options, &r->invention, error);
  r->filling = true;
  if (model && moshi_model_load(model, NULL, NULL, error))
    g_clear_pointer(&model, moshi_model_unref);
  if (model)
    *weights = r;
  else
    bench_random_free(r);
  return model;
}

void
bench_random_free(RandomWeights *weights)
{
  if (!weights)
    return;
  g_hash_table_unref(weights->tensors);
  g_free(weights->tile);
  g_free(weights);
}
