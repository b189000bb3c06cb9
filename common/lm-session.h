/* Inside of a MoshiSession. A step runs n of the batch's slots, dense; with
 * guidance the model runs 2n rows, first those with conditions, then those
 * without ("branches"), and both hear and speak the same tokens. */
#ifndef MOSHI_LM_SESSION_H
#define MOSHI_LM_SESSION_H

#include "engine/model.h"
#include "lm-spoken.h"
#include "lm-tokens.h"
#include "lm-weights.h"

struct MoshiSession {
  MoshiModel *model;
  MoshiDevice *d;
  const MoshiLmWeights *w;
  int batch, branches;
  float cfg_coef;

  /* Host. */
  MoshiLmTokens tokens;
  MoshiLmSpoken spoken;
  MoshiSampling *sampling; /* [batch] */
  uint64_t *draws_made;    /* [batch]: the counters of the slots' random streams */
  int *slots;         /* [branches·batch]: slot of each running row; branch b's are
               * b·batch + slot */
  int32_t *input;     /* [batch][input_width] */
  int32_t *generated; /* [batch][1 + dep_q] */
  MoshiDraw *draws;   /* [1 + dep_q][batch], of the running slots */
  int n_edits;        /* of the text's logits, in spoken.edits */
  float *text_host, *audio_host, *heads_host; /* what the accessors return */

  /* Device: all but the conditions lie in `memory`. */
  void *memory;
  size_t memory_bytes;
  MoshiTransformerState main, depth;
  MoshiEmbeddingScratch embedding;
  int32_t *d_input, *d_generated;
  float *x;            /* [branches·batch][dim]: input, then hidden */
  float *z;            /* [branches·batch][depth dim] */
  float *logits;       /* [branches·batch][the widest head] */
  float *condition[2]; /* [dim] per branch, or NULL */
  float *text_logits;  /* [batch][text_card_out] */
  float *audio_logits; /* [batch][dep_q][card] */
  float *heads;        /* [batch][extra_heads][extra_head_size] */
};

/* Tokens of a row of input: text, the codes, and the second text token of
 * models that multiplex two. */
int moshi_lm_input_width(const MoshiLmConfig *config);

/* What one slot hears: 0, or MOSHI_ERROR_ARGUMENT. */
int moshi_lm_check_codes(
    const MoshiLmConfig *config, const int32_t *user, MoshiError *error);

/* Samples the dep_q codes of a frame for the n running slots, from x (the
 * temporal transformer's output) and the text tokens in d_generated. */
void moshi_lm_depth_run(MoshiSession *s, int n);

/* logits [branches·n][size] of what row `index` of d_generated (0: text) will
 * be: guides, draws, and stores them in the slots of `kept`. */
void moshi_lm_draw(
    MoshiSession *s, int n, int index, int size, float *kept, size_t kept_stride);

#endif
