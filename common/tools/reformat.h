/* A language model of files, its matrices stored in another format: in memory, to
 * see what the format does to it. */
#ifndef MOSHI_REFORMAT_H
#define MOSHI_REFORMAT_H

#include "../engine/model.h"
#include "formats.h"

typedef struct Reformatted Reformatted;

/* format NULL: all as it was. The model of `options` is loaded. */
MoshiModel *reformat_model(Reformatted **weights, const Format *format,
    const MoshiModelOptions *options, MoshiError *error);
/* Matrices that got the format itself, not what it has instead. */
int reformat_count(const Reformatted *weights);
/* After the model; NULL is fine. */
void reformat_free(Reformatted *weights);

#endif
