/* Golden vectors of Mimi (tests/vectors/README.md), and runs to hold against them. */
#ifndef TEST_MIMI_VECTORS_H
#define TEST_MIMI_VECTORS_H

#include <glib.h>

#include "mimi.h"
#include "moshi.h"

#define FRAME 1920

typedef struct {
  int frames, codebooks;
  float *pcm;           /* [frames][FRAME], the last one completed with zeros */
  uint16_t *codes;      /* [frames][codebooks] */
  float *dist, *margin; /* [frames][codebooks] */
  float *latent;        /* [latent_frames][dimension] */
  int latent_frames, dimension;
  float *pcm_dec; /* of codes, from sample pcm_dec_from on */
  int pcm_dec_from;
  uint16_t *rand_codes; /* [rand_frames][codebooks] */
  float *pcm_rand;      /* [rand_frames][FRAME] */
  int rand_frames;
} MimiVector;

/* tests/vectors/NAME.safetensors */
MimiVector *open_mimi_vector(const char *name);
void close_mimi_vector(MimiVector *v);

/* A model of the vectors' directory, or at an absolute path, both parts loaded. */
MoshiModel *open_mimi_model(const char *name, int threads);

/* One stream from its start; to be freed with g_free. latent may be NULL, or
 * [frames][dimension] */
uint16_t *encode_alone(MoshiModel *model, const float *pcm, int frames, int codebooks,
    float *latent, int dimension);
float *decode_alone(
    MoshiModel *model, const uint16_t *codes, int frames, int codebooks);

/* 10 log10 of the energies of x and of its difference from y. */
double snr_db(const float *x, const float *y, size_t n);

#endif
