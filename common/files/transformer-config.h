/* What the configurations of the codec and of the language model have in
 * common: names of activations, norms and positions, and the widths of MLPs. */
#ifndef MOSHI_FILES_TRANSFORMER_CONFIG_H
#define MOSHI_FILES_TRANSFORMER_CONFIG_H

#include "config.h"
#include "json.h"

#define MOSHI_MAX_DIM 65536
#define MOSHI_MAX_HIDDEN (1 << 20)
#define MOSHI_MAX_LAYERS 1024
#define MOSHI_MAX_CONTEXT (1 << 20)

/* For MOSHI_FIELD_CHOICE. Gating 0 is "none"; norms and positions are in the
 * order of their enums. */
extern const char *const moshi_gatings[];
extern const char *const moshi_norms[];
extern const char *const moshi_positions[];

void moshi_transformer_set_gating(MoshiTransformerConfig *t, int gating);
/* Inner width for `dim_feedforward` (moshi/modules/gating.py). */
int moshi_transformer_hidden(const MoshiTransformerConfig *t, int dim_feedforward);
/* Sizes that must divide one another. */
int moshi_transformer_check(const MoshiTransformerConfig *t,
    const MoshiJsonPlace *place, const char *heads_key, const char *kv_repeat_key);

#endif
