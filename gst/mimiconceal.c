/* Repeating and fading. Gains are continuous from sample to sample, and never
 * above 1. */
#include "mimiconceal.h"

#include <string.h>

#define FADE_IN_SAMPLES (GST_MIMI_RATE / 50)

/* The gain at the edges of the frames of a loss. */
static const gfloat fade[] = { 1.0f, 0.5f, 0.2f, 0.0f };

#define FADE_FRAMES (G_N_ELEMENTS (fade) - 1)

static void
ramp (gfloat * pcm, gfloat from, gfloat to, guint samples)
{
  for (guint i = 0; i < samples; i++)
    pcm[i] *= from + (to - from) * (i + 1) / samples;
}

void
mimi_conceal_good (MimiConceal * self, const guint16 * codes, gint codebooks,
    gfloat * pcm)
{
  if (self->lost && self->codebooks)
    ramp (pcm, fade[MIN (self->lost, FADE_FRAMES)], 1.0f, FADE_IN_SAMPLES);
  self->lost = 0;
  memcpy (self->codes, codes, codebooks * sizeof *codes);
  self->codebooks = codebooks;
}

gint
mimi_conceal_lost (MimiConceal * self, MoshiSlot * decoder, gfloat * pcm,
    MoshiError * error)
{
  guint k = self->lost;
  gint status;

  if (k < FADE_FRAMES)
    self->lost++;
  if (k == FADE_FRAMES || !self->codebooks) {
    memset (pcm, 0, GST_MIMI_FRAME_SAMPLES * sizeof *pcm);
    return MOSHI_OK;
  }

  status = mimi_decoder_slot_step (decoder, self->codes, self->codebooks, pcm,
      error);
  if (status == MOSHI_OK)
    ramp (pcm, fade[k], fade[k + 1], GST_MIMI_FRAME_SAMPLES);
  return status;
}
