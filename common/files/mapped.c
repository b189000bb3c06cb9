/* Mapping a file. The descriptor stays open: a mapping of a file that shrinks
 * ends in SIGBUS, so readers ask moshi_mapped_verify() before a long read. */
#include "mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../error.h"

static int
map(MoshiMapped *mapped, const char *path, size_t max_size, MoshiError *error)
{
  if (!S_ISREG(mapped->stat.st_mode))
    return moshi_fail(error, MOSHI_ERROR_READ, "%s: is not a regular file", path);
  mapped->size = mapped->stat.st_size;
  if (max_size && mapped->size > max_size)
    return moshi_fail(error, MOSHI_ERROR_FORMAT,
        "%s: %zu bytes are too many for a file of this kind (at most %zu)", path,
        mapped->size, max_size);
  mapped->data = (const uint8_t *)"";
  if (mapped->size == 0)
    return 0;
  void *data = mmap(NULL, mapped->size, PROT_READ, MAP_SHARED, mapped->fd, 0);
  if (data == MAP_FAILED)
    return moshi_fail(error, errno == ENOMEM ? MOSHI_ERROR_MEMORY : MOSHI_ERROR_READ,
        "%s: cannot be mapped: %s", path, g_strerror(errno));
  mapped->data = data;
  return 0;
}

int
moshi_mapped_open(
    MoshiMapped *mapped, const char *path, size_t max_size, MoshiError *error)
{
  *mapped = (MoshiMapped){.fd = -1};
  /* O_NONBLOCK: a FIFO must not make us wait for its writer. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return moshi_fail(error, errno == ENOENT ? MOSHI_ERROR_NOT_FOUND : MOSHI_ERROR_READ,
        "%s: cannot be opened: %s", path, g_strerror(errno));
  mapped->fd = fd;

  int status = fstat(fd, &mapped->stat) < 0 ? moshi_fail(error, MOSHI_ERROR_READ,
                                                  "%s: %s", path, g_strerror(errno))
                                            : map(mapped, path, max_size, error);
  if (status < 0) {
    close(fd);
    *mapped = (MoshiMapped){.fd = -1};
    return status;
  }
  mapped->path = g_strdup(path);
  return 0;
}

int
moshi_mapped_memory(MoshiMapped *mapped, size_t size, MoshiError *error)
{
  *mapped = (MoshiMapped){.fd = -1};
  void *data =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory for %.1f GB of converted weights; use a smaller model", size / 1e9);
  mapped->data = data;
  mapped->size = size;
  return 0;
}

void
moshi_mapped_close(MoshiMapped *mapped)
{
  if (mapped->size)
    munmap((void *)mapped->data, mapped->size);
  if (mapped->fd >= 0)
    close(mapped->fd);
  g_free(mapped->path);
  *mapped = (MoshiMapped){.fd = -1};
}

bool
moshi_mapped_holds(const MoshiMapped *mapped, const void *data, size_t bytes)
{
  const uint8_t *at = data;
  return at >= mapped->data && at <= mapped->data + mapped->size &&
         bytes <= (size_t)(mapped->data + mapped->size - at);
}

void
moshi_mapped_advise(
    const MoshiMapped *mapped, const void *data, size_t bytes, MoshiAdvice advice)
{
  static const int advices[] = {
      [MOSHI_WILL_READ] = MADV_WILLNEED,
      [MOSHI_READ_NOW] = MADV_POPULATE_READ,
      [MOSHI_HAVE_READ] = MADV_DONTNEED,
      [MOSHI_NEVER_AGAIN] = MADV_DONTNEED,
  };
  const size_t page = sysconf(_SC_PAGESIZE);
  size_t begin = (const uint8_t *)data - mapped->data;
  size_t end = begin + MIN(bytes, mapped->size - begin);
  /* Memory has no file to read it from again. */
  if (mapped->fd < 0 && advice != MOSHI_NEVER_AGAIN)
    return;
  /* Pages that are shared with a neighbour are read with it, and kept for it. */
  if (advice == MOSHI_NEVER_AGAIN) {
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  }
  begin -= begin % page;
  /* Linux before 5.14 does not know READ_NOW: the first step reads them then. */
  if (begin < end)
    madvise((void *)(mapped->data + begin), end - begin, advices[advice]);
}

int
moshi_mapped_verify(const MoshiMapped *mapped, MoshiError *error)
{
  struct stat now;
  if (mapped->fd < 0)
    return 0;
  if (fstat(mapped->fd, &now) < 0)
    return moshi_fail(
        error, MOSHI_ERROR_READ, "%s: %s", mapped->path, g_strerror(errno));
  const struct stat *then = &mapped->stat;
  if (now.st_size != then->st_size || now.st_mtim.tv_sec != then->st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != then->st_mtim.tv_nsec)
    return moshi_fail(error, MOSHI_ERROR_READ,
        "%s: has changed since it was opened (%lld bytes then, %lld now); open the "
        "model "
        "again",
        mapped->path, (long long)then->st_size, (long long)now.st_size);
  return 0;
}
