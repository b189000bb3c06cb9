/* The language model's weights: which tensors, of which shapes. Reference:
 * LMModel.__init__ of moshi/models/lm.py; names: docs/model-files.md. */
#include "lm.h"

#include <glib.h>

#include "error.h"
#include "lm-weights.h"

static MoshiEmbeddingKind
embedding_kind(const MoshiLmConfig *c, bool text, bool depth)
{
  return (MoshiEmbeddingKind){.low_rank = depth ? c->low_rank : 0,
      .norm = c->norm_emb,
      .demux = text && c->demux};
}

static void
load_head(MoshiLoader *l, MoshiLinear *head, bool bias, int rows, int cols,
    const char *prefix)
{
  moshi_load_linear(l, head, rows, cols, "%s.weight", prefix);
  if (bias)
    moshi_load_vector(l, &head->bias, rows, "%s.bias", prefix);
}

static void
load_temporal(MoshiLmWeights *w, MoshiLoader *l)
{
  const MoshiLmConfig *c = &w->config;
  int dim = c->main.dim;
  char name[64];
  for (int k = 0; k < c->n_q; k++) {
    g_snprintf(name, sizeof name, "emb.%d", k);
    moshi_embedding_load(
        &w->emb[k], l, c->card + 1, dim, embedding_kind(c, false, false), name);
  }
  moshi_embedding_load(&w->text_emb, l, c->text_card + 1, dim,
      embedding_kind(c, true, false), "text_emb");
  moshi_transformer_load(&w->main, l, &c->main, 1, NULL, false, false, "transformer");
  moshi_load_norm(l, &w->out_norm, c->main.norm, dim, "out_norm");
  load_head(l, &w->text_linear, c->bias_proj, c->text_card_out, dim, "text_linear");
  for (int i = 0; i < c->extra_heads; i++)
    moshi_load_linear(
        l, &w->extra_heads[i], c->extra_head_size, dim, "extra_heads.%d.weight", i);
}

static void
load_depth(MoshiLmWeights *w, MoshiLoader *l)
{
  const MoshiLmConfig *c = &w->config;
  int dim = c->depth.dim;
  char name[64];
  for (int i = 0; i < c->n_in_sets; i++)
    moshi_load_linear(
        l, &w->depth_in[i], dim, c->main.dim, "depformer_in.%d.weight", i);
  moshi_embedding_load(&w->depth_text_emb, l, c->text_card + 1, dim,
      embedding_kind(c, true, true), "depformer_text_emb");
  for (int k = 0; k < c->dep_q - 1; k++) {
    g_snprintf(name, sizeof name, "depformer_emb.%d", k);
    moshi_embedding_load(
        &w->depth_emb[k], l, c->card + 1, dim, embedding_kind(c, false, true), name);
  }
  moshi_transformer_load(&w->depth, l, &c->depth, c->n_sets, c->depth_hidden,
      c->weights_per_step, false, "depformer");
  for (int k = 0; k < c->dep_q; k++) {
    if (c->depth_norm)
      moshi_load_norm(
          l, &w->depth_norms[k], c->depth_norm_kind, dim, "depformer_norms.%d", k);
    g_snprintf(name, sizeof name, "linears.%d", k);
    load_head(l, &w->linears[k], c->bias_proj, c->card, dim, name);
  }
}

/* What the parts of a configuration ask of each other. */
static void
check_config(const MoshiLmConfig *c, MoshiLoader *l)
{
  const char *path = moshi_checkpoint_path(l->checkpoint);
  if (!c->demux && c->text_card_out > c->text_card + 1)
    /* Text that is spoken is heard in the next step. */
    l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL,
        "%s: text_card_out is %d, but only %d text tokens can be embedded", path,
        c->text_card_out, c->text_card + 1);
  else if (c->main.cross_attention != (c->n_cross > 0))
    l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL,
        "%s: cross_attention and the fuser's \"cross\" conditions need each other",
        path);
}

MoshiLmWeights *
moshi_lm_weights_load(MoshiLoader *l, const MoshiLmConfig *config)
{
  moshi_names_of_lm(&l->names, l->checkpoint, config);
  if (!l->status)
    check_config(config, l);
  if (l->status)
    return NULL;
  MoshiLmWeights *w = g_new0(MoshiLmWeights, 1);
  w->config = *config;
  w->config.conditioners = g_memdup2(
      config->conditioners, config->n_conditioners * sizeof *config->conditioners);
  w->emb = g_new0(MoshiEmbedding, config->n_q);
  w->extra_heads = g_new0(MoshiLinear, config->extra_heads);
  w->conditioners = g_new0(MoshiConditioner, config->n_conditioners);
  load_temporal(w, l);
  if (config->dep_q > 0) {
    w->depth_in = g_new0(MoshiLinear, config->n_in_sets);
    w->depth_emb = g_new0(MoshiEmbedding, config->dep_q - 1);
    w->depth_norms = config->depth_norm ? g_new0(MoshiNorm, config->dep_q) : NULL;
    w->linears = g_new0(MoshiLinear, config->dep_q);
    load_depth(w, l);
  }
  for (int i = 0; i < config->n_conditioners; i++)
    moshi_conditioner_load(
        &w->conditioners[i], l, &w->config.conditioners[i], config->main.dim);
  if (l->status || !l->device) {
    moshi_lm_weights_free(w, l->device);
    return NULL;
  }
  return w;
}

static void
free_linears(MoshiDevice *d, MoshiLinear *linears, int n)
{
  for (int i = 0; d && linears && i < n; i++)
    moshi_linear_free(d, &linears[i]);
  g_free(linears);
}

static void
free_embeddings(MoshiDevice *d, MoshiEmbedding *embeddings, int n)
{
  for (int i = 0; embeddings && i < n; i++)
    moshi_embedding_free(&embeddings[i], d);
  g_free(embeddings);
}

void
moshi_lm_weights_free(MoshiLmWeights *w, MoshiDevice *d)
{
  if (!w)
    return;
  const MoshiLmConfig *c = &w->config;
  free_embeddings(d, w->emb, c->n_q);
  free_embeddings(d, w->depth_emb, c->dep_q - 1);
  moshi_embedding_free(&w->text_emb, d);
  moshi_embedding_free(&w->depth_text_emb, d);
  moshi_transformer_free(&w->main, d);
  moshi_transformer_free(&w->depth, d);
  free_linears(d, w->extra_heads, c->extra_heads);
  free_linears(d, w->depth_in, c->n_in_sets);
  free_linears(d, w->linears, c->dep_q);
  if (d) {
    moshi_norm_free(d, &w->out_norm);
    moshi_linear_free(d, &w->text_linear);
    for (int k = 0; w->depth_norms && k < c->dep_q; k++)
      moshi_norm_free(d, &w->depth_norms[k]);
    for (int i = 0; i < c->n_conditioners; i++)
      moshi_conditioner_free(&w->conditioners[i], d);
  }
  g_free(w->depth_norms);
  g_free(w->conditioners);
  g_free(w->config.conditioners);
  g_free(w);
}
