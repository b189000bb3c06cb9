/* The ring of tokens of each slot. */
#include "lm-tokens.h"

#include <glib.h>
#include <string.h>

#include "error.h"

int
moshi_lm_tokens_init(
    MoshiLmTokens *t, const MoshiLmConfig *config, int batch, MoshiError *error)
{
  *t = (MoshiLmTokens){.n_rows = 1 + config->n_q,
      .n_own = 1 + config->dep_q,
      .length = config->max_delay + 2,
      .max_delay = config->max_delay,
      .text_initial = config->text_card,
      .audio_initial = config->card};
  memcpy(t->delays, config->delays, sizeof t->delays);
  t->offsets = g_try_new0(int64_t, batch);
  t->cache = g_try_malloc0_n(batch, sizeof(int32_t) * t->n_rows * t->length);
  if (!t->offsets || !t->cache)
    return moshi_fail(
        error, MOSHI_ERROR_MEMORY, "no memory for the tokens of %d streams", batch);
  return 0;
}

void
moshi_lm_tokens_free(MoshiLmTokens *t)
{
  g_free(t->offsets);
  g_free(t->cache);
  *t = (MoshiLmTokens){0};
}

void
moshi_lm_tokens_reset(MoshiLmTokens *t, int slot)
{
  /* A row is not read before it was written again. */
  t->offsets[slot] = 0;
}

static int32_t *
cell(const MoshiLmTokens *t, int slot, int row, int64_t time)
{
  return &t->cache[((size_t)slot * t->n_rows + row) * t->length + time % t->length];
}

void
moshi_lm_tokens_input(MoshiLmTokens *t, int slot, const int32_t *user, int32_t *input)
{
  int64_t offset = t->offsets[slot];
  for (int r = t->n_own; r < t->n_rows; r++)
    *cell(t, slot, r, offset + t->delays[r]) = user[r - t->n_own];
  for (int r = 0; r < t->n_rows; r++) {
    int32_t initial = r ? t->audio_initial : t->text_initial;
    input[r] = offset <= t->delays[r] ? initial : *cell(t, slot, r, offset);
  }
}

void
moshi_lm_tokens_output(
    MoshiLmTokens *t, int slot, const int32_t *generated, int32_t *output)
{
  /* What a step generates is the next step's input, whatever the row's delay. */
  int64_t offset = ++t->offsets[slot];
  for (int r = 0; r < t->n_own; r++)
    *cell(t, slot, r, offset) = generated[r];
  for (int r = 0; r < t->n_own; r++)
    output[r] = offset <= t->max_delay
                    ? MOSHI_TOKEN_NOT_READY
                    : *cell(t, slot, r, offset - t->max_delay + t->delays[r]);
}
