/* The streaming generator's memory of tokens: what each row of the model's
 * input is at a step, and when what it generated may be returned. Rows have
 * delays; row 0 is text, then own audio, then the user's. Integers only.
 * Reference: LMGen._step of moshi/models/lm.py with support_out_of_sync. */
#ifndef MOSHI_LM_TOKENS_H
#define MOSHI_LM_TOKENS_H

#include "files/config.h"

typedef struct {
  int n_rows, n_own; /* 1 + n_q, 1 + dep_q */
  int length;        /* steps kept: max_delay + 2 */
  int max_delay;
  int delays[MOSHI_MAX_CODEBOOKS + 1];
  int32_t text_initial, audio_initial;
  int64_t *offsets; /* [batch]: steps of each slot since its start */
  int32_t *cache;   /* [batch][n_rows][length] */
} MoshiLmTokens;

int moshi_lm_tokens_init(
    MoshiLmTokens *t, const MoshiLmConfig *config, int batch, MoshiError *error);
void moshi_lm_tokens_free(MoshiLmTokens *t);
void moshi_lm_tokens_reset(MoshiLmTokens *t, int slot);

/* The step's input: stores the user's codes and gives all rows. */
void moshi_lm_tokens_input(
    MoshiLmTokens *t, int slot, const int32_t *user, int32_t *input);
/* Ends the step: stores what it generated [n_own] and gives what is complete
 * now, with the delays undone, or −2. */
void moshi_lm_tokens_output(
    MoshiLmTokens *t, int slot, const int32_t *generated, int32_t *output);

#endif
