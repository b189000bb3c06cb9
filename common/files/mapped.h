/* A file mapped read-only, with what is needed to see that it has changed. */
#ifndef MOSHI_FILES_MAPPED_H
#define MOSHI_FILES_MAPPED_H

#include <stdbool.h>
#include <sys/stat.h>

#include "../moshi.h"

typedef struct {
  char *path;
  int fd; /* -1: memory */
  const uint8_t *data;
  size_t size;
  struct stat stat; /* when it was opened */
} MoshiMapped;

/* What will be done with bytes of a file. */
typedef enum {
  MOSHI_WILL_READ,   /* soon: the system may start to read them */
  MOSHI_READ_NOW,    /* at once: returns when they are in memory */
  MOSHI_HAVE_READ,   /* not again for a while: their memory may be taken */
  MOSHI_NEVER_AGAIN, /* the same, and what is memory alone is lost */
} MoshiAdvice;

/* Regular files only. max_size: larger files are refused, 0: any size. An
 * empty file has size 0 and data that is not NULL. */
int moshi_mapped_open(
    MoshiMapped *mapped, const char *path, size_t max_size, MoshiError *error);
/* Zeroed memory instead of a file, which its owner may write to. */
int moshi_mapped_memory(MoshiMapped *mapped, size_t size, MoshiError *error);
void moshi_mapped_close(MoshiMapped *mapped);
/* Whether the bytes lie in the file. */
bool moshi_mapped_holds(const MoshiMapped *mapped, const void *data, size_t bytes);
/* Of bytes beyond the end nothing is said. */
void moshi_mapped_advise(
    const MoshiMapped *mapped, const void *data, size_t bytes, MoshiAdvice advice);
/* MOSHI_ERROR_READ when the file is no longer the one that was opened. */
int moshi_mapped_verify(const MoshiMapped *mapped, MoshiError *error);

#endif
