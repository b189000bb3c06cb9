/* Reading mapped weights before they are needed. */
#ifndef MOSHI_ENGINE_PREFAULT_H
#define MOSHI_ENGINE_PREFAULT_H

#include <glib.h>

#include "../files/checkpoint.h"

/* Brings the matrices of a checkpoint into memory, as fast as its disk can: the first
 * step would otherwise read them page by page. copied: where tensors are (const void *)
 * of which a copy is used. */
int moshi_prefault(const MoshiCheckpoint *checkpoint, const GArray *copied, int threads,
    MoshiProgress progress, void *cookie, MoshiError *error);

#endif
