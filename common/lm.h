/* The language model's weights, as the engine shares them. */
#ifndef MOSHI_LM_H
#define MOSHI_LM_H

#include "nn/loader.h"

typedef struct MoshiLmWeights MoshiLmWeights;

/* With l->device NULL only checks, and returns NULL with l->status 0. */
MoshiLmWeights *moshi_lm_weights_load(MoshiLoader *l, const MoshiLmConfig *config);
void moshi_lm_weights_free(MoshiLmWeights *w, MoshiDevice *d);

#endif
