/* Concealment of frames that a Mimi decoder never got. */
#ifndef MIMI_CONCEAL_H
#define MIMI_CONCEAL_H

#include "mimicaps.h"
#include "moshi.h"

G_BEGIN_DECLS

/* A loss is filled with the last tokens again, faded to silence over three
 * frames; from the fourth on with silence, and the codec stands still, so that
 * its memory of what was really said is not overwritten. What comes after a
 * loss is faded in over 20 ms. All zero is a fresh one. */
typedef struct
{
  guint16 codes[MIMI_MAX_CODEBOOKS];    /* the last good frame */
  gint codebooks;               /* of it; 0: there was none */
  guint lost;                   /* frames in a row */
} MimiConceal;

/* After a good frame was decoded to pcm: remembers it and fades it in. */
void mimi_conceal_good (MimiConceal * self, const guint16 * codes,
    gint codebooks, gfloat * pcm);
/* A frame of sound for a lost one. Returns as mimi_decoder_slot_step(). */
gint mimi_conceal_lost (MimiConceal * self, MoshiSlot * decoder,
    gfloat * pcm, MoshiError * error);

G_END_DECLS

#endif
