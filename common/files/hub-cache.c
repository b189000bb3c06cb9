/* Finding a repository's files in the hub cache, by the rules of
 * huggingface_hub (constants.py, file_download.py), offline always. Names that
 * come from a caller or a configuration never leave the repository's folder,
 * and neither do the links they lead to. */
#include "hub-cache.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "../error.h"

/* ---------------------------------------------------------------- names */

static bool
is_name(const char *text, size_t n)
{
  /* A leading '-' would be an option of the command that we print. */
  if (n == 0 || n > 96 || text[0] == '-' || text[0] == '.')
    return false;
  for (size_t i = 0; i < n; i++)
    if (!g_ascii_isalnum(text[i]) && !strchr("._-", text[i]))
      return false;
  return !g_strstr_len(text, n, "..");
}

bool
moshi_hub_is_safe_path(const char *path)
{
  for (const char *at = path;; at++) {
    size_t n = strcspn(at, "/");
    if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
      return false;
    at += n;
    if (!*at)
      return true;
  }
}

bool
moshi_hub_is_id(const char *text)
{
  const char *slash = strchr(text, '/');
  if (!slash || !is_name(text, slash - text))
    return false;
  const char *name = slash + 1;
  size_t n = strcspn(name, "@");
  if (!is_name(name, n))
    return false;
  if (!name[n])
    return true;
  const char *revision = name + n + 1;
  return strspn(revision, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "0123456789._/-") == strlen(revision) &&
         revision[0] != '-' && moshi_hub_is_safe_path(revision);
}

/* The words of a command, quoted where the shell would need it. */
static char *
shell_word(const char *text)
{
  bool plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "0123456789._/@+=-") == strlen(text) &&
               text[0] != '-';
  return plain ? g_strdup(text) : g_shell_quote(text);
}

/* The command that brings the repository, or one file of it. */
static char *
download_command(const MoshiHubRepo *repo, const char *path)
{
  GString *command = g_string_new("huggingface-cli download ");
  g_string_append(command, repo->id);
  if (path) {
    char *word = shell_word(path);
    g_string_append_printf(command, " %s", word);
    g_free(word);
  }
  if (strcmp(repo->revision, "main") != 0)
    g_string_append_printf(command, " --revision %s", repo->revision);
  return g_string_free(command, FALSE);
}

/* ----------------------------------------------------------------- root */

/* "~" and "$NAME" or "${NAME}" as Python's expanduser and expandvars do:
 * unknown variables stay as they are. */
static char *
expand(const char *text)
{
  GString *out = g_string_new(NULL);
  if (text[0] == '~' && (text[1] == '/' || !text[1])) {
    g_string_append(out, g_get_home_dir());
    text++;
  }
  while (*text) {
    const char *name = text + 1, *end = name;
    bool braces = *name == '{';
    if (*text == '$') {
      name += braces;
      for (end = name; g_ascii_isalnum(*end) || *end == '_'; end++)
        ;
    }
    if (*text != '$' || end == name || (braces && *end != '}')) {
      g_string_append_c(out, *text++);
      continue;
    }
    char *key = g_strndup(name, end - name);
    const char *value = g_getenv(key);
    end += braces;
    if (value)
      g_string_append(out, value);
    else
      g_string_append_len(out, text, end - text);
    g_free(key);
    text = end;
  }
  return g_string_free(out, FALSE);
}

static const char *
env(const char *name)
{
  const char *value = g_getenv(name);
  return value && *value ? value : NULL;
}

char *
moshi_hub_root(void)
{
  const char *cache = env("HF_HUB_CACHE");
  if (!cache)
    cache = env("HUGGINGFACE_HUB_CACHE");
  if (cache)
    return expand(cache);
  char *home = NULL;
  if (env("HF_HOME"))
    home = expand(env("HF_HOME"));
  else if (env("XDG_CACHE_HOME"))
    home = g_build_filename(env("XDG_CACHE_HOME"), "huggingface", NULL);
  else
    home = g_build_filename(g_get_home_dir(), ".cache", "huggingface", NULL);
  char *root = g_build_filename(home, "hub", NULL);
  g_free(home);
  return root;
}

/* ----------------------------------------------------------- repository */

static bool
is_commit(const char *text)
{
  return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

/* The commit that the revision stands for, NULL: not known here. */
static char *
read_ref(const MoshiHubRepo *repo)
{
  if (is_commit(repo->revision))
    return g_strdup(repo->revision);
  char *path = g_build_filename(repo->folder, "refs", repo->revision, NULL);
  char *text = NULL;
  gsize size = 0;
  bool fine = g_file_test(path, G_FILE_TEST_IS_REGULAR) &&
              g_file_get_contents(path, &text, &size, NULL) && size < 256;
  g_free(path);
  if (fine && is_commit(g_strstrip(text)))
    return text;
  g_free(text);
  return NULL;
}

/* Without refs/main, as after a copy: the only snapshot that is there. */
static char *
only_snapshot(const MoshiHubRepo *repo)
{
  char *path = g_build_filename(repo->folder, "snapshots", NULL);
  GDir *dir = g_dir_open(path, 0, NULL);
  char *found = NULL;
  const char *name;
  int n = 0;
  while (dir && (name = g_dir_read_name(dir)))
    if (is_commit(name) && ++n == 1)
      found = g_strdup(name);
  if (dir)
    g_dir_close(dir);
  g_free(path);
  if (n == 1)
    return found;
  g_free(found);
  return NULL;
}

void
moshi_hub_clear(MoshiHubRepo *repo)
{
  g_free(repo->id);
  g_free(repo->revision);
  g_free(repo->folder);
  g_free(repo->snapshot);
  *repo = (MoshiHubRepo){NULL};
}

int
moshi_hub_open(MoshiHubRepo *repo, const char *id, MoshiError *error)
{
  *repo = (MoshiHubRepo){NULL};
  if (!moshi_hub_is_id(id))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "\"%s\" is no hub repository; it must look like kyutai/moshika-pytorch-bf16",
        id);
  const char *at = strchr(id, '@');
  repo->id = g_strndup(id, at ? (size_t)(at - id) : strlen(id));
  repo->revision = g_strdup(at ? at + 1 : "main");
  char **words = g_strsplit(repo->id, "/", 2);
  char *root = moshi_hub_root();
  char *name = g_strdup_printf("models--%s--%s", words[0], words[1]);
  repo->folder = g_build_filename(root, name, NULL);

  char *commit = read_ref(repo);
  if (!commit && strcmp(repo->revision, "main") == 0)
    commit = only_snapshot(repo);
  if (commit)
    repo->snapshot = g_build_filename(repo->folder, "snapshots", commit, NULL);
  int status = 0;
  if (!commit || !g_file_test(repo->snapshot, G_FILE_TEST_IS_DIR)) {
    char *command = download_command(repo, NULL);
    status = moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s%s%s: not in the hub cache %s; download it: %s", repo->id, at ? "@" : "",
        at ? repo->revision : "", root, command);
    g_free(command);
    moshi_hub_clear(repo);
  }
  g_free(commit);
  g_free(name);
  g_free(root);
  g_strfreev(words);
  return status;
}

/* Whether `path` (no links left in it) lies below folder/sub. */
static bool
is_inside(const char *path, const char *folder, const char *sub)
{
  char *full = g_build_filename(folder, sub, NULL);
  char *real = realpath(full, NULL);
  size_t n = real ? strlen(real) : 0;
  bool inside = real && strncmp(path, real, n) == 0 && path[n] == '/';
  free(real);
  g_free(full);
  return inside;
}

int
moshi_hub_file(
    const MoshiHubRepo *repo, const char *path, char **out, MoshiError *error)
{
  *out = NULL;
  if (!moshi_hub_is_safe_path(path))
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: \"%s\" is no path inside a repository", repo->id, path);
  char *full = g_build_filename(repo->snapshot, path, NULL);
  char *real = realpath(full, NULL);
  int status = 0;
  if (!real) {
    char *command = download_command(repo, path);
    status = moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s: %s is not in the hub cache; download it: %s", repo->id, path, command);
    g_free(command);
  } else if (!is_inside(real, repo->folder, "blobs") &&
             !is_inside(real, repo->snapshot, ".")) {
    status = moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: is a link that leads out of the repository's blobs, to %s", full, real);
  } else {
    *out = g_strdup(full);
  }
  free(real);
  g_free(full);
  return status;
}
