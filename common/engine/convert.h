/* Conversion of a language model's weights to fewer bits. */
#ifndef MOSHI_ENGINE_CONVERT_H
#define MOSHI_ENGINE_CONVERT_H

#include "../files/gguf-writer.h"
#include "../nn/loader.h"

typedef enum {
  MOSHI_QUANTIZATION_NONE,
  MOSHI_QUANTIZATION_Q8,
  MOSHI_QUANTIZATION_Q4,
} MoshiQuantization;

/* "none" (or NULL), "q8", "q4". */
int moshi_quantization_parse(
    MoshiQuantization *quantization, const char *text, MoshiError *error);
const char *moshi_quantization_name(MoshiQuantization quantization);

/* What is to be done with each tensor of a model. */
typedef struct MoshiConversion MoshiConversion;

/* loader: as for a check of the model; what it points to outlives the conversion. Sets
 * *conversion to NULL where the weights are stored in such types already; fails with
 * MOSHI_ERROR_MODEL where they are in other ones that have lost what is asked for. */
int moshi_conversion_new(MoshiConversion **conversion, const MoshiLoader *loader,
    const MoshiLmConfig *config, MoshiQuantization quantization, MoshiError *error);
void moshi_conversion_free(MoshiConversion *conversion);

MoshiQuantization moshi_conversion_quantization(const MoshiConversion *conversion);
/* That the weights are read from. */
const MoshiCheckpoint *moshi_conversion_source(const MoshiConversion *conversion);
/* Bytes of the converted tensors. */
size_t moshi_conversion_bytes(const MoshiConversion *conversion);
/* Whether the tensors of the checkpoint have the names, types and shapes that the
 * conversion gives them. */
bool moshi_conversion_matches(
    const MoshiConversion *conversion, const MoshiCheckpoint *checkpoint);
/* Adds the tensors to a writer that has not begun, in the order that
 * moshi_conversion_run() expects. */
void moshi_conversion_declare(
    const MoshiConversion *conversion, MoshiGgufWriter *writer);
/* Converts into a writer that has begun. */
int moshi_conversion_run(MoshiConversion *conversion, MoshiGgufWriter *writer,
    int threads, MoshiProgress progress, void *cookie, MoshiError *error);

#endif
