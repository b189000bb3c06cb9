/* The header of a safetensors image. */
#ifndef MOSHI_FILES_SAFETENSORS_H
#define MOSHI_FILES_SAFETENSORS_H

#include <glib.h>

#include "checkpoint.h"

/* Appends the MoshiTensor's of `data` to `tensors`, in the header's order;
 * their names go to `names`. label names the file in errors. After a failure
 * both may hold a part of them. */
int moshi_safetensors_parse(const uint8_t *data, size_t size, const char *label,
    GArray *tensors, GStringChunk *names, MoshiError *error);

#endif
