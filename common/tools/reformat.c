/* See reformat.h. Every tensor of the model's own walk is widened to floats, which
 * is exact, and matrices then encoded. */
#include "reformat.h"

#include <glib.h>
#include <string.h>

#include "../error.h"

typedef struct {
  MoshiTensor tensor;
  char *name;
  void *data;
} Stored;

struct Reformatted {
  const Format *format;
  int count; /* of matrices that got it */
  MoshiKernels kernels;
  GHashTable *tensors; /* name → Stored */
  char *config;
  MoshiModelFiles files;
  MoshiCheckpoint *checkpoint;
};

static void
stored_free(void *item)
{
  Stored *s = item;
  g_free(s->name);
  g_free(s->data);
  g_free(s);
}

/* Takes the name and the data. */
static void
store(Reformatted *r, char *name, MoshiDtype dtype, int n_dims, int64_t rows,
    int64_t cols, void *data)
{
  Stored *s = g_new0(Stored, 1);
  s->name = name;
  s->data = data;
  s->tensor = (MoshiTensor){.name = name,
      .dtype = dtype,
      .n_dims = n_dims,
      .dims = {rows, cols},
      .data = data,
      .bytes = rows * (n_dims == 2 ? cols : 1) / moshi_dtype_block(dtype) *
               moshi_dtype_size(dtype)};
  g_hash_table_replace(r->tensors, name, s);
}

static void
store_matrix(Reformatted *r, const Format *f, const char *name, const MoshiRows *w)
{
  size_t bytes = format_row_bytes(f, w->cols), beside = format_scale_bytes(f, w->cols);
  char *data = g_malloc_n(w->rows, bytes);
  char *scales = g_malloc0(w->rows * beside), *biases = g_malloc0(w->rows * beside);
  float *x = g_new(float, w->cols);
  for (int row = 0; row < w->rows; row++) {
    r->kernels.widen[w->type](x, w, row, 0, w->cols);
    format_encode(f, x, w->cols, data + row * bytes, scales + row * beside,
        biases + row * beside);
  }
  g_free(x);
  int64_t width = f->dtype == MOSHI_DTYPE_U32 ? (int64_t)(bytes / 4) : w->cols;
  store(r, g_strdup(name), f->dtype, 2, w->rows, width, data);
  int n_dims = f->group ? 2 : 1, groups = f->group ? w->cols / f->group : 1;
  if (f->scales)
    store(r, format_beside(name, f->scales), f->scale_dtype, n_dims, w->rows, groups,
        scales);
  else
    g_free(scales);
  if (f->biases)
    store(r, format_beside(name, f->biases), f->scale_dtype, n_dims, w->rows, groups,
        biases);
  else
    g_free(biases);
}

static int
visit(void *cookie, const char *name, const MoshiRows *w)
{
  Reformatted *r = cookie;
  const Format *f =
      w->rows > 1 && r->format ? format_of_matrix(r->format, name, w->cols) : NULL;
  r->count += f && f == r->format;
  store_matrix(r, f ? f : format_find("f32"), name, w);
  return 0;
}

static const MoshiTensor *
source(void *cookie, const char *name, int n_dims, const int64_t *dims)
{
  Reformatted *r = cookie;
  Stored *s = g_hash_table_lookup(r->tensors, name);
  return s ? &s->tensor : NULL;
}

/* Reads the files' tensors into the table. */
static int
read_files(Reformatted *r, const char *model, MoshiError *error)
{
  int status = moshi_model_files_find(&r->files, model, MOSHI_PART_LM, error);
  if (!status && !g_file_get_contents(r->files.config, &r->config, NULL, NULL))
    status = moshi_fail(error, MOSHI_ERROR_NOT_FOUND, "%s has no config.json", model);
  if (!status && !(r->checkpoint = moshi_checkpoint_open(r->files.lm, error)))
    status = error->status;
  if (status)
    return status;
  MoshiLoader l = {
      .checkpoint = r->checkpoint, .visit = visit, .visit_cookie = r, .error = error};
  moshi_lm_weights_load(&l, r->files.lm_config); /* without a device: a walk */
  return l.status;
}

MoshiModel *
reformat_model(Reformatted **weights, const Format *format,
    const MoshiModelOptions *options, MoshiError *error)
{
  Reformatted *r = g_new0(Reformatted, 1);
  MoshiModel *model = NULL;
  r->format = format;
  r->tensors = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, stored_free);
  moshi_kernels_init(&r->kernels, 0);
  if (!read_files(r, options->model, error)) {
    MoshiInvention invention = {
        .name = r->files.root, .lm = r->config, .source = source, .cookie = r};
    model = moshi_model_invent(options, &invention, error);
  }
  if (model && moshi_model_load(model, NULL, NULL, error))
    g_clear_pointer(&model, moshi_model_unref);
  if (model)
    *weights = r;
  else
    reformat_free(r);
  return model;
}

int
reformat_count(const Reformatted *r)
{
  return r->count;
}

void
reformat_free(Reformatted *r)
{
  if (!r)
    return;
  g_hash_table_unref(r->tensors);
  moshi_checkpoint_unref(r->checkpoint);
  moshi_model_files_clear(&r->files);
  g_free(r->config);
  g_free(r);
}
