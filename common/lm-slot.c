/* Slots of the language model's shared batches. What a slot hears and says lies in one
 * place with what the others do, as the session of the batch wants it. */
#include <glib.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/memory.h"
#include "error.h"
#include "lm-session.h"

typedef struct {
  MoshiSession *session;
  MoshiSampling *sampling; /* [slots] */
  uint8_t *resample;       /* [slots]: it is new */
  int32_t *user;           /* [slots][user_codebooks] */
  /* Of a step, which says something of slots that do not run, too. */
  int32_t *step_tokens; /* [slots][1 + own_codebooks] */
  int32_t *step_text;   /* [slots] */
  /* Of each slot's last one. */
  int32_t *tokens, *text;
  float *heads; /* [slots][extra_heads][extra_head_size], or NULL */
  int n_user, n_own, n_heads;
} Streams;

/* ---------------------------------------------------------------- streams */

static void
close_streams(void *streams)
{
  Streams *s = streams;
  moshi_session_free(s->session);
  g_free(s->sampling);
  g_free(s->resample);
  g_free(s->user);
  g_free(s->step_tokens);
  g_free(s->step_text);
  g_free(s->tokens);
  g_free(s->text);
  g_free(s->heads);
  g_free(s);
}

static int
open_buffers(Streams *s, const MoshiLmConfig *c, int slots, MoshiError *error)
{
  s->n_user = c->n_q - c->dep_q;
  s->n_own = 1 + c->dep_q;
  s->n_heads = c->extra_heads * c->extra_head_size;
  s->sampling = g_try_new0(MoshiSampling, slots);
  s->resample = g_try_new0(uint8_t, slots);
  s->user = g_try_new0(int32_t, (size_t)slots * MAX(s->n_user, 1));
  s->tokens = g_try_new0(int32_t, (size_t)slots * s->n_own);
  s->text = g_try_new0(int32_t, slots);
  s->step_tokens = g_try_new0(int32_t, (size_t)slots * s->n_own);
  s->step_text = g_try_new0(int32_t, slots);
  s->heads = s->n_heads ? g_try_new0(float, (size_t)slots * s->n_heads) : NULL;
  if (!s->sampling || !s->resample || !s->user || !s->tokens || !s->text ||
      !s->step_tokens || !s->step_text || (s->n_heads && !s->heads))
    return moshi_fail(
        error, MOSHI_ERROR_MEMORY, "no memory for the tokens of %d streams", slots);
  return 0;
}

static void *
open_streams(MoshiModel *model, int slots, const void *options, MoshiError *error)
{
  MoshiSessionOptions all = *(const MoshiSessionOptions *)options;
  Streams *s = g_new0(Streams, 1);
  all.batch = slots;
  s->session = moshi_session_new(model, &all, error);
  if (!s->session || open_buffers(s, &s->session->w->config, slots, error))
    g_clear_pointer(&s, close_streams);
  return s;
}

/* The memory that the slot's past will take is there only once it is used. */
static int
admit(void *streams, MoshiError *error)
{
  const MoshiSession *s = ((Streams *)streams)->session;
  size_t bytes = s->memory_bytes / s->batch;
  uint64_t available = moshi_memory_available();
  if (strcmp(s->d->ops->name, "cpu") || bytes <= available)
    return 0;
  return moshi_fail(error, MOSHI_ERROR_MEMORY,
      "one stream more over %d steps needs %.1f GB of memory and %.1f GB can be had; "
      "lower \"context\" or the number of streams",
      s->main.context, bytes / 1e9, available / 1e9);
}

static void
reset_streams(void *streams, const uint8_t *slots)
{
  moshi_session_reset(((Streams *)streams)->session, slots);
}

/* What the slot has said, to where its thread will look for it. */
static void
keep(Streams *s, int slot)
{
  size_t tokens = (size_t)slot * s->n_own;
  memcpy(s->tokens + tokens, s->step_tokens + tokens, s->n_own * sizeof *s->tokens);
  s->text[slot] = s->step_text[slot];
  const float *heads = s->heads ? moshi_session_extra_heads(s->session, slot) : NULL;
  if (heads)
    memcpy(s->heads + (size_t)slot * s->n_heads, heads, s->n_heads * sizeof *heads);
}

static int
step_streams(void *streams, const uint8_t *run, int variant, MoshiError *error)
{
  Streams *s = streams;
  for (int i = 0; i < s->session->batch; i++)
    if (run[i] && s->resample[i]) {
      moshi_session_set_sampling(s->session, i, &s->sampling[i]);
      s->resample[i] = 0;
    }
  int status =
      moshi_session_step(s->session, s->user, run, s->step_tokens, s->step_text, error);
  for (int i = 0; i < s->session->batch && !status; i++)
    if (run[i])
      keep(s, i);
  return status;
}

static const MoshiBatchKind sessions = {
    .part = MOSHI_PART_LM,
    .open = open_streams,
    .close = close_streams,
    .admit = admit,
    .reset = reset_streams,
    .step = step_streams,
};

/* ------------------------------------------------------------------ slots */

static int
compare_strings(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What a session is for all of its slots; NULL: for this one alone. */
static char *
common_of(const MoshiSessionOptions *o)
{
  GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
  bool alone = false;
  for (int i = 0; i < o->n_conditions; i++) {
    const MoshiCondition *c = &o->conditions[i];
    alone |= c->data != NULL;
    g_ptr_array_add(
        lines, g_strdup_printf("%s=%s/%s", c->name, c->value ? c->value : "",
                   c->null_value ? c->null_value : ""));
  }
  g_ptr_array_sort(lines, compare_strings);
  g_ptr_array_add(lines, g_strdup_printf("%d %a %s", o->context, o->cfg_coef,
                             o->kv_type ? o->kv_type : "f32"));
  g_ptr_array_add(lines, NULL);
  char *common = alone ? NULL : g_strjoinv("\n", (char **)lines->pdata);
  g_ptr_array_unref(lines);
  return common;
}

MoshiSlot *
moshi_session_slot_new(
    MoshiModel *model, const MoshiSessionOptions *options, MoshiError *error)
{
  if (options->batch != 1) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "a slot is one stream; the options ask for a batch of %d", options->batch);
    return NULL;
  }
  if (options->n_conditions < 0 || (options->n_conditions && !options->conditions)) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT, "conditions are missing");
    return NULL;
  }
  char *common = common_of(options);
  MoshiSlot *slot =
      moshi_slot_new(&sessions, model, moshi_model_lm(model), common, options, error);
  g_free(common);
  if (slot)
    moshi_session_slot_set_sampling(slot, &options->sampling);
  return slot;
}

int
moshi_session_slot_step(MoshiSlot *slot, const int32_t *user, int32_t *tokens,
    int32_t *text, MoshiError *error)
{
  Streams *s = moshi_slot_streams(slot);
  int status = moshi_lm_check_codes(&s->session->w->config, user, error);
  if (status)
    return status;
  memcpy(s->user + (size_t)slot->number * s->n_user, user, s->n_user * sizeof *user);
  status = moshi_slot_take_turn(slot, 0, error);
  if (status)
    return status;
  memcpy(
      tokens, s->tokens + (size_t)slot->number * s->n_own, s->n_own * sizeof *tokens);
  if (text)
    *text = s->text[slot->number];
  return 0;
}

void
moshi_session_slot_set_sampling(MoshiSlot *slot, const MoshiSampling *sampling)
{
  Streams *s = moshi_slot_streams(slot);
  s->sampling[slot->number] = *sampling;
  s->resample[slot->number] = 1;
}

const float *
moshi_session_slot_extra_heads(const MoshiSlot *slot)
{
  const Streams *s = moshi_slot_streams(slot);
  return s->heads ? s->heads + (size_t)slot->number * s->n_heads : NULL;
}
