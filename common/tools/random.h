/* Models of a known shape with random weights, in memory alone. */
#ifndef MOSHI_RANDOM_WEIGHTS_H
#define MOSHI_RANDOM_WEIGHTS_H

#include "../engine/model.h"
#include "formats.h"
#include "shapes.h"

typedef struct RandomWeights RandomWeights;

/* Matrices of the language model in the given format; Mimi is of f32. */
MoshiModel *bench_random_model(RandomWeights **weights, const Shape *shape,
    const Format *format, const MoshiModelOptions *options, MoshiError *error);
/* After the model; NULL is fine. */
void bench_random_free(RandomWeights *weights);

#endif
