/* safetensors: u64 N, N bytes of JSON, then the tensors' data.
 *
 *   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …,
 *    "__metadata__": {"key": "value"} or null}
 *
 * The reference library (safetensors 0.7) demands that the tensors cover the
 * data without gap, overlap or tail. So do we, and we refuse what it lets
 * pass only by accident: a name that is given twice. Nothing is allocated
 * but the table of tensors, and that grows with the bytes that are there, not
 * with the sizes they claim. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "scan.h"

#define MAX_HEADER 100000000 /* as the reference library */
#define MAX_TENSORS 65536
#define MAX_DEPTH 16 /* of fields that we skip */

static const char *const foreign_dtypes[] = {"F8_E5M2", "F8_E4M3", "F8_E8M0", "C64",
    "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};

typedef struct {
  const char *label;
  MoshiScan scan;
  GString *name, *text; /* of the entry being read */
  uint64_t data_size;
  const uint8_t *data;
  MoshiError *error;
} Parser;

typedef struct {
  bool has_dtype, has_shape, has_offsets;
  MoshiTensor tensor;
  uint64_t begin, end;
} Entry;

/* What the header scanner stumbled over. */
static int
fail_scan(Parser *p)
{
  return moshi_fail(p->error, MOSHI_ERROR_FORMAT,
      "%s: the header is broken at byte %zu: %s", p->label,
      moshi_scan_offset(&p->scan) + 8, p->scan.problem);
}

/* What is wrong with the entry's value: the scanner's problem, or ours. */
static int
fail_entry(Parser *p, const char *problem)
{
  return moshi_fail(p->error, MOSHI_ERROR_FORMAT, "%s: tensor %s: %s", p->label,
      p->name->str, p->scan.problem ? p->scan.problem : problem);
}

static int
parse_dtype(Parser *p, Entry *e)
{
  if (!moshi_scan_string(&p->scan, p->text))
    return fail_entry(p, NULL);
  for (MoshiDtype i = 0; i < MOSHI_N_DTYPES; i++)
    if (moshi_dtype_block(i) == 1 && strcmp(moshi_dtype_name(i), p->text->str) == 0) {
      e->tensor.dtype = i;
      return 0;
    }
  for (size_t i = 0; i < G_N_ELEMENTS(foreign_dtypes); i++)
    if (strcmp(foreign_dtypes[i], p->text->str) == 0)
      return moshi_fail(p->error, MOSHI_ERROR_MODEL,
          "%s: tensor %s is stored as %s, which is not supported; use a checkpoint in "
          "F32, F16 or BF16",
          p->label, p->name->str, p->text->str);
  return moshi_fail(p->error, MOSHI_ERROR_FORMAT, "%s: tensor %s: unknown dtype \"%s\"",
      p->label, p->name->str, p->text->str);
}

static int
parse_shape(Parser *p, Entry *e)
{
  uint64_t dim;
  bool first = true;
  while (moshi_scan_member(&p->scan, '[', &first)) {
    if (!moshi_scan_u64(&p->scan, &dim))
      return fail_entry(p, NULL);
    if (e->tensor.n_dims == MOSHI_MAX_DIMS)
      return fail_entry(p, "its shape has more than 8 dimensions");
    if (dim > INT64_MAX)
      return fail_entry(p, "its shape is beyond 63 bits");
    e->tensor.dims[e->tensor.n_dims++] = dim;
  }
  return p->scan.problem ? fail_entry(p, NULL) : 0;
}

static int
parse_offsets(Parser *p, Entry *e)
{
  MoshiScan *s = &p->scan;
  if (!moshi_scan_expect(s, '[') || !moshi_scan_u64(s, &e->begin) ||
      !moshi_scan_expect(s, ',') || !moshi_scan_u64(s, &e->end) ||
      !moshi_scan_expect(s, ']'))
    return fail_entry(p, NULL);
  return 0;
}

/* The value of one tensor's name; fields that nobody knows are skipped, as the
 * reference does. */
static int
parse_entry(Parser *p, Entry *e)
{
  static const struct {
    const char *name;
    size_t seen;
    int (*parse)(Parser *, Entry *);
  } fields[] = {
      {"dtype", offsetof(Entry, has_dtype), parse_dtype},
      {"shape", offsetof(Entry, has_shape), parse_shape},
      {"data_offsets", offsetof(Entry, has_offsets), parse_offsets},
  };
  bool first = true;
  while (moshi_scan_member(&p->scan, '{', &first)) {
    if (!moshi_scan_string(&p->scan, p->text) || !moshi_scan_expect(&p->scan, ':'))
      return fail_entry(p, NULL);
    size_t i = 0;
    while (i < G_N_ELEMENTS(fields) && strcmp(fields[i].name, p->text->str) != 0)
      i++;
    if (i == G_N_ELEMENTS(fields)) {
      if (!moshi_scan_skip(&p->scan, MAX_DEPTH))
        return fail_entry(p, NULL);
      continue;
    }
    bool *seen = (bool *)((char *)e + fields[i].seen);
    if (*seen)
      return fail_entry(p, "a field is given twice");
    *seen = true;
    int status = fields[i].parse(p, e);
    if (status < 0)
      return status;
  }
  if (p->scan.problem)
    return fail_entry(p, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS(fields); i++)
    if (!*(bool *)((char *)e + fields[i].seen))
      return moshi_fail(p->error, MOSHI_ERROR_FORMAT, "%s: tensor %s: has no %s",
          p->label, p->name->str, fields[i].name);
  return 0;
}

/* Shape times element size must be the range, and the range inside the file. */
static int
check_entry(Parser *p, Entry *e)
{
  MoshiTensor *t = &e->tensor;
  uint64_t bytes = moshi_dtype_size(t->dtype);
  for (int i = 0; i < t->n_dims; i++)
    if (__builtin_mul_overflow(bytes, (uint64_t)t->dims[i], &bytes))
      return fail_entry(p, "the size of its shape overflows");
  if (e->end < e->begin)
    return fail_entry(p, "its data ends before it begins");
  if (bytes != e->end - e->begin)
    return moshi_fail(p->error, MOSHI_ERROR_FORMAT,
        "%s: tensor %s: its shape needs %" G_GUINT64_FORMAT
        " bytes, its offsets give %" G_GUINT64_FORMAT,
        p->label, p->name->str, bytes, e->end - e->begin);
  if (e->end > p->data_size)
    return moshi_fail(p->error, MOSHI_ERROR_FORMAT,
        "%s: truncated: tensor %s ends at byte %" G_GUINT64_FORMAT
        " of the data, the file holds %" G_GUINT64_FORMAT "; download it again",
        p->label, p->name->str, e->end, p->data_size);
  t->data = p->data + e->begin;
  t->bytes = bytes;
  return 0;
}

static int
parse_metadata(Parser *p)
{
  if (moshi_scan_null(&p->scan))
    return 0;
  bool first = true;
  while (moshi_scan_member(&p->scan, '{', &first))
    if (!moshi_scan_string(&p->scan, NULL) || !moshi_scan_expect(&p->scan, ':') ||
        !moshi_scan_string(&p->scan, NULL))
      break;
  return p->scan.problem ? fail_entry(p, NULL) : 0;
}

static int
parse_header(Parser *p, GArray *tensors, GStringChunk *names)
{
  bool first = true, metadata = false;
  size_t start = tensors->len;
  while (moshi_scan_member(&p->scan, '{', &first)) {
    if (!moshi_scan_string(&p->scan, p->name) || !moshi_scan_expect(&p->scan, ':'))
      break;
    int status;
    if (strcmp(p->name->str, "__metadata__") == 0) {
      if (metadata)
        return fail_entry(p, "is given twice");
      metadata = true;
      status = parse_metadata(p);
      if (status < 0)
        return status;
      continue;
    }
    Entry e = {0};
    status = parse_entry(p, &e);
    if (status == 0)
      status = check_entry(p, &e);
    if (status < 0)
      return status;
    if (tensors->len - start == MAX_TENSORS)
      return moshi_fail(p->error, MOSHI_ERROR_FORMAT, "%s: holds more than %d tensors",
          p->label, MAX_TENSORS);
    e.tensor.name = g_string_chunk_insert(names, p->name->str);
    g_array_append_val(tensors, e.tensor);
  }
  return moshi_scan_end(&p->scan) ? 0 : fail_scan(p);
}

static int
compare_ranges(const void *a, const void *b)
{
  const MoshiTensor *x = *(const MoshiTensor *const *)a;
  const MoshiTensor *y = *(const MoshiTensor *const *)b;
  if (x->data != y->data)
    return x->data < y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Of the tensors from `start` on: sorted by begin, each starts where the one
 * before it ended. */
static int
check_cover(Parser *p, GArray *tensors, size_t start)
{
  size_t n = tensors->len - start;
  const MoshiTensor **order = g_try_new(const MoshiTensor *, n + 1);
  if (!order)
    return moshi_fail(p->error, MOSHI_ERROR_MEMORY, "%s: out of memory", p->label);
  for (size_t i = 0; i < n; i++)
    order[i] = &g_array_index(tensors, MoshiTensor, start + i);
  qsort(order, n, sizeof *order, compare_ranges);

  int status = 0;
  const uint8_t *at = p->data;
  for (size_t i = 0; i < n && status == 0; i++) {
    if (order[i]->data != at)
      status = moshi_fail(p->error, MOSHI_ERROR_FORMAT,
          "%s: tensor %s: its data begins at byte %zu, where %s at byte %zu", p->label,
          order[i]->name, (size_t)((const uint8_t *)order[i]->data - p->data),
          (const uint8_t *)order[i]->data < at ? "it overlaps another one that ends"
                                               : "nothing fills the gap that begins",
          (size_t)(at - p->data));
    at = (const uint8_t *)order[i]->data + order[i]->bytes;
  }
  g_free(order);
  size_t tail = p->data + p->data_size - at;
  if (status == 0 && tail)
    status = moshi_fail(p->error, MOSHI_ERROR_FORMAT,
        "%s: %zu bytes follow the last tensor; download it again", p->label, tail);
  return status;
}

/* A file that is something else altogether is called by its name. */
static int
fail_foreign(const uint8_t *data, size_t size, const char *label, MoshiError *error)
{
  static const struct {
    const char *magic;
    size_t n;
    const char *message;
  } kinds[] = {
      {"PK\3\4", 4,
          "is a PyTorch pickle, which could run code of its own and is never read; use "
          "a "
          "safetensors checkpoint"},
      {"version https://git-lfs", 23,
          "is a git-lfs pointer and not the file itself; run: git lfs pull"},
      {"<!DOCTYPE", 9, "is a web page; download the file itself"},
      {"<html", 5, "is a web page; download the file itself"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
    if (size >= kinds[i].n && memcmp(data, kinds[i].magic, kinds[i].n) == 0)
      return moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: %s", label, kinds[i].message);
  return 0;
}

int
moshi_safetensors_parse(const uint8_t *data, size_t size, const char *label,
    GArray *tensors, GStringChunk *names, MoshiError *error)
{
  int status = fail_foreign(data, size, label, error);
  if (status < 0)
    return status;
  if (size < 8)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: %zu bytes are too few for a safetensors file; download it again", label,
        size);
  uint64_t n = 0;
  for (int i = 7; i >= 0; i--)
    n = n << 8 | data[i];
  if (n > MAX_HEADER)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: is not a safetensors file (its header would have %" G_GUINT64_FORMAT
        " bytes, %d are allowed)",
        label, n, MAX_HEADER);
  if (n > size - 8)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: truncated: the header has %" G_GUINT64_FORMAT
        " bytes, the file %zu; download it again",
        label, n, size);

  Parser p = {.label = label,
      .name = g_string_new(NULL),
      .text = g_string_new(NULL),
      .data = data + 8 + n,
      .data_size = size - 8 - n,
      .error = error};
  size_t start = tensors->len;
  status = moshi_scan_init(&p.scan, (const char *)data + 8, n)
               ? parse_header(&p, tensors, names)
               : fail_scan(&p);
  if (status == 0)
    status = check_cover(&p, tensors, start);
  g_string_free(p.name, TRUE);
  g_string_free(p.text, TRUE);
  return status;
}
