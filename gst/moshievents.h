/* The custom event that starts a conversation anew, in the middle of a stream.
 *
 * moshi/reset is a GST_EVENT_CUSTOM_DOWNSTREAM: it takes effect between the
 * frames it was sent between, and travels on. Without fields every element of
 * this plugin that it passes starts anew. With the field element=(string)NAME
 * only elements made by the factory NAME do. */
#ifndef MOSHI_EVENTS_H
#define MOSHI_EVENTS_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define MOSHI_EVENT_RESET "moshi/reset"

/* Whether the event tells this element to start anew. */
gboolean moshi_event_is_reset (GstEvent * event, GstElement * element);

G_END_DECLS

#endif
