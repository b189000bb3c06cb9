/* A checkpoint is one or several mapped files and one table of their tensors.
 * A name is found by bisection of a sorted table: no hash that a hostile file
 * could fill with collisions. */
#include "checkpoint.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"
#include "gguf.h"
#include "json.h"
#include "safetensors.h"

#define MAX_SHARDS 1024
#define MAX_INDEX (16 << 20)

struct MoshiCheckpoint {
  gatomicrefcount refs;
  char *path, *identity;
  GArray *files;    /* MoshiMapped; none for an image in memory */
  GArray *tensors;  /* MoshiTensor */
  GArray *metadata; /* MoshiMetadata, of a GGUF file */
  GStringChunk *names;
  uint32_t *by_name; /* indices of tensors, sorted */
  gint *used;        /* of each tensor; atomic */
  size_t bytes;
};

static MoshiCheckpoint *
checkpoint_new(const char *path)
{
  MoshiCheckpoint *c = g_new0(MoshiCheckpoint, 1);
  g_atomic_ref_count_init(&c->refs);
  c->path = g_strdup(path);
  c->files = g_array_new(FALSE, FALSE, sizeof(MoshiMapped));
  c->tensors = g_array_new(FALSE, FALSE, sizeof(MoshiTensor));
  c->metadata = g_array_new(FALSE, FALSE, sizeof(MoshiMetadata));
  c->names = g_string_chunk_new(4096);
  return c;
}

MoshiCheckpoint *
moshi_checkpoint_ref(MoshiCheckpoint *checkpoint)
{
  g_atomic_ref_count_inc(&checkpoint->refs);
  return checkpoint;
}

void
moshi_checkpoint_unref(MoshiCheckpoint *c)
{
  if (!c || !g_atomic_ref_count_dec(&c->refs))
    return;
  for (guint i = 0; i < c->files->len; i++)
    moshi_mapped_close(&g_array_index(c->files, MoshiMapped, i));
  g_array_free(c->files, TRUE);
  g_array_free(c->tensors, TRUE);
  g_array_free(c->metadata, TRUE);
  g_string_chunk_free(c->names);
  g_free(c->by_name);
  g_free(c->used);
  g_free(c->path);
  g_free(c->identity);
  g_free(c);
}

static const MoshiTensor *
tensor_at(const MoshiCheckpoint *c, size_t i)
{
  return &g_array_index(c->tensors, MoshiTensor, i);
}

static int
compare_names(const void *a, const void *b, void *cookie)
{
  const MoshiCheckpoint *c = cookie;
  return strcmp(tensor_at(c, *(const uint32_t *)a)->name,
      tensor_at(c, *(const uint32_t *)b)->name);
}

/* Sorts the names and refuses one that is given twice. */
static int
finish(MoshiCheckpoint *c, MoshiError *error)
{
  size_t n = c->tensors->len;
  c->by_name = g_try_new(uint32_t, n + 1);
  c->used = g_try_new0(gint, n + 1);
  if (!c->by_name || !c->used)
    return moshi_fail(error, MOSHI_ERROR_MEMORY, "%s: out of memory", c->path);
  for (size_t i = 0; i < n; i++) {
    c->by_name[i] = i;
    c->bytes += tensor_at(c, i)->bytes;
  }
  qsort_r(c->by_name, n, sizeof *c->by_name, compare_names, c);
  for (size_t i = 1; i < n; i++)
    if (compare_names(&c->by_name[i - 1], &c->by_name[i], c) == 0)
      return moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: tensor %s: is given twice",
          c->path, tensor_at(c, c->by_name[i])->name);

  GString *identity = g_string_new(NULL);
  for (guint i = 0; i < c->files->len; i++) {
    const struct stat *s = &g_array_index(c->files, MoshiMapped, i).stat;
    g_string_append_printf(identity, "%s%llx:%llx:%llu:%lld.%09ld", i ? ";" : "",
        (unsigned long long)s->st_dev, (unsigned long long)s->st_ino,
        (unsigned long long)s->st_size, (long long)s->st_mtim.tv_sec,
        s->st_mtim.tv_nsec);
  }
  c->identity = g_string_free(identity, FALSE);
  return 0;
}

static int
add_image(MoshiCheckpoint *c, const uint8_t *data, size_t size, const char *label,
    MoshiError *error)
{
  return moshi_gguf_is(data, size)
             ? moshi_gguf_parse(
                   data, size, label, c->tensors, c->metadata, c->names, error)
             : moshi_safetensors_parse(data, size, label, c->tensors, c->names, error);
}

static int
add_file(MoshiCheckpoint *c, const char *path, MoshiError *error)
{
  MoshiMapped mapped;
  int status = moshi_mapped_open(&mapped, path, 0, error);
  if (status < 0)
    return status;
  g_array_append_val(c->files, mapped);
  return add_image(c, mapped.data, mapped.size, path, error);
}

/* {"metadata": …, "weight_map": {"tensor": "file beside the index"}} */
static int
add_shards(MoshiCheckpoint *c, const char *index, MoshiError *error)
{
  JsonNode *root;
  int status = moshi_json_read(&root, index, MAX_INDEX, error);
  if (status < 0)
    return status;
  JsonNode *node = json_object_get_member(json_node_get_object(root), "weight_map");
  JsonObject *map =
      node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
  char *dir = g_path_get_dirname(index);
  GHashTable *seen = g_hash_table_new(g_str_hash, g_str_equal);
  if (!map || json_object_get_size(map) == 0)
    status = moshi_fail(
        error, MOSHI_ERROR_FORMAT, "%s: has no weight_map that names files", index);

  JsonObjectIter iter;
  const char *tensor;
  if (status == 0)
    json_object_iter_init_ordered(&iter, map);
  while (status == 0 && json_object_iter_next_ordered(&iter, &tensor, &node)) {
    const char *file = moshi_json_string(node);
    if (!file || !moshi_plain_name(file)) {
      status = moshi_fail(error, MOSHI_ERROR_FORMAT,
          "%s: tensor %s: its file must be a plain name beside the index, not \"%s\"",
          index, tensor, file ? file : "");
    } else if (g_hash_table_add(seen, (char *)file)) {
      char *path = g_build_filename(dir, file, NULL);
      status = g_hash_table_size(seen) > MAX_SHARDS
                   ? moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: more than %d files",
                         index, MAX_SHARDS)
                   : add_file(c, path, error);
      g_free(path);
    }
  }
  g_hash_table_unref(seen);
  g_free(dir);
  json_node_unref(root);
  return status;
}

MoshiCheckpoint *
moshi_checkpoint_open(const char *path, MoshiError *error)
{
  MoshiCheckpoint *c = checkpoint_new(path);
  int status = g_str_has_suffix(path, ".json") ? add_shards(c, path, error)
                                               : add_file(c, path, error);
  if (status == 0)
    status = finish(c, error);
  if (status == 0)
    return c;
  moshi_checkpoint_unref(c);
  return NULL;
}

MoshiCheckpoint *
moshi_checkpoint_from_memory(
    const void *data, size_t size, const char *label, MoshiError *error)
{
  MoshiCheckpoint *c = checkpoint_new(label);
  if (add_image(c, data, size, label, error) == 0 && finish(c, error) == 0)
    return c;
  moshi_checkpoint_unref(c);
  return NULL;
}

MoshiCheckpoint *
moshi_checkpoint_from_mapped(MoshiMapped *mapped, const char *label, MoshiError *error)
{
  MoshiCheckpoint *c = checkpoint_new(label);
  g_array_append_val(c->files, *mapped);
  if (add_image(c, mapped->data, mapped->size, label, error) == 0 &&
      finish(c, error) == 0)
    return c;
  moshi_checkpoint_unref(c);
  return NULL;
}

bool
moshi_checkpoint_holds(const MoshiCheckpoint *c, const void *data, size_t bytes)
{
  for (guint i = 0; i < c->files->len; i++)
    if (moshi_mapped_holds(&g_array_index(c->files, MoshiMapped, i), data, bytes))
      return true;
  return false;
}

void
moshi_checkpoint_advise(
    const MoshiCheckpoint *c, const void *data, size_t bytes, MoshiAdvice advice)
{
  for (guint i = 0; i < c->files->len; i++) {
    const MoshiMapped *file = &g_array_index(c->files, MoshiMapped, i);
    if (moshi_mapped_holds(file, data, 0))
      moshi_mapped_advise(file, data, bytes, advice);
  }
}

/* Index of the tensor, or -1. */
static int
find(const MoshiCheckpoint *c, const char *name)
{
  size_t low = 0, high = c->tensors->len;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, tensor_at(c, c->by_name[middle])->name);
    if (order == 0)
      return c->by_name[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return -1;
}

const MoshiTensor *
moshi_checkpoint_find(const MoshiCheckpoint *c, const char *name)
{
  int i = find(c, name);
  if (i < 0)
    return NULL;
  g_atomic_int_set(&c->used[i], 1);
  return tensor_at(c, i);
}

bool
moshi_checkpoint_has(const MoshiCheckpoint *c, const char *name)
{
  return find(c, name) >= 0;
}

const char *
moshi_checkpoint_path(const MoshiCheckpoint *c)
{
  return c->path;
}

size_t
moshi_checkpoint_bytes(const MoshiCheckpoint *c)
{
  return c->bytes;
}

const char *
moshi_checkpoint_identity(const MoshiCheckpoint *c)
{
  return c->identity;
}

const char *
moshi_checkpoint_metadata(const MoshiCheckpoint *c, const char *key)
{
  for (guint i = 0; i < c->metadata->len; i++) {
    const MoshiMetadata *m = &g_array_index(c->metadata, MoshiMetadata, i);
    if (strcmp(m->key, key) == 0)
      return m->value;
  }
  return NULL;
}

const MoshiTensor *
moshi_checkpoint_nth(const MoshiCheckpoint *c, size_t i)
{
  return i < c->tensors->len ? tensor_at(c, i) : NULL;
}

const char *
moshi_checkpoint_unused(const MoshiCheckpoint *c, size_t *count)
{
  const char *first = NULL;
  size_t n = 0;
  for (size_t i = 0; i < c->tensors->len; i++)
    if (!g_atomic_int_get(&c->used[i])) {
      first = n == 0 ? tensor_at(c, i)->name : first;
      n++;
    }
  if (count)
    *count = n;
  return first;
}

int
moshi_checkpoint_verify(const MoshiCheckpoint *c, MoshiError *error)
{
  int status = 0;
  for (guint i = 0; i < c->files->len && status == 0; i++)
    status = moshi_mapped_verify(&g_array_index(c->files, MoshiMapped, i), error);
  return status;
}
