/* Long work in pieces on several threads, with progress. */
#ifndef MOSHI_ENGINE_CREW_H
#define MOSHI_ENGINE_CREW_H

#include "../moshi.h"

typedef struct {
  int threads;    /* 0: the machine's cores */
  size_t n;       /* pieces, begun in order */
  size_t scratch; /* bytes of memory that a thread wants for itself */
  int (*piece)(void *ctx, size_t i, void *scratch, MoshiError *error);
  void *ctx;
  MoshiProgress progress; /* from the calling thread; may be NULL */
  void *cookie;
} MoshiCrew;

/* Does all pieces; the calling thread works too. The first that fails, or a progress
 * that cancels, ends it. */
int moshi_crew_run(const MoshiCrew *crew, MoshiError *error);

#endif
