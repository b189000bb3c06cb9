/* Names of tensors as others write them. nn/ asks for the names of Kyutai's
 * PyTorch models with split projections ("….self_attn.in_projs.0.weight"); a
 * dialect says where in a file such a tensor lies. docs/model-files.md lists
 * them for users. */
#ifndef MOSHI_FILES_DIALECT_H
#define MOSHI_FILES_DIALECT_H

#include "checkpoint.h"
#include "config.h"

#define MOSHI_TENSOR_NAME 256
#define MOSHI_MAX_PIECES 3

/* The names of one checkpoint: which dialect it speaks, and what of the
 * configuration the translation needs. All zero: PyTorch's. */
typedef struct {
  const struct MoshiDialect *dialect;
  const MoshiLmConfig *lm; /* of a language model, else NULL */
  const MimiConfig *mimi;  /* of a codec, else NULL */
} MoshiNames;

/* Rows of a tensor, as they lie in the file. */
typedef struct {
  char name[MOSHI_TENSOR_NAME]; /* in the file */
  int rows;                     /* 0: all that are wanted */
  /* It is one of n_slices equal slices of the file's tensor, which has the shape
   * [n_slices][rows][…] where `stacked`, else [n_slices·rows][…]. */
  int slice, n_slices;
  bool stacked;
  /* Not 0: the rows of each head of this size were sorted for a rotary embedding
   * of pairs (j, j + d/2): even rows first, then odd ones. */
  int head_dim;
} MoshiTensorPiece;

/* Which dialect a language model (a codec) is written in; false where the
 * checkpoint holds none. */
bool moshi_names_of_lm(
    MoshiNames *names, const MoshiCheckpoint *checkpoint, const MoshiLmConfig *lm);
bool moshi_names_of_mimi(
    MoshiNames *names, const MoshiCheckpoint *checkpoint, const MimiConfig *mimi);
/* "PyTorch", "MLX" and so on. */
const char *moshi_names_dialect(const MoshiNames *names);

/* Where a tensor lies: the number of its pieces, one after the other, 1 to
 * MOSHI_MAX_PIECES. Pieces that are not in the checkpoint carry the name that
 * they would have. */
int moshi_names_locate(const MoshiNames *names, const MoshiCheckpoint *checkpoint,
    const char *name, MoshiTensorPiece pieces[MOSHI_MAX_PIECES]);
bool moshi_names_has(
    const MoshiNames *names, const MoshiCheckpoint *checkpoint, const char *name);
/* Marks the copies of a tensor as used that a file holds for each step of the
 * depth transformer. */
void moshi_names_use_copies(
    const MoshiNames *names, const MoshiCheckpoint *checkpoint, const char *name);
/* Marks the tensors as used that belong to another part in the same file. */
void moshi_names_use_others(const MoshiNames *names, const MoshiCheckpoint *checkpoint);

#endif
