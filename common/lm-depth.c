/* The depth transformer: one run a frame, one step a codebook, each step fed
 * with the temporal transformer's output and the token sampled just before.
 * Reference: LMModel.forward_depformer, LMGen.depformer_step. */
#include "lm-session.h"

/* z[branches·n][depth dim] = depth_in[set] · x */
static void
project(MoshiSession *s, int set, int rows)
{
  const MoshiLinear *in = &s->w->depth_in[set];
  size_t from = in->w.m.cols, to = in->w.m.rows;
  MoshiLinearOp op = {.w = &in->w,
      .x = {s->x, from, from},
      .y = {s->z, to, to},
      .batch = rows,
      .steps = 1};
  s->d->ops->linear(s->d, &op);
}

/* A sampled text token may be two in one id, where the vocabulary of the output
 * is that large: split on the host, as only then it is needed. */
static bool
split_text(MoshiSession *s, int n)
{
  const MoshiLmConfig *c = &s->w->config;
  int32_t width = 1 + c->dep_q, base = c->text_card + 1;
  if (!c->demux || c->text_card_out <= base)
    return false;
  s->d->ops->download(
      s->d, s->generated, s->d_generated, (size_t)n * width * sizeof(int32_t));
  for (int i = 0; i < n; i++) {
    int32_t token = s->generated[i * width];
    s->input[2 * i] = token % base;
    s->input[2 * i + 1] = token / base - 1;
  }
  s->d->ops->upload(s->d, s->d_input, s->input, 2 * n * sizeof(int32_t));
  return true;
}

static void
embed(MoshiSession *s, int k, int n)
{
  const MoshiLmWeights *w = s->w;
  const MoshiEmbedding *table = k ? &w->depth_emb[k - 1] : &w->depth_text_emb;
  size_t width = 1 + w->config.dep_q;
  if (k == 0 && split_text(s, n))
    moshi_embedding_add(table, s->d, &s->embedding, s->z, s->d_input, s->d_input + 1, 2,
        n, s->branches);
  else
    moshi_embedding_add(table, s->d, &s->embedding, s->z, s->d_generated + k, NULL,
        width, n, s->branches);
}

/* logits[branches·n][card] = linears[k] · norm_k(z) */
static void
head(MoshiSession *s, int k, int rows)
{
  const MoshiLmWeights *w = s->w;
  size_t dim = w->config.depth.dim, card = w->config.card;
  if (w->depth_norms)
    s->d->ops->norm(s->d, &w->depth_norms[k].op, s->z, s->z, rows, dim);
  MoshiLinearOp op = {.w = &w->linears[k].w,
      .x = {s->z, dim, dim},
      .y = {s->logits, card, card},
      .batch = rows,
      .steps = 1,
      .bias = w->linears[k].bias};
  s->d->ops->linear(s->d, &op);
}

void
moshi_lm_depth_run(MoshiSession *s, int n)
{
  const MoshiLmConfig *c = &s->w->config;
  int rows = s->branches * n;
  /* Its memory is that of one frame: rows need no slots of their own. */
  const int *slots = s->embedding.slots;
  for (int i = 0; i < rows; i++)
    moshi_transformer_state_reset(&s->depth, i);
  for (int k = 0; k < c->dep_q; k++) {
    project(s, c->multi_linear ? c->schedule[k] : 0, rows);
    embed(s, k, n);
    moshi_transformer_step(&s->w->depth, &s->depth, s->d, s->z, 1, slots, rows,
        c->weights_per_step ? c->schedule[k] : 0);
    head(s, k, rows);
    moshi_lm_draw(s, n, 1 + k, c->card, s->audio_logits + (size_t)k * c->card,
        (size_t)c->dep_q * c->card);
  }
}
