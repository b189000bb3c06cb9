/* The header of a GGUF image. */
#ifndef MOSHI_FILES_GGUF_H
#define MOSHI_FILES_GGUF_H

#include <glib.h>
#include <stdbool.h>

#include "checkpoint.h"

/* One key of the metadata, and its value where that is a string. */
typedef struct {
  const char *key, *value;
} MoshiMetadata;

/* ggml's number of the type, -1: it has none. */
int moshi_gguf_type(MoshiDtype dtype);
bool moshi_gguf_is(const uint8_t *data, size_t size);
/* Appends the MoshiTensor's of `data` to `tensors`, in the header's order, and its
 * MoshiMetadata to `metadata`; their strings go to `names`. label names the file in
 * errors. After a failure all three may hold a part of them. */
int moshi_gguf_parse(const uint8_t *data, size_t size, const char *label,
    GArray *tensors, GArray *metadata, GStringChunk *names, MoshiError *error);

#endif
