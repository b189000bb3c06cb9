/* Models of known shapes with random weights, in memory alone. */
#ifndef MOSHI_SHAPES_H
#define MOSHI_SHAPES_H

#include "../engine/model.h"

typedef struct {
  const char *name, *about;
  const char *mimi; /* mimi_config.json; NULL: the released Mimi */
  const char *lm;   /* config.json; NULL: none */
} Shape;

extern const Shape bench_shapes[]; /* ends with a name of NULL */
const Shape *bench_shape_find(const char *name);

/* Random weights: tensors are invented when they are first asked for, and
 * filled when they are asked for again while `filling` is set, so that a model
 * can be checked against the machine's memory before it is taken. */
typedef struct RandomWeights RandomWeights;

MoshiModel *bench_random_model(RandomWeights **weights, const Shape *shape,
    const MoshiModelOptions *options, MoshiError *error);
/* After the model. */
void bench_random_free(RandomWeights *weights);

#endif
