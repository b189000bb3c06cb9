/* Checkpoints: named tensors of a GGUF file, or of one or several safetensors
 * files, mapped read-only. Every byte is checked before use; spec: docs/model-files.md. */
#ifndef MOSHI_FILES_CHECKPOINT_H
#define MOSHI_FILES_CHECKPOINT_H

#include <stdbool.h>

#include "../moshi.h"
#include "dtype.h"
#include "mapped.h"

#define MOSHI_MAX_DIMS 8

typedef struct {
  const char *name; /* owned by the checkpoint */
  MoshiDtype dtype;
  int n_dims;
  int64_t dims[MOSHI_MAX_DIMS]; /* outermost first */
  const void *data;             /* row-major, any alignment */
  size_t bytes;
} MoshiTensor;

typedef struct MoshiCheckpoint MoshiCheckpoint;

/* path: a GGUF or safetensors file, told apart by their first bytes, or the
 * .safetensors.index.json of a sharded one. Reads headers only. */
MoshiCheckpoint *moshi_checkpoint_open(const char *path, MoshiError *error);
MoshiCheckpoint *moshi_checkpoint_ref(MoshiCheckpoint *checkpoint);
void moshi_checkpoint_unref(MoshiCheckpoint *checkpoint);

/* NULL when there is none of that name. Marks the tensor as used. */
const MoshiTensor *moshi_checkpoint_find(
    const MoshiCheckpoint *checkpoint, const char *name);
/* As above, but does not mark it: to tell what kind of file it is. */
bool moshi_checkpoint_has(const MoshiCheckpoint *checkpoint, const char *name);
const char *moshi_checkpoint_path(const MoshiCheckpoint *checkpoint);
/* Of the data of all tensors. */
size_t moshi_checkpoint_bytes(const MoshiCheckpoint *checkpoint);
/* Device, inode, size and modification time of its files as text: equal
 * identities, equal weights. */
const char *moshi_checkpoint_identity(const MoshiCheckpoint *checkpoint);
/* A GGUF file's metadata of this key, NULL where it has none that is a string. */
const char *moshi_checkpoint_metadata(
    const MoshiCheckpoint *checkpoint, const char *key);
/* The i-th tensor, NULL past the last. Order is that of the files. */
const MoshiTensor *moshi_checkpoint_nth(const MoshiCheckpoint *checkpoint, size_t i);
/* Name of a tensor that nobody has asked for, NULL when all were; for a
 * warning. */
const char *moshi_checkpoint_unused(const MoshiCheckpoint *checkpoint, size_t *count);
/* Fails with MOSHI_ERROR_READ when a file has changed under the mapping since
 * it was opened (shrunken files would end in SIGBUS). */
int moshi_checkpoint_verify(const MoshiCheckpoint *checkpoint, MoshiError *error);

/* Whether the bytes lie in one of its mapped files. */
bool moshi_checkpoint_holds(
    const MoshiCheckpoint *checkpoint, const void *data, size_t bytes);
/* Tells the system what will be done with bytes that it holds. */
void moshi_checkpoint_advise(const MoshiCheckpoint *checkpoint, const void *data,
    size_t bytes, MoshiAdvice advice);

/* Of an image that is mapped, which it takes; label names it in errors. */
MoshiCheckpoint *moshi_checkpoint_from_mapped(
    MoshiMapped *mapped, const char *label, MoshiError *error);
/* Parses one GGUF or safetensors image of `size` bytes in memory (not copied); for
 * tests and fuzzing. `label` names it in errors. */
MoshiCheckpoint *moshi_checkpoint_from_memory(
    const void *data, size_t size, const char *label, MoshiError *error);

#endif
