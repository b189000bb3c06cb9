/* Matrices as files have them, made from floats: for random models of every
 * format, and to measure what a format costs in quality. */
#ifndef MOSHI_FORMATS_H
#define MOSHI_FORMATS_H

#include "../../kernels/kernels.h"
#include "../files/checkpoint.h"

typedef struct {
  const char *name, *about;
  MoshiType type;
  MoshiDtype dtype; /* of the weights; MLX: words of 32 bits */
  int block;        /* columns are a multiple of this */
  int group; /* columns of one scale beside the weights; 0: whole rows, or none */
  const char *scales, *biases; /* suffixes of the tensors beside "X.weight", or NULL */
  MoshiDtype scale_dtype;
  const char *instead; /* where columns are no multiple of the block; NULL: as it was */
} Format;

extern const Format formats[]; /* ends with a name of NULL */
/* Also "q8" and "q4", what quantization= makes of a matrix, and "none", bf16. NULL
 * where there is none of that name. */
const Format *format_find(const char *name);
/* The format that such a matrix gets in a file of format f: tables of embeddings and
 * what does not fit the blocks stay in NULL, their own. */
const Format *format_of_matrix(const Format *f, const char *name, int64_t cols);

/* Bytes of a row of `cols` weights, and of its scales (and again biases). */
size_t format_row_bytes(const Format *f, int64_t cols);
size_t format_scale_bytes(const Format *f, int64_t cols);
/* One row; scales and biases may be NULL where the format has none. */
void format_encode(const Format *f, const float *x, int64_t cols, void *data,
    void *scales, void *biases);
/* How far each weight of a row may be from what it was: half a step of the format,
 * and more at the end of a block that its scale does not reach. */
void format_half_steps(const Format *f, const float *x, int64_t cols, float *half);
/* The tensor that belongs to the weights NAME with this suffix: g_free. */
char *format_beside(const char *name, const char *suffix);

#endif
