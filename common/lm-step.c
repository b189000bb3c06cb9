/* A step of a MoshiSession: in order, the tokens of all rows from the ring, their
 * embeddings' sum, the temporal transformer, a text token, the depth
 * transformer's codes, and back into the ring. Between the one copy in and the
 * one copy out everything stays on the device.
 * Reference: LMGen._step, LMModel.forward_text of moshi/models/lm.py. */
#include <glib.h>
#include <string.h>

#include "error.h"
#include "lm-session.h"

int
moshi_lm_input_width(const MoshiLmConfig *c)
{
  return 1 + c->n_q + c->demux;
}

int
moshi_lm_check_codes(const MoshiLmConfig *c, const int32_t *user, MoshiError *error)
{
  for (int k = 0; k < c->n_q - c->dep_q; k++)
    if (user[k] < MOSHI_TOKEN_NONE || user[k] > c->card)
      return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
          "user code %d is %d; the model takes -1 (none) to %d", k, user[k], c->card);
  return 0;
}

static int
check_codes(
    const MoshiSession *s, const int32_t *user, const uint8_t *run, MoshiError *error)
{
  const MoshiLmConfig *c = &s->w->config;
  int status = 0;
  for (int slot = 0; slot < s->batch && !status; slot++)
    if (!run || run[slot])
      status = moshi_lm_check_codes(c, user + slot * (c->n_q - c->dep_q), error);
  return status;
}

/* Lists the running slots, once per branch; returns how many there are. */
static int
list_slots(MoshiSession *s, const uint8_t *run)
{
  int n = 0;
  for (int slot = 0; slot < s->batch; slot++)
    if (!run || run[slot])
      s->slots[n++] = slot;
  for (int i = 0; i < n && s->branches == 2; i++)
    s->slots[n + i] = s->batch + s->slots[i];
  return n;
}

/* Hibiki ends its sentences too early: its end hears as padding
 * (CheckpointInfo.get_moshi). */
static int32_t
heard_text(const MoshiLmConfig *c, int32_t token)
{
  return token == 2 && !strcmp(c->model_type, "hibiki") ? 3 : token;
}

/* Returns whether there is a second text token in any row. */
static bool
gather_input(MoshiSession *s, const int32_t *user, int n)
{
  const MoshiLmConfig *c = &s->w->config;
  int width = moshi_lm_input_width(c), base = c->text_card + 1;
  bool second = false;
  for (int i = 0; i < n; i++) {
    int32_t *row = s->input + i * width;
    moshi_lm_tokens_input(
        &s->tokens, s->slots[i], user + s->slots[i] * (c->n_q - c->dep_q), row);
    if (c->demux) {
      row[width - 1] = heard_text(c, row[0] / base - 1);
      row[0] %= base;
      second |= row[width - 1] >= 0;
    }
    row[0] = heard_text(c, row[0]);
  }
  return second;
}

/* x[branches·n][dim]: embeddings in the reference's order, then conditions. */
static void
embed_input(MoshiSession *s, int n, bool second)
{
  const MoshiLmWeights *w = s->w;
  MoshiDevice *d = s->d;
  int dim = w->config.main.dim, width = moshi_lm_input_width(&w->config);
  d->ops->upload(d, s->d_input, s->input, (size_t)n * width * sizeof(int32_t));
  moshi_embedding_clear(&s->embedding, d, s->x, s->branches * n, dim);
  for (int k = 0; k < w->config.n_q; k++)
    moshi_embedding_add(&w->emb[k], d, &s->embedding, s->x, s->d_input + 1 + k, NULL,
        width, n, s->branches);
  moshi_embedding_add(&w->text_emb, d, &s->embedding, s->x, s->d_input,
      second ? s->d_input + width - 1 : NULL, width, n, s->branches);
  for (int b = 0; b < s->branches; b++)
    if (s->condition[b])
      d->ops->add(d, s->x + (size_t)b * n * dim, s->condition[b], 0, NULL, n, dim);
}

/* The random numbers of the step are settled before it starts, and what is
 * changed of the text's logits. */
static void
plan_draws(MoshiSession *s, int n)
{
  int own = 1 + s->w->config.dep_q;
  s->n_edits = 0;
  for (int i = 0; i < n; i++) {
    const MoshiSampling *sampling = &s->sampling[s->slots[i]];
    uint64_t counter = s->draws_made[s->slots[i]];
    for (int r = 0; r < own; r++)
      s->draws[r * n + i] = (MoshiDraw){
          .temperature = r ? sampling->temperature : sampling->text_temperature,
          .top_k = MAX(r ? sampling->top_k : sampling->text_top_k, 0),
          .seed = sampling->seed,
          .counter = counter + r};
    s->draws_made[s->slots[i]] += own;
    s->n_edits =
        moshi_lm_spoken_edits(&s->spoken, s->slots[i], i, sampling, s->n_edits);
  }
}

void
moshi_lm_draw(
    MoshiSession *s, int n, int index, int size, float *kept, size_t kept_stride)
{
  MoshiDevice *d = s->d;
  int own = 1 + s->w->config.dep_q;
  if (s->branches == 2)
    d->ops->guide(d, s->logits, s->logits, s->logits + (size_t)n * size, s->cfg_coef,
        (size_t)n * size);
  d->ops->store(d, s->logits, size, kept, kept_stride, size, s->slots, n);
  if (index == 0 && s->n_edits)
    d->ops->edit(d, s->logits, size, s->spoken.edits, s->n_edits);
  d->ops->sample(
      d, s->logits, n, size, s->draws + index * n, s->d_generated + index, own);
}

static void
text_step(MoshiSession *s, int n)
{
  const MoshiLmWeights *w = s->w;
  size_t dim = w->config.main.dim, size = w->config.text_card_out;
  MoshiLinearOp op = {.w = &w->text_linear.w,
      .x = {s->x, dim, dim},
      .y = {s->logits, size, size},
      .batch = s->branches * n,
      .steps = 1,
      .bias = w->text_linear.bias};
  s->d->ops->linear(s->d, &op);
  moshi_lm_draw(s, n, 0, size, s->text_logits, size);
}

/* Small classifiers on what was heard; of the branch with conditions. */
static void
heads_step(MoshiSession *s, int n)
{
  const MoshiLmConfig *c = &s->w->config;
  MoshiDevice *d = s->d;
  size_t dim = c->main.dim, size = c->extra_head_size, width = c->extra_heads * size;
  for (int i = 0; i < c->extra_heads; i++) {
    MoshiLinearOp op = {.w = &s->w->extra_heads[i].w,
        .x = {s->x, dim, dim},
        .y = {s->logits + i * size, width, width},
        .batch = n,
        .steps = 1};
    d->ops->linear(d, &op);
  }
  d->ops->softmax(d, s->logits, s->logits, n * c->extra_heads, size);
  d->ops->store(d, s->logits, width, s->heads, width, width, s->slots, n);
}

static void
return_tokens(MoshiSession *s, int n, int32_t *tokens, int32_t *text)
{
  int own = 1 + s->w->config.dep_q;
  for (int i = 0; i < s->batch * own; i++)
    tokens[i] = MOSHI_TOKEN_NOT_READY;
  for (int i = 0; i < s->batch && text; i++)
    text[i] = MOSHI_TOKEN_NOT_READY;
  for (int i = 0; i < n; i++) {
    int slot = s->slots[i];
    moshi_lm_tokens_output(
        &s->tokens, slot, s->generated + i * own, tokens + slot * own);
    moshi_lm_spoken_push(&s->spoken, slot, s->generated[i * own]);
    if (text)
      text[slot] = s->generated[i * own];
  }
}

int
moshi_session_step(MoshiSession *s, const int32_t *user, const uint8_t *run,
    int32_t *tokens, int32_t *text, MoshiError *error)
{
  const MoshiLmWeights *w = s->w;
  MoshiDevice *d = s->d;
  int status = check_codes(s, user, run, error);
  if (status)
    return status;
  int n = list_slots(s, run);
  if (n > 0) {
    moshi_device_begin(d);
    embed_input(s, n, gather_input(s, user, n));
    plan_draws(s, n);
    moshi_transformer_step(
        &w->main, &s->main, d, s->x, 1, s->slots, s->branches * n, 0);
    d->ops->norm(d, &w->out_norm.op, s->x, s->x, s->branches * n, w->config.main.dim);
    if (w->config.extra_heads)
      heads_step(s, n);
    text_step(s, n);
    if (w->config.dep_q)
      moshi_lm_depth_run(s, n);
    d->ops->download(d, s->generated, s->d_generated,
        (size_t)n * (1 + w->config.dep_q) * sizeof(int32_t));
    status = d->ops->sync(d, error);
  }
  if (!status)
    return_tokens(s, n, tokens, text);
  return status;
}
