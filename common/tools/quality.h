/* moshi-bench quality: what a format of weights, or of the attention's memory, costs.
 *
 * products: random matrices against double precision.
 * model: a language model that talks, and the same model in another format made to
 * say the same, so that every step sees the same past: how far its logits are off. */
#ifndef MOSHI_QUALITY_H
#define MOSHI_QUALITY_H

#include <stdbool.h>

#include "../error.h"

/* The arguments after "quality"; prints, or fails. */
int bench_quality(int argc, char **argv, MoshiError *error);

#endif
