/* Writing GGUF: see gguf-writer.h; the layout is told in gguf.c.
 *
 * Where the file system can, the file has no name until it is complete (O_TMPFILE), so
 * that nothing is left of it even when the process is killed. Elsewhere it is beside its
 * place, under a name of its own, until it is renamed. */
#include "gguf-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../error.h"
#include "gguf.h"

#define ALIGNMENT 32
/* Bytes before the pairs: magic, version and counts. */
#define FIXED_HEADER 24

struct MoshiGgufWriter {
  GByteArray *pairs, *infos;
  uint64_t n_pairs, n_tensors;
  GArray *offsets; /* uint64_t, of each tensor in the data */
  uint64_t data_size;
  /* from begin() on */
  char *path, *temporary; /* temporary NULL: the file has no name yet */
  int fd;
  MoshiMapped image; /* in memory */
};

MoshiGgufWriter *
moshi_gguf_writer_new(void)
{
  MoshiGgufWriter *w = g_new0(MoshiGgufWriter, 1);
  w->pairs = g_byte_array_new();
  w->infos = g_byte_array_new();
  w->offsets = g_array_new(FALSE, FALSE, sizeof(uint64_t));
  w->fd = w->image.fd = -1;
  return w;
}

void
moshi_gguf_writer_free(MoshiGgufWriter *w)
{
  if (!w)
    return;
  if (w->fd >= 0)
    close(w->fd);
  if (w->temporary)
    unlink(w->temporary);
  moshi_mapped_close(&w->image);
  g_byte_array_unref(w->pairs);
  g_byte_array_unref(w->infos);
  g_array_free(w->offsets, TRUE);
  g_free(w->path);
  g_free(w->temporary);
  g_free(w);
}

/* -------------------------------------------------------------------- header */

static void
put(GByteArray *out, uint64_t value, int bytes)
{
  for (; bytes > 0; bytes--, value >>= 8)
    g_byte_array_append(out, &(guint8){value & 0xff}, 1);
}

static void
put_string(GByteArray *out, const char *text)
{
  size_t n = strlen(text);
  put(out, n, 8);
  g_byte_array_append(out, (const guint8 *)text, n);
}

void
moshi_gguf_writer_string(MoshiGgufWriter *w, const char *key, const char *value)
{
  put_string(w->pairs, key);
  put(w->pairs, 8, 4);
  put_string(w->pairs, value);
  w->n_pairs++;
}

void
moshi_gguf_writer_u32(MoshiGgufWriter *w, const char *key, uint32_t value)
{
  put_string(w->pairs, key);
  put(w->pairs, 4, 4);
  put(w->pairs, value, 4);
  w->n_pairs++;
}

static uint64_t
padded(uint64_t n)
{
  return (n + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

size_t
moshi_gguf_writer_tensor(MoshiGgufWriter *w, const MoshiTensor *t)
{
  uint64_t n = 1;
  put_string(w->infos, t->name);
  put(w->infos, t->n_dims, 4);
  for (int i = t->n_dims; i-- > 0;) {
    put(w->infos, t->dims[i], 8);
    n *= t->dims[i];
  }
  put(w->infos, moshi_gguf_type(t->dtype), 4);
  put(w->infos, w->data_size, 8);
  g_array_append_val(w->offsets, w->data_size);
  w->data_size += padded(n / moshi_dtype_block(t->dtype) * moshi_dtype_size(t->dtype));
  return w->n_tensors++;
}

static size_t
header_size(const MoshiGgufWriter *w)
{
  return padded(FIXED_HEADER + w->pairs->len + w->infos->len);
}

size_t
moshi_gguf_writer_size(const MoshiGgufWriter *w)
{
  return header_size(w) + w->data_size;
}

/* ---------------------------------------------------------------------- file */

static int
fail_write(const MoshiGgufWriter *w, MoshiError *error)
{
  return moshi_fail(
      error, MOSHI_ERROR_READ, "%s: cannot be written: %s", w->path, g_strerror(errno));
}

static int
open_file(MoshiGgufWriter *w, MoshiError *error)
{
  char *dir = g_path_get_dirname(w->path);
  w->fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  g_free(dir);
  if (w->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
    w->temporary = g_strconcat(w->path, ".XXXXXX", NULL);
    w->fd = g_mkstemp_full(w->temporary, O_WRONLY | O_CLOEXEC, 0600);
    if (w->fd < 0)
      g_clear_pointer(&w->temporary, g_free);
  }
  if (w->fd < 0)
    return fail_write(w, error);
  /* Not everywhere can room be taken in advance; ENOSPC comes later there. */
  if (fallocate(w->fd, 0, 0, moshi_gguf_writer_size(w)) < 0 && errno != EOPNOTSUPP &&
      errno != ENOSYS)
    return fail_write(w, error);
  return 0;
}

static int
write_at(
    MoshiGgufWriter *w, size_t at, const void *data, size_t bytes, MoshiError *error)
{
  if (w->fd < 0) {
    memcpy((uint8_t *)w->image.data + at, data, bytes);
    return 0;
  }
  for (const uint8_t *from = data; bytes > 0;) {
    ssize_t n = pwrite(w->fd, from, bytes, at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail_write(w, error);
    from += n;
    at += n;
    bytes -= n;
  }
  return 0;
}

int
moshi_gguf_writer_begin(MoshiGgufWriter *w, const char *path, MoshiError *error)
{
  w->path = g_strdup(path);
  int status = path ? open_file(w, error)
                    : moshi_mapped_memory(&w->image, moshi_gguf_writer_size(w), error);
  if (status)
    return status;
  GByteArray *header = g_byte_array_new();
  g_byte_array_append(header, (const guint8 *)"GGUF", 4);
  put(header, 3, 4);
  put(header, w->n_tensors, 8);
  put(header, w->n_pairs, 8);
  g_byte_array_append(header, w->pairs->data, w->pairs->len);
  g_byte_array_append(header, w->infos->data, w->infos->len);
  status = write_at(w, 0, header->data, header->len, error);
  g_byte_array_unref(header);
  /* The last padding, where no room was taken. */
  if (!status && w->fd >= 0 && ftruncate(w->fd, moshi_gguf_writer_size(w)) < 0)
    status = fail_write(w, error);
  return status;
}

int
moshi_gguf_writer_data(MoshiGgufWriter *w, size_t tensor, size_t offset,
    const void *data, size_t bytes, MoshiError *error)
{
  uint64_t begin = g_array_index(w->offsets, uint64_t, tensor);
  return write_at(w, header_size(w) + begin + offset, data, bytes, error);
}

/* Gives the nameless file a name of its own beside its place. */
static bool
link_file(MoshiGgufWriter *w)
{
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", w->fd);
  for (int tries = 0; tries < 16 && !w->temporary; tries++) {
    char *name = g_strdup_printf("%s.%08x", w->path, g_random_int());
    if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0)
      w->temporary = g_steal_pointer(&name);
    g_free(name);
  }
  return w->temporary;
}

int
moshi_gguf_writer_finish(MoshiGgufWriter *w, MoshiMapped *image, MoshiError *error)
{
  if (w->fd < 0) {
    *image = w->image;
    w->image = (MoshiMapped){.fd = -1};
    return 0;
  }
  if (fsync(w->fd) < 0 || (!w->temporary && !link_file(w)) ||
      rename(w->temporary, w->path) < 0)
    return fail_write(w, error);
  g_clear_pointer(&w->temporary, g_free);
  return 0;
}
