/* From sound to sound: a live source, the three elements, and how long after a moment
 * of the source the answer to it comes out. 160 ms of it are the model's: a frame is
 * known when its last sample is there, and codes are spoken a frame later.
 *
 * Usage: live [--device D] [--model M] [--quantization Q] [--seconds N] */
#include <gst/app/app.h>
#include <gst/gst.h>
#include <stdlib.h>

#define PIECE (10 * GST_MSECOND)
#define PIECE_SAMPLES 240
#define WARM_UP GST_SECOND
#define ALGORITHM (160 * GST_MSECOND)

static gchar *device = "auto", *model, *quantization = "none";
static gint seconds = 10;

typedef struct
{
  GstElement *pipeline;
  GstClockTime start;           /* of the source, in running time */
  GArray *late;                 /* GstClockTime, by the streaming thread */
} Live;

static GstClockTime
now (Live * live)
{
  GstClock *clock = gst_element_get_clock (live->pipeline);
  GstClockTime time = gst_clock_get_time (clock);

  gst_object_unref (clock);
  return time - gst_element_get_base_time (live->pipeline);
}

static GstFlowReturn
on_sample (GstAppSink * sink, gpointer data)
{
  Live *live = data;
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstClockTime pts = GST_BUFFER_PTS (gst_sample_get_buffer (sample));
  GstClockTime late = now (live) - pts;

  if (pts >= live->start + WARM_UP)
    g_array_append_val (live->late, late);
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

/* Until all three have their weights. */
static gboolean
wait_for_models (GstBus * bus)
{
  for (gint loaded = 0; loaded < 3;) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_ERROR | GST_MESSAGE_PROGRESS);
    GstProgressType type = GST_PROGRESS_TYPE_ERROR;
    GError *error = NULL;

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("%s\n", error->message);
      g_error_free (error);
      gst_message_unref (message);
      return FALSE;
    }
    gst_message_parse_progress (message, &type, NULL, NULL);
    loaded += type == GST_PROGRESS_TYPE_COMPLETE;
    gst_message_unref (message);
  }
  return TRUE;
}

/* A piece is handed on when its last sample has been heard. */
static void
feed (Live * live, GstElement * src)
{
  GRand *rand = g_rand_new_with_seed (1);

  live->start = now (live);
  for (gint i = 0; i < seconds * (gint) (GST_SECOND / PIECE); i++) {
    GstBuffer *buffer = gst_buffer_new_allocate (NULL,
        PIECE_SAMPLES * sizeof (gfloat), NULL);
    gint64 left = live->start + (i + 1) * PIECE - now (live);
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_WRITE);
    for (gint k = 0; k < PIECE_SAMPLES; k++)
      ((gfloat *) map.data)[k] = g_rand_double_range (rand, -0.1, 0.1);
    gst_buffer_unmap (buffer, &map);
    GST_BUFFER_PTS (buffer) = live->start + i * PIECE;
    GST_BUFFER_DURATION (buffer) = PIECE;
    if (left > 0)
      g_usleep (left / GST_USECOND);
    gst_app_src_push_buffer (GST_APP_SRC (src), buffer);
  }
  g_rand_free (rand);
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  GstClockTime x = *(const GstClockTime *) a, y = *(const GstClockTime *) b;

  return (x > y) - (x < y);
}

static gdouble
computing_ms (GArray * late, gdouble part)
{
  GstClockTime time = g_array_index (late, GstClockTime,
      (guint) (part * (late->len - 1)));

  return ((gdouble) time - ALGORITHM) / GST_MSECOND;
}

static void
run (Live * live)
{
  GstElement *src = gst_bin_get_by_name (GST_BIN (live->pipeline), "in");
  GstElement *sink = gst_bin_get_by_name (GST_BIN (live->pipeline), "out");
  GstAppSinkCallbacks callbacks = {.new_sample = on_sample };

  gst_app_sink_set_callbacks (GST_APP_SINK (sink), &callbacks, live, NULL);
  gst_element_set_state (live->pipeline, GST_STATE_PLAYING);
  gst_element_get_state (live->pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  feed (live, src);
  gst_object_unref (sink);
  gst_object_unref (src);
}

static GstElement *
make_pipeline (void)
{
  gchar *which = model ? g_strdup_printf ("model=\"%s\" ", model) : g_strdup ("");
  gchar *description = g_strdup_printf ("appsrc name=in is-live=true format=time "
      "caps=audio/x-raw,format=F32LE,rate=24000,channels=1,layout=interleaved ! "
      "mimienc %sdevice=%s ! moshilm %sdevice=%s quantization=%s ! "
      "mimidec %sdevice=%s ! appsink name=out sync=false async=false",
      which, device, which, device, quantization, which, device);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (description, &error);

  if (error)
    g_printerr ("%s\n", error->message);
  g_clear_error (&error);
  g_free (description);
  g_free (which);
  return pipeline;
}

int
main (int argc, char **argv)
{
  const GOptionEntry entries[] = {
    {"device", 'd', 0, G_OPTION_ARG_STRING, &device,
        "auto, cpu, cuda, cuda:N", "DEVICE"},
    {"model", 'm', 0, G_OPTION_ARG_STRING, &model, "Of all three", "MODEL"},
    {"quantization", 'q', 0, G_OPTION_ARG_STRING, &quantization,
        "Of the language model", "Q"},
    {"seconds", 's', 0, G_OPTION_ARG_INT, &seconds, "To talk for", "N"},
    {NULL}
  };
  GOptionContext *context = g_option_context_new ("");
  GError *error = NULL;
  gboolean failed;
  GstBus *bus;
  Live live;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  g_option_context_free (context);
  live.pipeline = make_pipeline ();
  if (live.pipeline == NULL)
    return 1;
  live.start = GST_CLOCK_TIME_NONE;
  live.late = g_array_new (FALSE, FALSE, sizeof (GstClockTime));
  bus = gst_element_get_bus (live.pipeline);
  gst_element_set_state (live.pipeline, GST_STATE_PAUSED);
  if (wait_for_models (bus))
    run (&live);
  gst_element_set_state (live.pipeline, GST_STATE_NULL);
  if (live.late->len) {
    g_array_sort (live.late, compare);
    g_print ("sound to sound: 160 ms and %.1f (least %.1f, p99 %.1f, most %.1f ms "
        "of %u frames)\n", computing_ms (live.late, 0.5),
        computing_ms (live.late, 0), computing_ms (live.late, 0.99),
        computing_ms (live.late, 1), live.late->len);
  }
  failed = live.late->len == 0;
  g_array_unref (live.late);
  gst_object_unref (bus);
  gst_object_unref (live.pipeline);
  return failed;
}
