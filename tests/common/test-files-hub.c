/* Finding a model: in a directory, by a file, in the hub cache, by default; and
 * what a user reads when it is not there. All in a temporary home. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "files/hub.h"

#define LM (MOSHI_PART_LM | MOSHI_PART_TEXT)
#define MIMI (MOSHI_PART_ENCODER | MOSHI_PART_DECODER)
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static const char config[] =
    "{\"dim\":64,\"text_card\":200,\"n_q\":4,\"dep_q\":0,\"num_heads\":4,"
    "\"num_layers\":1,\"context\":40,\"delays\":[0],\"tokenizer_name\":\"tok.model\"%"
    "s}";

typedef struct {
  char *home;
} Home;

static char *
at(Home *h, const char *name)
{
  return g_build_filename(h->home, name, NULL);
}

static void
put_bytes(Home *h, const char *name, const void *data, size_t size)
{
  char *path = at(h, name), *dir = g_path_get_dirname(path);
  g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
  g_assert_true(g_file_set_contents(path, data, size, NULL));
  g_free(dir);
  g_free(path);
}

static void
put(Home *h, const char *name, const char *text)
{
  put_bytes(h, name, text, strlen(text));
}

/* extra: more members, each with a comma before it */
static void
put_config(Home *h, const char *name, const char *extra)
{
  char *text = g_strdup_printf(config, extra);
  put(h, name, text);
  g_free(text);
}

/* A checkpoint of one empty tensor. */
static void
put_tensor(Home *h, const char *name, const char *tensor)
{
  char *header = g_strdup_printf(
      "{\"%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", tensor);
  guint64 n = GUINT64_TO_LE(strlen(header));
  GByteArray *b = g_byte_array_new();
  g_byte_array_append(b, (guint8 *)&n, 8);
  g_byte_array_append(b, (guint8 *)header, strlen(header));
  put_bytes(h, name, b->data, b->len);
  g_byte_array_unref(b);
  g_free(header);
}

static void
put_lm(Home *h, const char *name)
{
  put_tensor(h, name, "text_emb.weight");
}

static void
put_mimi(Home *h, const char *name)
{
  put_tensor(h, name, "quantizer.rvq_first.input_proj.weight");
}

static void
put_link(Home *h, const char *name, const char *target)
{
  char *path = at(h, name), *dir = g_path_get_dirname(path);
  g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
  g_assert_cmpint(symlink(target, path), ==, 0);
  g_free(dir);
  g_free(path);
}

static void
remove_all(const char *path)
{
  if (g_file_test(path, G_FILE_TEST_IS_DIR) &&
      !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(dir))) {
      char *child = g_build_filename(path, name, NULL);
      remove_all(child);
      g_free(child);
    }
    g_dir_close(dir);
  }
  g_remove(path);
}

static const char *const variables[] = {"HF_HOME", "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS",
    "MOSHI_MODEL", "MOSHI_DATA_PATH"};

static void
home_up(Home *h, gconstpointer data)
{
  h->home = g_dir_make_tmp("moshi-home-XXXXXX", NULL);
  g_assert_nonnull(h->home);
  for (size_t i = 0; i < G_N_ELEMENTS(variables); i++)
    g_unsetenv(variables[i]);
  char *cache = at(h, "cache");
  g_setenv("XDG_CACHE_HOME", cache, TRUE);
  g_free(cache);
}

static void
home_down(Home *h, gconstpointer data)
{
  remove_all(h->home);
  g_free(h->home);
}

/* Each path is below home; NULL: must be absent. */
static void
expect(Home *h, const char *model, unsigned parts, const char *lm,
    const char *tokenizer, const char *mimi, const char *mimi_config)
{
  MoshiModelFiles f;
  MoshiError error = {0};
  if (moshi_model_files_find(&f, model, parts, &error) < 0)
    g_error("%s: %s", model, error.message);
  char *found[] = {f.lm, f.tokenizer, f.mimi, f.mimi_config};
  const char *wanted[] = {lm, tokenizer, mimi, mimi_config};
  for (int i = 0; i < 4; i++) {
    char *path = wanted[i] ? at(h, wanted[i]) : NULL;
    g_assert_cmpstr(found[i], ==, path);
    g_free(path);
  }
  g_assert_true(!(parts & LM) || (f.config && f.lm_config));
  moshi_model_files_clear(&f);
}

static void
expect_fails(const char *model, unsigned parts, MoshiStatus status, const char *message)
{
  MoshiModelFiles f;
  MoshiError error = {0};
  g_assert_cmpint(moshi_model_files_find(&f, model, parts, &error), ==, status);
  g_assert_cmpint(error.status, ==, status);
  g_assert_true(!f.root && !f.lm && !f.mimi && !f.lm_config);
  if (!strstr(error.message, message))
    g_error("%s: \"%s\" lacks \"%s\"", model, error.message, message);
}

static void
test_directory(Home *h, gconstpointer data)
{
  char *dir = at(h, "m");
  put_config(h, "m/config.json", "");
  expect_fails(dir, LM, MOSHI_ERROR_NOT_FOUND,
      "m/model.safetensors: is missing (moshi_name in config.json)");
  put_lm(h, "m/model.safetensors");
  expect_fails(dir, LM, MOSHI_ERROR_NOT_FOUND,
      "m/tok.model: is missing (tokenizer_name in config.json)");
  put(h, "m/tok.model", "");
  expect(h, dir, LM, "m/model.safetensors", "m/tok.model", NULL, NULL);

  /* the codec: what config.json names, else the one that is there */
  expect_fails(dir, MIMI, MOSHI_ERROR_NOT_FOUND,
      "m/tokenizer-e351c8d8-checkpoint125.safetensors: is missing (mimi_name in");
  put_mimi(h, "m/mimi-x@125.safetensors");
  expect(h, dir, MIMI, NULL, NULL, "m/mimi-x@125.safetensors", NULL);
  put_mimi(h, "m/tokenizer-y.safetensors");
  expect_fails(dir, MIMI, MOSHI_ERROR_ARGUMENT, "m: holds 2 codecs");
  put_mimi(h, "m/mimi.safetensors");
  expect(h, dir, MIMI, NULL, NULL, "m/mimi.safetensors", NULL);
  put(h, "m/mimi_config.json", "{}");
  expect(h, dir, MIMI, NULL, NULL, "m/mimi.safetensors", "m/mimi_config.json");
  put_config(h, "m/config.json",
      ",\"mimi_name\":\"tokenizer-y.safetensors\",\"mimi_config_name\":\"c/y.json\"");
  expect_fails(
      dir, MIMI, MOSHI_ERROR_NOT_FOUND, "c/y.json: is missing (mimi_config_name");
  put(h, "m/c/y.json", "{}");
  expect(h, dir, MIMI | LM, "m/model.safetensors", "m/tok.model",
      "m/tokenizer-y.safetensors", "m/c/y.json");
  char *path = at(h, "m/config.json");
  expect(h, path, MIMI, NULL, NULL, "m/tokenizer-y.safetensors", "m/c/y.json");
  g_free(path);
  g_free(dir);
}

static void
test_sharded(Home *h, gconstpointer data)
{
  char *dir = at(h, "m");
  put_config(h, "m/config.json", "");
  put(h, "m/tok.model", "");
  put(h, "m/model.safetensors.index.json",
      "{\"weight_map\":{\"a\":\"1.safetensors\"}}");
  expect(h, dir, LM, "m/model.safetensors.index.json", "m/tok.model", NULL, NULL);
  put_lm(h, "m/1.safetensors");
  char *index = at(h, "m/model.safetensors.index.json");
  expect(h, index, LM, "m/model.safetensors.index.json", "m/tok.model", NULL, NULL);
  g_free(index);
  g_free(dir);
}

static void
test_no_config(Home *h, gconstpointer data)
{
  char *dir = at(h, "m");
  put_lm(h, "m/model.safetensors");
  put_mimi(h, "m/mimi.safetensors");
  expect_fails(dir, LM, MOSHI_ERROR_NOT_FOUND, "m: holds no config.json");
  expect_fails(dir, LM, MOSHI_ERROR_NOT_FOUND,
      "not those of Moshiko or Moshika 7B, which need none");
  expect(h, dir, MIMI, NULL, NULL, "m/mimi.safetensors", NULL);
  put(h, "m/config.json", "{\"architectures\":[]}");
  expect_fails(
      dir, MIMI, MOSHI_ERROR_MODEL, "m/config.json: unknown key \"architectures\"");
  g_free(dir);
  dir = at(h, "empty");
  g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
  expect_fails(dir, MIMI, MOSHI_ERROR_NOT_FOUND, "empty: holds no Mimi codec");
  g_free(dir);
}

/* Weights under another name than config.json's. */
static void
test_lone(Home *h, gconstpointer data)
{
  char *dir = at(h, "m");
  put_config(h, "m/config.json", "");
  put(h, "m/tok.model", "");
  put_mimi(h, "m/mimi.safetensors");
  put_lm(h, "m/model.q8.gguf");
  expect(h, dir, LM, "m/model.q8.gguf", "m/tok.model", NULL, NULL);
  put_lm(h, "m/model.q4.safetensors");
  expect_fails(
      dir, LM, MOSHI_ERROR_NOT_FOUND, "is missing (moshi_name in config.json)");
  put_lm(h, "m/model.safetensors");
  expect(h, dir, LM, "m/model.safetensors", "m/tok.model", NULL, NULL);
  g_free(dir);

  /* transformers' MimiModel */
  put_mimi(h, "t/model.safetensors");
  put(h, "t/config.json",
      "{\"architectures\":[\"MimiModel\"],\"model_type\":\"mimi\"}");
  dir = at(h, "t");
  expect(h, dir, MIMI, NULL, NULL, "t/model.safetensors", "t/config.json");
  expect_fails(dir, LM, MOSHI_ERROR_MODEL, "is of a Mimi codec; there is no language");
  g_free(dir);
  dir = at(h, "t/model.safetensors");
  expect(h, dir, MIMI, NULL, NULL, "t/model.safetensors", "t/config.json");
  g_free(dir);
}

static void
test_names(Home *h, gconstpointer data)
{
  static const struct {
    const char *extra, *message;
  } cases[] = {
      {",\"moshi_name\":\"../x\"", "moshi_name is \"../x\", which is no path below"},
      {",\"moshi_name\":\"/etc/x\"",
          "moshi_name is \"/etc/x\", which is no path below"},
      {",\"moshi_name\":\"a//b\"", "which is no path below"},
      {",\"moshi_name\":\"./b\"", "which is no path below"},
      {",\"moshi_name\":\"\"", "which is no path below"},
      {",\"moshi_name\":\"file:///nonexistent/x\"", "/nonexistent/x: is missing"},
      {",\"moshi_name\":\"hf://a/b\"", "must look like hf://org/name/file"},
      {",\"moshi_name\":\"hf://a/../c\"", "\"a/..\" is no hub repository"},
      {",\"moshi_name\":\"hf://a/b/c.safetensors\"", "a/b: not in the hub cache"},
  };
  char *dir = at(h, "m");
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    put_config(h, "m/config.json", cases[i].extra);
    MoshiModelFiles f;
    MoshiError error = {0};
    g_assert_cmpint(moshi_model_files_find(&f, dir, LM, &error), <, 0);
    if (!strstr(error.message, cases[i].message))
      g_error("%s: \"%s\"", cases[i].extra, error.message);
  }
  /* file:// is any file; relative: to the directory */
  put_lm(h, "other/lm.safetensors");
  char *extra =
      g_strdup_printf(",\"moshi_name\":\"file://%s/other/"
                      "lm.safetensors\",\"mimi_name\":\"file://n.safetensors\"",
          h->home);
  put_config(h, "m/config.json", extra);
  put(h, "m/tok.model", "");
  put_mimi(h, "m/n.safetensors");
  expect(h, dir, LM | MIMI, "other/lm.safetensors", "m/tok.model", "m/n.safetensors",
      NULL);
  g_free(extra);
  g_free(dir);
}

static void
test_file(Home *h, gconstpointer data)
{
  put_lm(h, "m/other.safetensors");
  put_mimi(h, "m/mimi.safetensors");
  char *lm = at(h, "m/other.safetensors"), *mimi = at(h, "m/mimi.safetensors");
  expect(h, mimi, MIMI, NULL, NULL, "m/mimi.safetensors", NULL);
  expect_fails(lm, LM, MOSHI_ERROR_NOT_FOUND, "m: holds no config.json");
  expect_fails(mimi, LM, MOSHI_ERROR_NOT_FOUND, "m: holds no config.json");
  /* a codec may lie beside anything, a language model not */
  put(h, "m/config.json", "{\"foreign\":1}");
  expect(h, mimi, MIMI, NULL, NULL, "m/mimi.safetensors", NULL);
  expect_fails(lm, LM, MOSHI_ERROR_MODEL, "unknown key \"foreign\"");

  put_config(h, "m/config.json", ",\"mimi_config_name\":\"c.json\"");
  put(h, "m/tok.model", "");
  expect(h, lm, LM, "m/other.safetensors", "m/tok.model", NULL, NULL);
  expect(h, mimi, MIMI, NULL, NULL, "m/mimi.safetensors", NULL);
  put(h, "m/c.json", "{}");
  expect(h, lm, LM | MIMI, "m/other.safetensors", "m/tok.model", "m/mimi.safetensors",
      "m/c.json");
  put(h, "m/mimi_config.json", "{}");
  expect(h, mimi, MIMI, NULL, NULL, "m/mimi.safetensors", "m/mimi_config.json");
  g_free(lm);
  g_free(mimi);

  static const struct {
    const char *name, *message;
  } foreign[] = {
      {"x.pt", "x.pt: is a PyTorch pickle"},
      {"x.th", "is a PyTorch pickle"},
      {"x.ckpt", "is a PyTorch pickle"},
      {"pytorch_model.bin", "is a PyTorch pickle"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(foreign); i++) {
    char *path = at(h, foreign[i].name);
    put(h, foreign[i].name, "");
    expect_fails(path, LM, MOSHI_ERROR_MODEL, foreign[i].message);
    g_free(path);
  }
  put_tensor(h, "x.safetensors", "something");
  char *path = at(h, "x.safetensors");
  expect_fails(path, LM, MOSHI_ERROR_MODEL, "is neither a language model");
  g_free(path);
  put(h, "y.safetensors", "short");
  path = at(h, "y.safetensors");
  expect_fails(path, LM, MOSHI_ERROR_FORMAT, "y.safetensors: 5 bytes are too few");
  g_free(path);
  put_config(h, "m/config.json", ",\"moshi_name\":\"w.pt\"");
  put(h, "m/w.pt", "");
  path = at(h, "m");
  expect_fails(path, LM, MOSHI_ERROR_MODEL, "w.pt: is a PyTorch pickle");
  g_free(path);
  expect_fails("/nonexistent/x", LM, MOSHI_ERROR_NOT_FOUND,
      "/nonexistent/x: no such file or directory");
  expect_fails("nonexistent", LM, MOSHI_ERROR_NOT_FOUND, "no such file or directory");
}

static void
test_default(Home *h, gconstpointer data)
{
  g_setenv("XDG_DATA_HOME", "/nonexistent/h", TRUE);
  g_setenv("XDG_DATA_DIRS", "/nonexistent/a:/nonexistent/b", TRUE);
  MoshiModelFiles f;
  /* An installed model may answer here. */
  if (moshi_model_files_find(&f, NULL, MIMI, NULL) < 0) {
    expect_fails(NULL, MIMI, MOSHI_ERROR_NOT_FOUND,
        "no model was named, and there is none in /nonexistent/h/gst-moshi/tiny-model, "
        "/nonexistent/a/gst-moshi/tiny-model, /nonexistent/b/gst-moshi/tiny-model");
    expect_fails("", MIMI, MOSHI_ERROR_NOT_FOUND, "no model was named");
  }
  moshi_model_files_clear(&f);
  static const struct {
    const char *variable, *value, *file;
  } places[] = {
      {"XDG_DATA_DIRS", "/nonexistent:%s/sys",
          "sys/gst-moshi/tiny-model/mimi.safetensors"},
      {"XDG_DATA_HOME", "%s/user", "user/gst-moshi/tiny-model/mimi.safetensors"},
      {"MOSHI_DATA_PATH", "/nonexistent:%s/data", "data/tiny-model/mimi.safetensors"},
      {"MOSHI_MODEL", "%s/mine", "mine/mimi.safetensors"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(places);
       i++) { /* each wins over the ones before */
    put_mimi(h, places[i].file);
    char **halves = g_strsplit(places[i].value, "%s", 2);
    char *value = g_strconcat(halves[0], h->home, halves[1], NULL);
    g_setenv(places[i].variable, value, TRUE);
    expect(h, NULL, MIMI, NULL, NULL, places[i].file, NULL);
    g_free(value);
    g_strfreev(halves);
  }
}

/* ------------------------------------------------------------ hub cache */

#define REPO "cache/huggingface/hub/models--org--my.model"

static void
put_repo(Home *h, const char *folder, const char *commit)
{
  char *blob = g_strconcat(folder, "/blobs/11", NULL);
  char *link = g_strconcat(folder, "/snapshots/", commit, "/mimi.safetensors", NULL);
  put_mimi(h, blob);
  put_link(h, link, "../../blobs/11");
  g_free(blob);
  g_free(link);
}

static void
test_hub(Home *h, gconstpointer data)
{
  expect_fails("org/my.model", MIMI, MOSHI_ERROR_NOT_FOUND,
      "download it: huggingface-cli download org/my.model");
  put_repo(h, REPO, COMMIT);
  /* without refs: the only snapshot */
  expect(h, "org/my.model", MIMI, NULL, NULL,
      REPO "/snapshots/" COMMIT "/mimi.safetensors", NULL);
  put_repo(h, REPO, "1123456789abcdef0123456789abcdef01234567");
  expect_fails("org/my.model", MIMI, MOSHI_ERROR_NOT_FOUND, "not in the hub cache");
  put(h, REPO "/refs/main", COMMIT "\n");
  expect(h, "org/my.model", MIMI, NULL, NULL,
      REPO "/snapshots/" COMMIT "/mimi.safetensors", NULL);
  expect(h, "hf://org/my.model", MIMI, NULL, NULL,
      REPO "/snapshots/" COMMIT "/mimi.safetensors", NULL);
  expect(h, "org/my.model@" COMMIT, MIMI, NULL, NULL,
      REPO "/snapshots/" COMMIT "/mimi.safetensors", NULL);
  put(h, REPO "/refs/pr/7", COMMIT);
  expect(h, "org/my.model@pr/7", MIMI, NULL, NULL,
      REPO "/snapshots/" COMMIT "/mimi.safetensors", NULL);
  expect_fails("org/my.model@v2", MIMI, MOSHI_ERROR_NOT_FOUND,
      "org/my.model@v2: not in the hub cache");
  expect_fails("org/my.model@v2", MIMI, MOSHI_ERROR_NOT_FOUND,
      "huggingface-cli download org/my.model --revision v2");
  expect_fails("org/my.model", LM, MOSHI_ERROR_NOT_FOUND, "org/my.model: ");
  put(h, REPO "/refs/main", "not a commit");
  expect_fails(
      "org/my.model@main", MIMI, MOSHI_ERROR_NOT_FOUND, "not in the hub cache");

  /* an existing path wins */
  char *before = g_get_current_dir();
  g_assert_cmpint(g_chdir(h->home), ==, 0);
  put_mimi(h, "org/my.model/mimi.safetensors");
  MoshiModelFiles f;
  g_assert_cmpint(moshi_model_files_find(&f, "org/my.model", MIMI, NULL), ==, 0);
  g_assert_cmpstr(f.mimi, ==, "org/my.model/mimi.safetensors");
  moshi_model_files_clear(&f);
  g_assert_cmpint(g_chdir(before), ==, 0);
  g_free(before);
}

static void
test_hub_files(Home *h, gconstpointer data)
{
  put_repo(h, REPO, COMMIT);
  /* a file that is not a link */
  put_config(h, REPO "/snapshots/" COMMIT "/config.json",
      ",\"mimi_name\":\"hf://other/repo/sub/x.safetensors\",\"moshi_name\":\"w; rm -r "
      "~\"");
  expect_fails("org/my.model", LM, MOSHI_ERROR_NOT_FOUND,
      "download it: huggingface-cli download org/my.model 'w; rm -r ~'");
  expect_fails("org/my.model", MIMI, MOSHI_ERROR_NOT_FOUND,
      "huggingface-cli download other/repo");
#define OTHER "cache/huggingface/hub/models--other--repo"
  put_repo(h, OTHER, COMMIT);
  expect_fails("org/my.model", MIMI, MOSHI_ERROR_NOT_FOUND,
      "huggingface-cli download other/repo sub/x.safetensors");
  put_link(h, OTHER "/snapshots/" COMMIT "/sub/x.safetensors", "../../../blobs/11");
  expect(h, "org/my.model", MIMI, NULL, NULL,
      OTHER "/snapshots/" COMMIT "/sub/x.safetensors", NULL);

  /* links that leave the repository, and one whose blob is gone */
  put_config(h, REPO "/snapshots/" COMMIT "/config.json", "");
  put_link(h, REPO "/snapshots/" COMMIT "/model.safetensors", "/etc/passwd");
  expect_fails("org/my.model", LM, MOSHI_ERROR_FORMAT,
      "is a link that leads out of the repository's blobs, to /etc/passwd");
  put_link(h, REPO "/snapshots/" COMMIT "/tok.model", "../../blobs/gone");
  put_config(h, REPO "/snapshots/" COMMIT "/config.json",
      ",\"moshi_name\":\"mimi.safetensors\"");
  expect_fails("org/my.model", LM, MOSHI_ERROR_NOT_FOUND,
      "tok.model is not in the hub cache; download it: huggingface-cli download "
      "org/my.model tok.model");
}

static void
test_hub_roots(Home *h, gconstpointer data)
{
  static const struct {
    const char *variable, *value, *folder;
  } roots[] = {
      {"HF_HOME", "$MOSHI_TEST_HOME/a", "a/hub"},
      {"HUGGINGFACE_HUB_CACHE", "${MOSHI_TEST_HOME}/b", "b"},
      {"HF_HUB_CACHE", "$MOSHI_TEST_HOME/c", "c"},
  };
  g_setenv("MOSHI_TEST_HOME", h->home, TRUE);
  for (size_t i = 0; i < G_N_ELEMENTS(roots);
       i++) { /* each wins over the ones before */
    g_setenv(roots[i].variable, roots[i].value, TRUE);
    char *folder = g_strconcat(roots[i].folder, "/models--org--m", NULL);
    put_repo(h, folder, COMMIT);
    char *file = g_strconcat(folder, "/snapshots/" COMMIT "/mimi.safetensors", NULL);
    expect(h, "org/m", MIMI, NULL, NULL, file, NULL);
    g_free(file);
    g_free(folder);
  }
  g_setenv("HF_HUB_CACHE", "$UNKNOWN_VARIABLE/x$", TRUE);
  expect_fails(
      "org/m", MIMI, MOSHI_ERROR_NOT_FOUND, "the hub cache $UNKNOWN_VARIABLE/x$;");
}

/* Nothing here is taken for a repository, or leaves the cache. */
static void
test_hub_ids(Home *h, gconstpointer data)
{
  static const char *const bad[] = {"../x", "org/..", "org/x/y", "org/", "/org",
      "org/-x", "-org/x", "or g/x", "org/x@", "org/x@../y", "org/x@-r", "org/x@a//b",
      "org/x;ls", "org/a..b", ".org/x", "org/x@a b"};
  char *before = g_get_current_dir(), *empty = at(h, "a/b");
  g_assert_cmpint(g_mkdir_with_parents(empty, 0700), ==, 0);
  g_assert_cmpint(g_chdir(empty), ==, 0);
  for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
    expect_fails(
        bad[i], MIMI, MOSHI_ERROR_NOT_FOUND, "no such file or directory, and no hub");
  g_assert_cmpint(g_chdir(before), ==, 0);
  g_free(before);
  g_free(empty);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  static const struct {
    const char *path;
    void (*run)(Home *, gconstpointer);
  } tests[] = {
      {"/hub/directory", test_directory},
      {"/hub/sharded", test_sharded},
      {"/hub/no-config", test_no_config},
      {"/hub/lone", test_lone},
      {"/hub/names", test_names},
      {"/hub/file", test_file},
      {"/hub/default", test_default},
      {"/hub/cache", test_hub},
      {"/hub/cache-files", test_hub_files},
      {"/hub/cache-roots", test_hub_roots},
      {"/hub/cache-ids", test_hub_ids},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
    g_test_add(tests[i].path, Home, NULL, home_up, tests[i].run, home_down);
  return g_test_run();
}
