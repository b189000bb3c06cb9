/* Moshiko and Moshika 7B, whose repositories hold no config.json. */
#ifndef MOSHI_FILES_MOSHI_7B_H
#define MOSHI_FILES_MOSHI_7B_H

#include "checkpoint.h"

/* docs/configs/moshi-7b.json */
extern const char moshi_7b_config[];
/* Whether a checkpoint looks like one of them, in any dialect: as far as it takes to
 * tell it from all others. What it has in truth is checked when it is opened. */
bool moshi_7b_is(const MoshiCheckpoint *checkpoint);

#endif
