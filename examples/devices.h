#ifndef DEVICES_H
#define DEVICES_H

#include <gst/gst.h>

/* Whether a microphone delivers and a loudspeaker opens; says on stderr what
 * to do if not. */
gboolean sound_devices_work (void);

/* Of every sound device that comes into the pipeline. */
void keep_device_buffers_short (GstElement * pipeline);

#endif
