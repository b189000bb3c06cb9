/* Residual vector quantization. Reference: moshi/quantization/{vq,core_vq}.py. */
#ifndef MOSHI_NN_RVQ_H
#define MOSHI_NN_RVQ_H

#include "loader.h"

typedef struct {
  bool encoder;
  int dim, q_dim, bins, n_levels;
  MoshiLinear proj; /* encoder: [q_dim][dim]; decoder: [dim][q_dim] */
  MoshiCodebook *levels;
} MoshiRvq;

/* The caller fills the sizes and `encoder` before. */
int moshi_rvq_load(MoshiRvq *r, MoshiLoader *l, const char *prefix);
void moshi_rvq_free(MoshiRvq *r, MoshiDevice *d);

/* The first of a codebook tensor's names, old and new, that the file has;
 * NULL-terminated list. */
extern const char *const moshi_codebook_sums[], *const moshi_codebook_usages[];

/* x [n][dim] → codes[i·code_stride + level] of the first n_levels. residual:
 * scratch [n][q_dim]; scores: [n][bins]. */
void moshi_rvq_encode(const MoshiRvq *r, MoshiDevice *d, const float *x,
    float *residual, float *scores, int32_t *codes, size_t code_stride, int n_levels,
    int n);
/* y [n][dim] += or = (accumulate or not) proj · Σ rows. sum: [n][q_dim], zeroed by
 * the caller. */
void moshi_rvq_decode(const MoshiRvq *r, MoshiDevice *d, const int32_t *codes,
    size_t code_stride, int n_levels, float *sum, float *y, bool accumulate, int n);

#endif
