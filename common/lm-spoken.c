#include "lm-spoken.h"

#include <glib.h>
#include <math.h>

#include "error.h"

int
moshi_lm_spoken_init(
    MoshiLmSpoken *s, const MoshiLmConfig *config, int batch, MoshiError *error)
{
  *s = (MoshiLmSpoken){.padding = config->text_padding,
      .end_padding = config->text_end_padding,
      .initial = config->text_card,
      .size = config->text_card_out,
      .counts = g_new0(int64_t, batch),
      .tokens = g_try_malloc_n(batch, MOSHI_MAX_REPETITION_CONTEXT * sizeof(int32_t)),
      .edits = g_try_malloc_n(batch, MOSHI_MAX_EDITS * sizeof(MoshiEdit))};
  if (!s->tokens || !s->edits)
    return moshi_fail(
        error, MOSHI_ERROR_MEMORY, "no memory for a session of %d streams", batch);
  return 0;
}

void
moshi_lm_spoken_free(MoshiLmSpoken *s)
{
  g_free(s->tokens);
  g_free(s->counts);
  g_free(s->edits);
}

void
moshi_lm_spoken_reset(MoshiLmSpoken *s, int slot)
{
  s->counts[slot] = 0;
}

void
moshi_lm_spoken_push(MoshiLmSpoken *s, int slot, int32_t token)
{
  int32_t *ring = s->tokens + (size_t)slot * MOSHI_MAX_REPETITION_CONTEXT;
  if (token != s->padding && token != s->end_padding && token != s->initial)
    ring[s->counts[slot]++ % MOSHI_MAX_REPETITION_CONTEXT] = token;
}

static bool
has_edit(const MoshiEdit *edits, int n, int token)
{
  for (int i = 0; i < n; i++)
    if (edits[i].token == token)
      return true;
  return false;
}

/* A token counts once, however often it was spoken. */
static int
penalise(MoshiLmSpoken *s, int slot, int row, const MoshiSampling *sampling, int first)
{
  const int32_t *ring = s->tokens + (size_t)slot * MOSHI_MAX_REPETITION_CONTEXT;
  int64_t count = s->counts[slot];
  int64_t context = MIN(sampling->repetition_context, MOSHI_MAX_REPETITION_CONTEXT);
  int n = first;
  for (int64_t i = MAX(count - context, 0); i < count; i++) {
    int32_t token = ring[i % MOSHI_MAX_REPETITION_CONTEXT];
    if (!has_edit(s->edits + first, n - first, token))
      s->edits[n++] = (MoshiEdit){row, token, sampling->repetition_penalty, 0};
  }
  return n;
}

int
moshi_lm_spoken_edits(
    MoshiLmSpoken *s, int slot, int row, const MoshiSampling *sampling, int n)
{
  float penalty = sampling->repetition_penalty;
  /* e^padding_bonus times the probability, whatever the temperature. */
  float bonus = sampling->padding_bonus * sampling->text_temperature;
  if (penalty > 0 && penalty != 1 && isfinite(penalty))
    n = penalise(s, slot, row, sampling, n);
  if (sampling->text_temperature > 0 && bonus != 0 && isfinite(bonus) &&
      s->padding < s->size)
    s->edits[n++] = (MoshiEdit){row, s->padding, 1, bonus};
  return n;
}
