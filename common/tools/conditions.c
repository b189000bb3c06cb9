/* See conditions.h. */
#include "conditions.h"

#include <string.h>

#include "../error.h"
#include "../files/checkpoint.h"
#include "../nn/loader.h"

/* Far above any voice: 30 minutes of frames of the widest model. */
enum { MAX_LENGTH = 22500, MAX_SIZE = 8192 };

static void
condition_clear(void *item)
{
  MoshiCondition *c = item;
  g_free((char *)c->name);
  g_free((char *)c->value);
  g_free((float *)c->data);
  g_free((uint8_t *)c->mask);
}

/* NAME or cond_NAME, followed by suffix. */
static const MoshiTensor *
find(const MoshiCheckpoint *file, const char *name, const char *suffix)
{
  char *plain = g_strconcat(name, suffix, NULL);
  char *prefixed = g_strconcat("cond_", plain, NULL);
  const MoshiTensor *t = moshi_checkpoint_find(file, plain);
  if (!t)
    t = moshi_checkpoint_find(file, prefixed);
  g_free(plain);
  g_free(prefixed);
  return t;
}

static int
read_data(MoshiCondition *c, const MoshiTensor *t, const char *path, MoshiError *error)
{
  bool rows = t->n_dims == 2, voice = t->n_dims == 3 && t->dims[0] == 1;
  int64_t length = rows ? t->dims[0] : voice ? t->dims[2] : 0;
  int64_t size = t->n_dims > 1 ? t->dims[1] : 0;
  bool is_float = t->dtype == MOSHI_DTYPE_F32 || t->dtype == MOSHI_DTYPE_F16 ||
                  t->dtype == MOSHI_DTYPE_BF16;
  if (!is_float || length < 1 || length > MAX_LENGTH || size < 1 || size > MAX_SIZE)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: tensor \"%s\" is no condition; expected floats of shape [length][size] or "
        "[1][size][length]",
        path, t->name);
  float *data = g_try_new(float, length *size);
  if (!data)
    return moshi_fail(error, MOSHI_ERROR_MEMORY, "%s: no memory for it", path);
  for (int64_t i = 0; i < length; i++)
    for (int64_t j = 0; j < size; j++)
      data[i * size + j] = moshi_tensor_at(t, rows ? i * size + j : j * length + i);
  c->data = data;
  c->length = length;
  c->size = size;
  return MOSHI_OK;
}

static int
read_mask(MoshiCondition *c, const MoshiTensor *t, const char *path, MoshiError *error)
{
  size_t width = t->dtype == MOSHI_DTYPE_I32                                  ? 4
                 : t->dtype == MOSHI_DTYPE_BOOL || t->dtype == MOSHI_DTYPE_U8 ? 1
                                                                              : 0;
  if (!width || t->bytes != width * c->length)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: mask \"%s\" must have one BOOL, U8 or I32 for each of the %d rows", path,
        t->name, c->length);
  uint8_t *mask = g_new(uint8_t, c->length);
  for (int i = 0; i < c->length; i++) {
    static const char zero[4];
    mask[i] = memcmp((const char *)t->data + i * width, zero, width) != 0;
  }
  c->mask = mask;
  return MOSHI_OK;
}

static int
read_file(MoshiCondition *c, const char *path, MoshiError *error)
{
  MoshiCheckpoint *file = moshi_checkpoint_open(path, error);
  if (!file)
    return MOSHI_ERROR_READ;
  const MoshiTensor *data = find(file, c->name, ""),
                    *mask = find(file, c->name, "_mask");
  int status = data ? read_data(c, data, path, error)
                    : moshi_fail(error, MOSHI_ERROR_FORMAT,
                          "%s: there is no tensor \"%s\" or \"cond_%s\"", path, c->name,
                          c->name);
  if (!status && mask)
    status = read_mask(c, mask, path, error);
  moshi_checkpoint_unref(file);
  return status;
}

GArray *
conditions_parse(char **texts, MoshiError *error)
{
  GArray *all = g_array_new(FALSE, TRUE, sizeof(MoshiCondition));
  g_array_set_clear_func(all, condition_clear);
  for (; texts && *texts; texts++) {
    const char *equals = strchr(*texts, '=');
    int status = MOSHI_OK;
    if (!equals || equals == *texts) {
      status = moshi_fail(error, MOSHI_ERROR_ARGUMENT,
          "--condition %s is not of the form NAME=VALUE or NAME=@FILE", *texts);
    } else {
      MoshiCondition c = {.name = g_strndup(*texts, equals - *texts)};
      if (equals[1] == '@')
        status = read_file(&c, equals + 2, error);
      else
        c.value = g_strdup(equals + 1);
      g_array_append_val(all, c);
    }
    if (status) {
      g_array_unref(all);
      return NULL;
    }
  }
  return all;
}
