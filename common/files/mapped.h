/* A file mapped read-only, with what is needed to see that it has changed. */
#ifndef MOSHI_FILES_MAPPED_H
#define MOSHI_FILES_MAPPED_H

#include <sys/stat.h>

#include "../moshi.h"

typedef struct {
  char *path;
  int fd;
  const uint8_t *data;
  size_t size;
  struct stat stat; /* when it was opened */
} MoshiMapped;

/* Regular files only. max_size: larger files are refused, 0: any size. An
 * empty file has size 0 and data that is not NULL. */
int moshi_mapped_open(
    MoshiMapped *mapped, const char *path, size_t max_size, MoshiError *error);
void moshi_mapped_close(MoshiMapped *mapped);
/* MOSHI_ERROR_READ when the file is no longer the one that was opened. */
int moshi_mapped_verify(const MoshiMapped *mapped, MoshiError *error);

#endif
