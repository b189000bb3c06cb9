/* Walks the tensors of a checkpoint. The same walk checks a model (device
 * NULL: names, shapes and types only) and loads it, so that whatever is loaded
 * has been checked. After the first failure every further call does nothing
 * and returns it again. */
#ifndef MOSHI_NN_LOADER_H
#define MOSHI_NN_LOADER_H

#include <glib.h>

#include "../device/device.h"
#include "../files/checkpoint.h"
#include "../files/config.h"
#include "../files/dialect.h"

/* The tensor of this name and shape, from elsewhere than a checkpoint. */
typedef const MoshiTensor *(*MoshiTensorSource)(
    void *cookie, const char *name, int n_dims, const int64_t *dims);

/* The tensor of this name is not needed any more. */
typedef void (*MoshiTensorForget)(void *cookie, const char *name);

/* Sees a tensor of the walk under its PyTorch name, a vector as one row of many
 * columns; rows->data is NULL where it would have to be put together first and the
 * walk is a plan. Returns 0 or a status that ends the walk. */
typedef int (*MoshiTensorVisit)(void *cookie, const char *name, const MoshiRows *rows);

typedef struct {
  const MoshiCheckpoint *checkpoint;
  MoshiNames names;         /* of the checkpoint's tensors */
  MoshiTensorSource source; /* NULL: the checkpoint */
  MoshiTensorForget forget; /* of the source; may be NULL */
  void *source_cookie;
  MoshiTensorVisit visit; /* in a walk without device; may be NULL */
  void *visit_cookie;
  bool plan;           /* visit only wants to know what there is */
  MoshiDevice *device; /* NULL: check only */
  MoshiError *error;
  int status;
  MoshiProgress progress; /* may be NULL */
  void *cookie;
  MoshiType packed; /* of packed matrices: F32, or BF16 to round them */
  /* Of a device that keeps the file's memory: where it needs that no more, for it was
   * copied; only that is told as progress. May be NULL. */
  GArray *copied;     /* const void * */
  size_t done, total; /* bytes; a check counts in `done` what a load will read */
} MoshiLoader;

typedef struct {
  MoshiMatrix w;
  float *bias; /* [rows] on the device, or NULL */
  void *owned; /* what of the weights is not the file's own, or NULL */
} MoshiLinear;

typedef struct {
  MoshiNormOp op;
} MoshiNorm;

/* Names are printf formats of PyTorch names, see dialect.h. Vectors, convolutions and
 * norms are floats: f32, f16 or bf16. Matrices may be of any MoshiType. */

/* A vector [n] (any shape of n elements with ones around it), as f32. */
int moshi_load_vector(MoshiLoader *l, float **out, int n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* [rows][cols] row-major in its file's type. bias may be NULL. */
int moshi_load_linear(MoshiLoader *l, MoshiLinear *out, int rows, int cols,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same, of which rows are looked up. */
int moshi_load_table(MoshiLoader *l, MoshiLinear *out, int rows, int cols,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* [rows][cols], packed as floats. */
int moshi_load_packed(MoshiLoader *l, MoshiLinear *out, int rows, int cols,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* prefix.alpha or prefix.weight and prefix.bias. */
int moshi_load_norm(MoshiLoader *l, MoshiNorm *out, MoshiNormKind kind, int dim,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The tensor after checking its shape and that it holds floats; NULL after a failure. */
const MoshiTensor *moshi_load_tensor(
    MoshiLoader *l, const char *name, int n_dims, const int64_t *dims);
/* Marks a tensor as used that means nothing to us. */
void moshi_load_ignore(const MoshiLoader *l, const char *name);
bool moshi_load_has(const MoshiLoader *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A tensor by its name in the file, not checked further than its shape, compared
 * without ones; n_dims 0: not that either. NULL after a failure, which tells the shape
 * that was wanted. */
const MoshiTensor *moshi_load_stored(
    MoshiLoader *l, const char *name, int n_dims, const int64_t *dims);
int moshi_load_check_shape(MoshiLoader *l, const MoshiTensor *t, const char *name,
    int n_dims, const int64_t *dims);
/* Fails: the device has no room for a tensor. */
int moshi_load_no_memory(MoshiLoader *l, const char *name);
/* The type that a tensor is packed as: BF16 also where the file has no more. */
MoshiType moshi_packed_type(const MoshiLoader *l, const MoshiTensor *tensor);
/* Element i of a float tensor. */
float moshi_tensor_at(const MoshiTensor *tensor, size_t i);
/* Its elements i, i + stride, … */
void moshi_tensor_floats(
    const MoshiTensor *tensor, size_t i, size_t stride, int count, float *to);

void moshi_linear_free(MoshiDevice *d, MoshiLinear *linear);
void moshi_norm_free(MoshiDevice *d, MoshiNorm *norm);

#endif
