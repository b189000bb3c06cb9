/* GGUF, versions 2 and 3, little-endian:
 *
 *   "GGUF", u32 version, u64 tensors, u64 pairs
 *   pairs    string key, u32 kind, value
 *   tensors  string name, u32 n_dims, u64 dims[] (innermost first), u32 type, u64 offset
 *   padding to general.alignment (32), then the data, each tensor's padded too
 *
 * A string is u64 length and bytes. Every count and length is compared with the bytes
 * that are left before anything is done with it, and as in ggml the tensors must fill
 * the data without gaps but for the padding. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

#include "../error.h"

#define MAX_HEADER 100000000 /* as of a safetensors file */
#define MAX_TENSORS 65536
#define MAX_PAIRS 65536
#define MAX_KEPT 65536 /* bytes of a string; longer values are skipped */
#define MAX_DIMS 4     /* GGML_MAX_DIMS */

typedef enum { KIND_BOOL = 7, KIND_STRING = 8, KIND_ARRAY = 9, N_KINDS = 13 } Kind;
/* Bytes of a value; 0: a kind of its own. */
static const uint8_t kind_size[N_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* ggml's types by their number; those that are not read have names for the error. */
static const struct {
  const char *name;
  int dtype; /* MoshiDtype, or FOREIGN */
} types[] = {
#define FOREIGN (-1)
    [0] = {"F32", MOSHI_DTYPE_F32},
    [1] = {"F16", MOSHI_DTYPE_F16},
    [2] = {"Q4_0", MOSHI_DTYPE_Q4_0},
    [3] = {"Q4_1", FOREIGN},
    [6] = {"Q5_0", FOREIGN},
    [7] = {"Q5_1", FOREIGN},
    [8] = {"Q8_0", MOSHI_DTYPE_Q8_0},
    [9] = {"Q8_1", FOREIGN},
    [10] = {"Q2_K", FOREIGN},
    [11] = {"Q3_K", FOREIGN},
    [12] = {"Q4_K", MOSHI_DTYPE_Q4_K},
    [13] = {"Q5_K", FOREIGN},
    [14] = {"Q6_K", FOREIGN},
    [15] = {"Q8_K", FOREIGN},
    [16] = {"IQ2_XXS", FOREIGN},
    [17] = {"IQ2_XS", FOREIGN},
    [18] = {"IQ3_XXS", FOREIGN},
    [19] = {"IQ1_S", FOREIGN},
    [20] = {"IQ4_NL", FOREIGN},
    [21] = {"IQ3_S", FOREIGN},
    [22] = {"IQ2_S", FOREIGN},
    [23] = {"IQ4_XS", FOREIGN},
    [24] = {"I8", MOSHI_DTYPE_I8},
    [25] = {"I16", MOSHI_DTYPE_I16},
    [26] = {"I32", MOSHI_DTYPE_I32},
    [27] = {"I64", MOSHI_DTYPE_I64},
    [28] = {"F64", MOSHI_DTYPE_F64},
    [29] = {"IQ1_M", FOREIGN},
    [30] = {"BF16", MOSHI_DTYPE_BF16},
    [34] = {"TQ1_0", FOREIGN},
    [35] = {"TQ2_0", FOREIGN},
    [39] = {"MXFP4", FOREIGN},
    [40] = {"NVFP4", FOREIGN},
    [41] = {"Q1_0", FOREIGN},
};

int
moshi_gguf_type(MoshiDtype dtype)
{
  for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
    if (types[i].name && types[i].dtype == (int)dtype)
      return i;
  return -1;
}

typedef struct {
  const char *label;
  const uint8_t *data;
  size_t size, at; /* of the header at most, and of what was read of it */
  bool cut;        /* at MAX_HEADER */
  uint32_t alignment;
  GStringChunk *names;
  MoshiError *error;
} Reader;

/* --------------------------------------------------------------------- bytes */

static int
fail_short(const Reader *r, const char *what)
{
  if (r->cut)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: its header has more than %d bytes (%s)", r->label, MAX_HEADER, what);
  return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
      "%s: truncated: the file ends in the header (%s); download it again", r->label,
      what);
}

/* A number of n bytes. */
static int
read_number(Reader *r, size_t n, const char *what, uint64_t *value)
{
  *value = 0;
  if (r->size - r->at < n)
    return fail_short(r, what);
  for (size_t i = n; i-- > 0;)
    *value = *value << 8 | r->data[r->at + i];
  r->at += n;
  return 0;
}

static int
skip(Reader *r, uint64_t n, uint64_t size, const char *what)
{
  if (n > (r->size - r->at) / size)
    return fail_short(r, what);
  r->at += n * size;
  return 0;
}

/* Where a string lies in the image. */
static int
read_string(Reader *r, const char *what, const char **text, uint64_t *length)
{
  int status = read_number(r, 8, what, length);
  if (status)
    return status;
  *text = (const char *)r->data + r->at;
  return skip(r, *length, 1, what);
}

/* A key or a tensor's name, kept. Names are compared as C strings, so they hold no NUL. */
static int
read_name(Reader *r, const char *what, const char **name)
{
  const char *text;
  uint64_t length;
  int status = read_string(r, what, &text, &length);
  if (status)
    return status;
  if (length > MAX_KEPT)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: %s has %" G_GUINT64_FORMAT " bytes, %d are allowed", r->label, what,
        length, MAX_KEPT);
  if (!g_utf8_validate(text, length, NULL))
    return moshi_fail(
        r->error, MOSHI_ERROR_FORMAT, "%s: %s is not UTF-8 text", r->label, what);
  *name = g_string_chunk_insert_len(r->names, text, length);
  return 0;
}

/* ------------------------------------------------------------------ metadata */

static int
fail_kind(const Reader *r, const char *key, uint64_t kind)
{
  return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
      "%s: metadata %s: unknown kind %" G_GUINT64_FORMAT " of value", r->label, key,
      kind);
}

static int
skip_array(Reader *r, const char *key)
{
  uint64_t kind, n, length;
  int status = read_number(r, 4, key, &kind);
  if (!status)
    status = read_number(r, 8, key, &n);
  if (status)
    return status;
  if (kind == KIND_ARRAY)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: metadata %s: is an array of arrays", r->label, key);
  if (kind >= N_KINDS)
    return fail_kind(r, key, kind);
  if (kind != KIND_STRING)
    return skip(r, n, kind_size[kind], key);
  const char *text;
  for (uint64_t i = 0; i < n && !status; i++)
    status = read_string(r, key, &text, &length);
  return status;
}

static int
read_alignment(Reader *r, uint64_t kind)
{
  enum { KIND_U32 = 4 };
  uint64_t alignment;
  if (kind != KIND_U32)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: general.alignment must be of 32 bits", r->label);
  int status = read_number(r, 4, "general.alignment", &alignment);
  if (status)
    return status;
  if (!alignment || (alignment & (alignment - 1)))
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: general.alignment is %" G_GUINT64_FORMAT ", which is no power of two",
        r->label, alignment);
  r->alignment = alignment;
  return 0;
}

static int
read_pair(Reader *r, MoshiMetadata *pair)
{
  uint64_t kind, length;
  int status = read_name(r, "a key of the metadata", &pair->key);
  if (!status)
    status = read_number(r, 4, pair->key, &kind);
  if (status)
    return status;
  if (strcmp(pair->key, "general.alignment") == 0)
    return read_alignment(r, kind);
  if (kind == KIND_ARRAY)
    return skip_array(r, pair->key);
  if (kind >= N_KINDS)
    return fail_kind(r, pair->key, kind);
  if (kind != KIND_STRING)
    return skip(r, 1, kind_size[kind], pair->key);
  const char *text;
  status = read_string(r, pair->key, &text, &length);
  if (!status && length <= MAX_KEPT && g_utf8_validate(text, length, NULL))
    pair->value = g_string_chunk_insert_len(r->names, text, length);
  return status;
}

static int
compare_keys(const void *a, const void *b)
{
  return strcmp(((const MoshiMetadata *)a)->key, ((const MoshiMetadata *)b)->key);
}

static int
read_metadata(Reader *r, uint64_t n, GArray *metadata)
{
  for (uint64_t i = 0; i < n; i++) {
    MoshiMetadata pair = {NULL};
    int status = read_pair(r, &pair);
    if (status)
      return status;
    g_array_append_val(metadata, pair);
  }
  g_array_sort(metadata, compare_keys);
  for (guint i = 1; i < metadata->len; i++) {
    const MoshiMetadata *pair = &g_array_index(metadata, MoshiMetadata, i);
    if (compare_keys(pair - 1, pair) == 0)
      return moshi_fail(r->error, MOSHI_ERROR_FORMAT, "%s: metadata %s: is given twice",
          r->label, pair->key);
  }
  return 0;
}

/* ------------------------------------------------------------------- tensors */

static int
fail_tensor(const Reader *r, const MoshiTensor *t, const char *problem)
{
  return moshi_fail(
      r->error, MOSHI_ERROR_FORMAT, "%s: tensor %s: %s", r->label, t->name, problem);
}

static int
read_dims(Reader *r, MoshiTensor *t)
{
  uint64_t n, dim;
  int status = read_number(r, 4, t->name, &n);
  if (status)
    return status;
  if (n > MAX_DIMS)
    return fail_tensor(r, t, "its shape has more than 4 dimensions");
  t->n_dims = n;
  for (int i = t->n_dims; i-- > 0;) {
    status = read_number(r, 8, t->name, &dim);
    if (status)
      return status;
    if (dim > INT64_MAX)
      return fail_tensor(r, t, "its shape is beyond 63 bits");
    t->dims[i] = dim;
  }
  return 0;
}

static int
read_type(Reader *r, MoshiTensor *t)
{
  uint64_t type;
  int status = read_number(r, 4, t->name, &type);
  if (status)
    return status;
  if (type >= G_N_ELEMENTS(types) || !types[type].name)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: unknown type %" G_GUINT64_FORMAT " of tensor %s", r->label, type, t->name);
  if (types[type].dtype == FOREIGN)
    return moshi_fail(r->error, MOSHI_ERROR_MODEL,
        "%s: type %s of tensor %s cannot be run; F32, F16, BF16, Q8_0, Q4_0, Q4_K can",
        r->label, types[type].name, t->name);
  t->dtype = types[type].dtype;
  return 0;
}

/* From the shape. */
static int
count_bytes(Reader *r, MoshiTensor *t)
{
  int block = moshi_dtype_block(t->dtype);
  uint64_t row = t->n_dims ? t->dims[t->n_dims - 1] : 1, bytes;
  if (row % block)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: tensor %s: its rows of %" G_GUINT64_FORMAT
        " are no multiple of the %d of a block of %s",
        r->label, t->name, row, block, moshi_dtype_name(t->dtype));
  bool overflow =
      __builtin_mul_overflow(row / block, moshi_dtype_size(t->dtype), &bytes);
  for (int i = 0; i < t->n_dims - 1; i++)
    overflow |= __builtin_mul_overflow(bytes, (uint64_t)t->dims[i], &bytes);
  if (overflow)
    return fail_tensor(r, t, "the size of its shape overflows");
  t->bytes = bytes;
  return 0;
}

/* Before the data's start is known, `data` is the offset. */
static int
read_tensor(Reader *r, MoshiTensor *t)
{
  uint64_t offset;
  int status = read_name(r, "the name of a tensor", &t->name);
  if (!status)
    status = read_dims(r, t);
  if (!status)
    status = read_type(r, t);
  if (!status)
    status = count_bytes(r, t);
  if (!status)
    status = read_number(r, 8, t->name, &offset);
  if (status)
    return status;
  if (offset & (r->alignment - 1))
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: tensor %s: its offset %" G_GUINT64_FORMAT
        " is no multiple of the alignment %u",
        r->label, t->name, offset, r->alignment);
  t->data = (const void *)(uintptr_t)offset;
  return 0;
}

/* ---------------------------------------------------------------------- data */

static size_t
padded(size_t n, uint32_t alignment)
{
  return (n + alignment - 1) & ~(size_t)(alignment - 1);
}

/* Turns the offsets into pointers, all of them inside of the data. */
static int
place(Reader *r, const uint8_t *data, size_t size, MoshiTensor *t, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint64_t offset = (uintptr_t)t[i].data;
    if (offset > size || t[i].bytes > size - offset)
      return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
          "%s: truncated: tensor %s has %zu bytes from byte %" G_GUINT64_FORMAT
          " of the data on, the file holds %zu; download it again",
          r->label, t[i].name, t[i].bytes, offset, size);
    t[i].data = data + offset;
  }
  return 0;
}

static int
compare_ranges(const void *a, const void *b)
{
  const MoshiTensor *x = *(const MoshiTensor *const *)a;
  const MoshiTensor *y = *(const MoshiTensor *const *)b;
  if (x->data != y->data)
    return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted by offset, each tensor starts where the padding of the one before it ends. */
static int
check_cover(Reader *r, const uint8_t *data, size_t size, const MoshiTensor *t, size_t n)
{
  const MoshiTensor **order = g_try_new(const MoshiTensor *, n + 1);
  if (!order)
    return moshi_fail(r->error, MOSHI_ERROR_MEMORY, "%s: out of memory", r->label);
  for (size_t i = 0; i < n; i++)
    order[i] = &t[i];
  qsort(order, n, sizeof *order, compare_ranges);

  int status = 0;
  size_t at = 0;
  for (size_t i = 0; i < n && !status; i++) {
    size_t begin = (const uint8_t *)order[i]->data - data;
    if (begin != at)
      status = moshi_fail(r->error, MOSHI_ERROR_FORMAT,
          "%s: tensor %s: its data begins at byte %zu, where %s at byte %zu", r->label,
          order[i]->name, begin,
          begin < at ? "it overlaps another one that ends"
                     : "nothing fills the gap that begins",
          at);
    at = padded(begin + order[i]->bytes, r->alignment);
  }
  g_free(order);
  if (!status && size > at)
    status = moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: %zu bytes follow the last tensor; download it again", r->label, size - at);
  return status;
}

/* ---------------------------------------------------------------------- file */

bool
moshi_gguf_is(const uint8_t *data, size_t size)
{
  return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

static int
check_version(const Reader *r, uint64_t version)
{
  if (version == 2 || version == 3)
    return 0;
  if (version == 0x02000000 || version == 0x03000000)
    return moshi_fail(r->error, MOSHI_ERROR_MODEL,
        "%s: is a big-endian GGUF file, which is not read", r->label);
  return moshi_fail(r->error, MOSHI_ERROR_MODEL,
      "%s: is GGUF of version %" G_GUINT64_FORMAT "; 2 and 3 are read", r->label,
      version);
}

/* The smallest pair has 13 bytes, the smallest tensor 24. */
static int
check_count(const Reader *r, const char *what, uint64_t n, uint64_t max, size_t bytes)
{
  if (n > max)
    return moshi_fail(r->error, MOSHI_ERROR_FORMAT,
        "%s: claims %" G_GUINT64_FORMAT " %s, %" G_GUINT64_FORMAT " are allowed",
        r->label, n, what, max);
  return n > (r->size - r->at) / bytes ? fail_short(r, what) : 0;
}

int
moshi_gguf_parse(const uint8_t *data, size_t size, const char *label, GArray *tensors,
    GArray *metadata, GStringChunk *names, MoshiError *error)
{
  Reader r = {.label = label,
      .data = data,
      .size = MIN(size, MAX_HEADER),
      .at = 4,
      .cut = size > MAX_HEADER,
      .alignment = 32,
      .names = names,
      .error = error};
  uint64_t version, n_tensors = 0, n_pairs = 0;
  size_t first = tensors->len;
  int status = read_number(&r, 4, "the version", &version);
  if (!status)
    status = check_version(&r, version);
  if (!status)
    status = read_number(&r, 8, "the number of tensors", &n_tensors);
  if (!status)
    status = read_number(&r, 8, "the number of pairs of the metadata", &n_pairs);
  if (!status)
    status = check_count(&r, "tensors", n_tensors, MAX_TENSORS, 24);
  if (!status)
    status = check_count(&r, "pairs of the metadata", n_pairs, MAX_PAIRS, 13);
  if (!status)
    status = read_metadata(&r, n_pairs, metadata);
  for (uint64_t i = 0; i < n_tensors && !status; i++) {
    MoshiTensor t = {0};
    status = read_tensor(&r, &t);
    if (!status)
      g_array_append_val(tensors, t);
  }
  if (status || n_tensors == 0)
    return status;
  /* Writers leave the padding out where nothing follows it. */
  size_t start = MIN(padded(r.at, r.alignment), size);
  MoshiTensor *own = &g_array_index(tensors, MoshiTensor, first);
  status = place(&r, data + start, size - start, own, n_tensors);
  return status ? status : check_cover(&r, data + start, size - start, own, n_tensors);
}
