/* embed: Moshi inside of an application, which has the samples itself.
 *
 *   embed < question.raw > reply.raw      (24 kHz mono S16, native byte order)
 *
 * The application gives samples to an appsrc as it gets them, in pieces of any
 * size, and two appsinks call it back: with the samples of Moshi's voice, and
 * with its words. Nothing of GStreamer's is between them but the three
 * elements. Samples go to standard output, words and their times to standard
 * error.
 */
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <unistd.h>

#define SAMPLE_RATE 24000
#define PIECE 1000              /* samples at a time; any number will do */

#define PIPELINE \
  "appsrc name=ears format=time max-bytes=480000 block=true " \
  "caps=audio/x-raw,format=S16LE,layout=interleaved,rate=24000,channels=1 " \
  "! mimienc ! moshilm name=moshi ! mimidec ! audioconvert dithering=none " \
  "! audio/x-raw,format=S16LE ! appsink name=voice sync=false " \
  "moshi.text_src ! queue ! appsink name=words sync=false async=false"

static gboolean
write_all (const guint8 * data, gsize size)
{
  while (size > 0) {
    gssize n = write (STDOUT_FILENO, data, size);

    if (n < 0)
      return FALSE;
    data += n;
    size -= n;
  }
  return TRUE;
}

/* Both callbacks are called by threads of the pipeline, and hold it up for as
 * long as they take. */
static GstFlowReturn
on_voice (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer = sample ? gst_sample_get_buffer (sample) : NULL;
  GstFlowReturn ret = GST_FLOW_EOS;
  GstMapInfo map;

  if (buffer && gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    ret = write_all (map.data, map.size) ? GST_FLOW_OK : GST_FLOW_ERROR;
    gst_buffer_unmap (buffer, &map);
  }
  if (sample)
    gst_sample_unref (sample);
  return ret;
}

static GstFlowReturn
on_words (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer = sample ? gst_sample_get_buffer (sample) : NULL;
  GstMapInfo map;

  if (buffer && gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    g_printerr ("%6.2f s  %.*s\n", GST_BUFFER_PTS (buffer) / 1e9,
        (int) map.size, (const char *) map.data);
    gst_buffer_unmap (buffer, &map);
  }
  if (sample)
    gst_sample_unref (sample);
  return GST_FLOW_OK;
}

static void
set_callback (GstElement * pipeline, const gchar * name,
    GstFlowReturn (*new_sample) (GstAppSink *, gpointer))
{
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), name);
  GstAppSinkCallbacks callbacks = {.new_sample = new_sample };

  gst_app_sink_set_callbacks (GST_APP_SINK (sink), &callbacks, NULL, NULL);
  gst_object_unref (sink);
}

/* Time counts samples: the conversation has no other clock. */
static void
listen_to (GstAppSrc * ears)
{
  gint16 samples[PIECE];
  guint64 heard = 0;
  gssize size;

  while ((size = read (STDIN_FILENO, samples, sizeof samples)) > 0) {
    GstBuffer *buffer = gst_buffer_new_memdup (samples, size);
    guint64 n = size / sizeof samples[0];

    GST_BUFFER_PTS (buffer) =
        gst_util_uint64_scale (heard, GST_SECOND, SAMPLE_RATE);
    GST_BUFFER_DURATION (buffer) =
        gst_util_uint64_scale (n, GST_SECOND, SAMPLE_RATE);
    heard += n;
    if (gst_app_src_push_buffer (ears, buffer) != GST_FLOW_OK)
      return;
  }
  gst_app_src_end_of_stream (ears);
}

/* Until Moshi has finished, or something went wrong. */
static int
wait_for_end (GstElement * pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  int status = 0;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error;

    gst_message_parse_error (message, &error, NULL);
    g_printerr ("%s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
    g_error_free (error);
    status = 1;
  }
  gst_message_unref (message);
  gst_object_unref (bus);
  return status;
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  GstElement *pipeline, *ears;
  int status;

  gst_init (&argc, &argv);
  pipeline = gst_parse_launch (PIPELINE, &error);
  if (error) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  set_callback (pipeline, "voice", on_voice);
  set_callback (pipeline, "words", on_words);
  ears = gst_bin_get_by_name (GST_BIN (pipeline), "ears");

  if (gst_element_set_state (pipeline, GST_STATE_PLAYING) !=
      GST_STATE_CHANGE_FAILURE)
    listen_to (GST_APP_SRC (ears));
  status = wait_for_end (pipeline);

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (ears);
  gst_object_unref (pipeline);
  return status;
}
