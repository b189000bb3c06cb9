/* Converted weights that are kept in the user's cache directory.
 *
 * A file's name tells the model, the quantization, and a hash of what it was made from:
 * path and identity of the source, and this converter's version. The same is in its
 * metadata, and a file that does not say so, or does not have the tensors that the
 * conversion gives, is made anew. Files appear complete or not at all, so any number of
 * processes may convert at once; the last one's stays. A cache that cannot be written
 * is a pity and no failure: the weights are then converted in memory. */
#include "cache.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../error.h"
#include "memory.h"

/* Of the types that are chosen and of how they are encoded. */
#define CONVERTER_VERSION "2"

char *
moshi_cache_dir(void)
{
  const char *dir = g_getenv("MOSHI_CACHE");
  if (dir)
    return *dir ? g_strdup(dir) : NULL;
  const char *home = g_getenv("XDG_CACHE_HOME");
  return home && *home
             ? g_build_filename(home, "gst-moshi", NULL)
             : g_build_filename(g_get_home_dir(), ".cache", "gst-moshi", NULL);
}

/* What must be equal for a file of the cache to be used. */
enum { CONVERTER, QUANTIZATION, SOURCE, IDENTITY, N_FACTS };
static const char *const fact_keys[N_FACTS] = {
    [CONVERTER] = "moshi.converter",
    [QUANTIZATION] = "moshi.quantization",
    [SOURCE] = "moshi.source",
    [IDENTITY] = "moshi.source_identity",
};

typedef struct {
  char *real; /* path of the source without links, or NULL */
  const char *values[N_FACTS];
} Facts;

static Facts
facts_of(const MoshiConversion *conversion)
{
  const MoshiCheckpoint *source = moshi_conversion_source(conversion);
  char *real = realpath(moshi_checkpoint_path(source), NULL);
  return (Facts){.real = real,
      .values = {
          [CONVERTER] = CONVERTER_VERSION,
          [QUANTIZATION] =
              moshi_quantization_name(moshi_conversion_quantization(conversion)),
          [SOURCE] = real ? real : moshi_checkpoint_path(source),
          [IDENTITY] = moshi_checkpoint_identity(source),
      }};
}

/* "model-q4-0123456789abcdef.gguf" */
static char *
file_name(const Facts *facts)
{
  GChecksum *hash = g_checksum_new(G_CHECKSUM_SHA256);
  for (int i = 0; i < N_FACTS; i++)
    /* With the NUL, so that no two lists are one text. */
    g_checksum_update(
        hash, (const guchar *)facts->values[i], strlen(facts->values[i]) + 1);
  char *base = g_path_get_basename(facts->values[SOURCE]);
  char *dot = strchr(base, '.');
  if (dot && dot > base)
    *dot = 0;
  char *name = g_strdup_printf("%.64s-%s-%.16s.gguf", base, facts->values[QUANTIZATION],
      g_checksum_get_string(hash));
  g_checksum_free(hash);
  g_free(base);
  return name;
}

char *
moshi_cache_path(const MoshiConversion *conversion)
{
  char *dir = moshi_cache_dir(), *path = NULL;
  /* A model that has no files has no identity. */
  if (dir && *moshi_checkpoint_identity(moshi_conversion_source(conversion))) {
    Facts facts = facts_of(conversion);
    char *name = file_name(&facts);
    path = g_build_filename(dir, name, NULL);
    g_free(name);
    free(facts.real);
  }
  g_free(dir);
  return path;
}

/* ---------------------------------------------------------------------- read */

/* Others could have written into it, and know what the metadata must be. */
static bool
is_own(const char *path)
{
  struct stat st;
  return stat(path, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0) &&
         !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* NULL where there is none, or none that can be trusted. */
static MoshiCheckpoint *
open_cached(const MoshiConversion *conversion, const char *path)
{
  if (access(path, F_OK) != 0)
    return NULL;
  MoshiError error = {.message = "belongs to somebody else"};
  MoshiCheckpoint *c = is_own(path) ? moshi_checkpoint_open(path, &error) : NULL;
  bool equal = c && moshi_conversion_matches(conversion, c);
  Facts facts = facts_of(conversion);
  for (int i = 0; i < N_FACTS && equal; i++)
    equal = g_strcmp0(moshi_checkpoint_metadata(c, fact_keys[i]), facts.values[i]) == 0;
  free(facts.real);
  if (equal) {
    moshi_log(MOSHI_LOG_INFO, "%s: converted weights from the cache", path);
    return c;
  }
  moshi_log(MOSHI_LOG_WARNING, "%s: made anew: %s", path,
      c ? "it is not what this model is converted to" : error.message);
  moshi_checkpoint_unref(c);
  return NULL;
}

/* --------------------------------------------------------------------- write */

typedef struct {
  MoshiConversion *conversion;
  int threads;
  MoshiProgress progress;
  void *cookie;
} Job;

/* path NULL: in memory, which goes to *image. */
static int
convert_to(const Job *job, const char *path, MoshiMapped *image, MoshiError *error)
{
  MoshiGgufWriter *w = moshi_gguf_writer_new();
  Facts facts = facts_of(job->conversion);
  moshi_gguf_writer_string(w, "general.architecture", "moshi");
  moshi_gguf_writer_u32(w, "general.quantization_version", 2);
  for (int i = 0; i < N_FACTS; i++)
    moshi_gguf_writer_string(w, fact_keys[i], facts.values[i]);
  free(facts.real);
  moshi_conversion_declare(job->conversion, w);
  int status = moshi_gguf_writer_begin(w, path, error);
  if (!status)
    status = moshi_conversion_run(
        job->conversion, w, job->threads, job->progress, job->cookie, error);
  /* What changed meanwhile is not what the identity says. */
  if (!status)
    status = moshi_checkpoint_verify(moshi_conversion_source(job->conversion), error);
  if (!status)
    status = moshi_gguf_writer_finish(w, image, error);
  moshi_gguf_writer_free(w);
  return status;
}

/* NULL, with a warning, where the cache cannot have it; *error is set only when there is
 * no use in trying without. */
static MoshiCheckpoint *
convert_cached(const Job *job, const char *path, MoshiError *error)
{
  MoshiError problem = {0};
  char *dir = g_path_get_dirname(path);
  int status =
      g_mkdir_with_parents(dir, 0700) == 0
          ? convert_to(job, path, NULL, &problem)
          : moshi_fail(&problem, MOSHI_ERROR_READ, "%s: %s", dir, g_strerror(errno));
  g_free(dir);
  MoshiCheckpoint *c = status ? NULL : moshi_checkpoint_open(path, &problem);
  if (status == MOSHI_ERROR_CANCELLED)
    moshi_fail(error, status, "%s", problem.message);
  else if (!c)
    moshi_log(MOSHI_LOG_WARNING,
        "the converted weights cannot be kept, and will be converted again each time: "
        "%s; MOSHI_CACHE names another directory",
        problem.message);
  return c;
}

static MoshiCheckpoint *
convert_in_memory(const Job *job, MoshiError *error)
{
  const char *path = moshi_checkpoint_path(moshi_conversion_source(job->conversion));
  MoshiMapped image;
  if (convert_to(job, NULL, &image, error))
    return NULL;
  return moshi_checkpoint_from_mapped(&image, path, error);
}

MoshiCheckpoint *
moshi_cache_converted(MoshiConversion *conversion, int threads, MoshiProgress progress,
    void *cookie, MoshiError *error)
{
  Job job = {conversion, threads, progress, cookie};
  char *path = moshi_cache_path(conversion);
  MoshiCheckpoint *c = path ? open_cached(conversion, path) : NULL;
  error->status = 0;
  if (!c && path)
    c = convert_cached(&job, path, error);
  if (!c && !error->status)
    c = convert_in_memory(&job, error);
  g_free(path);
  return c;
}
