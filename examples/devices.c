/* Microphone and loudspeaker of a live conversation: are they there, and with
 * how much delay. */
#include "devices.h"

#define NO_DEVICE \
  "There is no %s here. A live conversation needs a sound server (PipeWire " \
  "or PulseAudio: `pactl info` shows whether it runs) or an ALSA device " \
  "(`arecord -l`, `aplay -l`), with a microphone and a loudspeaker or headset.\n" \
  "Without one, talk through files: --in question.wav --out reply.wav\n"

/* autoaudiosrc takes whatever opens, and fails when it should deliver: two
 * buffers within three seconds are the proof. */
static gboolean
microphone_works (void)
{
  GstElement *trial = gst_parse_launch ("autoaudiosrc ! identity eos-after=2 "
      "! fakesink sync=false", NULL);
  GstBus *bus = gst_element_get_bus (trial);
  GstMessage *message;
  gboolean works;

  gst_element_set_state (trial, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 3 * GST_SECOND,
      GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  works = message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  if (message)
    gst_message_unref (message);
  gst_element_set_state (trial, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (trial);
  return works;
}

/* autoaudiosink becomes a fakesink where nothing else opens. */
static gboolean
loudspeaker_works (void)
{
  GstElement *sink = gst_element_factory_make ("autoaudiosink", NULL);
  GstElement *chosen = NULL;
  gboolean works;

  gst_element_set_state (sink, GST_STATE_READY);
  if (GST_BIN_NUMCHILDREN (sink) > 0)
    chosen = GST_ELEMENT (GST_BIN_CHILDREN (sink)->data);
  works = chosen && g_strcmp0 (GST_OBJECT_NAME (gst_element_get_factory
          (chosen)), "fakesink") != 0;
  gst_element_set_state (sink, GST_STATE_NULL);
  gst_object_unref (sink);
  return works;
}

gboolean
sound_devices_work (void)
{
  const gchar *missing = !loudspeaker_works ()? "loudspeaker" :
      !microphone_works ()? "microphone" : NULL;

  if (missing)
    g_printerr (NO_DEVICE, missing);
  return missing == NULL;
}

/* A sink plays what it has buffered, 200 ms unless one asks for less: that is
 * delay. A source's buffer is only room, for when the machine is busy. */
static void
on_element_added (GstBin * bin, GstBin * sub_bin, GstElement * element,
    gpointer user_data)
{
  if (GST_OBJECT_FLAG_IS_SET (element, GST_ELEMENT_FLAG_SINK) &&
      g_object_class_find_property (G_OBJECT_GET_CLASS (element),
          "buffer-time"))
    g_object_set (element, "buffer-time", (gint64) 80000, NULL);
}

void
keep_playback_short (GstElement * pipeline)
{
  g_signal_connect (pipeline, "deep-element-added",
      G_CALLBACK (on_element_added), NULL);
}
