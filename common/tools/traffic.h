/* How many bytes of weights and caches a frame has to touch: what a memory of
 * limited bandwidth makes the least time of a frame. Activations are left out;
 * they stay in the caches. */
#ifndef MOSHI_TRAFFIC_H
#define MOSHI_TRAFFIC_H

#include "../lm-session.h"

/* One frame of a batch, `steps` transformer steps after the start. */
double traffic_mimi_encode(
    const MoshiModel *model, int codebooks, int batch, double steps);
double traffic_mimi_decode(
    const MoshiModel *model, int codebooks, int batch, double steps);
/* The whole step, the depth transformer included. */
double traffic_lm_step(const MoshiSession *session, double steps);
double traffic_lm_depth(const MoshiSession *session);

#endif
