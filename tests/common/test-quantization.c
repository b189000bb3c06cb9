/* Conversion of language models at load, and the cache of what comes of it. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/cache.h"
#include "engine/model.h"
#include "lm-weights.h"
#include "moshi.h"

#define STEPS 12

/* A cache of its own, and what was logged. */
typedef struct {
  char *dir;
  GString *log;
} Cache;

static void
on_log(void *cookie, MoshiLogLevel level, const char *message)
{
  Cache *c = cookie;
  g_string_append_printf(c->log, "%d %s\n", level, message);
}

static void
cache_up(Cache *c, gconstpointer data)
{
  c->dir = g_dir_make_tmp("moshi-cache-XXXXXX", NULL);
  g_assert_nonnull(c->dir);
  c->log = g_string_new(NULL);
  g_setenv("MOSHI_CACHE", c->dir, TRUE);
  moshi_set_log(on_log, c);
}

/* Names of the files in a directory, by name. */
static GPtrArray *
list(const char *path)
{
  GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
  GDir *dir = g_dir_open(path, 0, NULL);
  const char *name;
  while (dir && (name = g_dir_read_name(dir)))
    g_ptr_array_add(names, g_build_filename(path, name, NULL));
  if (dir)
    g_dir_close(dir);
  return names;
}

static guint
count(const Cache *c)
{
  GPtrArray *names = list(c->dir);
  guint n = names->len;
  g_ptr_array_unref(names);
  return n;
}

/* The path of the only file there is. */
static char *
only_file(const Cache *c)
{
  GPtrArray *names = list(c->dir);
  g_assert_cmpuint(names->len, ==, 1);
  char *path = g_strdup(g_ptr_array_index(names, 0));
  g_ptr_array_unref(names);
  return path;
}

static void
cache_down(Cache *c, gconstpointer data)
{
  moshi_set_log(NULL, NULL);
  GPtrArray *names = list(c->dir);
  for (guint i = 0; i < names->len; i++)
    g_remove(g_ptr_array_index(names, i));
  g_ptr_array_unref(names);
  g_rmdir(c->dir);
  g_free(c->dir);
  g_string_free(c->log, TRUE);
}

static char *
vector_path(const char *name)
{
  return g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), name, NULL);
}

static MoshiModel *
open_model(const char *path, const char *quantization, MoshiError *error)
{
  const MoshiModelOptions options = {.model = path,
      .device = "cpu",
      .parts = MOSHI_PART_LM,
      .threads = 2,
      .quantization = quantization};
  return moshi_model_open(&options, error);
}

/* The logits of a few greedy steps. */
static GByteArray *
run(const char *path, const char *quantization)
{
  MoshiError error = {0};
  MoshiModel *model = open_model(path, quantization, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s", error.message);
  const MoshiModelInfo *info = moshi_model_info(model);
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  options.sampling.temperature = options.sampling.text_temperature = 0;
  MoshiSession *session = moshi_session_new(model, &options, &error);
  g_assert_nonnull(session);
  int32_t *user = g_new(int32_t, info->user_codebooks + 1);
  int32_t *tokens = g_new(int32_t, 1 + info->own_codebooks);
  GByteArray *out = g_byte_array_new();
  for (int step = 0; step < STEPS; step++) {
    for (int i = 0; i < info->user_codebooks; i++)
      user[i] = (7 * step + 3 * i) % info->lm_codebook_size;
    g_assert_cmpint(
        moshi_session_step(session, user, NULL, tokens, NULL, &error), ==, 0);
    int size;
    const float *text = moshi_session_text_logits(session, 0, &size);
    g_byte_array_append(out, (const guint8 *)text, size * sizeof *text);
    if (info->own_codebooks)
      g_byte_array_append(out, (const guint8 *)moshi_session_audio_logits(session, 0),
          info->own_codebooks * info->lm_codebook_size * sizeof *text);
  }
  g_free(user);
  g_free(tokens);
  moshi_session_free(session);
  moshi_model_unref(model);
  return out;
}

static void
expect_equal(GByteArray *a, GByteArray *b)
{
  g_assert_cmpmem(a->data, a->len, b->data, b->len);
  g_byte_array_unref(b);
}

static void
expect_log(const Cache *c, const char *text)
{
  if (!strstr(c->log->str, text))
    g_error("\"%s\" lacks \"%s\"", c->log->str, text);
}

/* The file that a conversion left, as a model of its own. */
static char *
as_model(const Cache *c, const char *source)
{
  char *cached = only_file(c);
  char *config = g_build_filename(source, "config.json", NULL);
  char *config_copy = g_build_filename(c->dir, "config.json", NULL);
  char *path = g_build_filename(c->dir, "model.of.any.name", NULL);
  char *text;
  gsize size;
  g_assert_true(g_file_get_contents(config, &text, &size, NULL));
  g_assert_true(g_file_set_contents(config_copy, text, size, NULL));
  g_assert_cmpint(g_rename(cached, path), ==, 0);
  g_free(text);
  g_free(config_copy);
  g_free(config);
  g_free(cached);
  return path;
}

/* --------------------------------------------------------------------- cases */

/* Converted, from the cache, in memory, and the file itself: the same bits. */
static void
test_same(Cache *c, gconstpointer data)
{
  char **words = g_strsplit(data, " ", 2);
  const char *quantization = words[1];
  char *path = vector_path(words[0]);
  GByteArray *plain = run(path, NULL);
  g_assert_cmpuint(count(c), ==, 0);
  GByteArray *converted = run(path, quantization);
  g_assert_cmpuint(converted->len, ==, plain->len);
  g_assert_cmpint(memcmp(converted->data, plain->data, plain->len), !=, 0);
  g_assert_null(strstr(c->log->str, "from the cache"));

  expect_equal(converted, run(path, quantization));
  expect_log(c, "converted weights from the cache");
  g_setenv("MOSHI_CACHE", "", TRUE);
  expect_equal(converted, run(path, quantization));
  char *file = as_model(c, path);
  expect_equal(converted, run(file, NULL));
  g_setenv("MOSHI_CACHE", c->dir, TRUE);
  expect_equal(converted, run(file, quantization));
  expect_log(c, "has nothing to do");
  g_assert_cmpuint(count(c), ==, 2); /* the model and its configuration */

  MoshiError error = {0};
  const char *other = strcmp(quantization, "q8") == 0 ? "q4" : "q8";
  g_assert_null(open_model(file, other, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MODEL);
  g_assert_nonnull(strstr(error.message, "already; use quantization=none"));
  g_free(file);
  g_byte_array_unref(converted);
  g_byte_array_unref(plain);
  g_free(path);
  g_strfreev(words);
}

/* A cache that is empty by its name keeps nothing. */
static void
test_disabled(Cache *c, gconstpointer data)
{
  g_setenv("MOSHI_CACHE", "", TRUE);
  g_assert_null(moshi_cache_dir());
  char *path = vector_path("lm-mini");
  g_byte_array_unref(run(path, "q8"));
  g_assert_cmpuint(count(c), ==, 0);
  g_assert_cmpstr(c->log->str, ==, "");
  g_free(path);
}

static void
test_dir(Cache *c, gconstpointer data)
{
  char *old = g_strdup(g_getenv("XDG_CACHE_HOME"));
  char *dir = moshi_cache_dir();
  g_assert_cmpstr(dir, ==, c->dir);
  g_free(dir);
  g_unsetenv("MOSHI_CACHE");
  g_setenv("XDG_CACHE_HOME", "/xdg", TRUE);
  dir = moshi_cache_dir();
  g_assert_cmpstr(dir, ==, "/xdg/gst-moshi");
  g_free(dir);
  g_unsetenv("XDG_CACHE_HOME");
  dir = moshi_cache_dir();
  g_assert_true(g_str_has_suffix(dir, "/.cache/gst-moshi"));
  g_free(dir);
  if (old)
    g_setenv("XDG_CACHE_HOME", old, TRUE);
  g_free(old);
}

static void
spoil_truncate(const char *path, char **data, gsize *size)
{
  *size -= 1000;
}

static void
spoil_header(const char *path, char **data, gsize *size)
{
  *size = 16;
}

static void
spoil_empty(const char *path, char **data, gsize *size)
{
  *size = 0;
}

static void
spoil_garbage(const char *path, char **data, gsize *size)
{
  memset(*data, 'x', *size);
}

/* The text behind a key of the metadata. */
static void
spoil_value(char *data, gsize size, const char *key)
{
  char *at = memmem(data, size, key, strlen(key));
  g_assert_nonnull(at);
  at[strlen(key) + 12] ^= 1;
}

static void
spoil_version(const char *path, char **data, gsize *size)
{
  spoil_value(*data, *size, "moshi.converter");
}

static void
spoil_identity(const char *path, char **data, gsize *size)
{
  spoil_value(*data, *size, "moshi.source_identity");
}

/* Another model's, with this one's name. */
static void
spoil_name(const char *path, char **data, gsize *size)
{
  char *at = memmem(*data, *size, "text_emb.weight", 15);
  g_assert_nonnull(at);
  *at = 'T';
}

static const struct {
  const char *name;
  void (*spoil)(const char *path, char **data, gsize *size);
  int mode;
} spoils[] = {
    {"truncated", spoil_truncate, 0600},
    {"header", spoil_header, 0600},
    {"empty", spoil_empty, 0600},
    {"garbage", spoil_garbage, 0600},
    {"version", spoil_version, 0600},
    {"identity", spoil_identity, 0600},
    {"tensor", spoil_name, 0600},
    {"writable", NULL, 0666},
};

/* What cannot be trusted is made anew. */
static void
test_spoilt(Cache *c, gconstpointer data)
{
  char *path = vector_path("lm-mini"), *good, *bad;
  gsize good_size, size;
  GByteArray *converted = run(path, "q8");
  char *file = only_file(c);
  g_assert_true(g_file_get_contents(file, &good, &good_size, NULL));
  for (size_t i = 0; i < G_N_ELEMENTS(spoils); i++) {
    g_assert_true(g_file_get_contents(file, &bad, &size, NULL));
    if (spoils[i].spoil)
      spoils[i].spoil(file, &bad, &size);
    g_assert_true(g_file_set_contents(file, bad, size, NULL));
    g_assert_cmpint(g_chmod(file, spoils[i].mode), ==, 0);
    g_free(bad);
    g_string_truncate(c->log, 0);
    expect_equal(converted, run(path, "q8"));
    expect_log(c, "made anew: ");
    char *again = only_file(c);
    g_assert_cmpstr(again, ==, file);
    g_assert_true(g_file_get_contents(again, &bad, &size, NULL));
    g_assert_cmpmem(bad, size, good, good_size);
    g_free(bad);
    g_free(again);
  }
  g_free(good);
  g_free(file);
  g_byte_array_unref(converted);
  g_free(path);
}

/* A changed model is another model. */
static void
test_changed(Cache *c, gconstpointer data)
{
  static const char *const names[] = {"config.json", "model.safetensors"};
  char *source = vector_path("lm-mini"), *text;
  char *dir = g_dir_make_tmp("moshi-model-XXXXXX", NULL);
  gsize size;
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
      char *from = g_build_filename(source, names[i], NULL);
      char *to = g_build_filename(dir, names[i], NULL);
      g_assert_true(g_file_get_contents(from, &text, &size, NULL));
      g_assert_true(g_file_set_contents(to, text, size, NULL));
      g_free(text);
      g_free(from);
      g_free(to);
    }
    g_byte_array_unref(run(dir, "q8"));
    g_assert_cmpuint(count(c), ==, round + 1);
  }
  GPtrArray *files = list(dir);
  for (guint i = 0; i < files->len; i++)
    g_remove(g_ptr_array_index(files, i));
  g_ptr_array_unref(files);
  g_rmdir(dir);
  g_free(dir);
  g_free(source);
}

/* Where nothing can be written: a warning, and the same result. */
static void
test_unwritable(Cache *c, gconstpointer data)
{
  char *path = vector_path("lm-mini");
  GByteArray *converted = run(path, "q8");
  char *file = only_file(c), *below = g_build_filename(file, "cache", NULL);
  g_setenv("MOSHI_CACHE", below, TRUE); /* a directory in a file */
  expect_equal(converted, run(path, "q8"));
  expect_log(c, "the converted weights cannot be kept");
  g_assert_cmpuint(count(c), ==, 1);
  g_free(below);
  g_free(file);
  g_byte_array_unref(converted);
  g_free(path);
}

/* As on a full disk: no file of this size can be had. */
static void
test_full(Cache *c, gconstpointer data)
{
  char *path = vector_path("lm-mini");
  GByteArray *converted = run(path, "q8");
  char *file = only_file(c);
  g_assert_cmpint(g_remove(file), ==, 0);
  struct rlimit old, small;
  getrlimit(RLIMIT_FSIZE, &old);
  small = (struct rlimit){300000, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
  GByteArray *again = run(path, "q8");
  g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &old), ==, 0);
  expect_equal(converted, again);
  expect_log(c, "the converted weights cannot be kept");
  expect_log(c, g_strerror(EFBIG));
  g_assert_cmpuint(count(c), ==, 0);
  g_free(file);
  g_byte_array_unref(converted);
  g_free(path);
}

typedef struct {
  double last, limit;
} Told;

static int
on_progress(void *cookie, double done)
{
  Told *told = cookie;
  g_assert_cmpfloat(done, >=, told->last);
  g_assert_cmpfloat(done, <=, 1);
  told->last = done;
  return done >= told->limit;
}

static void
test_progress(Cache *c, gconstpointer data)
{
  char *path = vector_path("lm-mini");
  MoshiError error = {0};
  MoshiModel *model = open_model(path, "q4", &error);
  g_assert_nonnull(model);
  /* Cancelled in the middle of the conversion. */
  Told told = {0, 0.3};
  g_assert_cmpint(
      moshi_model_load(model, on_progress, &told, &error), ==, MOSHI_ERROR_CANCELLED);
  g_assert_cmpfloat(told.last, <=, 0.9);
  g_assert_cmpuint(count(c), ==, 0);
  told = (Told){0, 2};
  g_assert_cmpint(moshi_model_load(model, on_progress, &told, &error), ==, 0);
  g_assert_cmpfloat(told.last, ==, 1);
  g_assert_cmpuint(count(c), ==, 1);
  moshi_model_unref(model);
  g_free(path);
}

static void
test_wrong(Cache *c, gconstpointer data)
{
  char *path = vector_path("lm-mini");
  MoshiError error = {0};
  g_assert_null(open_model(path, "q3", &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_cmpstr(
      error.message, ==, "quantization is \"q3\"; none, q8 and q4 can be had");
  g_free(path);
}

/* A model without files, of rows that Q4_K takes. */
static const char wide_config[] =
    "{\"dim\": 256, \"text_card\": 60, \"n_q\": 2, \"dep_q\": 0, \"card\": 64, "
    "\"num_heads\": 4, \"num_layers\": 2, \"hidden_scale\": 4.5, \"causal\": true, "
    "\"context\": 20, \"max_period\": 10000, \"gating\": \"silu\", "
    "\"norm\": \"rms_norm_f32\", \"positional_embedding\": \"rope\", "
    "\"delays\": [0, 0, 0]}";

static void
free_tensor(gpointer data)
{
  MoshiTensor *t = data;
  g_free((char *)t->name);
  g_free((void *)t->data);
  g_free(t);
}

/* MoshiTensorSource: random, of the name alone */
static const MoshiTensor *
invent(void *cookie, const char *name, int n_dims, const int64_t *dims)
{
  MoshiTensor *t = g_hash_table_lookup(cookie, name);
  if (t)
    return t;
  t = g_new0(MoshiTensor, 1);
  size_t n = 1;
  t->name = g_strdup(name);
  t->dtype = MOSHI_DTYPE_F32;
  t->n_dims = n_dims;
  for (int i = 0; i < n_dims; i++)
    n *= t->dims[i] = dims[i];
  t->bytes = n * sizeof(float);
  float *values = g_new(float, n);
  GRand *rand = g_rand_new_with_seed(g_str_hash(name));
  for (size_t i = 0; i < n; i++)
    values[i] = n_dims == 1 ? 1 : g_rand_double_range(rand, -0.1, 0.1);
  g_rand_free(rand);
  t->data = values;
  g_hash_table_insert(cookie, (char *)t->name, t);
  return t;
}

/* The text logits of its third step. */
static float *
run_invented(const char *quantization, int *size)
{
  GHashTable *tensors =
      g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_tensor);
  const MoshiModelOptions options = {.device = "cpu",
      .parts = MOSHI_PART_LM,
      .threads = 2,
      .quantization = quantization};
  const MoshiInvention invention = {
      .name = "invented", .lm = wide_config, .source = invent, .cookie = tensors};
  MoshiError error = {0};
  MoshiModel *model = moshi_model_invent(&options, &invention, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s", error.message);
  const MoshiRows *w = &moshi_model_lm(model)->main.layers[0].linear2[0].w.m;
  g_assert_cmpint(w->cols, ==, 768);
  g_assert_cmpstr(moshi_type_name(w->type), ==, quantization ? "q4_k" : "f32");
  MoshiSessionOptions session_options;
  moshi_session_options_init(&session_options, model);
  MoshiSession *session = moshi_session_new(model, &session_options, &error);
  g_assert_nonnull(session);
  int32_t user[] = {5, 9}, token;
  for (int i = 0; i < 3; i++)
    g_assert_cmpint(
        moshi_session_step(session, user, NULL, &token, NULL, &error), ==, 0);
  const float *logits = moshi_session_text_logits(session, 0, size);
  float *copy = g_memdup2(logits, *size * sizeof *logits);
  moshi_session_free(session);
  moshi_model_unref(model);
  g_hash_table_unref(tensors);
  return copy;
}

static void
test_q4_k(Cache *c, gconstpointer data)
{
  int size;
  float *exact = run_invented(NULL, &size), *converted = run_invented("q4", &size);
  double error = 0, norm = 0;
  for (int i = 0; i < size; i++) {
    error += (converted[i] - exact[i]) * (converted[i] - exact[i]);
    norm += exact[i] * exact[i];
  }
  g_assert_cmpfloat(error, >, 0);
  g_assert_cmpfloat(error, <, 0.2 * 0.2 * norm);
  g_assert_cmpuint(count(c), ==, 0);
  g_free(exact);
  g_free(converted);
}

/* One of several that convert at once. */
static int
child(const char *path)
{
  MoshiError error = {0};
  MoshiModel *model = open_model(path, "q8", &error);
  int failed = !model || moshi_model_load(model, NULL, NULL, &error);
  if (failed)
    g_printerr("%s\n", error.message);
  moshi_model_unref(model);
  return failed;
}

static void
test_processes(Cache *c, gconstpointer data)
{
  enum { N = 4 };
  char *path = vector_path("lm-mini");
  GPid pids[N];
  for (int i = 0; i < N; i++) {
    char *argv[] = {(char *)data, "convert", path, NULL};
    g_assert_true(g_spawn_async(
        NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pids[i], NULL));
  }
  for (int i = 0; i < N; i++) {
    int status;
    g_assert_cmpint(waitpid(pids[i], &status, 0), ==, pids[i]);
    g_assert_cmpint(status, ==, 0);
  }
  GByteArray *cached = run(path, "q8");
  expect_log(c, "converted weights from the cache");
  char *file = only_file(c);
  g_setenv("MOSHI_CACHE", "", TRUE);
  expect_equal(cached, run(path, "q8"));
  g_byte_array_unref(cached);
  g_free(file);
  g_free(path);
}

#define ADD(name, function, data)                                                      \
  g_test_add("/quantization/" name, Cache, data, cache_up, function, cache_down)

int
main(int argc, char **argv)
{
  if (argc == 3 && strcmp(argv[1], "convert") == 0)
    return child(argv[2]);
  g_test_init(&argc, &argv, NULL);
  ADD("same/lm-mini-q8", test_same, "lm-mini q8");
  ADD("same/lm-mini-q4", test_same, "lm-mini q4");
  ADD("same/lm-mini-schedule-q4", test_same, "lm-mini-schedule q4");
  ADD("same/lm-norms-q8", test_same, "lm-norms q8");
  ADD("same/stt-mini-q4", test_same, "stt-mini q4");
  ADD("same/hibiki-mini-q8", test_same, "hibiki-mini q8");
  ADD("same/tts-guided-q4", test_same, "tts-guided q4");
  ADD("same/dialect-mlx-q8", test_same, "dialect-mlx q8");
  ADD("same/dialect-candle-q4", test_same, "dialect-candle q4");
  ADD("disabled", test_disabled, NULL);
  ADD("dir", test_dir, NULL);
  ADD("spoilt", test_spoilt, NULL);
  ADD("changed", test_changed, NULL);
  ADD("unwritable", test_unwritable, NULL);
  ADD("full", test_full, NULL);
  ADD("progress", test_progress, NULL);
  ADD("q4-k", test_q4_k, NULL);
  ADD("wrong", test_wrong, NULL);
  ADD("processes", test_processes, argv[0]);
  return g_test_run();
}
