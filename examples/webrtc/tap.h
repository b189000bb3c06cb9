#ifndef TAP_H
#define TAP_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* Called in the main loop with each buffer's bytes, and with NULL at the end. */
typedef void (*TapFunc) (GBytes * bytes, gpointer user_data);

/* What arrives at an appsink. Whoever gives it away has to see in func that it
 * may still be called; free is when it is not any more. */
void tap (GstElement * appsink, TapFunc func, gpointer user_data,
    GDestroyNotify free);

/* What two programs here have for a voice and an ear, files or devices. */

/* file, or NULL, goes into the format; exits where an element is missing. */
GstElement *pipeline_make (const gchar * format, const gchar * file);
/* Ends the stream of its appsrc, and stops the pipeline when it has gone through. */
void pipeline_finish (GstElement * pipeline, GstElement * appsrc);

G_END_DECLS

#endif
