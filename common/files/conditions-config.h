/* The conditioners and the fuser of a language model's config.json. */
#ifndef MOSHI_FILES_CONDITIONS_CONFIG_H
#define MOSHI_FILES_CONDITIONS_CONFIG_H

#include "config.h"
#include "json.h"

/* Fills the conditions of `lm`; either node may be NULL or null. */
int moshi_conditions_parse(MoshiLmConfig *lm, JsonNode *conditioners, JsonNode *fuser,
    const MoshiJsonPlace *place);

#endif
