/* MoshiSession: what a stream owns, from its making to its end. Its step is in
 * lm-step.c. Reference: LMGen of moshi/models/lm.py. */
#include "lm-session.h"

#include <glib.h>
#include <string.h>

#include "engine/memory.h"
#include "error.h"

#define MAX_BATCH 4096

/* ----------------------------------------------------------------- making */

void
moshi_session_options_init(MoshiSessionOptions *options, const MoshiModel *model)
{
  const MoshiModelInfo *info = moshi_model_info(model);
  const MoshiLmConfig *c = moshi_model_lm_config(model);
  *options = (MoshiSessionOptions){.batch = 1,
      .sampling = {.temperature = info->temperature,
          .text_temperature = info->text_temperature,
          .top_k = info->top_k,
          .text_top_k = info->text_top_k},
      .cfg_coef = c && c->n_conditioners ? c->cfg_coef : 1};
}

static const char *const kv_types[MOSHI_N_KVS] = {"f32", "bf16", "int8"};

/* -1: there is no such type. */
static int
find_kv(const char *name)
{
  for (int i = 0; name && i < MOSHI_N_KVS; i++)
    if (!strcmp(name, kv_types[i]))
      return i;
  return name ? -1 : MOSHI_KV_F32;
}

static int
check_options(
    const MoshiLmConfig *c, const MoshiSessionOptions *options, MoshiError *error)
{
  if (options->batch < 1 || options->batch > MAX_BATCH)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "a session of %d streams; 1 to %d can be had", options->batch, MAX_BATCH);
  if (options->context < 0 || options->context > c->main.context)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "context is %d; the model has 1 to %d, and 0 means all", options->context,
        c->main.context);
  if (find_kv(options->kv_type) < 0)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "kv-type is \"%s\"; keys and values can be kept as f32, bf16 or int8",
        options->kv_type);
  if (!(options->cfg_coef >= -1000 && options->cfg_coef <= 1000))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "cfg_coef is %g; it lies between -1000 and 1000, and 1 means none",
        options->cfg_coef);
  if (options->cfg_coef != 1 && !c->n_sum && !c->n_cross)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "cfg_coef is %g, but the model has no conditions to guide by; leave it at 1",
        options->cfg_coef);
  if (options->n_conditions < 0 || (options->n_conditions && !options->conditions))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT, "conditions are missing");
  return moshi_conditions_check(c, options->conditions, options->n_conditions, error);
}

static int
make_host(MoshiSession *s, const MoshiSessionOptions *options, MoshiError *error)
{
  const MoshiLmConfig *c = &s->w->config;
  int batch = s->batch, own = 1 + c->dep_q;
  s->sampling = g_new0(MoshiSampling, batch);
  s->draws_made = g_new0(uint64_t, batch);
  s->slots = g_new0(int, batch * s->branches);
  moshi_embedding_scratch_init(&s->embedding, batch * s->branches);
  s->input = g_try_malloc_n(batch, moshi_lm_input_width(c) * sizeof(int32_t));
  s->generated = g_try_malloc_n(batch, own * sizeof(int32_t));
  s->draws = g_try_malloc_n(batch, own * sizeof(MoshiDraw));
  s->text_host = g_try_malloc0_n(batch, c->text_card_out * sizeof(float));
  s->audio_host = g_try_malloc0_n(batch, sizeof(float) * c->dep_q * c->card);
  s->heads_host =
      g_try_malloc0_n(batch, sizeof(float) * c->extra_heads * c->extra_head_size);
  if (!s->input || !s->generated || !s->draws || !s->text_host ||
      (c->dep_q && !s->audio_host) || (c->extra_heads && !s->heads_host))
    return moshi_fail(
        error, MOSHI_ERROR_MEMORY, "no memory for a session of %d streams", batch);
  for (int i = 0; i < batch; i++) {
    s->sampling[i] = options->sampling;
    s->sampling[i].seed += i;
  }
  int status = moshi_lm_spoken_init(&s->spoken, c, batch, error);
  return status ? status : moshi_lm_tokens_init(&s->tokens, c, batch, error);
}

/* On the CPU memory is promised before it is there; what would later end the
 * process is refused now. */
static int
check_memory(const MoshiSession *s, int context, size_t bytes, MoshiError *error)
{
  uint64_t available = moshi_memory_available();
  if (strcmp(s->d->ops->name, "cpu") || bytes <= available)
    return 0;
  return moshi_fail(error, MOSHI_ERROR_MEMORY,
      "the attention of %d streams over %d steps needs %.1f GB of memory and %.1f GB "
      "can be had; lower \"context\" or the number of streams%s",
      s->batch, context, bytes / 1e9, available / 1e9,
      s->main.kv == MOSHI_KV_F32 ? ", or take \"kv-type\" bf16 or int8" : "");
}

/* All that a step works in, in one block. */
static void
place(MoshiSession *s, void *memory, size_t *used)
{
  const MoshiLmConfig *c = &s->w->config;
  size_t batch = s->batch, rows = batch * s->branches, f = sizeof(float);
  int own = 1 + c->dep_q, dim = c->main.dim, depth = c->dep_q ? c->depth.dim : 0;
  int heads = c->extra_heads * c->extra_head_size;
  int widest = MAX(MAX(c->text_card_out, c->card), heads);
  moshi_transformer_state_place(&s->main, &s->w->main, memory, used);
  if (c->dep_q)
    moshi_transformer_state_place(&s->depth, &s->w->depth, memory, used);
  moshi_embedding_scratch_place(&s->embedding, rows, MAX(dim, depth), memory, used);
  s->d_input = moshi_place(memory, used, batch * moshi_lm_input_width(c) * f);
  s->d_generated = moshi_place(memory, used, batch * own * sizeof(int32_t));
  s->x = moshi_place(memory, used, rows * dim * f);
  s->z = moshi_place(memory, used, rows * depth * f);
  s->logits = moshi_place(memory, used, rows * widest * f);
  s->text_logits = moshi_place(memory, used, batch * c->text_card_out * f);
  s->audio_logits = moshi_place(memory, used, batch * c->dep_q * c->card * f);
  s->heads = moshi_place(memory, used, batch * heads * f);
}

static int
make_device(MoshiSession *s, int context, MoshiKv kv, MoshiError *error)
{
  const MoshiLmConfig *c = &s->w->config;
  MoshiDevice *d = s->d;
  int rows = s->batch * s->branches;
  size_t used = 0;
  int status =
      moshi_transformer_state_plan(&s->main, &s->w->main, rows, 1, context, kv, error);
  if (!status && c->dep_q)
    status = moshi_transformer_state_plan(
        &s->depth, &s->w->depth, rows, 1, c->dep_q, MOSHI_KV_F32, error);
  if (status)
    return status;
  place(s, NULL, &used);
  status = check_memory(s, context, used, error);
  if (status)
    return status;
  s->memory = used < SIZE_MAX ? d->ops->alloc(d, used) : NULL;
  if (!s->memory)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory on %s for a session of %d streams (%.1f MB); take fewer, or a "
        "smaller \"context\"",
        d->description, s->batch, used / 1e6);
  s->memory_bytes = used;
  used = 0;
  place(s, s->memory, &used);
  return 0;
}

/* The conditions are the same in all slots. */
static int
make_conditions(
    MoshiSession *s, const MoshiSessionOptions *options, int branch, MoshiError *error)
{
  const MoshiLmConfig *c = &s->w->config;
  MoshiDevice *d = s->d;
  size_t row = c->main.dim * sizeof(float);
  MoshiFused fused;
  float *source = NULL;
  int status = moshi_conditions_fuse(&fused, c, s->w->conditioners, d,
      options->conditions, options->n_conditions, branch == 1, error);
  if (!status && fused.sum) {
    s->condition[branch] = d->ops->alloc(d, row);
    if (s->condition[branch])
      d->ops->upload(d, s->condition[branch], fused.sum, row);
    else
      status = moshi_fail(error, MOSHI_ERROR_MEMORY, "no memory for conditions");
  }
  if (!status && fused.cross) {
    source = d->ops->alloc(d, fused.cross_length * row);
    if (source)
      d->ops->upload(d, source, fused.cross, fused.cross_length * row);
    else
      status = moshi_fail(error, MOSHI_ERROR_MEMORY, "no memory for conditions");
    for (int i = 0; i < s->batch && !status; i++)
      status = moshi_transformer_set_cross(&s->w->main, &s->main, d,
          branch * s->batch + i, source, fused.cross_length, error);
  }
  if (!status)
    status = d->ops->sync(d, error);
  d->ops->free(d, source);
  moshi_fused_clear(&fused);
  return status;
}

static int
make(MoshiSession *s, const MoshiSessionOptions *options, MoshiError *error)
{
  int status = make_host(s, options, error);
  if (!status)
    status =
        make_device(s, options->context ? options->context : s->w->config.main.context,
            find_kv(options->kv_type), error);
  for (int b = 0; b < s->branches && !status; b++)
    status = make_conditions(s, options, b, error);
  return status;
}

MoshiSession *
moshi_session_new(
    MoshiModel *model, const MoshiSessionOptions *options, MoshiError *error)
{
  const MoshiLmWeights *w = moshi_model_lm(model);
  if (!w) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "the model's language model is not loaded; open it with that part and load it");
    return NULL;
  }
  if (check_options(&w->config, options, error))
    return NULL;
  MoshiSession *s = g_new0(MoshiSession, 1);
  s->model = moshi_model_ref(model);
  s->d = moshi_model_get_device(model);
  s->w = w;
  s->batch = options->batch;
  s->cfg_coef = options->cfg_coef;
  s->branches = options->cfg_coef == 1 ? 1 : 2;
  if (make(s, options, error))
    g_clear_pointer(&s, moshi_session_free);
  return s;
}

void
moshi_session_free(MoshiSession *s)
{
  if (!s)
    return;
  void *host[] = {s->sampling, s->draws_made, s->slots, s->input, s->generated,
      s->draws, s->text_host, s->audio_host, s->heads_host};
  s->d->ops->free(s->d, s->memory);
  s->d->ops->free(s->d, s->condition[0]);
  s->d->ops->free(s->d, s->condition[1]);
  for (size_t i = 0; i < G_N_ELEMENTS(host); i++)
    g_free(host[i]);
  moshi_transformer_state_free(&s->main, s->d);
  moshi_transformer_state_free(&s->depth, s->d);
  moshi_embedding_scratch_clear(&s->embedding);
  moshi_lm_tokens_free(&s->tokens);
  moshi_lm_spoken_free(&s->spoken);
  moshi_model_unref(s->model);
  g_free(s);
}

/* ------------------------------------------------------- between the steps */

void
moshi_session_reset(MoshiSession *s, const uint8_t *slots)
{
  for (int slot = 0; slot < s->batch; slot++) {
    if (slots && !slots[slot])
      continue;
    moshi_lm_tokens_reset(&s->tokens, slot);
    moshi_lm_spoken_reset(&s->spoken, slot);
    s->draws_made[slot] = 0;
    for (int b = 0; b < s->branches; b++)
      moshi_transformer_state_reset(&s->main, b * s->batch + slot);
  }
}

void
moshi_session_set_sampling(MoshiSession *s, int slot, const MoshiSampling *sampling)
{
  if (slot >= 0 && slot < s->batch)
    s->sampling[slot] = *sampling;
}

/* A slot's numbers, fetched when somebody asks. */
static const float *
fetch(const MoshiSession *s, int slot, float *host, const float *device, size_t width)
{
  if (slot < 0 || slot >= s->batch || !width)
    return NULL;
  s->d->ops->download(
      s->d, host + slot * width, device + slot * width, width * sizeof(float));
  return s->d->ops->sync(s->d, NULL) ? NULL : host + slot * width;
}

const float *
moshi_session_text_logits(const MoshiSession *s, int slot, int *text_out)
{
  const MoshiLmConfig *c = &s->w->config;
  if (text_out)
    *text_out = c->text_card_out;
  return fetch(s, slot, s->text_host, s->text_logits, c->text_card_out);
}

const float *
moshi_session_audio_logits(const MoshiSession *s, int slot)
{
  const MoshiLmConfig *c = &s->w->config;
  return fetch(s, slot, s->audio_host, s->audio_logits, (size_t)c->dep_q * c->card);
}

const float *
moshi_session_extra_heads(const MoshiSession *s, int slot)
{
  const MoshiLmConfig *c = &s->w->config;
  return fetch(
      s, slot, s->heads_host, s->heads, (size_t)c->extra_heads * c->extra_head_size);
}
