/* many: several conversations at once, with one model in memory.
 *
 *   many N question.wav…
 *
 * N pipelines, each with a question of the list in turn. They share nothing
 * that the program could see: elements of one process that name the same model
 * have its weights in common, and the second one to ask waits for the first
 * one's load. What a conversation adds is its own memory, printed at the end.
 */
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct
{
  guint number;
  const gchar *question;
  GstElement *pipeline;
  GString *said;                /* written by the thread of its words alone */
} Talk;

typedef struct
{
  GMainLoop *loop;
  guint running;
  int status;
} Hall;

static GstFlowReturn
on_words (GstAppSink * sink, gpointer user_data)
{
  Talk *talk = user_data;
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer = sample ? gst_sample_get_buffer (sample) : NULL;
  GstMapInfo map;

  if (buffer && gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    if (talk->said->len)
      g_string_append_c (talk->said, ' ');
    g_string_append_len (talk->said, (const gchar *) map.data, map.size);
    gst_buffer_unmap (buffer, &map);
  }
  if (sample)
    gst_sample_unref (sample);
  return GST_FLOW_OK;
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Hall *hall = user_data;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error;

    gst_message_parse_error (message, &error, NULL);
    g_printerr ("%s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
    g_error_free (error);
    hall->status = 1;
    g_main_loop_quit (hall->loop);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS
      && --hall->running == 0)
    g_main_loop_quit (hall->loop);
  return TRUE;
}

static gboolean
talk_init (Talk * talk, Hall * hall)
{
  GstAppSinkCallbacks callbacks = {.new_sample = on_words };
  GError *error = NULL;
  GstElement *element;
  GstBus *bus;

  talk->pipeline = gst_parse_launch ("filesrc name=question ! decodebin "
      "! audioconvert ! audioresample ! mimienc ! moshilm name=moshi "
      "! mimidec ! fakesink moshi.text_src ! queue "
      "! appsink name=words sync=false async=false", &error);
  if (error) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  element = gst_bin_get_by_name (GST_BIN (talk->pipeline), "question");
  g_object_set (element, "location", talk->question, NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (talk->pipeline), "words");
  gst_app_sink_set_callbacks (GST_APP_SINK (element), &callbacks, talk, NULL);
  gst_object_unref (element);
  talk->said = g_string_new (NULL);

  bus = gst_element_get_bus (talk->pipeline);
  gst_bus_add_watch (bus, on_message, hall);
  gst_object_unref (bus);
  return TRUE;
}

static void
talk_end (Talk * talk)
{
  GstBus *bus = gst_element_get_bus (talk->pipeline);

  gst_element_set_state (talk->pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
  gst_object_unref (talk->pipeline);
  g_print ("%u: %s\n", talk->number, talk->said->str);
  g_string_free (talk->said, TRUE);
}

int
main (int argc, char **argv)
{
  Hall hall = { NULL };
  guint i, n = argc > 2 ? atoi (argv[1]) : 0;
  struct rusage usage;
  gint64 started;
  Talk *talks;

  if (n == 0) {
    g_printerr ("Usage: many N question.wav...\n");
    return 2;
  }
  gst_init (NULL, NULL);
  hall.loop = g_main_loop_new (NULL, FALSE);
  hall.running = n;
  talks = g_new0 (Talk, n);
  for (i = 0; i < n; i++) {
    talks[i].number = i + 1;
    talks[i].question = argv[2 + i % (argc - 2)];
    if (!talk_init (&talks[i], &hall))
      return 1;
  }

  started = g_get_monotonic_time ();
  for (i = 0; i < n; i++)
    gst_element_set_state (talks[i].pipeline, GST_STATE_PLAYING);
  g_main_loop_run (hall.loop);
  for (i = 0; i < n; i++)
    talk_end (&talks[i]);

  getrusage (RUSAGE_SELF, &usage);
  g_print ("%u conversations in %.2f s, %ld MB of memory at most\n", n,
      (g_get_monotonic_time () - started) / 1e6, usage.ru_maxrss / 1024);
  g_free (talks);
  g_main_loop_unref (hall.loop);
  return hall.status;
}
