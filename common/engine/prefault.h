/* Reading mapped weights before they are needed. */
#ifndef MOSHI_ENGINE_PREFAULT_H
#define MOSHI_ENGINE_PREFAULT_H

#include "../files/checkpoint.h"

/* Of the bytes of a checkpoint, the part that stays mapped: the rest is packed as it is
 * loaded. */
double moshi_prefault_share(const MoshiCheckpoint *checkpoint);
/* Brings those matrices of a checkpoint into memory, as fast as its disk can: the first
 * step would otherwise read them page by page. */
int moshi_prefault(const MoshiCheckpoint *checkpoint, int threads,
    MoshiProgress progress, void *cookie, MoshiError *error);

#endif
