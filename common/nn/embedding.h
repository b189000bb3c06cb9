/* A table of token embeddings with what a language model may put behind it:
 * a layer norm, a low-rank projection, or two projections for two tokens
 * multiplexed in one id. Reference: moshi/models/lm_utils.py ScaledEmbedding. */
#ifndef MOSHI_NN_EMBEDDING_H
#define MOSHI_NN_EMBEDDING_H

#include "loader.h"

typedef struct {
  int rows, dim;
  int width;            /* of the table: the rank, or dim */
  MoshiLinear table;    /* [rows][width] */
  float *normed;        /* host: the table after its norm; NULL without one */
  MoshiLinear low_rank; /* [dim][width], w.m.data NULL where there is none */
  bool demux;
  MoshiLinear out1, out2; /* [dim][width] of the first and the second token */
} MoshiEmbedding;

typedef struct {
  int low_rank; /* 0: none */
  bool norm, demux;
} MoshiEmbeddingKind;

/* *e must be freed in any case, with d NULL after a mere check. */
int moshi_embedding_load(MoshiEmbedding *e, MoshiLoader *l, int rows, int dim,
    MoshiEmbeddingKind kind, const char *prefix);
void moshi_embedding_free(MoshiEmbedding *e, MoshiDevice *d);

/* Scratch of the additions below, for up to n tokens of a table's width. */
typedef struct {
  float *rows, *zeros; /* device: [n][width], [width] */
  int *slots;          /* host: [n], 0, 1, … */
} MoshiEmbeddingScratch;

void moshi_embedding_scratch_init(MoshiEmbeddingScratch *s, int n);
void moshi_embedding_scratch_clear(MoshiEmbeddingScratch *s);
/* As moshi_place does (device.h). */
void moshi_embedding_scratch_place(
    MoshiEmbeddingScratch *s, int n, int width, void *memory, size_t *used);
/* x[n][width] = 0; width at most the scratch's. */
void moshi_embedding_clear(
    const MoshiEmbeddingScratch *s, MoshiDevice *d, float *x, int n, int width);

/* y[c][i] += the embedding of tokens[i·stride], for n tokens and each of
 * `copies` copies of their rows. A negative token adds nothing. second: the
 * second token of multiplexed ids, or NULL. Tokens are the device's. */
void moshi_embedding_add(const MoshiEmbedding *e, MoshiDevice *d,
    const MoshiEmbeddingScratch *s, float *y, const int32_t *tokens,
    const int32_t *second, size_t stride, int n, int copies);

#endif
