/**
 * SECTION:element-mimiparse
 * @title: mimiparse
 * @short_description: Reader of .mimi files
 * @see_also: mimimux, mimidec
 *
 * mimiparse reads `.mimi` files and gives their frames one by one to mimidec.
 * With the plugin's typefinder, decodebin and playbin play such files. The
 * format is described in token-format.md.
 *
 * ## Seeking
 *
 * Frames have a fixed size, so that every position is exact. The decoder
 * remembers 10 seconds of what it has heard; a seek therefore starts reading
 * 10 seconds (125 frames) before its target, and mimidec drops what lies before
 * the segment. Up to there it decodes as fast as it can.
 *
 * ## Errors
 *
 * A file with a broken header is refused with a message that says what is wrong
 * with it. A file that is shorter than its header says plays up to where it
 * ends; what follows the length of the header is ignored.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 filesrc location=tone.mimi ! mimiparse ! mimidec ! wavenc ! filesink location=tone.wav
 * ]| Turn a file of tokens into a WAV file.
 * |[
 * gst-launch-1.0 playbin uri=file:///tmp/tone.mimi
 * ]| Play a file of tokens.
 *
 * Since: 0.1
 */
#include "gstmimiparse.h"
#include "mimicaps.h"
#include "mimifile.h"

#include <gst/audio/audio.h>
#include <string.h>

GST_DEBUG_CATEGORY_STATIC (mimiparse_debug);
#define GST_CAT_DEFAULT mimiparse_debug

/* The reach of the decoder's attention, 250 steps of 40 ms. */
#define LEAD_IN_FRAMES 125
/* The base class finds positions in an index; it gets the whole of it at the
 * start: an entry per so many frames, and not more than so many entries. */
#define INDEX_FRAMES 25
#define INDEX_MAX_ENTRIES 65536

struct _GstMimiParse
{
  GstBaseParse parent;

  /* Of the streaming thread; set once, and then read by queries too */
  MimiFileHeader header;        /* header_size 0: not read yet */
  gsize frame_size;
  guint64 samples;              /* MIMI_FILE_UNKNOWN: open */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_FILE_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS_PACKED));

G_DEFINE_TYPE (GstMimiParse, gst_mimi_parse, GST_TYPE_BASE_PARSE);
GST_ELEMENT_REGISTER_DEFINE (mimiparse, "mimiparse", GST_RANK_PRIMARY,
    GST_TYPE_MIMI_PARSE);

/* ------------------------------------------------------------- typefinding */

static void
find_mimi (GstTypeFind * find, gpointer data)
{
  const guint8 *magic = gst_type_find_peek (find, 0, MIMI_FILE_MAGIC_SIZE);

  if (magic && !memcmp (magic, MIMI_FILE_MAGIC, MIMI_FILE_MAGIC_SIZE))
    gst_type_find_suggest_simple (find, GST_TYPE_FIND_MAXIMUM, "audio/x-mimi",
        "framed", G_TYPE_BOOLEAN, FALSE, NULL);
}

GST_TYPE_FIND_REGISTER_DEFINE (mimi, "audio/x-mimi", GST_RANK_PRIMARY,
    find_mimi, "mimi", gst_static_caps_get (&sink_template.static_caps), NULL,
    NULL);

/* ------------------------------------------------------------------ header */

static guint64
samples_to_time (guint64 samples)
{
  return gst_util_uint64_scale_round (samples, GST_SECOND, GST_MIMI_RATE);
}

/* The length the header tells, but not more than the file holds. */
static guint64
find_length (GstMimiParse * self)
{
  gint64 size;
  guint64 held;

  if (!gst_pad_peer_query_duration (GST_BASE_PARSE_SINK_PAD (self),
          GST_FORMAT_BYTES, &size) || size < (gint64) self->header.header_size)
    return self->header.samples;

  held = (size - self->header.header_size) / self->frame_size
      * GST_MIMI_FRAME_SAMPLES;
  if (self->header.samples != MIMI_FILE_UNKNOWN && held < self->header.samples)
    GST_WARNING_OBJECT (self, "the file is truncated");
  return MIN (held, self->header.samples);
}

static void
fill_index (GstMimiParse * self)
{
  guint64 frames = self->samples / GST_MIMI_FRAME_SAMPLES;
  guint64 step = MAX (INDEX_FRAMES, frames / INDEX_MAX_ENTRIES);

  for (guint64 i = 0; i <= frames; i += step)
    gst_base_parse_add_index_entry (GST_BASE_PARSE (self),
        self->header.header_size + i * self->frame_size,
        i * GST_MIMI_FRAME_DURATION, TRUE, TRUE);
}

static void
start_stream (GstMimiParse * self)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  GstMimiFormat format = {
    .stream_format = MIMI_STREAM_PACKED,
    .codebooks = self->header.codebooks,
    .codebook_size = self->header.codebook_size,
  };
  GstTagList *tags;
  GstCaps *caps;

  g_strlcpy (format.model_id, self->header.model_id, sizeof format.model_id);
  caps = gst_mimi_format_to_caps (&format);
  gst_pad_set_caps (GST_BASE_PARSE_SRC_PAD (parse), caps);
  gst_caps_unref (caps);

  tags = gst_tag_list_new (GST_TAG_AUDIO_CODEC, "Mimi", NULL);
  gst_base_parse_merge_tags (parse, tags, GST_TAG_MERGE_REPLACE);
  gst_tag_list_unref (tags);

  self->frame_size = mimi_file_frame_size (&self->header);
  self->samples = find_length (self);
  gst_base_parse_set_min_frame_size (parse, self->frame_size);
  /* 12.5 frames a second */
  gst_base_parse_set_frame_rate (parse, 25, 2, LEAD_IN_FRAMES, 0);
  gst_base_parse_set_average_bitrate (parse, self->frame_size * 100);
  if (self->samples != MIMI_FILE_UNKNOWN) {
    gst_base_parse_set_duration (parse, GST_FORMAT_TIME,
        samples_to_time (self->samples), 0);
    fill_index (self);
  }
}

static GstFlowReturn
read_header (GstMimiParse * self, GstBaseParseFrame * frame)
{
  GstBaseParse *parse = GST_BASE_PARSE (self);
  MimiFileHeader header;
  MimiFileResult result;
  const gchar *why;
  GstMapInfo map;
  gsize need;

  gst_buffer_map (frame->buffer, &map, GST_MAP_READ);
  result = mimi_file_header_read (map.data, map.size, &header, &need, &why);
  gst_buffer_unmap (frame->buffer, &map);

  switch (result) {
    case MIMI_FILE_OK:
      break;
    case MIMI_FILE_SHORT:
      gst_base_parse_set_min_frame_size (parse, need);
      return GST_FLOW_OK;
    case MIMI_FILE_NOT_MIMI:
      goto not_mimi;
    case MIMI_FILE_VERSION:
      goto version;
    case MIMI_FILE_BROKEN:
      goto broken;
  }

  self->header = header;
  start_stream (self);
  frame->flags |= GST_BASE_PARSE_FRAME_FLAG_DROP;
  return gst_base_parse_finish_frame (parse, frame, header.header_size);

  /* ERRORS */
not_mimi:
  {
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
        ("This is not a .mimi file."), (NULL));
    return GST_FLOW_ERROR;
  }
version:
  {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("This .mimi file is of version %u; a newer gst-moshi may read it.",
            header.version), (NULL));
    return GST_FLOW_ERROR;
  }
broken:
  {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("This .mimi file is damaged: %s.", why), (NULL));
    return GST_FLOW_ERROR;
  }
}

/* ------------------------------------------------------------------ frames */

/* Bytes to skip from an offset to where a frame begins. */
static gsize
skip_to_frame (GstMimiParse * self, guint64 offset)
{
  gsize into;

  if (offset < self->header.header_size)
    return self->header.header_size - offset;
  into = (offset - self->header.header_size) % self->frame_size;
  return into ? self->frame_size - into : 0;
}

static GstFlowReturn
gst_mimi_parse_handle_frame (GstBaseParse * parse, GstBaseParseFrame * frame,
    gint * skip)
{
  GstMimiParse *self = GST_MIMI_PARSE (parse);
  guint64 first, samples = GST_MIMI_FRAME_SAMPLES;

  if (!self->header.header_size)
    return read_header (self, frame);

  *skip = skip_to_frame (self, frame->offset);
  if (*skip || gst_buffer_get_size (frame->buffer) < self->frame_size)
    return GST_FLOW_OK;

  first = (frame->offset - self->header.header_size) / self->frame_size
      * GST_MIMI_FRAME_SAMPLES;
  if (self->samples != MIMI_FILE_UNKNOWN) {
    if (first >= self->samples)
      return GST_FLOW_EOS;
    samples = MIN (samples, self->samples - first);
  }
  GST_BUFFER_PTS (frame->buffer) = samples_to_time (first);
  GST_BUFFER_DURATION (frame->buffer) =
      samples_to_time (first + samples) - samples_to_time (first);

  return gst_base_parse_finish_frame (parse, frame, self->frame_size);
}

/* What the last frame has too much is told as mimienc tells it. */
static GstFlowReturn
gst_mimi_parse_pre_push_frame (GstBaseParse * parse, GstBaseParseFrame * frame)
{
  guint64 samples = gst_util_uint64_scale_round (GST_BUFFER_DURATION
      (frame->buffer), GST_MIMI_RATE, GST_SECOND);

  if (samples < GST_MIMI_FRAME_SAMPLES) {
    frame->buffer = gst_buffer_make_writable (frame->buffer);
    gst_buffer_add_audio_clipping_meta (frame->buffer, GST_FORMAT_DEFAULT, 0,
        GST_MIMI_FRAME_SAMPLES - samples);
  }
  return GST_FLOW_OK;
}

static gboolean
gst_mimi_parse_convert (GstBaseParse * parse, GstFormat from, gint64 value,
    GstFormat to, gint64 * result)
{
  GstMimiParse *self = GST_MIMI_PARSE (parse);
  gint64 header = self->header.header_size;

  if (header && from == GST_FORMAT_TIME && to == GST_FORMAT_BYTES) {
    *result = value < 0 ? -1 : header +
        value / (gint64) GST_MIMI_FRAME_DURATION * (gint64) self->frame_size;
    return TRUE;
  }
  if (header && from == GST_FORMAT_BYTES && to == GST_FORMAT_TIME) {
    *result = value < 0 ? -1 : MAX (value - header, 0)
        / (gint64) self->frame_size * (gint64) GST_MIMI_FRAME_DURATION;
    return TRUE;
  }
  return gst_base_parse_convert_default (parse, from, value, to, result);
}

static gboolean
gst_mimi_parse_start (GstBaseParse * parse)
{
  GstMimiParse *self = GST_MIMI_PARSE (parse);

  memset (&self->header, 0, sizeof self->header);
  gst_base_parse_set_min_frame_size (parse, MIMI_FILE_HEADER_SIZE);
  return TRUE;
}

static void
gst_mimi_parse_init (GstMimiParse * self)
{
  gst_base_parse_set_infer_ts (GST_BASE_PARSE (self), FALSE);
  gst_base_parse_set_has_timing_info (GST_BASE_PARSE (self), TRUE);
  GST_PAD_SET_ACCEPT_TEMPLATE (GST_BASE_PARSE_SINK_PAD (self));
}

static void
gst_mimi_parse_class_init (GstMimiParseClass * klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseParseClass *parse_class = GST_BASE_PARSE_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (mimiparse_debug, "mimiparse", 0,
      ".mimi file reader");

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Mimi file reader",
      "Codec/Parser/Audio", "Reads the tokens of the Mimi codec from a .mimi "
      "file", "The gst-moshi authors");

  parse_class->start = gst_mimi_parse_start;
  parse_class->handle_frame = gst_mimi_parse_handle_frame;
  parse_class->pre_push_frame = gst_mimi_parse_pre_push_frame;
  parse_class->convert = gst_mimi_parse_convert;
}
