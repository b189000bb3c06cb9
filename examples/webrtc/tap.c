/* From the streaming threads of a pipeline into the main loop. */
#include "tap.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <stdlib.h>

typedef struct
{
  gatomicrefcount refs;
  TapFunc func;
  gpointer user_data;
  GDestroyNotify free;
} Tap;

typedef struct
{
  Tap *tap;
  GBytes *bytes;
} Delivery;

static void
tap_unref (gpointer user_data)
{
  Tap *self = user_data;

  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  if (self->free)
    self->free (self->user_data);
  g_free (self);
}

static gboolean
deliver (gpointer user_data)
{
  Delivery *delivery = user_data;

  delivery->tap->func (delivery->bytes, delivery->tap->user_data);
  return G_SOURCE_REMOVE;
}

static void
delivery_free (gpointer user_data)
{
  Delivery *delivery = user_data;

  g_clear_pointer (&delivery->bytes, g_bytes_unref);
  tap_unref (delivery->tap);
  g_free (delivery);
}

/* Takes the bytes. */
static void
hand_over (Tap * self, GBytes * bytes)
{
  Delivery *delivery = g_new (Delivery, 1);

  g_atomic_ref_count_inc (&self->refs);
  *delivery = (Delivery) {
  self, bytes};
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, deliver, delivery,
      delivery_free);
}

static GstFlowReturn
on_sample (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  gpointer data;
  gsize size;

  if (!sample)
    return GST_FLOW_EOS;
  gst_buffer_extract_dup (gst_sample_get_buffer (sample), 0, -1, &data, &size);
  gst_sample_unref (sample);
  hand_over (user_data, g_bytes_new_take (data, size));
  return GST_FLOW_OK;
}

static void
on_eos (GstAppSink * sink, gpointer user_data)
{
  hand_over (user_data, NULL);
}

void
tap (GstElement * appsink, TapFunc func, gpointer user_data,
    GDestroyNotify free)
{
  GstAppSinkCallbacks callbacks = {.new_sample = on_sample,.eos = on_eos };
  Tap *self = g_new0 (Tap, 1);

  g_atomic_ref_count_init (&self->refs);
  self->func = func;
  self->user_data = user_data;
  self->free = free;
  gst_app_sink_set_callbacks (GST_APP_SINK (appsink), &callbacks, self,
      tap_unref);
}

GstElement *
pipeline_make (const gchar * format, const gchar * file)
{
  gchar *description = g_strdup_printf (format, file);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (description, &error);

  g_free (description);
  if (pipeline && !error)
    return pipeline;
  g_printerr ("%s\n", error->message);
  exit (1);
}

void
pipeline_finish (GstElement * pipeline, GstElement * appsrc)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = NULL;

  gst_app_src_end_of_stream (GST_APP_SRC (appsrc));
  if (GST_STATE_TARGET (pipeline) == GST_STATE_PLAYING)
    message = gst_bus_timed_pop_filtered (bus, 5 * GST_SECOND,
        GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_clear_pointer (&message, gst_message_unref);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
}
