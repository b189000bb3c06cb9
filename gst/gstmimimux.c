/**
 * SECTION:element-mimimux
 * @title: mimimux
 * @short_description: Writer of .mimi files
 * @see_also: mimienc, mimiparse
 *
 * mimimux stores the tokens of the Mimi codec in a `.mimi` file: a header that
 * tells the codec and the length, then frames of a fixed size, back to back.
 * The format is described in token-format.md.
 *
 * The header comes first, marked with the HEADER flag and repeated as
 * `streamheader` in the caps, with its length left open. At the end of the
 * stream it is written again with the length, where downstream can seek (as
 * filesink can). A file without it, as of an interrupted recording, is
 * complete too, up to 80 ms of silence at its end.
 *
 * The frames of a file follow each other without holes: gaps and jumps of the
 * input's timestamps are closed. mimienc leaves none of the former.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 audiotestsrc num-buffers=100 ! audioconvert ! audioresample ! mimienc ! mimimux ! filesink location=tone.mimi
 * ]| Four seconds of a tone into a file.
 * |[
 * gst-launch-1.0 filesrc location=tone.mimi ! mimiparse ! mimimux ! filesink location=copy.mimi
 * ]| Copy a file, which gives an interrupted recording its length.
 *
 * Since: 0.1
 */
#include "gstmimimux.h"
#include "mimicaps.h"
#include "mimifile.h"

#include <gst/audio/audio.h>
#include <string.h>

GST_DEBUG_CATEGORY_STATIC (mimimux_debug);
#define GST_CAT_DEFAULT mimimux_debug

struct _GstMimiMux
{
  GstElement parent;

  GstPad *sink, *src;

  /* Of the streaming thread */
  GstMimiFormat format;         /* of the input; 0 codebooks: no caps yet */
  gboolean started;             /* the header has been sent */
  guint64 frames, bytes;        /* sent */
  guint trimmed;                /* samples of the last frame that are padding */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_FILE_CAPS));

G_DEFINE_TYPE (GstMimiMux, gst_mimi_mux, GST_TYPE_ELEMENT);
GST_ELEMENT_REGISTER_DEFINE (mimimux, "mimimux", GST_RANK_PRIMARY,
    GST_TYPE_MIMI_MUX);

static GstBuffer *
make_header (GstMimiMux * self, guint64 samples)
{
  MimiFileHeader header = {
    .codebooks = self->format.codebooks,
    .codebook_size = self->format.codebook_size,
    .samples = samples,
  };
  guint8 *data = g_malloc (MIMI_FILE_HEADER_SIZE);
  GstBuffer *buffer;

  if (strlen (self->format.model_id) <= MIMI_FILE_MODEL_ID_SIZE)
    strcpy (header.model_id, self->format.model_id);
  mimi_file_header_write (&header, data);
  buffer = gst_buffer_new_wrapped (data, MIMI_FILE_HEADER_SIZE);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_HEADER);

  return buffer;
}

static gboolean
push_bytes_segment (GstMimiMux * self)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  return gst_pad_push_event (self->src, gst_event_new_segment (&segment));
}

static GstFlowReturn
push_header (GstMimiMux * self)
{
  GstBuffer *header = make_header (self, MIMI_FILE_UNKNOWN);
  GValue array = G_VALUE_INIT, value = G_VALUE_INIT;
  GstCaps *caps;

  caps = gst_static_pad_template_get_caps (&src_template);
  caps = gst_caps_make_writable (caps);
  g_value_init (&array, GST_TYPE_ARRAY);
  g_value_init (&value, GST_TYPE_BUFFER);
  gst_value_set_buffer (&value, header);
  gst_value_array_append_and_take_value (&array, &value);
  gst_structure_take_value (gst_caps_get_structure (caps, 0), "streamheader",
      &array);
  gst_pad_push_event (self->src, gst_event_new_caps (caps));
  gst_caps_unref (caps);
  push_bytes_segment (self);

  self->started = TRUE;
  self->bytes = MIMI_FILE_HEADER_SIZE;
  return gst_pad_push (self->src, header);
}

/* Padding of this frame, should it be the last. */
static guint
get_trimmed (GstBuffer * buffer)
{
  GstAudioClippingMeta *clip = gst_buffer_get_audio_clipping_meta (buffer);
  GstClockTime duration = GST_BUFFER_DURATION (buffer);

  if (clip && clip->format == GST_FORMAT_DEFAULT)
    return MIN (clip->end, GST_MIMI_FRAME_SAMPLES);
  if (duration > 0 && duration < GST_MIMI_FRAME_DURATION)
    return GST_MIMI_FRAME_SAMPLES - gst_util_uint64_scale_round (duration,
        GST_MIMI_RATE, GST_SECOND);
  return 0;
}

/* The frame's bytes in a file, or NULL when it is not valid. */
static GstBuffer *
pack_frame (GstMimiMux * self, GstBuffer * in)
{
  const GstMimiFormat *format = &self->format;
  gsize size = mimi_tokens_size (MIMI_STREAM_PACKED, format->codebooks,
      format->codebook_size);
  guint16 codes[MIMI_MAX_CODEBOOKS];
  MimiTokensResult result;
  GstMapInfo map;
  guint8 *data;
  GstBuffer *out;

  gst_buffer_map (in, &map, GST_MAP_READ);
  result = mimi_tokens_read (format->stream_format, format->codebooks,
      format->codebook_size, map.data, map.size, codes);
  gst_buffer_unmap (in, &map);
  if (result != MIMI_TOKENS_OK)
    return NULL;

  data = g_malloc (size);
  mimi_tokens_write (MIMI_STREAM_PACKED, format->codebooks,
      format->codebook_size, codes, data);
  out = gst_buffer_new_wrapped (data, size);
  gst_buffer_copy_into (out, in, GST_BUFFER_COPY_TIMESTAMPS, 0, -1);

  return out;
}

static GstFlowReturn
gst_mimi_mux_chain (GstPad * pad, GstObject * parent, GstBuffer * buffer)
{
  GstMimiMux *self = GST_MIMI_MUX (parent);
  GstFlowReturn ret = GST_FLOW_OK;
  GstBuffer *out;

  if (!self->format.codebooks)
    goto no_caps;
  out = pack_frame (self, buffer);
  if (!out)
    goto invalid;

  if (!self->started)
    ret = push_header (self);
  if (ret != GST_FLOW_OK) {
    gst_buffer_unref (out);
    goto done;
  }
  if (self->trimmed)
    GST_INFO_OBJECT (self, "a partial frame in the middle is made whole");
  self->trimmed = get_trimmed (buffer);
  GST_BUFFER_OFFSET (out) = self->bytes;
  self->bytes += gst_buffer_get_size (out);
  GST_BUFFER_OFFSET_END (out) = self->bytes;
  self->frames++;
  ret = gst_pad_push (self->src, out);

done:
  gst_buffer_unref (buffer);
  return ret;

  /* ERRORS */
no_caps:
  {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("Tokens came without caps."), (NULL));
    ret = GST_FLOW_NOT_NEGOTIATED;
    goto done;
  }
invalid:
  {
    GST_ELEMENT_ERROR (self, STREAM, MUX,
        ("Frame %" G_GUINT64_FORMAT " is not %d indices below %d.",
            self->frames, self->format.codebooks, self->format.codebook_size),
        ("buffer of %" G_GSIZE_FORMAT " bytes", gst_buffer_get_size (buffer)));
    ret = GST_FLOW_ERROR;
    goto done;
  }
}

static gboolean
set_caps (GstMimiMux * self, GstCaps * caps)
{
  GstMimiFormat format;

  if (!gst_mimi_format_from_caps (&format, caps))
    goto not_complete;
  if (self->started && (format.codebooks != self->format.codebooks ||
          format.codebook_size != self->format.codebook_size ||
          strcmp (format.model_id, self->format.model_id)))
    goto changed;
  self->format = format;
  return TRUE;

  /* ERRORS */
not_complete:
  {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("The caps of the tokens are not complete."),
        ("%" GST_PTR_FORMAT, caps));
    return FALSE;
  }
changed:
  {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("The codec or its number of codebooks changed; a file holds one."),
        ("%d codebooks before, now %" GST_PTR_FORMAT, self->format.codebooks,
            caps));
    return FALSE;
  }
}

static gboolean
can_seek (GstMimiMux * self)
{
  GstQuery *query = gst_query_new_seeking (GST_FORMAT_BYTES);
  gboolean seekable = FALSE;

  if (gst_pad_peer_query (self->src, query))
    gst_query_parse_seeking (query, NULL, &seekable, NULL, NULL);
  gst_query_unref (query);
  return seekable;
}

/* Writes the header again, now that the length is known. */
static void
finish (GstMimiMux * self)
{
  if (!self->started && self->format.codebooks)
    push_header (self);
  if (!self->started || !can_seek (self))
    return;
  GST_DEBUG_OBJECT (self, "%" G_GUINT64_FORMAT " frames", self->frames);
  if (push_bytes_segment (self))
    gst_pad_push (self->src, make_header (self,
            self->frames * GST_MIMI_FRAME_SAMPLES - self->trimmed));
}

static void
reset (GstMimiMux * self)
{
  memset (&self->format, 0, sizeof self->format);
  self->started = FALSE;
  self->frames = self->bytes = 0;
  self->trimmed = 0;
}

static gboolean
gst_mimi_mux_sink_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  GstMimiMux *self = GST_MIMI_MUX (parent);
  gboolean handled = TRUE;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      handled = set_caps (self, caps);
      break;
    case GST_EVENT_SEGMENT:    /* ours is in bytes */
    case GST_EVENT_GAP:
      break;
    case GST_EVENT_EOS:
      finish (self);
      return gst_pad_event_default (pad, parent, event);
    default:
      return gst_pad_event_default (pad, parent, event);
  }
  gst_event_unref (event);

  return handled;
}

static GstStateChangeReturn
gst_mimi_mux_change_state (GstElement * element, GstStateChange transition)
{
  GstStateChangeReturn ret;

  ret = GST_ELEMENT_CLASS (gst_mimi_mux_parent_class)->change_state (element,
      transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    reset (GST_MIMI_MUX (element));
  return ret;
}

static void
gst_mimi_mux_init (GstMimiMux * self)
{
  self->sink = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sink, gst_mimi_mux_chain);
  gst_pad_set_event_function (self->sink, gst_mimi_mux_sink_event);
  gst_element_add_pad (GST_ELEMENT (self), self->sink);

  self->src = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_use_fixed_caps (self->src);
  gst_element_add_pad (GST_ELEMENT (self), self->src);
}

static void
gst_mimi_mux_class_init (GstMimiMuxClass * klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (mimimux_debug, "mimimux", 0, ".mimi file writer");

  element_class->change_state = gst_mimi_mux_change_state;
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Mimi file writer",
      "Codec/Muxer", "Stores the tokens of the Mimi codec in a .mimi file",
      "The gst-moshi authors");
}
