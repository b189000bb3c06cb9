/* Inside of a MoshiModel, for the streams. Valid after moshi_model_load. */
#ifndef MOSHI_ENGINE_MODEL_H
#define MOSHI_ENGINE_MODEL_H

#include "../device/device.h"
#include "../files/hub.h"
#include "../files/tokenizer.h"
#include "../lm.h"
#include "../mimi.h"

MoshiDevice *moshi_model_get_device(const MoshiModel *model);
/* NULL where the part was not asked for or not loaded. */
const MimiEncoderWeights *moshi_model_encoder(const MoshiModel *model);
const MimiDecoderWeights *moshi_model_decoder(const MoshiModel *model);
const MoshiLmWeights *moshi_model_lm(const MoshiModel *model);
const MimiConfig *moshi_model_mimi_config(const MoshiModel *model);
const MoshiLmConfig *moshi_model_lm_config(const MoshiModel *model);
const MoshiTokenizer *moshi_model_tokenizer(const MoshiModel *model);

#endif
