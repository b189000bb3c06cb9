#ifndef DEVICES_H
#define DEVICES_H

#include <gst/gst.h>

/* Whether a microphone delivers and a loudspeaker opens; says on stderr what
 * to do if not. */
gboolean sound_devices_work (void);

/* Asks every loudspeaker that comes into the pipeline for a short buffer. */
void keep_playback_short (GstElement * pipeline);

#endif
