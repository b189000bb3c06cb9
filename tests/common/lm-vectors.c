/* Reading golden vectors of the language model. */
#include "lm-vectors.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nn/loader.h"

const LmCase lm_cases[] = {
    {"lm-mini", "greedy"},
    {"lm-mini", "no-input"},
    {"lm-mini-schedule", "greedy"},
    {"stt-mini", "greedy"},
    {"hibiki-mini", "greedy", .conditions = {{"description", "very_good"}}},
    {"hibiki-mini", "cfg", 2, .conditions = {{"description", "good"}}},
    {"tts-mini", "greedy", .conditions = {{"cfg", "2.0"}, {"control", "ok"}}},
    {"lm-norms", "greedy"},
    {"lm-norms", "no-input"},
    {"stt-gqa", "greedy"},
    {"lm-shared", "greedy"},
    {"tts-guided", "cfg", 1.7f, .conditions = {{"mood", "joyful"}, {"cfg", "2.0"}}},
    {"tts-guided", "greedy", .conditions = {{"cfg", "1.0"}}},
    /* The same in other dialects; what quantised files stand for (make_dialects.py). */
    {"tts-guided", "greedy", .conditions = {{"cfg", "1.0"}}, .model = "dialect-candle"},
    {"tts-guided", "greedy", .conditions = {{"cfg", "1.0"}}, .model = "dialect-mlx"},
    {"dialect-transformers", "greedy"},
    {"dialect-int8", "greedy", .integers = true},
    {"dialect-mlx-q8", "greedy", .integers = true},
    {"dialect-mlx-q4", "greedy", .integers = true},
    {"dialect-candle-q8", "greedy", .integers = true},
    {"dialect-cpp-q4", "greedy", .integers = true},
};
const int n_lm_cases = G_N_ELEMENTS(lm_cases);

char *
lm_case_path(const char *parent, const LmCase *c)
{
  return g_strdup_printf(
      "%s/%s.%s", parent, c->model ? c->model : c->checkpoint, c->vector);
}

static size_t
elements(const MoshiTensor *t)
{
  size_t n = 1;
  for (int i = 0; i < t->n_dims; i++)
    n *= t->dims[i];
  return n;
}

static const MoshiTensor *
find(const MoshiCheckpoint *file, const char *name, int64_t dims[])
{
  const MoshiTensor *t = moshi_checkpoint_find(file, name);
  if (t && dims)
    memcpy(dims, t->dims, t->n_dims * sizeof *dims);
  return t;
}

int32_t *
read_ints(const MoshiCheckpoint *file, const char *name, int64_t dims[])
{
  const MoshiTensor *t = find(file, name, dims);
  if (!t)
    return NULL;
  size_t n = elements(t);
  int32_t *out = g_new0(int32_t, n + 1);
  if (t->dtype == MOSHI_DTYPE_I32)
    memcpy(out, t->data, n * sizeof *out);
  else
    g_assert_cmpint(t->dtype, ==, MOSHI_DTYPE_I16);
  for (size_t i = 0; t->dtype == MOSHI_DTYPE_I16 && i < n; i++) {
    int16_t x;
    memcpy(&x, (const char *)t->data + 2 * i, sizeof x);
    out[i] = x;
  }
  return out;
}

float *
read_floats(const MoshiCheckpoint *file, const char *name, int64_t dims[])
{
  const MoshiTensor *t = find(file, name, dims);
  if (!t)
    return NULL;
  size_t n = elements(t);
  float *out = g_new0(float, n + 1);
  for (size_t i = 0; i < n; i++)
    out[i] = moshi_tensor_at(t, i);
  return out;
}

const char *
test_device(void)
{
  const char *device = g_getenv("MOSHI_TEST_DEVICE");
  return device ? device : "cpu";
}

MoshiModel *
open_test_model(const char *name, int threads)
{
  MoshiError error;
  char *path = g_canonicalize_filename(name, g_getenv("MOSHI_TEST_VECTORS"));
  MoshiModelOptions options = {.model = path,
      .parts = MOSHI_PART_LM | MOSHI_PART_TEXT,
      .device = test_device(),
      .threads = threads};
  MoshiModel *model = moshi_model_open(&options, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s: %s", path, error.message);
  g_free(path);
  return model;
}

char *
copy_test_model(const char *checkpoint, const char *old, const char *new)
{
  static const char *const files[] = {"model.safetensors", "tokenizer.model"};
  char *dir = g_dir_make_tmp("moshi-test-XXXXXX", NULL);
  char *from = g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), checkpoint, NULL);
  char *path = g_build_filename(from, "config.json", NULL), *text;
  g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
  g_free(path);
  char **parts = g_strsplit(text, old, -1);
  g_assert_cmpint(g_strv_length(parts), ==, 2);
  char *changed = g_strjoinv(new, parts);
  path = g_build_filename(dir, "config.json", NULL);
  g_assert_true(g_file_set_contents(path, changed, -1, NULL));
  for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
    char *target = g_build_filename(from, files[i], NULL);
    char *link = g_build_filename(dir, files[i], NULL);
    g_assert_cmpint(symlink(target, link), ==, 0);
    g_free(target);
    g_free(link);
  }
  g_strfreev(parts);
  char *owned[] = {text, changed, path, from};
  for (size_t i = 0; i < G_N_ELEMENTS(owned); i++)
    g_free(owned[i]);
  return dir;
}

void
remove_test_model(char *dir)
{
  static const char *const files[] = {
      "model.safetensors", "tokenizer.model", "config.json"};
  for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
    char *path = g_build_filename(dir, files[i], NULL);
    g_unlink(path);
    g_free(path);
  }
  g_rmdir(dir);
  g_free(dir);
}

/* "cond_NAME" with "cond_NAME_mask" is a tensor that was given; cond_sum and
 * cond_cross are what came of all. */
static void
read_tensor_conditions(LmVector *v)
{
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(v->file, i)); i++) {
    char *mask_name = g_strconcat(t->name, "_mask", NULL);
    int32_t *mask =
        g_str_has_prefix(t->name, "cond_") ? read_ints(v->file, mask_name, NULL) : NULL;
    g_free(mask_name);
    if (!mask)
      continue;
    uint8_t *bytes = g_new(uint8_t, t->dims[0]);
    for (int j = 0; j < t->dims[0]; j++)
      bytes[j] = mask[j];
    g_free(mask);
    g_assert_cmpint(v->n_conditions, <, MAX_TEST_CONDITIONS);
    v->conditions[v->n_conditions++] = (MoshiCondition){.name = t->name + 5,
        .data = read_floats(v->file, t->name, NULL),
        .length = t->dims[0],
        .size = t->dims[1],
        .mask = bytes};
  }
}

LmVector *
open_lm_vector(const LmCase *c, int threads)
{
  MoshiError error;
  LmVector *v = g_new0(LmVector, 1);
  char *name = g_strdup_printf(
      "%s/%s.%s.safetensors", g_getenv("MOSHI_TEST_VECTORS"), c->checkpoint, c->vector);
  v->file = moshi_checkpoint_open(name, &error);
  if (!v->file)
    g_error("%s", error.message);
  g_free(name);
  v->model = open_test_model(c->model ? c->model : c->checkpoint, threads);
  int64_t dims[MOSHI_MAX_DIMS] = {0};
  v->user = read_ints(v->file, "user", dims);
  v->steps = dims[0];
  if (g_getenv("MOSHI_TEST_STEPS"))
    v->steps = MIN(v->steps, atoi(g_getenv("MOSHI_TEST_STEPS")));
  v->n_user = dims[1];
  v->out = read_ints(v->file, "out", dims);
  v->n_own = dims[1] - 1;
  v->text = read_ints(v->file, "text", NULL);
  v->audio = read_ints(v->file, "audio", NULL);
  v->text_logits = read_floats(v->file, "text_logits", dims);
  v->logit_steps = MIN(dims[0], v->steps);
  v->audio_logits = read_floats(v->file, "audio_logits", NULL);
  v->hidden = read_floats(v->file, "hidden", NULL);
  v->extra_heads = read_floats(v->file, "extra_heads", NULL);
  v->cfg_coef = c->cfg_coef ? c->cfg_coef : 1;
  v->integers = c->integers;
  for (int i = 0; i < MAX_TEST_CONDITIONS && c->conditions[i][0]; i++)
    v->conditions[v->n_conditions++] =
        (MoshiCondition){.name = c->conditions[i][0], .value = c->conditions[i][1]};
  read_tensor_conditions(v);
  return v;
}

void
close_lm_vector(LmVector *v)
{
  for (int i = 0; i < v->n_conditions; i++) {
    g_free((void *)v->conditions[i].data);
    g_free((void *)v->conditions[i].mask);
  }
  void *owned[] = {v->user, v->text, v->audio, v->out, v->text_logits, v->audio_logits,
      v->hidden, v->extra_heads};
  for (size_t i = 0; i < G_N_ELEMENTS(owned); i++)
    g_free(owned[i]);
  moshi_checkpoint_unref(v->file);
  moshi_model_unref(v->model);
  g_free(v);
}

MoshiSessionOptions
lm_vector_options(const LmVector *v)
{
  MoshiSessionOptions options;
  moshi_session_options_init(&options, v->model);
  options.sampling.temperature = options.sampling.text_temperature = 0;
  options.conditions = v->conditions;
  options.n_conditions = v->n_conditions;
  options.cfg_coef = v->cfg_coef;
  return options;
}
