/* config.json as transformers writes it for MoshiForConditionalGeneration. */
#ifndef MOSHI_FILES_HF_CONFIG_H
#define MOSHI_FILES_HF_CONFIG_H

#include "config.h"
#include "json.h"

/* Whether transformers wrote it, for the model of this type ("moshi", "mimi"). */
bool moshi_hf_is(JsonObject *object, const char *model_type);
int moshi_hf_lm_config(
    MoshiLmConfig *lm, JsonObject *object, const MoshiJsonPlace *place);

#endif
