/* What the tests of the elements share. */
#include "fixtures.h"

#include <string.h>
#include "files/checkpoint.h"
#include "mimicaps.h"

void
fixture_init (int *argc, char ***argv)
{
  gchar *model;

  model = fixture_path ("mimi-mini");
  g_setenv ("MOSHI_MODEL", model, TRUE);
  g_free (model);
  gst_init (argc, argv);
  g_test_init (argc, argv, NULL);
}

int
fixture_run (void)
{
  int result = g_test_run ();

  gst_deinit ();
  return result;
}

gchar *
fixture_path (const gchar * name)
{
  const gchar *dir = g_getenv ("MOSHI_TEST_VECTORS");

  g_assert_nonnull (dir);
  return g_build_filename (dir, name, NULL);
}

static const MoshiTensor *
find_tensor (const Vector * vector, const gchar * name, MoshiDtype dtype)
{
  const MoshiTensor *tensor = moshi_checkpoint_find (vector->file, name);

  g_assert_nonnull (tensor);
  g_assert_cmpint (tensor->dtype, ==, dtype);
  return tensor;
}

void
vector_open (Vector * vector, const gchar * name)
{
  gchar *path = fixture_path (name);
  MoshiError error = { 0 };
  const MoshiTensor *tensor;

  vector->file = moshi_checkpoint_open (path, &error);
  g_assert_cmpstr (error.message, ==, "");
  tensor = find_tensor (vector, "pcm", MOSHI_DTYPE_I16);
  vector->pcm = tensor->data;
  vector->samples = tensor->dims[0];
  tensor = find_tensor (vector, "codes", MOSHI_DTYPE_I32);
  vector->codes = tensor->data;
  vector->codebooks = tensor->dims[0];
  vector->frames = tensor->dims[1];
  vector->pcm_dec = NULL;
  if (moshi_checkpoint_has (vector->file, "pcm_dec"))
    vector->pcm_dec = find_tensor (vector, "pcm_dec", MOSHI_DTYPE_F32)->data;
  g_free (path);
}

void
vector_close (Vector * vector)
{
  moshi_checkpoint_unref (vector->file);
}

void
vector_frame (const Vector * vector, gint frame, guint16 * codes)
{
  for (gint k = 0; k < vector->codebooks; k++)
    codes[k] = vector->codes[k * vector->frames + frame];
}

GstBuffer *
exact_buffer (gconstpointer data, gsize size)
{
  return gst_buffer_new_wrapped (g_memdup2 (data, size), size);
}

GstBuffer *
pcm_buffer (const Vector * vector, gsize from, gsize n, gboolean f32)
{
  GstBuffer *buffer;

  if (f32) {
    gfloat *data = g_new (gfloat, n);

    for (gsize i = 0; i < n; i++)
      data[i] = vector->pcm[from + i] / 32768.0f;
    buffer = gst_buffer_new_wrapped (data, n * sizeof *data);
  } else {
    buffer = exact_buffer (vector->pcm + from, n * sizeof (gint16));
  }
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (from, GST_SECOND, 24000);
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale (from + n, GST_SECOND,
      24000) - GST_BUFFER_PTS (buffer);

  return buffer;
}

GstHarness *
harness_new (const gchar * launch, const gchar * src_caps,
    const gchar * sink_caps)
{
  GError *error = NULL;
  GstElement *element;
  GstHarness *h;
  GstBus *bus = gst_bus_new ();

  element = strchr (launch, '!') ?
      gst_parse_bin_from_description (launch, TRUE, &error) :
      gst_parse_launch (launch, &error);
  g_assert_no_error (error);
  gst_element_set_bus (element, bus);
  gst_object_unref (bus);
  h = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  if (sink_caps)
    gst_harness_set_sink_caps_str (h, sink_caps);
  if (src_caps)
    gst_harness_set_src_caps_str (h, src_caps);

  return h;
}

void
harness_free (GstHarness * h)
{
  GstElement *element = gst_object_ref (h->element);
  GstBus *bus = gst_element_get_bus (element);

  gst_harness_teardown (h);
  gst_element_set_bus (element, NULL);
  gst_bus_set_flushing (bus, TRUE);
  gst_object_unref (bus);
  gst_object_unref (element);
}

GstMessage *
harness_pop_message (GstHarness * h, GstMessageType type)
{
  GstBus *bus = gst_element_get_bus (h->element);
  GstMessage *message = gst_bus_pop_filtered (bus, type);

  gst_object_unref (bus);
  return message;
}

void
assert_error (GstHarness * h, GQuark domain, gint code, const gchar * word,
    const gchar * other)
{
  GstMessage *message = harness_pop_message (h, GST_MESSAGE_ERROR);
  GError *error = NULL;

  g_assert_nonnull (message);
  gst_message_parse_error (message, &error, NULL);
  g_test_message ("%s", error->message);
  g_assert_error (error, domain, code);
  g_assert_nonnull (strstr (error->message, word));
  g_assert_nonnull (strstr (error->message, other));
  g_error_free (error);
  gst_message_unref (message);
}

void
assert_no_error (GstHarness * h)
{
  GstMessage *message = harness_pop_message (h, GST_MESSAGE_ERROR);
  GError *error = NULL;

  if (!message)
    return;
  gst_message_parse_error (message, &error, NULL);
  g_assert_no_error (error);
}

GstEvent *
harness_find_event (GstHarness * h, GstEventType type)
{
  GstEvent *event;

  while ((event = gst_harness_try_pull_event (h))) {
    if (GST_EVENT_TYPE (event) == type)
      return event;
    gst_event_unref (event);
  }
  return NULL;
}

guint64
get_stat (GstHarness * h, const gchar * field)
{
  GstStructure *stats = NULL;
  guint64 value = G_MAXUINT64;

  g_object_get (h->element, "stats", &stats, NULL);
  g_assert_true (gst_structure_get_uint64 (stats, field, &value));
  gst_structure_free (stats);

  return value;
}

void
read_tokens (GstHarness * h, GstBuffer * buffer, guint16 * codes)
{
  GstCaps *caps = gst_pad_get_current_caps (h->sinkpad);
  GstMimiFormat format;
  GstMapInfo map;

  g_assert_true (gst_mimi_format_from_caps (&format, caps));
  gst_buffer_map (buffer, &map, GST_MAP_READ);
  g_assert_cmpint (mimi_tokens_read (format.stream_format, format.codebooks,
          format.codebook_size, map.data, map.size, codes), ==, MIMI_TOKENS_OK);
  gst_buffer_unmap (buffer, &map);
  gst_caps_unref (caps);
}
