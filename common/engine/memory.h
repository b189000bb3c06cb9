/* Is there memory for a model? */
#ifndef MOSHI_ENGINE_MEMORY_H
#define MOSHI_ENGINE_MEMORY_H

#include "../moshi.h"

/* Bytes that the process could still use, weights in the page cache included. */
uint64_t moshi_memory_available(void);
/* MOSHI_ERROR_MEMORY when `bytes` of weights of the file cannot stay in memory: mapped
 * weights would otherwise be read from the disk again in every frame. */
int moshi_memory_check(size_t bytes, const char *path, MoshiError *error);

#endif
