/* See random.h.
 *
 * Tensors are invented when they are first asked for, and filled when they are
 * asked for again while `filling` is set, so that a model can be checked against
 * the machine's memory before it is taken. */
#include "random.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#include "../error.h"

/* A prime number of blocks of 256 is repeated, so that no two rows are equal. */
enum { TILE = 4099 * 256 };

/* Random numbers in a format, as one row. */
typedef struct {
  const Format *format;
  void *data, *scales, *biases;
} Tile;

typedef struct {
  MoshiTensor tensor;
  const void *pattern; /* repeated over the data; NULL: ones */
  size_t period;       /* of the pattern, in bytes */
  bool filled;
} Invented;

struct RandomWeights {
  GHashTable *tensors; /* name → Invented */
  const Format *plain; /* of matrices that are not in `format` */
  const Format *format;
  float *values;    /* [TILE], nothing that grows or dies over the layers */
  GPtrArray *tiles; /* Tile */
  bool filling;
  MoshiInvention invention;
};

/* ------------------------------------------------------------------- tiles */

static void
tile_free(void *item)
{
  Tile *tile = item;
  g_free(tile->data);
  g_free(tile->scales);
  g_free(tile->biases);
  g_free(tile);
}

static const Tile *
tile_of(RandomWeights *r, const Format *f)
{
  for (guint i = 0; i < r->tiles->len; i++) {
    Tile *tile = r->tiles->pdata[i];
    if (tile->format == f)
      return tile;
  }
  Tile *tile = g_new0(Tile, 1);
  tile->format = f;
  tile->data = g_malloc(format_row_bytes(f, TILE));
  tile->scales = g_malloc0(format_scale_bytes(f, TILE));
  tile->biases = g_malloc0(format_scale_bytes(f, TILE));
  format_encode(f, r->values, TILE, tile->data, tile->scales, tile->biases);
  g_ptr_array_add(r->tiles, tile);
  return tile;
}

/* ----------------------------------------------------------------- tensors */

static void
invented_free(void *item)
{
  Invented *v = item;
  if (v->tensor.data)
    munmap((void *)v->tensor.data, v->tensor.bytes);
  g_free((char *)v->tensor.name);
  g_free(v);
}

/* Untouched, and so without memory, until it is filled. Takes the name. */
static Invented *
invent(RandomWeights *r, char *name, MoshiDtype dtype, int n_dims, const int64_t *dims,
    size_t bytes)
{
  Invented *v = g_new0(Invented, 1);
  MoshiTensor *t = &v->tensor;
  t->name = name;
  t->dtype = dtype;
  t->n_dims = n_dims;
  memcpy(t->dims, dims, n_dims * sizeof *dims);
  t->bytes = bytes;
  void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  t->data = data == MAP_FAILED ? NULL : data;
  g_hash_table_insert(r->tensors, name, v);
  return v;
}

/* The scales or biases of a matrix. */
static void
invent_beside(RandomWeights *r, const char *name, const char *suffix, const Format *f,
    int64_t rows, int64_t cols, const void *pattern)
{
  if (!suffix)
    return;
  int64_t dims[] = {rows, f->group ? cols / f->group : 1};
  Invented *v = invent(r, format_beside(name, suffix), f->scale_dtype, f->group ? 2 : 1,
      dims, rows * format_scale_bytes(f, cols));
  v->pattern = pattern;
  v->period = format_scale_bytes(f, TILE);
}

static Invented *
invent_matrix(RandomWeights *r, const char *name, int64_t rows, int64_t cols)
{
  const Format *f = format_of_matrix(r->format, name, cols);
  f = f ? f : r->plain;
  const Tile *tile = tile_of(r, f);
  bool words = f->dtype == MOSHI_DTYPE_U32;
  int64_t dims[] = {
      rows, words ? (int64_t)(format_row_bytes(f, cols) / sizeof(uint32_t)) : cols};
  Invented *v =
      invent(r, g_strdup(name), f->dtype, 2, dims, rows * format_row_bytes(f, cols));
  v->pattern = tile->data;
  v->period = format_row_bytes(f, TILE);
  invent_beside(r, name, f->scales, f, rows, cols, tile->scales);
  invent_beside(r, name, f->biases, f, rows, cols, tile->biases);
  return v;
}

/* Norms, usage counts and biases: ones do for all of them. Convolutions are of
 * f32, like Mimi's matrices. */
static Invented *
invent_tensor(RandomWeights *r, const char *name, int n_dims, const int64_t *dims)
{
  if (n_dims == 2)
    return invent_matrix(r, name, dims[0], dims[1]);
  size_t elements = 1;
  for (int i = 0; i < n_dims; i++)
    elements *= dims[i];
  Invented *v = invent(
      r, g_strdup(name), MOSHI_DTYPE_F32, n_dims, dims, elements * sizeof(float));
  if (n_dims > 1) {
    v->pattern = r->values;
    v->period = TILE * sizeof *r->values;
  }
  return v;
}

static void
fill(Invented *v)
{
  char *data = (char *)v->tensor.data;
  size_t bytes = v->tensor.bytes;
  v->filled = true;
  if (v->pattern)
    for (size_t done = 0; done < bytes; done += v->period)
      memcpy(data + done, v->pattern, MIN(v->period, bytes - done));
  else
    for (size_t i = 0; i < bytes / sizeof(float); i++)
      ((float *)data)[i] = 1;
}

static const MoshiTensor *
source(void *cookie, const char *name, int n_dims, const int64_t *dims)
{
  RandomWeights *r = cookie;
  Invented *v = g_hash_table_lookup(r->tensors, name);
  if (!v)
    v = invent_tensor(r, name, n_dims, dims);
  if (!v->tensor.data)
    return NULL;
  if (r->filling && !v->filled)
    fill(v);
  return &v->tensor;
}

/* Gives its memory back; it is filled anew when it is asked for again. */
static void
forget(void *cookie, const char *name)
{
  RandomWeights *r = cookie;
  Invented *v = g_hash_table_lookup(r->tensors, name);
  madvise((void *)v->tensor.data, v->tensor.bytes, MADV_DONTNEED);
  v->filled = false;
}

/* ------------------------------------------------------------------- model */

static RandomWeights *
random_new(const Shape *shape, const Format *plain, const Format *format)
{
  RandomWeights *r = g_new0(RandomWeights, 1);
  r->tensors = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, invented_free);
  r->tiles = g_ptr_array_new_with_free_func(tile_free);
  r->plain = plain;
  r->format = format;
  r->values = g_new(float, TILE);
  GRand *rand = g_rand_new_with_seed(1);
  for (int i = 0; i < TILE; i++)
    r->values[i] = g_rand_double_range(rand, -0.04, 0.04);
  g_rand_free(rand);
  r->invention = (MoshiInvention){.name = shape->name,
      .mimi = shape->mimi,
      .lm = shape->lm,
      .source = source,
      .forget = forget,
      .cookie = r};
  return r;
}

MoshiModel *
bench_random_model(RandomWeights **weights, const Shape *shape, const Format *format,
    const MoshiModelOptions *options, MoshiError *error)
{
  bool lm = options->parts & MOSHI_PART_LM;
  if (lm && !shape->lm) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "shape \"%s\" has no language model; see --help", shape->name);
    return NULL;
  }
  const Format *plain = format_find(lm ? "bf16" : "f32");
  RandomWeights *r = random_new(shape, plain, lm ? format : plain);
  MoshiModel *model = moshi_model_invent(options, &r->invention, error);
  r->filling = true;
  if (model && moshi_model_load(model, NULL, NULL, error))
    g_clear_pointer(&model, moshi_model_unref);
  if (model)
    *weights = r;
  else
    bench_random_free(r);
  return model;
}

void
bench_random_free(RandomWeights *r)
{
  if (!r)
    return;
  g_hash_table_unref(r->tensors);
  g_ptr_array_unref(r->tiles);
  g_free(r->values);
  g_free(r);
}
