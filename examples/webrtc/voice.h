#ifndef VOICE_H
#define VOICE_H

#include <gst/app/gstappsrc.h>

#include "tap.h"

G_BEGIN_DECLS

#define VOICE_RATE 24000        /* S16LE, mono */

/* Opus in RTP, at the two ends of a peer's pipeline. */

/* Sound out: a bin, and the appsrc in it. */
GstElement *voice_out_new (GstAppSrc ** source);
/* The stream's time goes on without holes, as samples do: time is where it is,
 * and is set anew after a long silence. Takes the buffer. */
void voice_push (GstAppSrc * source, GstClockTime * time, GstBuffer * samples);
/* Sound in: a bin that taps what it hears. */
GstElement *voice_in_new (TapFunc func, gpointer user_data,
    GDestroyNotify free);

G_END_DECLS

#endif
