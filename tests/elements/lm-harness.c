/* moshilm in a harness. */
#include "lm-harness.h"

#include <string.h>

#include "files/checkpoint.h"
#include "moshi.h"

#define MESSAGE_TIMEOUT (20 * GST_SECOND)

Table
read_table (const gchar * file, const gchar * tensor)
{
  gchar *path = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"), file, NULL);
  MoshiError error;
  MoshiCheckpoint *checkpoint = moshi_checkpoint_open (path, &error);
  const MoshiTensor *t;
  Table table;

  if (checkpoint == NULL)
    g_error ("%s", error.message);
  t = moshi_checkpoint_find (checkpoint, tensor);
  if (t == NULL || t->dtype != MOSHI_DTYPE_I32)
    g_error ("%s: no integers %s", path, tensor);
  table.rows = t->dims[0];
  table.columns = t->n_dims > 1 ? t->dims[1] : 1;
  table.data = g_memdup2 (t->data, t->bytes);
  moshi_checkpoint_unref (checkpoint);
  g_free (path);

  return table;
}

void
free_table (Table * table)
{
  g_free (table->data);
}

static gchar *
model_path (const gchar * checkpoint)
{
  if (checkpoint == NULL)
    return g_strdup (g_getenv ("MOSHI_TEST_TINY"));
  return g_canonicalize_filename (checkpoint,
      g_getenv ("MOSHI_TEST_VECTORS"));
}

static void
ask_model (LmHarness * lm, const gchar * path)
{
  MoshiModelOptions options = {.model = path,
    .parts = MOSHI_PART_LM | MOSHI_PART_TEXT
  };
  MoshiError error;
  MoshiModel *model = moshi_model_open (&options, &error);

  if (model == NULL)
    g_error ("%s", error.message);
  lm->hears = moshi_model_info (model)->user_codebooks;
  lm->size = moshi_model_info (model)->lm_codebook_size;
  moshi_model_unref (model);
}

LmHarness *
lm_harness_new (const gchar * checkpoint, gboolean with_text,
    const gchar * first_property, ...)
{
  LmHarness *lm = g_new0 (LmHarness, 1);
  gchar *path = model_path (checkpoint);
  va_list args;

  ask_model (lm, path);
  lm->element =
      gst_object_ref_sink (gst_element_factory_make ("moshilm", NULL));
  g_object_set (lm->element, "model", path, "device", "cpu", "threads", 1,
      "temperature", 0.0, "text-temperature", 0.0, NULL);
  va_start (args, first_property);
  g_object_set_valist (G_OBJECT (lm->element), first_property, args);
  va_end (args);
  lm->bus = gst_bus_new ();
  gst_element_set_bus (lm->element, lm->bus);

  lm->speech = gst_harness_new_with_element (lm->element, "sink", "src");
  if (with_text)
    lm->text = gst_harness_new_with_element (lm->element, NULL, "text_src");
  g_free (path);

  return lm;
}

void
lm_harness_free (LmHarness * lm)
{
  if (lm->text)
    gst_harness_teardown (lm->text);
  gst_harness_teardown (lm->speech);
  gst_bus_set_flushing (lm->bus, TRUE);
  gst_element_set_bus (lm->element, NULL);
  gst_object_unref (lm->bus);
  gst_object_unref (lm->element);
  g_free (lm);
}

gchar *
lm_caps (gint codebooks, gint size, gboolean packed)
{
  return g_strdup_printf ("audio/x-mimi, rate=24000, channels=1, "
      "codebooks=%d, codebook-size=%d, frame-duration-us=80000, "
      "stream-format=%s, framed=true", codebooks, size,
      packed ? "packed" : "u16");
}

void
lm_set_caps (LmHarness * lm, gboolean packed)
{
  gchar *caps = lm_caps (lm->hears, lm->size, packed);

  lm->packed = packed;
  gst_harness_set_src_caps_str (lm->speech, caps);
  g_free (caps);
}

/* Exactly as long as it says, so that a read past the end is seen by the
 * sanitizers. */
GstBuffer *
lm_frame (LmHarness * lm, const gint32 * codes, GstClockTime pts)
{
  MimiStreamFormat format = lm->packed ? MIMI_STREAM_PACKED : MIMI_STREAM_U16;
  gsize size = mimi_tokens_size (format, lm->hears, lm->size);
  guint8 *data = g_malloc (size);
  guint16 indices[MIMI_MAX_CODEBOOKS];
  GstBuffer *buffer;

  for (gint i = 0; i < lm->hears; i++)
    indices[i] = codes[i];
  mimi_tokens_write (format, lm->hears, lm->size, indices, data);
  buffer = gst_buffer_new_wrapped (data, size);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_DURATION (buffer) = FRAME;

  return buffer;
}

GstFlowReturn
lm_push (LmHarness * lm, const gint32 * codes, GstClockTime pts)
{
  return gst_harness_push (lm->speech, lm_frame (lm, codes, pts));
}

const gint32 *
lm_noise (LmHarness * lm, guint i)
{
  guint32 x = 2654435761u * (i + 1);

  for (gint k = 0; k < lm->hears; k++) {
    x = x * 1664525 + 1013904223;
    lm->noise[k] = (x >> 8) % lm->size;
  }
  return lm->noise;
}

void
lm_push_noise (LmHarness * lm, guint first, guint n, GstClockTime offset)
{
  for (guint i = first; i < first + n; i++)
    g_assert_cmpint (lm_push (lm, lm_noise (lm, i), i * FRAME + offset), ==,
        GST_FLOW_OK);
}

void
lm_read (LmHarness * lm, GstBuffer * buffer, gint codebooks, gint32 * codes)
{
  GstCaps *caps = gst_pad_get_current_caps (lm->speech->sinkpad);
  const gchar *format =
      gst_structure_get_string (gst_caps_get_structure (caps, 0),
      "stream-format");
  guint16 indices[MIMI_MAX_CODEBOOKS];
  GstMapInfo map;

  g_assert_true (gst_buffer_map (buffer, &map, GST_MAP_READ));
  g_assert_cmpint (mimi_tokens_read (g_str_equal (format, "packed") ?
          MIMI_STREAM_PACKED : MIMI_STREAM_U16, codebooks, lm->size, map.data,
          map.size, indices), ==, MIMI_TOKENS_OK);
  gst_buffer_unmap (buffer, &map);
  gst_caps_unref (caps);
  for (gint i = 0; i < codebooks; i++)
    codes[i] = indices[i];
}

GBytes *
lm_pull_speech (LmHarness * lm)
{
  GByteArray *all = g_byte_array_new ();
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (lm->speech))) {
    GstMapInfo map;

    g_assert_true (gst_buffer_map (buffer, &map, GST_MAP_READ));
    g_byte_array_append (all, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return g_byte_array_free_to_bytes (all);
}

gchar *
lm_pull_text (LmHarness * lm, const gchar * between)
{
  GString *text = g_string_new (NULL);
  GstBuffer *buffer;
  GstMapInfo map;

  while ((buffer = gst_harness_try_pull (lm->text))) {
    g_assert_true (gst_buffer_map (buffer, &map, GST_MAP_READ));
    if (text->len > 0)
      g_string_append (text, between);
    g_string_append_len (text, (const gchar *) map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return g_string_free (text, FALSE);
}

guint64
lm_stat (LmHarness * lm, const gchar * field)
{
  GstStructure *stats;
  guint64 value;

  g_object_get (lm->element, "stats", &stats, NULL);
  g_assert_true (gst_structure_get_uint64 (stats, field, &value));
  gst_structure_free (stats);

  return value;
}

GstMessage *
lm_message (LmHarness * lm, GstMessageType type)
{
  GstMessage *message = gst_bus_timed_pop_filtered (lm->bus, MESSAGE_TIMEOUT,
      type);

  if (message == NULL)
    g_error ("no message %s", gst_message_type_get_name (type));
  return message;
}

gchar *
lm_error (LmHarness * lm, GQuark domain, gint code)
{
  GstMessage *message = lm_message (lm, GST_MESSAGE_ERROR);
  GError *error;
  gchar *text;

  gst_message_parse_error (message, &error, NULL);
  g_assert_error (error, domain, code);
  text = g_strdup (error->message);
  g_error_free (error);
  gst_message_unref (message);

  return text;
}
