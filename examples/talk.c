/* talk: a conversation with Moshi, of a file or live.
 *
 *   talk --in question.wav --out reply.wav
 *   talk --live
 *
 * What Moshi says is printed word by word: moshilm's text_src ends in an
 * appsink, which an application reads in a callback. The model is loaded in
 * READY, before any sound flows, so that a big one does not let the first
 * seconds of the microphone pile up.
 */
#include <glib-unix.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>

#include "devices.h"

/* The model does not hear its very first frame; so it gets it twice, as the
 * reference's file runner does. 16-bit samples without dither: the same
 * question gives the same file. A queue on one of moshilm's branches lets both
 * preroll. */
#define FILE_PIPELINE \
  "filesrc name=in ! decodebin ! audioconvert ! audioresample " \
  "! mimienc name=ears ! moshilm name=moshi repeat-first-frame=true " \
  "! mimidec name=voice ! audioconvert dithering=none " \
  "! audio/x-raw,format=S16LE ! wavenc ! filesink name=out " \
  "moshi.text_src ! queue ! appsink name=text async=false sync=false"

/* Without echo cancelling Moshi hears itself in the microphone and answers
 * that. The canceller works at 48 kHz on short buffers, its defaults cancel
 * next to nothing, and its noise suppression eats words. It weakens the echo, a
 * headset has none. Whatever lies in the queues is delay. */
#define LIVE_PIPELINE \
  "autoaudiosrc ! audioconvert ! audioresample " \
  "! audio/x-raw,format=S16LE,rate=48000,channels=1 ! queue " \
  "! webrtcdsp gain-control=false noise-suppression=false delay-agnostic=true " \
  "extended-filter=true echo-suppression-level=high " \
  "! audioconvert ! audioresample ! mimienc name=ears ! moshilm name=moshi " \
  "! mimidec name=voice ! audioconvert ! audioresample " \
  "! audio/x-raw,rate=48000,channels=1 ! audiobuffersplit " \
  "output-buffer-duration=1/100 ! webrtcechoprobe ! queue ! autoaudiosink " \
  "moshi.text_src ! queue ! appsink name=text async=false"

static gchar *model, *device, *threads, *in, *out;
static gboolean live;

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline;
  GHashTable *loading;          /* elements whose model is on its way */
  GstClockTime spoken;          /* length of the reply so far */
  gboolean in_line;             /* the terminal's line has words on it */
  gboolean stopping;
  int status;
} Talk;

/* ---- what comes out ---- */

static GstFlowReturn
on_text (GstAppSink * sink, gpointer user_data)
{
  Talk *talk = user_data;
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstMapInfo map;

  if (!sample)
    return GST_FLOW_EOS;
  if (gst_buffer_map (gst_sample_get_buffer (sample), &map, GST_MAP_READ)) {
    g_print ("%s%.*s", talk->in_line ? " " : "", (int) map.size,
        (const char *) map.data);
    talk->in_line = TRUE;
    gst_buffer_unmap (gst_sample_get_buffer (sample), &map);
  }
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

static GstPadProbeReturn
on_voice (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  Talk *talk = user_data;
  GstClockTime duration =
      GST_BUFFER_DURATION (GST_PAD_PROBE_INFO_BUFFER (info));

  /* Sound devices take a second or two before the first frame gets through. */
  if (live && talk->spoken == 0)
    g_print ("Moshi listens; best with a headset. Ctrl-C ends it.\n");
  if (GST_CLOCK_TIME_IS_VALID (duration))
    talk->spoken += duration;
  return GST_PAD_PROBE_OK;
}

static void
watch_outputs (Talk * talk)
{
  GstElement *text = gst_bin_get_by_name (GST_BIN (talk->pipeline), "text");
  GstElement *voice = gst_bin_get_by_name (GST_BIN (talk->pipeline), "voice");
  GstPad *pad = gst_element_get_static_pad (voice, "src");
  GstAppSinkCallbacks callbacks = {.new_sample = on_text };

  gst_app_sink_set_callbacks (GST_APP_SINK (text), &callbacks, talk, NULL);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_voice, talk, NULL);
  gst_object_unref (pad);
  gst_object_unref (voice);
  gst_object_unref (text);
}

/* ---- messages ---- */

static void
show_error (Talk * talk, GstMessage * message)
{
  GError *error;
  gchar *debug;

  gst_message_parse_error (message, &error, &debug);
  g_printerr ("%s%s: %s\n%s%s", talk->in_line ? "\n" : "",
      GST_MESSAGE_SRC_NAME (message), error->message, debug ? debug : "",
      debug ? "\n" : "");
  talk->in_line = FALSE;
  talk->status = 1;
  g_error_free (error);
  g_free (debug);
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Talk *talk = user_data;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    show_error (talk, message);
  else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_LATENCY)
    gst_bin_recalculate_latency (GST_BIN (talk->pipeline));
  if (GST_MESSAGE_TYPE (message) & (GST_MESSAGE_ERROR | GST_MESSAGE_EOS))
    g_main_loop_quit (talk->loop);
  return TRUE;
}

static void
note_progress (Talk * talk, GstMessage * message)
{
  GstProgressType type;

  gst_message_parse_progress (message, &type, NULL, NULL);
  if (type == GST_PROGRESS_TYPE_START)
    g_hash_table_add (talk->loading, GST_MESSAGE_SRC (message));
  else if (type != GST_PROGRESS_TYPE_CONTINUE)
    g_hash_table_remove (talk->loading, GST_MESSAGE_SRC (message));
}

/* In READY the elements have checked the model's files and load them in threads
 * of their own; the bus tells when. */
static gboolean
load (Talk * talk)
{
  GstBus *bus = gst_element_get_bus (talk->pipeline);
  GstMessage *message;

  gst_element_set_state (talk->pipeline, GST_STATE_READY);
  while (talk->status == 0 && (message = gst_bus_timed_pop_filtered (bus,
              g_hash_table_size (talk->loading) ? GST_CLOCK_TIME_NONE : 0,
              GST_MESSAGE_PROGRESS | GST_MESSAGE_ERROR))) {
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
      show_error (talk, message);
    else
      note_progress (talk, message);
    gst_message_unref (message);
  }
  gst_object_unref (bus);
  return talk->status == 0;
}

/* The first interrupt lets Moshi finish, the second does not. */
static gboolean
on_interrupt (gpointer user_data)
{
  Talk *talk = user_data;

  if (talk->stopping)
    g_main_loop_quit (talk->loop);
  else
    gst_element_send_event (talk->pipeline, gst_event_new_eos ());
  talk->stopping = TRUE;
  return G_SOURCE_CONTINUE;
}

/* ---- main ---- */

static const GOptionEntry options[] = {
  {"in", 0, 0, G_OPTION_ARG_FILENAME, &in, "The question, any sound file",
      "FILE"},
  {"out", 0, 0, G_OPTION_ARG_FILENAME, &out,
      "Where the reply goes (default reply.wav)", "FILE"},
  {"live", 0, 0, G_OPTION_ARG_NONE, &live,
      "Talk through microphone and loudspeaker", NULL},
  {"model", 0, 0, G_OPTION_ARG_STRING, &model,
      "Directory, file, or a repository in the hub's cache", "MODEL"},
  {"device", 0, 0, G_OPTION_ARG_STRING, &device,
      "auto, cpu, cuda, cuda:N", "DEVICE"},
  {"threads", 0, 0, G_OPTION_ARG_STRING, &threads,
      "Threads to compute with (default: the cores)", "N"},
  {NULL}
};

static void
set (Talk * talk, const gchar * name, const gchar * property,
    const gchar * value)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (talk->pipeline), name);

  if (value)
    gst_util_set_object_arg (G_OBJECT (element), property, value);
  gst_object_unref (element);
}

static void
configure (Talk * talk)
{
  static const gchar *const names[] = { "ears", "moshi", "voice" };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    set (talk, names[i], "model", model);
    set (talk, names[i], "device", device);
    set (talk, names[i], "threads", threads);
  }
  if (live)
    keep_playback_short (talk->pipeline);
  else {
    set (talk, "in", "location", in);
    set (talk, "out", "location", out);
  }
}

static void
converse (Talk * talk)
{
  GstBus *bus = gst_element_get_bus (talk->pipeline);
  gint64 started = g_get_monotonic_time ();
  gdouble took, spoken;

  gst_bus_add_watch (bus, on_message, talk);
  g_unix_signal_add (SIGINT, on_interrupt, talk);
  gst_element_set_state (talk->pipeline, GST_STATE_PLAYING);
  g_main_loop_run (talk->loop);
  took = (g_get_monotonic_time () - started) / 1e6;
  spoken = talk->spoken / (gdouble) GST_SECOND;
  if (talk->in_line)
    g_print ("\n");
  if (talk->status == 0 && live)
    g_print ("%.1f s of conversation.\n", spoken);
  else if (talk->status == 0)
    g_print ("%.2f s of conversation in %.2f s: real-time factor %.3f. "
        "The reply is in %s\n", spoken, took, took / spoken, out);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
}

int
main (int argc, char **argv)
{
  Talk talk = { NULL };
  GOptionContext *context = g_option_context_new ("- talk with Moshi");
  GError *error = NULL;

  g_option_context_add_main_entries (context, options, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error)
      || live == (in != NULL)) {
    g_printerr ("%s\n", error ? error->message :
        "Either --in FILE or --live; --help says more");
    return 2;
  }
  if (!out)
    out = g_strdup ("reply.wav");
  if (live && !sound_devices_work ())
    return 1;

  talk.pipeline = gst_parse_launch (live ? LIVE_PIPELINE : FILE_PIPELINE,
      &error);
  if (error) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  talk.loop = g_main_loop_new (NULL, FALSE);
  talk.loading = g_hash_table_new (NULL, NULL);
  configure (&talk);
  watch_outputs (&talk);
  if (load (&talk))
    converse (&talk);

  gst_element_set_state (talk.pipeline, GST_STATE_NULL);
  gst_object_unref (talk.pipeline);
  g_hash_table_unref (talk.loading);
  g_main_loop_unref (talk.loop);
  g_option_context_free (context);
  return talk.status;
}
