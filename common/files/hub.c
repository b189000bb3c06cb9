/* From what the user calls a model to the paths of its files. docs/model-files.md
 * tells users the same rules. */
#include "hub.h"

#include <glib.h>
#include <string.h>

#include "../error.h"
#include "dialect.h"
#include "hub-cache.h"
#include "moshi-7b.h"

#ifndef MOSHI_DATADIR
#define MOSHI_DATADIR "/usr/local/share/gst-moshi"
#endif

#define PART_MIMI (MOSHI_PART_ENCODER | MOSHI_PART_DECODER)
#define DEFAULT_MODEL "tiny-model"

/* Where a model's files are looked for: a directory, or a snapshot of a
 * repository. */
typedef struct {
  char *dir;
  MoshiHubRepo repo; /* id NULL: a plain directory */
  /* a checkpoint that the user named itself */
  char *lm_file, *mimi_file;
} Source;

static void
source_clear(Source *s)
{
  g_free(s->dir);
  g_free(s->lm_file);
  g_free(s->mimi_file);
  moshi_hub_clear(&s->repo);
}

static bool
source_has(const Source *s, const char *name)
{
  char *path = g_build_filename(s->dir, name, NULL);
  bool exists = g_file_test(path, G_FILE_TEST_EXISTS);
  g_free(path);
  return exists;
}

/* hf://org/name/path/in/it */
static int
find_hf(char **out, const char *url, MoshiError *error)
{
  char **words = g_strsplit(url + strlen("hf://"), "/", 3);
  int status;
  if (g_strv_length(words) < 3) {
    status = moshi_fail(
        error, MOSHI_ERROR_FORMAT, "\"%s\" must look like hf://org/name/file", url);
  } else {
    MoshiHubRepo repo;
    char *id = g_strdup_printf("%s/%s", words[0], words[1]);
    status = moshi_hub_open(&repo, id, error);
    if (status == 0)
      status = moshi_hub_file(&repo, words[2], out, error);
    moshi_hub_clear(&repo);
    g_free(id);
  }
  g_strfreev(words);
  return status;
}

/* A name as a configuration writes it. key: who wrote it. */
static int
source_find(
    const Source *s, const char *name, const char *key, char **out, MoshiError *error)
{
  *out = NULL;
  if (g_str_has_prefix(name, "hf://"))
    return find_hf(out, name, error);
  char *path = NULL;
  if (g_str_has_prefix(name, "file://")) {
    const char *rest = name + strlen("file://");
    path = g_path_is_absolute(rest) ? g_strdup(rest)
                                    : g_build_filename(s->dir, rest, NULL);
  } else if (!moshi_hub_is_safe_path(name)) {
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s/config.json: %s is \"%s\", which is no path below that directory; another "
        "place is written file:///path or hf://org/name/file",
        s->dir, key, name);
  } else if (s->repo.id) {
    return moshi_hub_file(&s->repo, name, out, error);
  } else {
    path = g_build_filename(s->dir, name, NULL);
  }
  if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
    int status = moshi_fail(
        error, MOSHI_ERROR_NOT_FOUND, "%s: is missing (%s in config.json)", path, key);
    g_free(path);
    return status;
  }
  *out = path;
  return 0;
}

/* ----------------------------------------------- what the user has named */

static bool
has_suffix(const char *path, const char *const *suffixes)
{
  for (; *suffixes; suffixes++)
    if (g_str_has_suffix(path, *suffixes))
      return true;
  return false;
}

/* Formats that are known and not read. */
static int
check_suffix(const char *path, MoshiError *error)
{
  static const char *const pickles[] = {
      ".pt", ".pth", ".th", ".ckpt", ".bin", ".pkl", NULL};
  if (has_suffix(path, pickles))
    return moshi_fail(error, MOSHI_ERROR_MODEL,
        "%s: is a PyTorch pickle, which could run code of its own and is never read; "
        "use a "
        ".safetensors checkpoint",
        path);
  return 0;
}

/* A checkpoint is told from its tensors. */
static int
name_checkpoint(Source *s, const char *path, MoshiError *error)
{
  int status = check_suffix(path, error);
  if (status < 0)
    return status;
  MoshiError problem = {0};
  MoshiCheckpoint *c = moshi_checkpoint_open(path, &problem);
  if (!c)
    return moshi_fail(error, problem.status, "%s", problem.message);
  s->dir = g_path_get_dirname(path);
  MoshiNames names;
  if (moshi_names_of_lm(&names, c, NULL))
    s->lm_file = g_strdup(path);
  if (moshi_names_of_mimi(&names, c, NULL))
    s->mimi_file = g_strdup(path);
  if (!s->lm_file && !s->mimi_file)
    status = moshi_fail(error, MOSHI_ERROR_MODEL,
        "%s: is neither a language model (no tensor text_emb.weight) nor a Mimi codec "
        "(no quantizer.rvq_first.input_proj.weight), under none of the names that are "
        "known",
        path);
  moshi_checkpoint_unref(c);
  return status;
}

static char *
expand_home(const char *model)
{
  if (g_str_has_prefix(model, "file://"))
    model += strlen("file://");
  if (model[0] == '~' && (model[1] == '/' || !model[1]))
    return g_build_filename(g_get_home_dir(), model + 1, NULL);
  return g_strdup(model);
}

static int
name_path(Source *s, const char *path, MoshiError *error)
{
  if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
    s->dir = g_strdup(path);
    return 0;
  }
  char *base = g_path_get_basename(path);
  bool config = strcmp(base, "config.json") == 0;
  g_free(base);
  if (!config)
    return name_checkpoint(s, path, error);
  s->dir = g_path_get_dirname(path);
  return 0;
}

/* An existing path wins over a repository of the same name. */
static int
name_model(Source *s, const char *model, MoshiError *error)
{
  char *path = expand_home(model);
  const char *id = g_str_has_prefix(model, "hf://") ? model + strlen("hf://") : model;
  int status;
  if (g_file_test(path, G_FILE_TEST_EXISTS)) {
    status = name_path(s, path, error);
  } else if (moshi_hub_is_id(id)) {
    status = moshi_hub_open(&s->repo, id, error);
    if (status == 0)
      s->dir = g_strdup(s->repo.snapshot);
  } else {
    status = moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s: no such file or directory, and no hub repository such as "
        "kyutai/moshika-pytorch-bf16",
        path);
  }
  g_free(path);
  return status;
}

/* --------------------------------------------------- the model in the box */

static void
add_data_dirs(GPtrArray *dirs, const char *list, const char *sub)
{
  char **words = g_strsplit(list, G_SEARCHPATH_SEPARATOR_S, 0);
  for (char **word = words; *word; word++)
    if (**word)
      g_ptr_array_add(dirs, g_build_filename(*word, sub, NULL));
  g_strfreev(words);
}

/* The environment is read anew each time, for programs that change it. */
static GPtrArray *
data_dirs(void)
{
  GPtrArray *dirs = g_ptr_array_new_with_free_func(g_free);
  const char *path = g_getenv("MOSHI_DATA_PATH");
  const char *home = g_getenv("XDG_DATA_HOME");
  const char *system = g_getenv("XDG_DATA_DIRS");
  char *home_default = g_build_filename(g_get_home_dir(), ".local", "share", NULL);
  if (path)
    add_data_dirs(dirs, path, DEFAULT_MODEL);
  add_data_dirs(dirs, home && *home ? home : home_default, "gst-moshi/" DEFAULT_MODEL);
  add_data_dirs(dirs, system && *system ? system : "/usr/local/share:/usr/share",
      "gst-moshi/" DEFAULT_MODEL);
  add_data_dirs(dirs, MOSHI_DATADIR, DEFAULT_MODEL);
  g_free(home_default);
  return dirs;
}

static int
name_default(Source *s, MoshiError *error)
{
  const char *model = g_getenv("MOSHI_MODEL");
  if (model && *model)
    return name_model(s, model, error);
  GPtrArray *dirs = data_dirs();
  GString *tried = g_string_new(NULL);
  for (guint i = 0; i < dirs->len && !s->dir; i++) {
    const char *dir = g_ptr_array_index(dirs, i);
    g_string_append_printf(tried, "%s%s", i ? ", " : "", dir);
    if (g_file_test(dir, G_FILE_TEST_IS_DIR))
      s->dir = g_strdup(dir);
  }
  int status =
      s->dir ? 0
             : moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
                   "no model was named, and there is none in %s; set the property "
                   "model, or MOSHI_MODEL in the environment",
                   tried->str);
  g_string_free(tried, TRUE);
  g_ptr_array_unref(dirs);
  return status;
}

/* ------------------------------------------------------------- the parts */

/* The only checkpoint of a directory whose name begins with "model", NULL where there
 * are several or none. Shards are known by their index. */
static char *
lone_model(const Source *s)
{
  static const char *const suffixes[] = {".safetensors", ".gguf", NULL};
  GDir *dir = g_dir_open(s->dir, 0, NULL);
  char *found = NULL;
  const char *name;
  int n = 0;
  while (dir && (name = g_dir_read_name(dir)))
    if (g_str_has_prefix(name, "model") && has_suffix(name, suffixes) &&
        !strstr(name, "-of-") && !strstr(name, "vision") && ++n == 1)
      found = g_strdup(name);
  if (dir)
    g_dir_close(dir);
  if (n > 1)
    g_clear_pointer(&found, g_free);
  return found;
}

/* A checkpoint that a configuration names, or the shards of it, or the only one that
 * is there. */
static int
find_weights(
    const Source *s, const char *name, const char *key, char **out, MoshiError *error)
{
  char *index = g_strconcat(name, ".index.json", NULL);
  char *other = NULL;
  if (moshi_hub_is_safe_path(name) && !source_has(s, name))
    other = source_has(s, index) ? g_strdup(index) : lone_model(s);
  int status = source_find(s, other ? other : name, key, out, error);
  g_free(index);
  g_free(other);
  return status;
}

/* The configuration of a language model that comes without one: NULL where it is not
 * known. */
static MoshiLmConfig *
known_config(const Source *s)
{
  MoshiError error;
  char *path = g_strdup(s->lm_file);
  if (!path && find_weights(s, "model.safetensors", "moshi_name", &path, &error) < 0)
    return NULL;
  MoshiCheckpoint *c = moshi_checkpoint_open(path, &error);
  bool known = c && moshi_7b_is(c);
  moshi_checkpoint_unref(c);
  g_free(path);
  return known ? moshi_lm_config_parse(
                     moshi_7b_config, strlen(moshi_7b_config), "Moshi 7B", &error)
               : NULL;
}

static int
find_config(const Source *s, MoshiModelFiles *files, unsigned parts, MoshiError *error)
{
  if (!source_has(s, "config.json")) {
    if (!(parts & MOSHI_PART_LM))
      return 0;
    files->lm_config = known_config(s);
    if (files->lm_config)
      return 0;
    return moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s%s%s: holds no config.json, and its weights are not those of Moshiko or "
        "Moshika 7B, which need none; take the model's own config.json, "
        "docs/model-files.md",
        s->repo.id ? s->repo.id : "", s->repo.id ? ": " : "", s->dir);
  }
  int status = source_find(s, "config.json", "config", &files->config, error);
  if (status < 0)
    return status;
  if (!(parts & MOSHI_PART_LM) && mimi_config_is(files->config)) {
    files->mimi_config = g_steal_pointer(&files->config);
    return 0;
  }
  MoshiError problem = {0};
  files->lm_config = moshi_lm_config_read(files->config, &problem);
  if (files->lm_config)
    return 0;
  /* A codec that was named itself may lie beside anything. */
  if (s->mimi_file && !(parts & MOSHI_PART_LM)) {
    moshi_log(MOSHI_LOG_WARNING, "ignored: %s", problem.message);
    g_clear_pointer(&files->config, g_free);
    return 0;
  }
  return moshi_fail(error, problem.status, "%s", problem.message);
}

static int
find_lm(const Source *s, MoshiModelFiles *files, unsigned parts, MoshiError *error)
{
  const MoshiLmConfig *config = files->lm_config;
  int status = 0;
  if (s->lm_file) {
    files->lm = g_strdup(s->lm_file);
  } else {
    status = find_weights(s, config->moshi_name, "moshi_name", &files->lm, error);
  }
  if (status == 0)
    status = check_suffix(files->lm, error);
  if (status == 0 && (parts & MOSHI_PART_TEXT))
    status = source_find(
        s, config->tokenizer_name, "tokenizer_name", &files->tokenizer, error);
  return status;
}

/* transformers' MimiModel: the weights are called as those of any model. */
static bool
is_mimi(const char *path)
{
  MoshiCheckpoint *c = moshi_checkpoint_open(path, NULL);
  MoshiNames names;
  bool is = c && moshi_names_of_mimi(&names, c, NULL);
  moshi_checkpoint_unref(c);
  return is;
}

/* The codec of a directory whose config.json does not name one that is there. */
static int
find_lone_mimi(const Source *s, char **out, MoshiError *error)
{
  if (source_has(s, "mimi.safetensors"))
    return source_find(s, "mimi.safetensors", "mimi_name", out, error);
  static const char *const suffixes[] = {".safetensors", ".gguf", NULL};
  GDir *dir = g_dir_open(s->dir, 0, NULL);
  char *found = NULL;
  const char *name;
  int n = 0;
  while (dir && (name = g_dir_read_name(dir)))
    if (has_suffix(name, suffixes) &&
        (g_str_has_prefix(name, "tokenizer-") || g_str_has_prefix(name, "mimi-")) &&
        ++n == 1)
      found = g_strdup(name);
  if (dir)
    g_dir_close(dir);
  int status;
  if (n == 1)
    status = source_find(s, found, "mimi_name", out, error);
  else if (n > 1)
    status = moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "%s: holds %d codecs (such as %s); name the file itself, or set mimi_name in "
        "config.json",
        s->dir, n, found);
  else if (find_weights(s, "model.safetensors", "mimi_name", out, NULL) == 0 &&
           is_mimi(*out))
    status = 0;
  else
    status = moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s: holds no Mimi codec (no mimi.safetensors, tokenizer-*.safetensors or "
        "mimi-*.safetensors)",
        s->dir);
  if (status < 0)
    g_clear_pointer(out, g_free);
  g_free(found);
  return status;
}

static int
find_mimi_config(const Source *s, MoshiModelFiles *files, bool named, MoshiError *error)
{
  if (named && files->lm_config && files->lm_config->mimi_config_name[0])
    return source_find(s, files->lm_config->mimi_config_name, "mimi_config_name",
        &files->mimi_config, error);
  char *dir = g_path_get_dirname(files->mimi);
  char *beside = g_build_filename(dir, "mimi_config.json", NULL);
  if (g_file_test(beside, G_FILE_TEST_EXISTS)) {
    g_free(files->mimi_config);
    files->mimi_config = g_steal_pointer(&beside);
  } else if (files->lm_config && files->lm_config->transformers &&
             strcmp(dir, s->dir) == 0) {
    files->mimi_config = g_strdup(files->config);
  }
  g_free(beside);
  g_free(dir);
  return 0;
}

static int
find_mimi(const Source *s, MoshiModelFiles *files, MoshiError *error)
{
  const char *name = files->lm_config ? files->lm_config->mimi_name : NULL;
  int status = 0;
  bool named = true; /* it is the one of config.json */
  if (s->mimi_file) {
    char *base = g_path_get_basename(s->mimi_file);
    named = name && strcmp(base, name) == 0;
    g_free(base);
    files->mimi = g_strdup(s->mimi_file);
  } else if (name && (strstr(name, "://") || source_has(s, name))) {
    status = source_find(s, name, "mimi_name", &files->mimi, error);
  } else if (files->lm_config && files->lm_config->transformers) {
    status = find_weights(s, name, "mimi_name", &files->mimi, error);
  } else {
    MoshiError lone = {0};
    status = find_lone_mimi(s, &files->mimi, &lone);
    /* What config.json asks for is the better thing to complain about. */
    if (status == MOSHI_ERROR_NOT_FOUND && name)
      status = source_find(s, name, "mimi_name", &files->mimi, error);
    else if (status < 0)
      moshi_fail(error, lone.status, "%s", lone.message);
  }
  if (status == 0)
    status = check_suffix(files->mimi, error);
  return status < 0 ? status : find_mimi_config(s, files, named, error);
}

int
moshi_model_files_find(
    MoshiModelFiles *files, const char *model, unsigned parts, MoshiError *error)
{
  *files = (MoshiModelFiles){NULL};
  Source source = {NULL};
  int status = model && *model ? name_model(&source, model, error)
                               : name_default(&source, error);
  if (status == 0) {
    const char *file = source.lm_file ? source.lm_file : source.mimi_file;
    files->root = g_strdup(file ? file : source.dir);
    status = find_config(&source, files, parts, error);
  }
  if (status == 0 && (parts & MOSHI_PART_LM))
    status = find_lm(&source, files, parts, error);
  if (status == 0 && (parts & PART_MIMI))
    status = find_mimi(&source, files, error);
  source_clear(&source);
  if (status < 0)
    moshi_model_files_clear(files);
  return status;
}

void
moshi_model_files_clear(MoshiModelFiles *files)
{
  g_free(files->root);
  g_free(files->config);
  g_free(files->lm);
  g_free(files->tokenizer);
  g_free(files->mimi);
  g_free(files->mimi_config);
  moshi_lm_config_free(files->lm_config);
  *files = (MoshiModelFiles){NULL};
}
