/* See rawfile.h. */
#include "rawfile.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "../error.h"

/* The formats are little-endian and nothing here swaps bytes. */
G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

static int
fail(MoshiError *error, MoshiStatus status, const char *path, const char *what)
{
  return moshi_fail(error, status, "%s: %s: %s", path, what, g_strerror(errno));
}

int
raw_input_open(RawInput *input, const char *path, MoshiError *error)
{
  input->path = path;
  input->file = fopen(path, "rb");
  if (!input->file)
    return fail(error, errno == ENOENT ? MOSHI_ERROR_NOT_FOUND : MOSHI_ERROR_READ, path,
        "cannot open");
  return MOSHI_OK;
}

int
raw_input_read(RawInput *input, void *row, size_t bytes, size_t *got, MoshiError *error)
{
  *got = fread(row, 1, bytes, input->file);
  if (ferror(input->file))
    return fail(error, MOSHI_ERROR_READ, input->path, "cannot read");
  return MOSHI_OK;
}

void
raw_input_close(RawInput *input)
{
  if (input->file)
    fclose(input->file);
  input->file = NULL;
}

int
raw_output_open(RawOutput *output, const char *path, MoshiError *error)
{
  *output = (RawOutput){.path = path};
  GStatBuf existing;
  if (g_stat(path, &existing) == 0 && !S_ISREG(existing.st_mode)) {
    output->file = fopen(path, "wb");
  } else {
    output->temporary = g_strconcat(path, ".XXXXXX", NULL);
    int fd = g_mkstemp_full(output->temporary, O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0)
      g_clear_pointer(&output->temporary, g_free);
    else
      output->file = fdopen(fd, "wb");
  }
  if (!output->file) {
    fail(error, MOSHI_ERROR_READ, path, "cannot write");
    raw_output_discard(output);
    return MOSHI_ERROR_READ;
  }
  return MOSHI_OK;
}

int
raw_output_write(RawOutput *output, const void *data, size_t bytes, MoshiError *error)
{
  if (fwrite(data, 1, bytes, output->file) != bytes)
    return fail(error, MOSHI_ERROR_READ, output->path, "cannot write");
  return MOSHI_OK;
}

int
raw_output_commit(RawOutput *output, MoshiError *error)
{
  int failed = fclose(output->file);
  output->file = NULL;
  if (!failed && output->temporary)
    failed = g_rename(output->temporary, output->path);
  if (failed)
    return fail(error, MOSHI_ERROR_READ, output->path, "cannot write");
  g_clear_pointer(&output->temporary, g_free);
  return MOSHI_OK;
}

void
raw_output_discard(RawOutput *output)
{
  if (output->file)
    fclose(output->file);
  output->file = NULL;
  if (output->temporary)
    g_unlink(output->temporary);
  g_clear_pointer(&output->temporary, g_free);
}
