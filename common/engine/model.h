/* Inside of a MoshiModel, for the streams. Valid after moshi_model_load. */
#ifndef MOSHI_ENGINE_MODEL_H
#define MOSHI_ENGINE_MODEL_H

#include "../device/device.h"
#include "../files/hub.h"
#include "../files/tokenizer.h"
#include "../lm.h"
#include "../mimi.h"

/* A model that has no files, for benchmarks: tensors come from `source` and stay its
 * own until it is told to forget them, text cannot be had. */
typedef struct {
  const char *name; /* instead of a path */
  const char *mimi; /* mimi_config.json, NULL: the released Mimi */
  const char *lm;   /* config.json, NULL without a language model */
  MoshiTensorSource source;
  MoshiTensorForget forget; /* may be NULL */
  void *cookie;
} MoshiInvention;

MoshiModel *moshi_model_invent(const MoshiModelOptions *options,
    const MoshiInvention *invention, MoshiError *error);

MoshiDevice *moshi_model_get_device(const MoshiModel *model);
/* NULL where the part was not asked for or not loaded. */
const MimiEncoderWeights *moshi_model_encoder(const MoshiModel *model);
const MimiDecoderWeights *moshi_model_decoder(const MoshiModel *model);
const MoshiLmWeights *moshi_model_lm(const MoshiModel *model);
/* Bytes of the weights of one MOSHI_PART_*. */
size_t moshi_model_bytes(const MoshiModel *model, unsigned part);
const MimiConfig *moshi_model_mimi_config(const MoshiModel *model);
/* F32 or BF16: what Mimi's matrices are rounded to. */
MoshiType moshi_model_mimi_type(const MoshiModel *model);
const MoshiLmConfig *moshi_model_lm_config(const MoshiModel *model);
const MoshiTokenizer *moshi_model_tokenizer(const MoshiModel *model);

#endif
