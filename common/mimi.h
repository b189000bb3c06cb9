/* Mimi's weights, as the engine shares them. The streams are in moshi.h. */
#ifndef MOSHI_MIMI_H
#define MOSHI_MIMI_H

#include "nn/loader.h"

typedef struct MimiEncoderWeights MimiEncoderWeights;
typedef struct MimiDecoderWeights MimiDecoderWeights;

/* With l->device NULL only checks, and returns NULL with l->status 0. */
MimiEncoderWeights *mimi_encoder_weights_load(MoshiLoader *l, const MimiConfig *config);
void mimi_encoder_weights_free(MimiEncoderWeights *w, MoshiDevice *d);
MimiDecoderWeights *mimi_decoder_weights_load(MoshiLoader *l, const MimiConfig *config);
void mimi_decoder_weights_free(MimiDecoderWeights *w, MoshiDevice *d);
/* Number of codebooks in the file: rvq_rest's levels + 1. */
int mimi_count_codebooks(const MoshiCheckpoint *checkpoint);
/* 16 hex digits of a hash over embedding_sum and cluster_usage of the first
 * 8 codebooks (or all, where there are fewer). */
void mimi_codec_id(const MoshiCheckpoint *checkpoint, char id[17]);

/* One stream's frame of k codes: 0, or MOSHI_ERROR_ARGUMENT. */
int mimi_check_codes(const MimiConfig *config, const uint16_t *codes, int k, int stream,
    MoshiError *error);

/* For tests: what the last step quantized of its i-th running slot, [dimension]. */
void mimi_encoder_latent(const MimiEncoder *encoder, int i, float *latent);

#endif
