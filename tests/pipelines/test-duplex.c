/* Sound to sound through all three elements, against the reference: the golden
 * vectors of tests/vectors/duplex-mini.*, with the three ways of starting a
 * conversation, buffers of any size, and one or two threads. */
#include <gst/app/app.h>
#include <gst/gst.h>
#include <math.h>
#include <string.h>

#include "files/checkpoint.h"

#define FRAME_SAMPLES 1920
#define MIN_SNR 110             /* dB; another exact f32 implementation reaches it */

typedef struct
{
  const gchar *convention;
  guint chunk;                  /* samples in a buffer */
  guint threads;
} Case;

static const Case cases[] = {
  {"plain", 1920, 1},
  {"plain", 1, 2},
  {"plain", 441, 2},
  {"plain", 100000, 1},
  {"server", 1920, 1},
  {"server", 960, 2},
  {"file", 1920, 1},
  {"file", 7777, 2},
};

static MoshiCheckpoint *
open_vector (const gchar * name)
{
  gchar *path = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"), name, NULL);
  MoshiError error;
  MoshiCheckpoint *file = moshi_checkpoint_open (path, &error);

  if (file == NULL)
    g_error ("%s", error.message);
  g_free (path);
  return file;
}

static GstElement *
make_pipeline (const Case * c, const gchar * lm, const gchar * tail)
{
  const gchar *dir = g_getenv ("MOSHI_TEST_VECTORS");
  gboolean repeat = g_str_equal (c->convention, "file");
  gchar *description = g_strdup_printf ("appsrc name=in format=time "
      "caps=audio/x-raw,format=F32LE,rate=24000,channels=1,layout=interleaved "
      "! mimienc name=ears model=%s/mimi-mini threads=%u "
      "! moshilm name=lm model=%s/%s threads=%u temperature=0 "
      "text-temperature=0 drain-frames=0 repeat-first-frame=%d %s",
      dir, c->threads, dir, lm, c->threads, repeat, tail);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (description, &error);

  g_assert_no_error (error);
  g_free (description);
  return pipeline;
}

static GstElement *
child (GstElement * pipeline, const gchar * name)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  g_assert_nonnull (element);
  gst_object_unref (element);
  return element;
}

static void
push_samples (GstElement * src, const gint16 * pcm, gsize first, gsize n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * sizeof (gfloat), NULL);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (gsize i = 0; i < n; i++)
    ((gfloat *) map.data)[i] = pcm[first + i] / 32768.0f;
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (first, GST_SECOND, 24000);
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale (n, GST_SECOND, 24000);
  g_assert_cmpint (gst_app_src_push_buffer (GST_APP_SRC (src), buffer), ==,
      GST_FLOW_OK);
}

/* The reference's server encodes one frame and starts the encoder anew. */
static GstPadProbeReturn
reset_after_first_frame (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  gsize *seen = data;

  if (*seen == FRAME_SAMPLES)
    gst_pad_send_event (pad, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
            gst_structure_new ("moshi/reset", "element", G_TYPE_STRING,
                "mimienc", NULL)));
  *seen += gst_buffer_get_size (info->data) / sizeof (gfloat);
  return GST_PAD_PROBE_OK;
}

static void
feed (GstElement * pipeline, const Case * c, const MoshiTensor * pcm)
{
  GstElement *src = child (pipeline, "in");
  gsize n = pcm->bytes / 2, chunk = c->chunk;
  gint16 *samples = g_memdup2 (pcm->data, pcm->bytes);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (gsize i = 0; i < n; i += chunk)
    push_samples (src, samples, i, MIN (chunk, n - i));
  gst_app_src_end_of_stream (GST_APP_SRC (src));
  g_free (samples);
}

static void
check_bus (GstElement * pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  GError *error = NULL;

  g_assert_nonnull (message);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, NULL);
  g_assert_no_error (error);
  gst_message_unref (message);
  gst_object_unref (bus);
}

static GByteArray *
collect (GstElement * pipeline, const gchar * sink)
{
  GByteArray *all = g_byte_array_new ();
  GstSample *sample;

  while ((sample = gst_app_sink_pull_sample (GST_APP_SINK (child (pipeline,
                      sink))))) {
    GstBuffer *buffer = gst_sample_get_buffer (sample);
    GstMapInfo map;

    g_assert_cmpuint (GST_BUFFER_PTS (buffer), !=, GST_CLOCK_TIME_NONE);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (all, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_sample_unref (sample);
  }
  return all;
}

static gdouble
snr (const gfloat * got, const gfloat * expected, gsize n)
{
  gdouble signal = 0, noise = 1e-30;

  for (gsize i = 0; i < n; i++) {
    signal += (gdouble) expected[i] * expected[i];
    noise += ((gdouble) got[i] - expected[i]) * (got[i] - expected[i]);
  }
  return 10 * log10 (signal / noise);
}

static void
test_duplex (gconstpointer data)
{
  const Case *c = data;
  gchar *name = g_strdup_printf ("duplex-mini.%s.safetensors", c->convention);
  gchar *tail = g_strdup_printf ("! mimidec model=%s/mimi-mini threads=%u "
      "! audio/x-raw,format=F32LE ! appsink name=out sync=false",
      g_getenv ("MOSHI_TEST_VECTORS"), c->threads);
  MoshiCheckpoint *file = open_vector (name);
  const MoshiTensor *pcm = moshi_checkpoint_find (file, "pcm");
  const MoshiTensor *expected = moshi_checkpoint_find (file, "pcm_out");
  GstElement *pipeline = make_pipeline (c, "lm-mini", tail);
  GByteArray *got;
  GstPad *ears = NULL;
  gsize seen = 0;
  gdouble quality;

  if (g_str_equal (c->convention, "server")) {
    ears = gst_element_get_static_pad (child (pipeline, "ears"), "sink");
    gst_pad_add_probe (ears, GST_PAD_PROBE_TYPE_BUFFER, reset_after_first_frame,
        &seen, NULL);
    gst_object_unref (ears);
  }
  feed (pipeline, c, pcm);
  got = collect (pipeline, "out");
  check_bus (pipeline);
  g_assert_cmpuint (got->len, ==, expected->bytes);
  quality = snr ((const gfloat *) got->data, expected->data, got->len / 4);
  g_test_message ("%.1f dB", quality);
  g_assert_cmpfloat (quality, >=, MIN_SNR);

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  g_byte_array_unref (got);
  moshi_checkpoint_unref (file);
  g_free (tail);
  g_free (name);
}

/* Pieces of all the text tokens of the vector. */
static gchar *
expected_text (const MoshiCheckpoint * file)
{
  gchar *path = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"), "stt-mini",
      NULL);
  const MoshiTensor *tokens = moshi_checkpoint_find (file, "text");
  MoshiModelOptions options = {.model = path,
    .parts = MOSHI_PART_LM | MOSHI_PART_TEXT
  };
  MoshiError error;
  MoshiModel *model = moshi_model_open (&options, &error);
  GString *all = g_string_new (NULL);
  MoshiText *text;

  g_assert_nonnull (model);
  g_assert_cmpint (moshi_model_load (model, NULL, NULL, &error), ==, 0);
  text = moshi_text_new (model, &error);
  for (gint64 i = 0; i < tokens->dims[0]; i++) {
    gint32 token;

    memcpy (&token, (const gchar *) tokens->data + 4 * i, sizeof token);
    g_string_append (all, moshi_text_push (text, token));
  }
  g_string_append (all, moshi_text_flush (text));
  moshi_text_free (text);
  moshi_model_unref (model);
  g_free (path);
  return g_string_free (all, FALSE);
}

/* mimienc gives the 32 codebooks that the model hears; only text comes out. */
static void
test_stt (void)
{
  const Case c = { "plain", 1920, 2 };
  MoshiCheckpoint *file = open_vector ("stt-mini.duplex.safetensors");
  const MoshiTensor *pcm = moshi_checkpoint_find (file, "pcm");
  GstElement *pipeline = make_pipeline (&c, "stt-mini",
      "text-mode=piece lm.text_src ! appsink name=text sync=false");
  gchar *expected = expected_text (file);
  GByteArray *got;

  feed (pipeline, &c, pcm);
  got = collect (pipeline, "text");
  check_bus (pipeline);
  g_assert_cmpmem (got->data, got->len, expected, strlen (expected));

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  g_byte_array_unref (got);
  g_free (expected);
  moshi_checkpoint_unref (file);
}

static gchar *
play_to_end (GstElement * pipeline)
{
  GByteArray *text = collect (pipeline, "text");

  check_bus (pipeline);
  g_byte_array_append (text, (const guint8 *) "", 1);
  return (gchar *) g_byte_array_free (text, FALSE);
}

/* Back to the start: the same conversation again. */
static void
test_seek (void)
{
  gchar *description = g_strdup_printf ("filesrc location=%s/user_hello.wav "
      "! wavparse ! audioconvert ! audioresample ! mimienc model=%s ! moshilm "
      "name=lm model=%s text-mode=piece ! mimidec model=%s ! fakesink "
      "sync=false lm.text_src ! queue ! appsink name=text sync=false",
      g_getenv ("MOSHI_TEST_TINY"), g_getenv ("MOSHI_TEST_TINY"),
      g_getenv ("MOSHI_TEST_TINY"), g_getenv ("MOSHI_TEST_TINY"));
  GstElement *pipeline = gst_parse_launch (description, NULL);
  gchar *text;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  text = play_to_end (pipeline);
  g_assert_cmpstr (text, ==, " Hello! Nice to meet you.");
  g_free (text);

  g_assert_true (gst_element_seek_simple (pipeline, GST_FORMAT_TIME,
          GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, 0));
  text = play_to_end (pipeline);
  g_assert_cmpstr (text, ==, " Hello! Nice to meet you.");
  g_free (text);

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  g_free (description);
}

int
main (int argc, char **argv)
{
  gst_init (&argc, &argv);
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    gchar *name = g_strdup_printf ("/duplex/%s/%u-samples-%u-threads",
        cases[i].convention, cases[i].chunk, cases[i].threads);

    g_test_add_data_func (name, &cases[i], test_duplex);
    g_free (name);
  }
  g_test_add_func ("/duplex/stt", test_stt);
  g_test_add_func ("/duplex/seek", test_seek);
  return g_test_run ();
}
