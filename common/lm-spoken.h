/* What moves the draw of a text token: padding may be likelier than the model
 * thinks, and tokens that were spoken lately less likely. The edits of the logits
 * are made on the host, before the step; the device carries them out.
 * Reference: apply_repetition_penalty and pad_mult of Kyutai's Rust
 * implementation, moshi-core/src/lm_generate_multistream.rs. */
#ifndef MOSHI_LM_SPOKEN_H
#define MOSHI_LM_SPOKEN_H

#include "device/device.h"
#include "files/config.h"

/* Edits of a row: tokens spoken, and padding. */
#define MOSHI_MAX_EDITS (MOSHI_MAX_REPETITION_CONTEXT + 1)

typedef struct {
  int32_t padding, end_padding, initial; /* which nobody hears */
  int size;                              /* logits of a row */
  int32_t *tokens;  /* [batch][MOSHI_MAX_REPETITION_CONTEXT], rings */
  int64_t *counts;  /* [batch]: tokens spoken since the slot's start */
  MoshiEdit *edits; /* [batch·MOSHI_MAX_EDITS] */
} MoshiLmSpoken;

int moshi_lm_spoken_init(
    MoshiLmSpoken *s, const MoshiLmConfig *config, int batch, MoshiError *error);
void moshi_lm_spoken_free(MoshiLmSpoken *s);
void moshi_lm_spoken_reset(MoshiLmSpoken *s, int slot);
void moshi_lm_spoken_push(MoshiLmSpoken *s, int slot, int32_t token);

/* Appends the edits that `sampling` wants of row `row` of the logits, of slot
 * `slot`, to the n in s->edits; returns how many there are then. */
int moshi_lm_spoken_edits(
    MoshiLmSpoken *s, int slot, int row, const MoshiSampling *sampling, int n);

#endif
