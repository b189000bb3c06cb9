/* From tensors of a checkpoint to weights on a device.
 *
 * Shapes come from the configuration, never from the file: a tensor that does
 * not have the expected shape is an error that names both. */
#include "loader.h"

#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../error.h"
#include "stored.h"

#define NAME_SIZE MOSHI_TENSOR_NAME
/* Bytes of a file that are asked of the disk before they are packed. */
#define AHEAD ((size_t)32 << 20)

static bool
make_name(MoshiLoader *l, char name[NAME_SIZE], const char *format, va_list args)
{
  if (vsnprintf(name, NAME_SIZE, format, args) < NAME_SIZE)
    return true;
  l->status = moshi_fail(l->error, MOSHI_ERROR_ARGUMENT, "%s: tensor name is too long",
      moshi_checkpoint_path(l->checkpoint));
  return false;
}

/* "[2048, 512]" */
static const char *
shape_text(char *text, size_t size, int n_dims, const int64_t *dims)
{
  size_t used = snprintf(text, size, "[");
  for (int i = 0; i < n_dims && used < size; i++)
    used +=
        snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)dims[i]);
  if (used < size)
    snprintf(text + used, size - used, "]");
  return text;
}

/* Shapes are compared without their ones: [1,1,D] holds a vector of D, a
 * kernel-1 convolution [O,I,1] a matrix. */
static int
squeeze(int64_t out[MOSHI_MAX_DIMS], int n_dims, const int64_t *dims)
{
  int n = 0;
  for (int i = 0; i < n_dims; i++)
    if (dims[i] != 1)
      out[n++] = dims[i];
  return n;
}

const MoshiTensor *
moshi_load_stored(MoshiLoader *l, const char *name, int n_dims, const int64_t *dims)
{
  if (l->status)
    return NULL;
  const MoshiTensor *t = l->source ? l->source(l->source_cookie, name, n_dims, dims)
                                   : moshi_checkpoint_find(l->checkpoint, name);
  char want[96];
  if (!t)
    l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL,
        "%s: tensor \"%s\" of shape %s is missing; the file does not belong to this "
        "configuration",
        moshi_checkpoint_path(l->checkpoint), name,
        shape_text(want, sizeof want, n_dims, dims));
  return t;
}

int
moshi_load_check_shape(MoshiLoader *l, const MoshiTensor *t, const char *name,
    int n_dims, const int64_t *dims)
{
  int64_t want[MOSHI_MAX_DIMS] = {0}, have[MOSHI_MAX_DIMS] = {0};
  int n_want = squeeze(want, n_dims, dims), n_have = squeeze(have, t->n_dims, t->dims);
  char want_text[96], have_text[96];
  if (n_want != n_have || memcmp(want, have, n_want * sizeof *want))
    l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL,
        "%s: tensor \"%s\" has shape %s, but the configuration wants %s",
        moshi_checkpoint_path(l->checkpoint), name,
        shape_text(have_text, sizeof have_text, t->n_dims, t->dims),
        shape_text(want_text, sizeof want_text, n_dims, dims));
  return l->status;
}

/* A tensor of floats, in one piece. */
static const MoshiTensor *
find(MoshiLoader *l, const char *name, int n_dims, const int64_t *dims)
{
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  const char *stored = name;
  if (!l->source && !l->status) {
    moshi_names_locate(&l->names, l->checkpoint, name, pieces);
    moshi_names_use_copies(&l->names, l->checkpoint, name);
    stored = pieces[0].name;
  }
  const MoshiTensor *t = moshi_load_stored(l, stored, n_dims, dims);
  MoshiType type;
  if (!t || moshi_load_check_shape(l, t, stored, n_dims, dims))
    return NULL;
  if (!moshi_float_type(t->dtype, &type)) {
    l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL,
        "%s: tensor \"%s\" has type %s; here it must be F32, F16 or BF16",
        moshi_checkpoint_path(l->checkpoint), stored, moshi_dtype_name(t->dtype));
    return NULL;
  }
  if (l->visit && !l->device) {
    MoshiRows rows = {.type = type, .rows = 1, .cols = 1, .data = t->data};
    for (int i = 0; i < n_dims; i++)
      *(n_dims == 2 && i == 0 ? &rows.rows : &rows.cols) *= dims[i];
    l->status = l->visit(l->visit_cookie, name, &rows);
  }
  return l->status ? NULL : t;
}

/* Counts what a check would load, or has loaded: tells the progress, asks whether to go
 * on. */
static void
advance(MoshiLoader *l, size_t bytes)
{
  l->done += bytes;
  if (l->progress && l->total &&
      l->progress(l->cookie, MIN(1.0, (double)l->done / l->total)))
    l->status = moshi_fail(l->error, MOSHI_ERROR_CANCELLED, "loading was cancelled");
}

int
moshi_load_no_memory(MoshiLoader *l, const char *name)
{
  return l->status = moshi_fail(l->error, MOSHI_ERROR_MEMORY,
             "%s: no memory for tensor \"%s\" on %s; use a smaller or quantised model",
             moshi_checkpoint_path(l->checkpoint), name, l->device->description);
}

float
moshi_tensor_at(const MoshiTensor *tensor, size_t i)
{
  uint16_t half;
  float single;
  switch (tensor->dtype) {
  case MOSHI_DTYPE_F32:
    memcpy(&single, (const char *)tensor->data + 4 * i, sizeof single);
    return single;
  case MOSHI_DTYPE_F16:
    memcpy(&half, (const char *)tensor->data + 2 * i, sizeof half);
    return moshi_f16_to_f32(half);
  default:
    memcpy(&half, (const char *)tensor->data + 2 * i, sizeof half);
    return moshi_bf16_to_f32(half);
  }
}

void
moshi_tensor_floats(
    const MoshiTensor *tensor, size_t i, size_t stride, int count, float *to)
{
  if (tensor->dtype != MOSHI_DTYPE_F32) {
    for (int n = 0; n < count; n++)
      to[n] = moshi_tensor_at(tensor, i + n * stride);
    return;
  }
  const char *from = (const char *)tensor->data + 4 * i; /* may be unaligned */
  for (int n = 0; n < count; n++)
    memcpy(to + n, from + 4 * stride * n, sizeof *to);
}

MoshiType
moshi_packed_type(const MoshiLoader *l, const MoshiTensor *tensor)
{
  return tensor->dtype == MOSHI_DTYPE_BF16 ? MOSHI_TYPE_BF16 : l->packed;
}

const MoshiTensor *
moshi_load_tensor(MoshiLoader *l, const char *name, int n_dims, const int64_t *dims)
{
  const MoshiTensor *t = find(l, name, n_dims, dims);
  if (t)
    advance(l, t->bytes);
  return t;
}

bool
moshi_load_has(const MoshiLoader *l, const char *format, ...)
{
  char name[NAME_SIZE];
  va_list args;
  va_start(args, format);
  vsnprintf(name, sizeof name, format, args);
  va_end(args);
  return moshi_names_has(&l->names, l->checkpoint, name);
}

void
moshi_load_ignore(const MoshiLoader *l, const char *name)
{
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  moshi_names_locate(&l->names, l->checkpoint, name, pieces);
  moshi_checkpoint_find(l->checkpoint, pieces[0].name);
  moshi_names_use_copies(&l->names, l->checkpoint, name);
}

static int
load_vector(MoshiLoader *l, float **out, int n, const char *name)
{
  int64_t dims[] = {n};
  const MoshiTensor *t = find(l, name, 1, dims);
  if (!t)
    return l->status;
  advance(l, t->bytes);
  if (!l->device)
    return l->status;
  float *host = g_try_new(float, n);
  *out = host ? l->device->ops->alloc(l->device, n * sizeof(float)) : NULL;
  if (*out) {
    for (int i = 0; i < n; i++)
      host[i] = moshi_tensor_at(t, i);
    l->device->ops->upload(l->device, *out, host, n * sizeof(float));
  } else {
    moshi_load_no_memory(l, name);
  }
  g_free(host);
  return l->status;
}

int
moshi_load_vector(MoshiLoader *l, float **out, int n, const char *format, ...)
{
  char name[NAME_SIZE];
  va_list args;
  va_start(args, format);
  bool ok = !l->status && make_name(l, name, format, args);
  va_end(args);
  return ok ? load_vector(l, out, n, name) : l->status;
}

/* What the device has packed is not read again from where it was, and what lies behind
 * it in the file will be. */
static void
forget(MoshiLoader *l, const MoshiStored *stored, const char *name)
{
  const size_t bytes = moshi_rows_size(&stored->rows);
  if (l->source && l->forget)
    l->forget(l->source_cookie, name);
  if (l->source || stored->owned)
    return;
  if (l->copied)
    g_array_append_val(l->copied, stored->rows.data);
  moshi_checkpoint_advise(l->checkpoint, stored->rows.data, bytes, MOSHI_NEVER_AGAIN);
  moshi_checkpoint_advise(
      l->checkpoint, (const char *)stored->rows.data + bytes, AHEAD, MOSHI_WILL_READ);
}

typedef int (*MakeMatrix)(MoshiDevice *d, MoshiMatrix *m, const MoshiRows *host);

static int
load_rows(MoshiLoader *l, MoshiLinear *out, int rows, int cols, MakeMatrix make,
    const char *format, va_list args)
{
  char name[NAME_SIZE];
  bool visit = l->visit && !l->device;
  MoshiStored stored;
  if (l->status || !make_name(l, name, format, args) ||
      moshi_stored_open(l, &stored, rows, cols, name, l->device || (visit && !l->plan)))
    return l->status;
  if (visit)
    l->status = l->visit(l->visit_cookie, name, &stored.rows);
  const size_t bytes = moshi_rows_size(&stored.rows);
  if (!l->status && !l->device)
    advance(l, bytes);
  if (l->status || !l->device) {
    g_free(stored.owned);
    return l->status;
  }
  if (make(l->device, &out->w, &stored.rows))
    moshi_load_no_memory(l, name);
  else if (out->w.packed)
    forget(l, &stored, name);
  else
    out->owned = g_steal_pointer(&stored.owned);
  if (!l->status && (out->w.packed || !l->copied))
    advance(l, bytes);
  g_free(stored.owned);
  return l->status;
}

int
moshi_load_linear(
    MoshiLoader *l, MoshiLinear *out, int rows, int cols, const char *format, ...)
{
  MakeMatrix make = l->device ? l->device->ops->linear_matrix : NULL;
  va_list args;
  va_start(args, format);
  int status = load_rows(l, out, rows, cols, make, format, args);
  va_end(args);
  return status;
}

int
moshi_load_table(
    MoshiLoader *l, MoshiLinear *out, int rows, int cols, const char *format, ...)
{
  MakeMatrix make = l->device ? l->device->ops->rows_matrix : NULL;
  va_list args;
  va_start(args, format);
  int status = load_rows(l, out, rows, cols, make, format, args);
  va_end(args);
  return status;
}

static void
matrix_weights(const void *ctx, int row, int col, int count, float *to)
{
  const MoshiTensor *t = ctx;
  moshi_tensor_floats(t, (size_t)row * t->dims[1] + col, 1, count, to);
}

/* A matrix of any type as a tensor of floats; NULL without memory. *owned is freed by
 * the caller. */
static const MoshiTensor *
widen(MoshiTensor *t, const MoshiRows *w, float **owned)
{
  static const MoshiDtype dtypes[] = {[MOSHI_TYPE_F32] = MOSHI_DTYPE_F32,
      [MOSHI_TYPE_F16] = MOSHI_DTYPE_F16,
      [MOSHI_TYPE_BF16] = MOSHI_DTYPE_BF16};
  *t = (MoshiTensor){.dtype = MOSHI_DTYPE_F32,
      .n_dims = 2,
      .dims = {w->rows, w->cols},
      .data = w->data};
  *owned = NULL;
  if (w->type < G_N_ELEMENTS(dtypes)) {
    t->dtype = dtypes[w->type];
    return t;
  }
  MoshiKernels k;
  moshi_kernels_init(&k, 0);
  t->data = *owned = g_try_malloc_n(w->rows, w->cols * sizeof(float));
  for (int r = 0; *owned && r < w->rows; r++)
    k.widen[w->type](*owned + (size_t)r * w->cols, w, r, 0, w->cols);
  return *owned ? t : NULL;
}

int
moshi_load_packed(
    MoshiLoader *l, MoshiLinear *out, int rows, int cols, const char *format, ...)
{
  char name[NAME_SIZE];
  va_list args;
  va_start(args, format);
  bool ok = !l->status && make_name(l, name, format, args);
  va_end(args);
  MoshiStored stored;
  if (!ok || moshi_stored_open(l, &stored, rows, cols, name, l->device))
    return l->status;
  advance(l, moshi_rows_size(&stored.rows));
  if (!l->status && l->device) {
    MoshiTensor tensor;
    float *owned;
    const MoshiTensor *t = widen(&tensor, &stored.rows, &owned);
    if (!t || l->device->ops->packed_matrix(l->device, &out->w, moshi_packed_type(l, t),
                  rows, cols, matrix_weights, t))
      moshi_load_no_memory(l, name);
    g_free(owned);
  }
  g_free(stored.owned);
  return l->status;
}

/* eps and form of each kind: moshi/modules/transformer.py create_norm_fn. */
static const struct {
  bool rms;
  float eps;
} norm_kinds[] = {
    [MOSHI_NORM_RMS_F32] = {true, 1e-8f},
    [MOSHI_NORM_RMS] = {true, 1e-5f},
    [MOSHI_NORM_LAYER] = {false, 1e-5f},
    [MOSHI_NORM_LAYER_F32] = {false, 1e-8f},
};

int
moshi_load_norm(MoshiLoader *l, MoshiNorm *out, MoshiNormKind kind, int dim,
    const char *format, ...)
{
  char prefix[NAME_SIZE];
  va_list args;
  va_start(args, format);
  bool ok = !l->status && make_name(l, prefix, format, args);
  va_end(args);
  if (!ok)
    return l->status;
  out->op = (MoshiNormOp){.rms = norm_kinds[kind].rms, .eps = norm_kinds[kind].eps};
  float *weight = NULL, *bias = NULL;
  moshi_load_vector(l, &weight, dim, "%s.%s", prefix, out->op.rms ? "alpha" : "weight");
  if (!out->op.rms)
    moshi_load_vector(l, &bias, dim, "%s.bias", prefix);
  out->op.weight = weight;
  out->op.bias = bias;
  return l->status;
}

void
moshi_linear_free(MoshiDevice *d, MoshiLinear *linear)
{
  if (linear->w.m.data)
    d->ops->free_matrix(d, &linear->w);
  d->ops->free(d, linear->bias);
  g_free(linear->owned);
  *linear = (MoshiLinear){0};
}

void
moshi_norm_free(MoshiDevice *d, MoshiNorm *norm)
{
  d->ops->free(d, (float *)norm->op.weight);
  d->ops->free(d, (float *)norm->op.bias);
  *norm = (MoshiNorm){0};
}
