#ifndef PLAYBACK_H
#define PLAYBACK_H

#include <glib.h>

G_BEGIN_DECLS

#define PLAYBACK_RATE 24000

/* Sound between a network that delivers in bursts and a loudspeaker that must
 * not wait. It starts with a little in store; when more and more lies there, it
 * skips, so that the conversation stays in the present; each time it runs dry it
 * keeps a little more. Not locked. */
typedef struct
{
  GArray *samples;              /* of gfloat */
  guint target;                 /* samples in store when it starts */
  gboolean playing, fade_in;
  guint64 skipped, missed;      /* samples */
} Playback;

void playback_init (Playback * playback);
void playback_clear (Playback * playback);
void playback_push (Playback * playback, const gfloat * samples, guint n);
/* Always n samples, silence where there are none. */
void playback_pull (Playback * playback, gfloat * samples, guint n);

G_END_DECLS

#endif
