/* Caps of Mimi tokens and what they mean. */
#include "mimicaps.h"

#include <string.h>

static const gchar *const stream_formats[] = {
  [MIMI_STREAM_PACKED] = "packed",
  [MIMI_STREAM_U16] = "u16",
};

gboolean
gst_mimi_format_from_caps (GstMimiFormat * format, const GstCaps * caps)
{
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  const gchar *name = gst_structure_get_string (s, "stream-format");
  const gchar *id = gst_structure_get_string (s, "model-id");

  memset (format, 0, sizeof *format);
  if (!gst_structure_get_int (s, "codebooks", &format->codebooks) ||
      !gst_structure_get_int (s, "codebook-size", &format->codebook_size))
    return FALSE;
  if (format->codebooks < 1 || format->codebooks > MIMI_MAX_CODEBOOKS ||
      format->codebook_size < 2 ||
      format->codebook_size > MIMI_MAX_CODEBOOK_SIZE)
    return FALSE;
  if (id && g_strlcpy (format->model_id, id, sizeof format->model_id) >=
      sizeof format->model_id)
    return FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (stream_formats); i++) {
    if (!g_strcmp0 (name, stream_formats[i])) {
      format->stream_format = i;
      return TRUE;
    }
  }
  return FALSE;
}

GstCaps *
gst_mimi_format_to_caps (const GstMimiFormat * format)
{
  GstCaps *caps;

  caps = gst_caps_new_simple ("audio/x-mimi",
      "rate", G_TYPE_INT, GST_MIMI_RATE,
      "channels", G_TYPE_INT, 1,
      "codebooks", G_TYPE_INT, format->codebooks,
      "codebook-size", G_TYPE_INT, format->codebook_size,
      "frame-duration-us", G_TYPE_INT,
      (gint) (GST_MIMI_FRAME_DURATION / GST_USECOND),
      "stream-format", G_TYPE_STRING, stream_formats[format->stream_format],
      "framed", G_TYPE_BOOLEAN, TRUE, NULL);
  if (format->model_id[0])
    gst_caps_set_simple (caps, "model-id", G_TYPE_STRING, format->model_id,
        NULL);
  return caps;
}

gsize
gst_mimi_format_frame_size (const GstMimiFormat * format)
{
  return mimi_tokens_size (format->stream_format, format->codebooks,
      format->codebook_size);
}
