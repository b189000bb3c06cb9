/* Matrices as files store them.
 *
 * A type is told from the tensor's own and from what lies beside it:
 *   I8   X.weight and F32 X.weight_scb [rows], the largest magnitude of each row
 *        (moshi/utils/quantize.py): w = q·scb/127
 *   U32  X.weight of 4 or 8 bits a number, X.scales and X.biases [rows][cols/group]
 *        (MLX): bits and group follow from the shapes
 *   all others stand for themselves. */
#include "stored.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "../error.h"

static int
fail(MoshiLoader *l, const char *name, const char *problem)
{
  return l->status = moshi_fail(l->error, MOSHI_ERROR_MODEL, "%s: tensor \"%s\" %s",
             moshi_checkpoint_path(l->checkpoint), name, problem);
}

static int
piece_dims(const MoshiTensorPiece *p, int rows, int64_t width, int64_t dims[3])
{
  int n = 0;
  if (p->stacked)
    dims[n++] = p->n_slices;
  dims[n++] = p->stacked ? rows : (int64_t)p->n_slices * rows;
  if (width)
    dims[n++] = width;
  return n;
}

/* A tensor beside the weights: X.weight's is X.scales (".scales"), or
 * X.weight_scb ("_scb"). width 0: a vector; −1: any width. */
static const MoshiTensor *
beside(MoshiLoader *l, const MoshiTensorPiece *p, const char *suffix, int rows,
    int64_t width)
{
  char name[MOSHI_TENSOR_NAME + 8];
  int64_t dims[3];
  int stem = strlen(p->name);
  if (suffix[0] == '.' && g_str_has_suffix(p->name, ".weight"))
    stem -= strlen(".weight");
  snprintf(name, sizeof name, "%.*s%s", stem, p->name, suffix);
  int n = piece_dims(p, rows, MAX(width, 0), dims);
  const MoshiTensor *t = moshi_load_stored(l, name, n, dims);
  if (t && width < 0)
    return t;
  return t && moshi_load_check_shape(l, t, name, n, dims) == 0 ? t : NULL;
}

static int64_t
last_dim(const MoshiTensor *t)
{
  return t->n_dims ? t->dims[t->n_dims - 1] : 0;
}

/* PyTorch's int8. The scales stay those of the file, ·127 of what MoshiRows wants,
 * until take_scales(). */
static void
describe_int8(MoshiLoader *l, const MoshiTensorPiece *p, int rows, MoshiRows *w)
{
  const MoshiTensor *scb = beside(l, p, "_scb", rows, 0);
  w->type = MOSHI_TYPE_I8;
  if (scb && scb->dtype != MOSHI_DTYPE_F32)
    fail(l, scb->name, "is not of type F32");
  else if (scb)
    w->scales = scb->data;
}

static void
describe_mlx(MoshiLoader *l, const MoshiTensorPiece *p, const MoshiTensor *t, int rows,
    MoshiRows *w)
{
  int64_t words = last_dim(t), bits = words <= w->cols ? words * 32 / w->cols : 0;
  if ((bits != 4 && bits != 8) || bits * w->cols != words * 32) {
    fail(l, p->name, "has not the width of 4-bit or 8-bit weights in its shape");
    return;
  }
  w->type = bits == 4 ? MOSHI_TYPE_MLX4 : MOSHI_TYPE_MLX8;
  const MoshiTensor *scales = beside(l, p, ".scales", rows, -1);
  if (!scales)
    return;
  int64_t groups = last_dim(scales);
  w->group = groups > 0 ? w->cols / groups : 0;
  if ((w->group != 32 && w->group != 64 && w->group != 128) ||
      groups * w->group != w->cols) {
    fail(l, scales->name, "has not a scale for each 32, 64 or 128 weights of a row");
    return;
  }
  /* By name again, now that its shape is known. */
  scales = beside(l, p, ".scales", rows, groups);
  const MoshiTensor *biases = scales ? beside(l, p, ".biases", rows, groups) : NULL;
  if (!biases)
    return;
  if (!moshi_float_type(scales->dtype, &w->scale_type))
    fail(l, scales->name, "is not of type F32, F16 or BF16");
  else if (biases->dtype != scales->dtype)
    fail(l, biases->name, "is not of the type of the scales");
  w->scales = scales->data;
  w->biases = biases->data;
}

bool
moshi_float_type(MoshiDtype dtype, MoshiType *type)
{
  switch (dtype) {
  case MOSHI_DTYPE_F32:
    *type = MOSHI_TYPE_F32;
    return true;
  case MOSHI_DTYPE_F16:
    *type = MOSHI_TYPE_F16;
    return true;
  case MOSHI_DTYPE_BF16:
    *type = MOSHI_TYPE_BF16;
    return true;
  default:
    return false;
  }
}

static bool
block_type(MoshiDtype dtype, MoshiType *type)
{
  switch (dtype) {
  case MOSHI_DTYPE_Q8_0:
    *type = MOSHI_TYPE_Q8_0;
    return true;
  case MOSHI_DTYPE_Q4_0:
    *type = MOSHI_TYPE_Q4_0;
    return true;
  case MOSHI_DTYPE_Q4_K:
    *type = MOSHI_TYPE_Q4_K;
    return true;
  default:
    return moshi_float_type(dtype, type);
  }
}

/* One piece: `rows` rows of its slice of a tensor. */
static int
describe(MoshiLoader *l, const MoshiTensorPiece *p, int rows, int cols, MoshiRows *part)
{
  int64_t dims[3];
  int n = piece_dims(p, rows, cols, dims);
  const MoshiTensor *t = moshi_load_stored(l, p->name, n, dims);
  MoshiRows w = {.rows = rows * p->n_slices, .cols = cols};
  if (!t)
    return l->status;
  if (t->dtype == MOSHI_DTYPE_U32) {
    describe_mlx(l, p, t, rows, &w);
    dims[n - 1] = last_dim(t);
  } else if (t->dtype == MOSHI_DTYPE_I8) {
    describe_int8(l, p, rows, &w);
  } else if (!block_type(t->dtype, &w.type)) {
    char problem[160];
    snprintf(problem, sizeof problem,
        "has type %s; F32, F16, BF16, I8 with its scales, Q8_0, Q4_0, Q4_K and MLX's 4 "
        "and 8 bits can be run",
        moshi_dtype_name(t->dtype));
    fail(l, p->name, problem);
  }
  if (!l->status)
    moshi_load_check_shape(l, t, p->name, n, dims);
  if (l->status)
    return l->status;
  w.data = t->data;
  *part = moshi_rows_part(&w, rows * p->slice, rows);
  return 0;
}

/* Row of the file that holds row i of a head of `size` rows. */
static int
sorted_row(int i, int size)
{
  return i % 2 * (size / 2) + i / 2;
}

/* Copies field `from` of every row: data, scales or biases. */
static void
copy_rows(char *to, const void *from, size_t bytes, int rows, int head_dim)
{
  for (int r = 0; head_dim && r < rows; r++) {
    int head = r / head_dim * head_dim;
    memcpy(to + r * bytes,
        (const char *)from + (head + sorted_row(r - head, head_dim)) * bytes, bytes);
  }
  if (!head_dim)
    memcpy(to, from, rows * bytes);
}

/* Sizes of one row in bytes. */
static void
row_sizes(const MoshiRows *w, size_t *data, size_t *scales, size_t *biases)
{
  *data = moshi_rows_bytes(w->type, w->cols);
  *scales = w->type == MOSHI_TYPE_I8 ? sizeof(float)
            : w->group ? moshi_rows_bytes(w->scale_type, w->cols / w->group)
                       : 0;
  *biases = w->group ? *scales : 0;
}

/* One matrix of all pieces. */
static int
join(MoshiLoader *l, MoshiStored *out, const MoshiTensorPiece *pieces,
    const MoshiRows *parts, int n, const char *name)
{
  MoshiRows *w = &out->rows;
  size_t data, scales, biases;
  row_sizes(w, &data, &scales, &biases);
  size_t all_data = (w->rows * data + 63) / 64 * 64; /* scales are aligned */
  char *to = out->owned = g_try_malloc(all_data + w->rows * (scales + biases));
  if (!to)
    return l->status = moshi_fail(l->error, MOSHI_ERROR_MEMORY,
               "%s: no memory for tensor \"%s\"; use a smaller or quantised model",
               moshi_checkpoint_path(l->checkpoint), name);
  char *to_scales = to + all_data, *to_biases = to_scales + w->rows * scales;
  w->data = to;
  w->scales = scales ? to_scales : NULL;
  w->biases = biases ? to_biases : NULL;
  for (int i = 0; i < n; i++) {
    const MoshiRows *p = &parts[i];
    copy_rows(to, p->data, data, p->rows, pieces[i].head_dim);
    to += p->rows * data;
    if (scales)
      copy_rows(to_scales, p->scales, scales, p->rows, pieces[i].head_dim);
    to_scales += p->rows * scales;
    if (biases)
      copy_rows(to_biases, p->biases, biases, p->rows, pieces[i].head_dim);
    to_biases += p->rows * biases;
    moshi_checkpoint_advise(l->checkpoint, p->data, p->rows * data, MOSHI_HAVE_READ);
    if (l->copied)
      g_array_append_val(l->copied, p->data);
  }
  return 0;
}

/* From the largest magnitude of each row to the step of its numbers. */
static int
take_scales(MoshiLoader *l, MoshiStored *out, const char *name)
{
  MoshiRows *w = &out->rows;
  float *scales = out->owned ? (float *)w->scales : g_try_new(float, w->rows);
  if (!scales)
    return moshi_load_no_memory(l, name);
  for (int r = 0; r < w->rows; r++) {
    float scb;
    memcpy(&scb, (const char *)w->scales + r * sizeof scb, sizeof scb);
    scb /= 127;
    memcpy((char *)scales + r * sizeof scb, &scb, sizeof scb);
  }
  out->owned = out->owned ? out->owned : scales;
  w->scales = scales;
  return 0;
}

int
moshi_stored_open(
    MoshiLoader *l, MoshiStored *out, int rows, int cols, const char *name, bool data)
{
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES] = {{.n_slices = 1}};
  MoshiRows parts[MOSHI_MAX_PIECES];
  int n = 1;
  *out = (MoshiStored){.owned = NULL};
  if (l->status)
    return l->status;
  if (l->source)
    g_strlcpy(pieces[0].name, name, sizeof pieces[0].name);
  else
    n = moshi_names_locate(&l->names, l->checkpoint, name, pieces);
  for (int i = 0; i < n; i++) {
    if (describe(
            l, &pieces[i], pieces[i].rows ? pieces[i].rows : rows, cols, &parts[i]))
      return l->status;
    if (parts[i].type != parts[0].type || parts[i].group != parts[0].group ||
        parts[i].scale_type != parts[0].scale_type)
      return fail(l, pieces[i].name, "is not of the type of its neighbours");
  }
  int total = 0;
  for (int i = 0; i < n; i++)
    total += parts[i].rows;
  if (total != rows)
    return fail(l, name, "has not the rows of its parts");
  if (!l->source)
    moshi_names_use_copies(&l->names, l->checkpoint, name);
  out->rows = parts[0];
  out->rows.rows = rows;
  bool whole = n == 1 && !pieces[0].head_dim;
  if (!data)
    out->rows.data = whole ? out->rows.data : NULL;
  else if (!whole)
    join(l, out, pieces, parts, n, name);
  if (data && !l->status && out->rows.type == MOSHI_TYPE_I8)
    take_scales(l, out, name);
  if (l->status)
    g_clear_pointer(&out->owned, g_free);
  return l->status;
}
