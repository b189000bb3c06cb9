/* See traffic.h. */
#include "traffic.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "../files/checkpoint.h"

/* Keys and values of a transformer whose ring holds min(steps, context). */
static double
cache_bytes(const MoshiTransformerConfig *c, MoshiKv kv, double steps)
{
  double row = moshi_head_dim(c) * moshi_kv_size(kv);
  if (kv == MOSHI_KV_I8)
    row += sizeof(float);
  return 2.0 * c->n_layers * MIN(steps, c->context) * moshi_kv_heads(c) * row;
}

/* ------------------------------------------------------------------ Mimi */

/* Mimi's matrices are as they were packed, and it touches all its weights but
 * those of the quantizer: the walk that checks a model tells what they are. */
typedef struct {
  bool encodes;
  int codebooks, batch;
  double matrix_size; /* of an element */
  double bytes;
  MoshiTensor tensor; /* the last one asked for */
} Walk;

static double
codebook_elements(const Walk *w, const char *name, const int64_t *dims)
{
  int level = 0;
  const char *at = strstr(name, ".layers.");
  if (at)
    sscanf(at, ".layers.%d.", &level);
  if (strstr(name, "rvq_rest"))
    level++;
  if (level >= w->codebooks || !g_str_has_suffix(name, "embedding_sum"))
    return 0;
  /* The search reads all rows, as bf16; the decoder looks one up. */
  return w->encodes ? dims[0] * dims[1] : w->batch * dims[1];
}

static const MoshiTensor *
count_tensor(void *cookie, const char *name, int n_dims, const int64_t *dims)
{
  Walk *w = cookie;
  double elements = 1;
  w->tensor =
      (MoshiTensor){.name = "", .dtype = MOSHI_DTYPE_F32, .n_dims = n_dims, .data = w};
  for (int i = 0; i < n_dims; i++)
    elements *= w->tensor.dims[i] = dims[i];
  if (strstr(name, "._codebook."))
    w->bytes += (w->encodes ? sizeof(uint16_t) : sizeof(float)) *
                codebook_elements(w, name, dims);
  else
    w->bytes += (n_dims > 1 ? w->matrix_size : sizeof(float)) * elements;
  return &w->tensor;
}

static double
mimi_bytes(const MoshiModel *model, Walk *walk, double steps)
{
  static const char empty[] = "\x02\0\0\0\0\0\0\0{}";
  const MimiConfig *config = moshi_model_mimi_config(model);
  MoshiError error;
  MoshiCheckpoint *nothing =
      moshi_checkpoint_from_memory(empty, sizeof empty - 1, "walk", &error);
  MoshiLoader l = {.checkpoint = nothing,
      .source = count_tensor,
      .source_cookie = walk,
      .error = &error};
  walk->matrix_size = moshi_rows_bytes(moshi_model_mimi_type(model), 1);
  if (walk->encodes)
    mimi_encoder_weights_load(&l, config);
  else
    mimi_decoder_weights_load(&l, config);
  moshi_checkpoint_unref(nothing);
  /* Every step of the frame reads the cache, all of them the weights once. */
  return walk->bytes + walk->batch * config->steps *
                           cache_bytes(&config->transformer, MOSHI_KV_F32, steps);
}

double
traffic_mimi_encode(const MoshiModel *model, int codebooks, int batch, double steps)
{
  Walk walk = {.encodes = true, .codebooks = codebooks, .batch = batch};
  return mimi_bytes(model, &walk, steps);
}

double
traffic_mimi_decode(const MoshiModel *model, int codebooks, int batch, double steps)
{
  Walk walk = {.codebooks = codebooks, .batch = batch};
  return mimi_bytes(model, &walk, steps);
}

/* -------------------------------------------------------- language model */

static double
matrix_bytes(const MoshiLinear *l)
{
  const MoshiRows *m = &l->w.m;
  const size_t panels = l->w.packed ? moshi_row_panels_bytes(m) : 0;
  return panels ? panels : moshi_rows_size(m);
}

/* One row of the table, and what projects it. */
static double
embedding_bytes(const MoshiEmbedding *e, int rows)
{
  const MoshiRows *table = &e->table.w.m;
  double bytes = (double)rows * moshi_rows_size(table) / table->rows;
  if (e->low_rank.w.m.data)
    bytes += matrix_bytes(&e->low_rank);
  if (e->demux)
    bytes += matrix_bytes(&e->out1) + matrix_bytes(&e->out2);
  return bytes;
}

/* All layers with their weight set `set`. Of a cross attention the keys and
 * values were projected when the session began. */
static double
transformer_bytes(const MoshiTransformer *t, int set)
{
  double bytes = 0;
  for (int i = 0; i < t->config.n_layers; i++) {
    const MoshiTransformerLayer *l = &t->layers[i];
    bytes += matrix_bytes(&l->in_proj[set]) + matrix_bytes(&l->out_proj[set]) +
             matrix_bytes(&l->linear1[set]) + matrix_bytes(&l->linear2[set]);
    if (l->cross_in.w.m.data)
      bytes += matrix_bytes(&l->cross_in) / 3 + matrix_bytes(&l->cross_out);
  }
  return bytes;
}

double
traffic_lm_depth(const MoshiSession *s)
{
  const MoshiLmWeights *w = s->w;
  const MoshiLmConfig *c = &w->config;
  int rows = s->batch * s->branches;
  double bytes = 0;
  for (int k = 0; k < c->dep_q; k++) {
    bytes += matrix_bytes(&w->depth_in[c->multi_linear ? c->schedule[k] : 0]);
    bytes += transformer_bytes(&w->depth, c->weights_per_step ? c->schedule[k] : 0);
    bytes += embedding_bytes(k ? &w->depth_emb[k - 1] : &w->depth_text_emb, rows);
    bytes += matrix_bytes(&w->linears[k]);
  }
  return bytes;
}

double
traffic_lm_step(const MoshiSession *s, double steps)
{
  const MoshiLmWeights *w = s->w;
  const MoshiLmConfig *c = &w->config;
  int rows = s->batch * s->branches;
  double bytes = transformer_bytes(&w->main, 0) + matrix_bytes(&w->text_linear) +
                 embedding_bytes(&w->text_emb, rows);
  for (int k = 0; k < c->n_q; k++)
    bytes += embedding_bytes(&w->emb[k], rows);
  for (int i = 0; i < c->extra_heads; i++)
    bytes += matrix_bytes(&w->extra_heads[i]);
  bytes += rows * cache_bytes(&w->main.config, s->main.kv, MIN(steps, s->main.context));
  bytes += 2.0 * rows * c->main.n_layers * s->main.cross_length * c->main.dim *
           sizeof(float);
  return bytes + traffic_lm_depth(s);
}
