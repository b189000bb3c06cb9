/* Memory of the CPU device. Large blocks come from mmap: they are zero without
 * being touched, so that the ring of a long context takes memory only as the
 * talk goes on. */
#include <errno.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu.h"

enum {
  ALIGNMENT = 64,
  LARGE = 1 << 20,
};
#define HUGE_PAGE ((size_t)2 << 20)

/* Kept in the ALIGNMENT bytes before the block. */
typedef struct {
  void *base;
  size_t mapped; /* 0: from malloc */
} Header;

static void *
finish(char *base, char *block, size_t mapped)
{
  Header *header = (Header *)(block - ALIGNMENT);
  *header = (Header){base, mapped};
  return block;
}

/* Large pages for the block itself, to the nearest whole one: the header before it
 * and a short rest stay on small ones. */
static void
ask_for_large_pages(char *block, size_t bytes)
{
#ifdef MADV_HUGEPAGE
  const size_t whole = (bytes + HUGE_PAGE / 2) / HUGE_PAGE * HUGE_PAGE;
  if (whole)
    madvise(block, whole, MADV_HUGEPAGE); /* a hint: fine where it is refused */
#endif
}

static void *
map(size_t bytes, bool huge)
{
  const size_t mapped = bytes + ALIGNMENT + (huge ? 2 * HUGE_PAGE : 0);
  char *base =
      mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (base == MAP_FAILED)
    return NULL;
  if (!huge)
    return finish(base, base + ALIGNMENT, mapped);
  const size_t past = ((size_t)base + ALIGNMENT) % HUGE_PAGE;
  char *block = base + ALIGNMENT + (past ? HUGE_PAGE - past : 0);
  ask_for_large_pages(block, bytes);
  return finish(base, block, mapped);
}

void *
moshi_cpu_alloc(size_t bytes, bool huge)
{
  void *base;

  if (bytes > PTRDIFF_MAX / 2)
    return NULL;
  if (bytes >= LARGE)
    return map(bytes, huge);
  if (posix_memalign(&base, ALIGNMENT, bytes + ALIGNMENT))
    return NULL;
  memset(base, 0, bytes + ALIGNMENT);
  return finish(base, (char *)base + ALIGNMENT, 0);
}

void
moshi_cpu_free(void *p)
{
  if (!p)
    return;
  const Header header = *(const Header *)((char *)p - ALIGNMENT);
  if (header.mapped)
    munmap(header.base, header.mapped);
  else
    free(header.base);
}
