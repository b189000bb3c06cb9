/* Slots of Mimi's shared batches. The frames of all slots of a step lie in one place,
 * as the streams of a batch want them. */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "engine/batch.h"
#include "error.h"

typedef struct {
  const MimiConfig *config; /* of the model that a stream keeps */
  MimiEncoder *encoder;     /* or */
  MimiDecoder *decoder;
  int slots, codebooks;
  float *pcm;       /* [slots][frame_size] */
  uint16_t *codes;  /* [slots][codebooks] */
  uint16_t *packed; /* [slots][codebooks of the step], the decoder's */
} Streams;

static void
close_streams(void *streams)
{
  Streams *s = streams;
  mimi_encoder_free(s->encoder);
  mimi_decoder_free(s->decoder);
  g_free(s->pcm);
  g_free(s->codes);
  g_free(s->packed);
  g_free(s);
}

static int
open_buffers(Streams *s, MoshiModel *model, int slots, int codebooks, MoshiError *error)
{
  s->config = moshi_model_mimi_config(model);
  s->slots = slots;
  s->codebooks = codebooks;
  s->pcm = g_try_new0(float, (size_t)slots * s->config->frame_size);
  s->codes = g_try_new0(uint16_t, (size_t)slots * codebooks);
  if (s->decoder)
    s->packed = g_try_new0(uint16_t, (size_t)slots * codebooks);
  if (!s->pcm || !s->codes || (s->decoder && !s->packed))
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "mimi: no memory for the frames of %d streams", slots);
  return 0;
}

/* ---------------------------------------------------------------- encoder */

static void *
open_encoder(MoshiModel *model, int slots, const void *options, MoshiError *error)
{
  const int *codebooks = options;
  Streams *s = g_new0(Streams, 1);
  s->encoder = mimi_encoder_new(model, slots, *codebooks, error);
  if (!s->encoder || open_buffers(s, model, slots, *codebooks, error))
    g_clear_pointer(&s, close_streams);
  return s;
}

static void
reset_encoder(void *streams, const uint8_t *slots)
{
  mimi_encoder_reset(((Streams *)streams)->encoder, slots);
}

static int
step_encoder(void *streams, const uint8_t *run, int variant, MoshiError *error)
{
  Streams *s = streams;
  return mimi_encoder_step(s->encoder, s->pcm, run, s->codes, error);
}

static const MoshiBatchKind encoders = {
    .part = MOSHI_PART_ENCODER,
    .open = open_encoder,
    .close = close_streams,
    .reset = reset_encoder,
    .step = step_encoder,
};

MoshiSlot *
mimi_encoder_slot_new(MoshiModel *model, int codebooks, MoshiError *error)
{
  char common[16];
  snprintf(common, sizeof common, "%d", codebooks);
  return moshi_slot_new(
      &encoders, model, moshi_model_encoder(model), common, &codebooks, error);
}

int
mimi_encoder_slot_step(
    MoshiSlot *slot, const float *pcm, uint16_t *codes, MoshiError *error)
{
  Streams *s = moshi_slot_streams(slot);
  size_t frame = s->config->frame_size, k = s->codebooks;
  memcpy(s->pcm + slot->number * frame, pcm, frame * sizeof *pcm);
  int status = moshi_slot_take_turn(slot, 0, error);
  if (!status)
    memcpy(codes, s->codes + slot->number * k, k * sizeof *codes);
  return status;
}

/* ---------------------------------------------------------------- decoder */

static void *
open_decoder(MoshiModel *model, int slots, const void *options, MoshiError *error)
{
  Streams *s = g_new0(Streams, 1);
  s->decoder = mimi_decoder_new(model, slots, error);
  if (!s->decoder ||
      open_buffers(s, model, slots, moshi_model_info(model)->codebooks, error))
    g_clear_pointer(&s, close_streams);
  return s;
}

static void
reset_decoder(void *streams, const uint8_t *slots)
{
  mimi_decoder_reset(((Streams *)streams)->decoder, slots);
}

/* Those of a step have the same number of codebooks. */
static int
step_decoder(void *streams, const uint8_t *run, int codebooks, MoshiError *error)
{
  Streams *s = streams;
  for (int i = 0; i < s->slots; i++)
    if (run[i])
      memcpy(s->packed + (size_t)i * codebooks, s->codes + (size_t)i * s->codebooks,
          codebooks * sizeof *s->codes);
  return mimi_decoder_step(s->decoder, s->packed, codebooks, run, s->pcm, error);
}

static const MoshiBatchKind decoders = {
    .part = MOSHI_PART_DECODER,
    .open = open_decoder,
    .close = close_streams,
    .reset = reset_decoder,
    .step = step_decoder,
};

MoshiSlot *
mimi_decoder_slot_new(MoshiModel *model, MoshiError *error)
{
  return moshi_slot_new(&decoders, model, moshi_model_decoder(model), "", NULL, error);
}

int
mimi_decoder_slot_step(MoshiSlot *slot, const uint16_t *codes, int codebooks,
    float *pcm, MoshiError *error)
{
  Streams *s = moshi_slot_streams(slot);
  size_t frame = s->config->frame_size;
  int status = mimi_check_codes(s->config, codes, codebooks, 0, error);
  if (status)
    return status;
  memcpy(
      s->codes + (size_t)slot->number * s->codebooks, codes, codebooks * sizeof *codes);
  status = moshi_slot_take_turn(slot, codebooks, error);
  if (!status)
    memcpy(pcm, s->pcm + slot->number * frame, frame * sizeof *pcm);
  return status;
}
