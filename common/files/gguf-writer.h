/* Writing a GGUF file of version 3: first what will be in it, then the tensors' data in
 * any order and from any thread. The file appears under its name when it is complete
 * and on the disk, or not at all. */
#ifndef MOSHI_FILES_GGUF_WRITER_H
#define MOSHI_FILES_GGUF_WRITER_H

#include "checkpoint.h"
#include "mapped.h"

typedef struct MoshiGgufWriter MoshiGgufWriter;

MoshiGgufWriter *moshi_gguf_writer_new(void);
/* Removes what is not finished. */
void moshi_gguf_writer_free(MoshiGgufWriter *writer);

void moshi_gguf_writer_string(
    MoshiGgufWriter *writer, const char *key, const char *value);
void moshi_gguf_writer_u32(MoshiGgufWriter *writer, const char *key, uint32_t value);
/* Name, dims and dtype of the template are used; its rows are whole blocks, it has at
 * most four dimensions, and GGUF has its type. Returns the tensor's number. */
size_t moshi_gguf_writer_tensor(MoshiGgufWriter *writer, const MoshiTensor *template);

/* Bytes of the whole file. */
size_t moshi_gguf_writer_size(const MoshiGgufWriter *writer);
/* Nothing can be added from here on. path NULL: the image is made in memory. Takes the
 * room of the whole file at once, so that a full disk is known before the work. */
int moshi_gguf_writer_begin(
    MoshiGgufWriter *writer, const char *path, MoshiError *error);
/* `bytes` of the tensor's data from `offset` on. From any thread. */
int moshi_gguf_writer_data(MoshiGgufWriter *writer, size_t tensor, size_t offset,
    const void *data, size_t bytes, MoshiError *error);
/* The file takes its place, instead of one that may be there; the image in memory goes
 * to *image, which may be NULL for a file. */
int moshi_gguf_writer_finish(
    MoshiGgufWriter *writer, MoshiMapped *image, MoshiError *error);

#endif
