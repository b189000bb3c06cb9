/* Conditions of a session from the command line. */
#ifndef MOSHI_CONDITIONS_H
#define MOSHI_CONDITIONS_H

#include <glib.h>

#include "../moshi.h"

/* Each text is NAME=VALUE, or NAME=@FILE for a tensor condition: a safetensors
 * file with a tensor NAME or cond_NAME, [length][size], or [1][size][length] as
 * voice files have it, and perhaps a mask NAME_mask or cond_NAME_mask [length].
 * NULL on error; the array frees what it holds. */
GArray *conditions_parse(char **texts, MoshiError *error);

#endif
