/* The jitter buffer of the web client, with its figures. */
#include "playback.h"

#include <string.h>

#define MS(n) ((n) * PLAYBACK_RATE / 1000)
#define TARGET MS (80)          /* a frame of the model */
#define TARGET_STEP MS (10)
#define TARGET_MAX MS (200)
#define TOO_MUCH MS (100)       /* above the target */
#define FADE MS (5)

void
playback_init (Playback * playback)
{
  memset (playback, 0, sizeof *playback);
  playback->samples = g_array_new (FALSE, FALSE, sizeof (gfloat));
  playback->target = TARGET;
}

void
playback_clear (Playback * playback)
{
  g_array_unref (playback->samples);
}

static gfloat *
samples_of (Playback * playback)
{
  return (gfloat *) playback->samples->data;
}

/* From what would have come to what comes, without a click. */
static void
skip (Playback * playback, guint n)
{
  gfloat *from = samples_of (playback), *to = from + n;
  guint i, fade = MIN (FADE, playback->samples->len - n);

  for (i = 0; i < fade; i++) {
    gfloat x = (i + 1) / (gfloat) (fade + 1);

    to[i] = from[i] * (1 - x) + to[i] * x;
  }
  g_array_remove_range (playback->samples, 0, n);
  playback->skipped += n;
}

void
playback_push (Playback * playback, const gfloat * samples, guint n)
{
  g_array_append_vals (playback->samples, samples, n);
  if (playback->samples->len > playback->target + TOO_MUCH)
    skip (playback, playback->samples->len - playback->target);
}

static void
fade (gfloat * samples, guint n, gboolean in)
{
  guint i, length = MIN (n, FADE);

  for (i = 0; i < length; i++) {
    gfloat x = (i + 1) / (gfloat) (length + 1);

    if (in)
      samples[i] *= x;
    else
      samples[n - 1 - i] *= x;
  }
}

void
playback_pull (Playback * playback, gfloat * samples, guint n)
{
  guint have = playback->samples->len;

  memset (samples, 0, n * sizeof *samples);
  if (!playback->playing) {
    if (have < playback->target)
      return;
    playback->playing = playback->fade_in = TRUE;
  }
  have = MIN (have, n);
  memcpy (samples, playback->samples->data, have * sizeof *samples);
  g_array_remove_range (playback->samples, 0, have);
  if (playback->fade_in)
    fade (samples, have, TRUE);
  playback->fade_in = FALSE;
  if (have < n) {
    fade (samples, have, FALSE);
    playback->playing = FALSE;
    playback->missed += n - have;
    playback->target = MIN (playback->target + TARGET_STEP, TARGET_MAX);
  }
}
