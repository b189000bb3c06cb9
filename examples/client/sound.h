#ifndef SOUND_H
#define SOUND_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* Both ends of the conversation that are here: the microphone, or a file that is
 * read at the speed of its sound and followed by silence; and the loudspeaker,
 * or a file. */
typedef struct _Sound Sound;

typedef struct
{
  /* All in the main loop. */
  void (*packet) (GBytes * opus, gpointer user_data);   /* to be sent */
  void (*asked) (gpointer user_data);   /* the file of the question is over */
  void (*failed) (const gchar * message, gpointer user_data);
  void (*written) (gpointer user_data); /* the file of the reply is complete */
} SoundFuncs;

/* in and out: NULL is the device. */
Sound *sound_new (const gchar * in, const gchar * out,
    const SoundFuncs * funcs, gpointer user_data, GError ** error);
void sound_start (Sound * sound);
void sound_push (Sound * sound, const guint8 * opus, gsize size,
    GstClockTime duration);
/* No more is sent; written() is called when all that came is in the file. */
void sound_finish (Sound * sound);
/* Seconds of the reply left out, and silence for what came too late. */
void sound_get_lag (Sound * sound, gdouble * skipped, gdouble * missed);
void sound_free (Sound * sound);

G_END_DECLS

#endif
