/**
 * SECTION:element-mimienc
 * @title: mimienc
 * @short_description: Mimi neural audio encoder
 * @see_also: mimidec, moshilm, mimimux
 *
 * mimienc turns speech into the tokens of the Mimi codec: 12.5 frames a second,
 * each of #GstMimiEnc:codebooks indices. Eight codebooks of 2048 entries are
 * 1.1 kbit/s. The input is mono at 24 kHz; put audioconvert and audioresample
 * in front of it.
 *
 * ## Time
 *
 * A frame takes 80 ms of input, and that is the latency, plus the time that
 * computing takes (#GstMimiEnc:latency). Output buffers carry the time of their
 * input. At the end of the stream the last frame is completed with silence; its
 * duration is that of the true samples, and a #GstAudioClippingMeta tells
 * mimidec what to cut.
 *
 * A GAP event is encoded as silence, for a hole in the tokens would be a hole
 * in the conversation. A jump of timestamps without such an event stays a jump,
 * marked DISCONT.
 *
 * No frame is ever dropped: each depends on those before it. On a machine that
 * is too slow for a live source the delay grows; every frame that took more
 * than 80 ms is counted as `late` in #GstMimiEnc:stats and told by a QOS
 * message, at most one a second. Fewer #GstMimiEnc:codebooks cost less.
 *
 * ## State
 *
 * The codec remembers 10 seconds. FLUSH_STOP, STREAM_START and the custom
 * downstream event `moshi/reset` start it anew; so does a change of the number
 * of codebooks. A DISCONT, a new segment, or a change between S16 and F32 does
 * not. `moshi/reset` with the field `element=(string)mimienc` concerns only the
 * encoder, not what follows it.
 *
 * ## Codebooks
 *
 * What downstream accepts wins: moshilm takes exactly as many as its model
 * hears. #GstMimiEnc:codebooks decides what is left open.
 *
 * ## Loading
 *
 * The model is checked on the way to READY and then loaded in the background,
 * with PROGRESS messages of the code `open`. Elements that use the same files
 * share them in memory.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 audiotestsrc num-buffers=100 ! audioconvert ! audioresample ! mimienc ! mimimux ! filesink location=tone.mimi
 * ]| Encode four seconds of a tone into a file.
 * |[
 * gst-launch-1.0 audiotestsrc num-buffers=100 ! audioconvert ! audioresample ! mimienc codebooks=4 ! mimidec ! wavenc ! filesink location=tone.wav
 * ]| Hear what the codec makes of it with four codebooks.
 *
 * Since: 0.1
 */
#include "gstmimienc.h"
#include "gstmoshimodel.h"
#include "gstmoshisteps.h"
#include "mimicaps.h"
#include "moshievents.h"

#include <gst/audio/audio.h>
#include <string.h>

GST_DEBUG_CATEGORY_STATIC (mimienc_debug);
#define GST_CAT_DEFAULT mimienc_debug

#define DEFAULT_CODEBOOKS 8
#define DEFAULT_LATENCY GST_CLOCK_TIME_NONE
/* Frames of silence with which the time of a frame is measured. */
#define WARM_UP_FRAMES 3

enum
{
  PROP_CODEBOOKS = GST_MOSHI_MODEL_PROP_LAST,
  PROP_LATENCY,
  PROP_STATS
};

struct _GstMimiEnc
{
  GstAudioEncoder parent;

  GstMoshiModel model;

  /* Properties and statistics, under the object lock */
  guint codebooks;
  GstClockTime latency;
  GstMoshiSteps steps;

  /* Of the streaming thread */
  MoshiSlot *encoder;           /* NULL: to be made with the next frame */
  GstMimiFormat format;         /* what it makes */
  GstAudioFormat input;
  gboolean restart;             /* before the next frame */
  gboolean new_stream;          /* after STREAM_START, up to its segment */
  GstClockTime took;            /* computing the last frame */
  MoshiTurn turn;               /* of it */
  gfloat pcm[GST_MIMI_FRAME_SAMPLES];
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("audio/x-raw, "
        "format = (string) { " GST_AUDIO_NE (F32) ", " GST_AUDIO_NE (S16) " }, "
        "rate = (int) 24000, channels = (int) 1, "
        "layout = (string) interleaved"));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

G_DEFINE_TYPE_WITH_CODE (GstMimiEnc, gst_mimi_enc, GST_TYPE_AUDIO_ENCODER,
    G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, NULL)
    G_IMPLEMENT_INTERFACE (GST_TYPE_TAG_SETTER, NULL));
GST_ELEMENT_REGISTER_DEFINE (mimienc, "mimienc", GST_RANK_SECONDARY,
    GST_TYPE_MIMI_ENC);

/* ------------------------------------------------------------ negotiation */

/* What downstream accepts of what this model can make. */
static GstCaps *
get_allowed_caps (GstMimiEnc * self, const MoshiModelInfo * info)
{
  GstCaps *own, *caps;

  own = gst_static_pad_template_get_caps (&src_template);
  own = gst_caps_make_writable (own);
  gst_caps_set_simple (own,
      "codebooks", GST_TYPE_INT_RANGE, 1, MAX (info->codebooks, 2),
      "codebook-size", G_TYPE_INT, info->codebook_size, NULL);
  if (info->codebooks == 1)
    gst_caps_set_simple (own, "codebooks", G_TYPE_INT, 1, NULL);
  caps = gst_pad_peer_query_caps (GST_AUDIO_ENCODER_SRC_PAD (self), own);
  GST_DEBUG_OBJECT (self, "downstream accepts %" GST_PTR_FORMAT, caps);
  gst_caps_unref (own);

  return caps;
}

/* The format downstream wants, the property deciding what it leaves open. */
static gboolean
choose_format (GstMimiEnc * self, const MoshiModelInfo * info,
    GstMimiFormat * format)
{
  GstCaps *caps = get_allowed_caps (self, info);
  guint codebooks;
  gboolean fits;

  if (gst_caps_is_empty (caps))
    goto no_match;

  GST_OBJECT_LOCK (self);
  codebooks = self->codebooks;
  GST_OBJECT_UNLOCK (self);

  caps = gst_caps_truncate (gst_caps_make_writable (caps));
  gst_structure_fixate_field_nearest_int (gst_caps_get_structure (caps, 0),
      "codebooks", codebooks);
  caps = gst_caps_fixate (caps);
  fits = gst_mimi_format_from_caps (format, caps);
  g_strlcpy (format->model_id, info->codec_id, sizeof format->model_id);
  gst_caps_unref (caps);
  if (fits && codebooks != (guint) format->codebooks)
    GST_INFO_OBJECT (self, "%d codebooks instead of %u",
        format->codebooks, codebooks);

  return fits;

  /* ERRORS */
no_match:
  {
    GstCaps *peer;

    gst_caps_unref (caps);
    peer = gst_pad_peer_query_caps (GST_AUDIO_ENCODER_SRC_PAD (self), NULL);
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("The next element does not take the tokens of %s, which has %d "
            "codebooks of size %d. Give both the same model.", info->path,
            info->codebooks, info->codebook_size),
        ("downstream takes %" GST_PTR_FORMAT, peer));
    gst_caps_unref (peer);
    return FALSE;
  }
}

static void
send_tags (GstMimiEnc * self)
{
  const GstTagList *set;
  GstTagList *tags, *merged;
  guint bits = mimi_tokens_bits (self->format.codebook_size);

  /* 12.5 frames a second */
  tags = gst_tag_list_new (GST_TAG_AUDIO_CODEC, "Mimi", GST_TAG_BITRATE,
      (bits * self->format.codebooks * 25 + 1) / 2, NULL);
  set = gst_tag_setter_get_tag_list (GST_TAG_SETTER (self));
  merged = gst_tag_list_merge (set, tags, GST_TAG_MERGE_REPLACE);
  gst_audio_encoder_merge_tags (GST_AUDIO_ENCODER (self), merged,
      set ? gst_tag_setter_get_tag_merge_mode (GST_TAG_SETTER (self)) :
      GST_TAG_MERGE_REPLACE);
  gst_tag_list_unref (merged);
  gst_tag_list_unref (tags);
}

/* --------------------------------------------------------------- encoding */

static GstClockTime
now (void)
{
  return g_get_monotonic_time () * GST_USECOND;
}

/* The slowest of a few frames of silence, after which the codec is as new. */
static gboolean
measure_step (GstMimiEnc * self, GstClockTime * step, MoshiError * error)
{
  guint16 codes[MIMI_MAX_CODEBOOKS];

  *step = 0;
  memset (self->pcm, 0, sizeof self->pcm);
  for (guint i = 0; i < WARM_UP_FRAMES; i++) {
    GstClockTime start = now ();

    if (mimi_encoder_slot_step (self->encoder, self->pcm, codes, error))
      return FALSE;
    *step = MAX (*step, now () - start);
  }
  moshi_slot_reset (self->encoder);
  return TRUE;
}

static void
update_latency (GstMimiEnc * self, GstClockTime measured)
{
  GstAudioEncoder *enc = GST_AUDIO_ENCODER (self);
  GstClockTime latency, old;

  GST_OBJECT_LOCK (self);
  latency = self->latency;
  GST_OBJECT_UNLOCK (self);

  if (!GST_CLOCK_TIME_IS_VALID (latency))
    latency = gst_moshi_steps_latency (measured);
  latency += GST_MIMI_FRAME_DURATION;
  gst_audio_encoder_get_latency (enc, &old, NULL);
  if (latency != old)
    gst_audio_encoder_set_latency (enc, latency, latency);
}

/* Makes everything ready for a frame of the negotiated format. */
static GstFlowReturn
prepare (GstMimiEnc * self)
{
  GstAudioEncoder *enc = GST_AUDIO_ENCODER (self);
  GstMimiFormat format;
  MoshiModel *model;
  MoshiError error = { 0 };
  GstClockTime step;
  GstFlowReturn ret;
  GstCaps *caps;

  ret = gst_moshi_model_wait (&self->model, &model);
  if (ret != GST_FLOW_OK)
    return ret;
  gst_pad_check_reconfigure (GST_AUDIO_ENCODER_SRC_PAD (self));
  if (!choose_format (self, moshi_model_info (model), &format))
    return GST_FLOW_NOT_NEGOTIATED;

  if (self->encoder && format.codebooks != self->format.codebooks)
    gst_moshi_model_free_slot (&self->model, &self->encoder);
  self->format = format;
  if (!self->encoder) {
    self->encoder = mimi_encoder_slot_new (model, format.codebooks, &error);
    gst_moshi_model_set_slot (&self->model, self->encoder);
    if (!self->encoder || !measure_step (self, &step, &error))
      goto failed;
    update_latency (self, step);
    GST_INFO_OBJECT (self, "%d codebooks on %s, a frame takes %"
        GST_TIME_FORMAT, format.codebooks, moshi_model_device (model),
        GST_TIME_ARGS (step));
  }

  send_tags (self);
  caps = gst_mimi_format_to_caps (&format);
  ret = gst_audio_encoder_set_output_format (enc, caps) &&
      gst_audio_encoder_negotiate (enc) ? GST_FLOW_OK :
      GST_FLOW_NOT_NEGOTIATED;
  gst_caps_unref (caps);
  if (ret != GST_FLOW_OK && GST_PAD_IS_FLUSHING (enc->srcpad))
    ret = GST_FLOW_FLUSHING;

  return ret;

  /* ERRORS */
failed:
  {
    gst_moshi_model_free_slot (&self->model, &self->encoder);
    if (error.status == MOSHI_ERROR_CANCELLED)
      return GST_FLOW_FLUSHING;
    gst_moshi_element_error (GST_ELEMENT (self), &error, "");
    return GST_FLOW_ERROR;
  }
}

/* Fills self->pcm, with silence at the end of a partial frame. */
static gsize
read_samples (GstMimiEnc * self, GstBuffer * buffer)
{
  GstMapInfo map;
  gsize samples;

  gst_buffer_map (buffer, &map, GST_MAP_READ);
  if (self->input == GST_AUDIO_FORMAT_F32) {
    samples = map.size / sizeof (gfloat);
    memcpy (self->pcm, map.data, samples * sizeof (gfloat));
  } else {
    const gint16 *in = (const gint16 *) map.data;

    samples = map.size / sizeof (gint16);
    for (gsize i = 0; i < samples; i++)
      self->pcm[i] = in[i] / 32768.0f;
  }
  gst_buffer_unmap (buffer, &map);
  memset (self->pcm + samples, 0,
      (GST_MIMI_FRAME_SAMPLES - samples) * sizeof (gfloat));

  return samples;
}

static GstFlowReturn
encode (GstMimiEnc * self, GstBuffer ** out)
{
  GstAudioEncoder *enc = GST_AUDIO_ENCODER (self);
  guint16 codes[MIMI_MAX_CODEBOOKS];
  MoshiError error = { 0 };
  GstClockTime start = now ();
  GstMapInfo map;

  if (self->restart)
    moshi_slot_reset (self->encoder);
  self->restart = FALSE;
  if (mimi_encoder_slot_step (self->encoder, self->pcm, codes, &error))
    goto failed;
  self->took = now () - start;
  moshi_slot_turn (self->encoder, &self->turn);

  *out = gst_audio_encoder_allocate_output_buffer (enc,
      gst_mimi_format_frame_size (&self->format));
  gst_buffer_map (*out, &map, GST_MAP_WRITE);
  mimi_tokens_write (self->format.stream_format, self->format.codebooks,
      self->format.codebook_size, codes, map.data);
  gst_buffer_unmap (*out, &map);

  return GST_FLOW_OK;

  /* ERRORS */
failed:
  {
    if (error.status == MOSHI_ERROR_CANCELLED)
      return GST_FLOW_FLUSHING;
    GST_ELEMENT_ERROR (self, STREAM, ENCODE, ("%s", error.message), (NULL));
    return GST_FLOW_ERROR;
  }
}

static GstFlowReturn
gst_mimi_enc_handle_frame (GstAudioEncoder * enc, GstBuffer * buffer)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);
  GstFlowReturn ret = GST_FLOW_OK;
  GstBuffer *out;
  gsize samples;

  if (!buffer)
    return GST_FLOW_OK;

  if (!self->encoder || gst_pad_needs_reconfigure (enc->srcpad))
    ret = prepare (self);
  if (ret != GST_FLOW_OK)
    return ret;

  samples = read_samples (self, buffer);
  ret = encode (self, &out);
  if (ret != GST_FLOW_OK)
    return ret;
  if (samples < GST_MIMI_FRAME_SAMPLES)
    gst_buffer_add_audio_clipping_meta (out, GST_FORMAT_DEFAULT, 0,
        GST_MIMI_FRAME_SAMPLES - samples);

  return gst_audio_encoder_finish_frame (enc, out, samples);
}

/* Here the frame has its time. */
static GstFlowReturn
gst_mimi_enc_pre_push (GstAudioEncoder * enc, GstBuffer ** buffer)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);

  gst_moshi_steps_add (&self->steps, GST_ELEMENT (self), self->took,
      &self->turn, &enc->output_segment, GST_BUFFER_PTS (*buffer));
  return GST_FLOW_OK;
}

static gboolean
gst_mimi_enc_set_format (GstAudioEncoder * enc, GstAudioInfo * info)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);

  self->input = GST_AUDIO_INFO_FORMAT (info);
  gst_audio_encoder_set_frame_samples_min (enc, GST_MIMI_FRAME_SAMPLES);
  gst_audio_encoder_set_frame_samples_max (enc, GST_MIMI_FRAME_SAMPLES);
  gst_audio_encoder_set_frame_max (enc, 1);
  gst_audio_encoder_set_lookahead (enc, 0);

  return TRUE;
}

/* Whatever downstream takes, sound is one thing. That downstream does not take
 * the tokens is said by choose_format(), not by a source that cannot know. */
static GstCaps *
gst_mimi_enc_getcaps (GstAudioEncoder * enc, GstCaps * filter)
{
  GstCaps *own = gst_static_pad_template_get_caps (&sink_template), *caps;

  if (!filter)
    return own;
  caps = gst_caps_intersect_full (filter, own, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref (own);
  return caps;
}

/* ----------------------------------------------------------------- events */

/* Silence of that length, as if it had come as buffers. */
static GstFlowReturn
encode_gap (GstMimiEnc * self, GstClockTime start, GstClockTime duration)
{
  GstPad *pad = GST_AUDIO_ENCODER_SINK_PAD (self);
  GstCaps *caps = gst_pad_get_current_caps (pad);
  GstFlowReturn ret = GST_FLOW_OK;
  guint64 first, end;
  GstAudioInfo info;

  gst_audio_info_from_caps (&info, caps);
  gst_caps_unref (caps);
  first = gst_util_uint64_scale_round (start, GST_MIMI_RATE, GST_SECOND);
  end = gst_util_uint64_scale_round (start + duration, GST_MIMI_RATE,
      GST_SECOND);

  while (ret == GST_FLOW_OK && first < end) {
    guint n = MIN (end - first, GST_MIMI_FRAME_SAMPLES);
    GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * info.bpf, NULL);

    gst_buffer_memset (buffer, 0, 0, n * info.bpf);
    GST_BUFFER_PTS (buffer) = gst_util_uint64_scale_round (first, GST_SECOND,
        GST_MIMI_RATE);
    GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale_round (first + n,
        GST_SECOND, GST_MIMI_RATE) - GST_BUFFER_PTS (buffer);
    ret = GST_PAD_CHAINFUNC (pad) (pad, GST_OBJECT (self), buffer);
    first += n;
  }
  return ret;
}

static gboolean
gst_mimi_enc_sink_event (GstAudioEncoder * enc, GstEvent * event)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);
  GstEventType type = GST_EVENT_TYPE (event);
  GstClockTime start, duration;
  gboolean handled;

  switch (type) {
    case GST_EVENT_GAP:
      gst_event_parse_gap (event, &start, &duration);
      if (!gst_pad_has_current_caps (enc->sinkpad) ||
          !GST_CLOCK_TIME_IS_VALID (start) ||
          !GST_CLOCK_TIME_IS_VALID (duration))
        break;
      gst_event_unref (event);
      return encode_gap (self, start, duration) == GST_FLOW_OK;
    case GST_EVENT_FLUSH_START:
      gst_moshi_model_set_flushing (&self->model, TRUE);
      break;
    case GST_EVENT_FLUSH_STOP:
      gst_moshi_model_set_flushing (&self->model, FALSE);
      self->restart = TRUE;
      break;
    case GST_EVENT_STREAM_START:
      self->new_stream = TRUE;
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
      if (moshi_event_is_reset (event, GST_ELEMENT (self)))
        self->restart = TRUE;
      break;
    default:
      break;
  }

  handled = GST_AUDIO_ENCODER_CLASS (gst_mimi_enc_parent_class)->sink_event
      (enc, event);
  /* With the segment the parent has encoded what was left of the old stream. */
  if (self->new_stream && type == GST_EVENT_SEGMENT) {
    self->restart = TRUE;
    self->new_stream = FALSE;
  }
  return handled;
}

static gboolean
gst_mimi_enc_src_query (GstAudioEncoder * enc, GstQuery * query)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);
  gboolean handled;

  handled = GST_AUDIO_ENCODER_CLASS (gst_mimi_enc_parent_class)->src_query (enc,
      query);
  if (handled && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    gst_moshi_steps_note_latency (&self->steps, GST_ELEMENT (self), query);
  return handled;
}

/* ---------------------------------------------------------- start and stop */

static gboolean
gst_mimi_enc_start (GstAudioEncoder * enc)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);

  GST_OBJECT_LOCK (self);
  memset (&self->steps, 0, sizeof self->steps);
  GST_OBJECT_UNLOCK (self);
  self->restart = FALSE;
  update_latency (self, 0);

  return TRUE;
}

static gboolean
gst_mimi_enc_stop (GstAudioEncoder * enc)
{
  GstMimiEnc *self = GST_MIMI_ENC (enc);

  gst_moshi_model_free_slot (&self->model, &self->encoder);
  return TRUE;
}

static GstStateChangeReturn
gst_mimi_enc_change_state (GstElement * element, GstStateChange transition)
{
  GstMimiEnc *self = GST_MIMI_ENC (element);
  GstStateChangeReturn ret;

  if (!gst_moshi_model_before_change (&self->model, transition))
    return GST_STATE_CHANGE_FAILURE;
  ret = GST_ELEMENT_CLASS (gst_mimi_enc_parent_class)->change_state (element,
      transition);
  gst_moshi_model_after_change (&self->model, transition, ret);

  return ret;
}

/* -------------------------------------------------------------- properties */

static GstStructure *
make_stats (GstMimiEnc * self)
{
  GstStructure *stats = gst_structure_new_empty ("application/x-mimienc-stats");

  gst_moshi_steps_fill (&self->steps, GST_ELEMENT (self), stats);
  return stats;
}

static void
gst_mimi_enc_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  GstMimiEnc *self = GST_MIMI_ENC (object);

  if (gst_moshi_model_set_property (&self->model, id, value))
    return;

  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_CODEBOOKS:
      self->codebooks = g_value_get_uint (value);
      break;
    case PROP_LATENCY:
      self->latency = g_value_get_uint64 (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);

  if (id == PROP_CODEBOOKS)
    gst_pad_mark_reconfigure (GST_AUDIO_ENCODER_SRC_PAD (self));
}

static void
gst_mimi_enc_get_property (GObject * object, guint id, GValue * value,
    GParamSpec * pspec)
{
  GstMimiEnc *self = GST_MIMI_ENC (object);

  if (gst_moshi_model_get_property (&self->model, id, value))
    return;
  if (id == PROP_STATS) {
    g_value_take_boxed (value, make_stats (self));
    return;
  }

  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_CODEBOOKS:
      g_value_set_uint (value, self->codebooks);
      break;
    case PROP_LATENCY:
      g_value_set_uint64 (value, self->latency);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_mimi_enc_finalize (GObject * object)
{
  gst_moshi_model_clear (&GST_MIMI_ENC (object)->model);
  G_OBJECT_CLASS (gst_mimi_enc_parent_class)->finalize (object);
}

static void
gst_mimi_enc_init (GstMimiEnc * self)
{
  gst_moshi_model_init (&self->model, GST_ELEMENT (self), MOSHI_PART_ENCODER);
  self->codebooks = DEFAULT_CODEBOOKS;
  self->latency = DEFAULT_LATENCY;
  gst_audio_encoder_set_drainable (GST_AUDIO_ENCODER (self), FALSE);
  GST_PAD_SET_ACCEPT_TEMPLATE (GST_AUDIO_ENCODER_SINK_PAD (self));
}

static void
install_properties (GObjectClass * object_class)
{
  gst_moshi_model_install_properties (object_class);
  gst_moshi_model_install_weights (object_class);

  /**
   * GstMimiEnc:codebooks:
   *
   * How many codebooks to use where downstream accepts several numbers, or the
   * nearest number that it accepts. Each is 137.5 bit/s with Kyutai's codec.
   * A change while playing starts the codec anew.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_CODEBOOKS,
      g_param_spec_uint ("codebooks", "Codebooks",
          "Codebooks to use where the next element leaves it open; more sound "
          "better and cost more bits", 1, MIMI_MAX_CODEBOOKS, DEFAULT_CODEBOOKS,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
          GST_PARAM_MUTABLE_PLAYING));
  /**
   * GstMimiEnc:latency:
   *
   * The time that computing a frame is expected to take, added to the 80 ms of
   * the frame itself in the answer to latency queries.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_LATENCY,
      g_param_spec_uint64 ("latency", "Latency",
          "Expected time to compute a frame, in ns, told as latency on top of "
          "the frame's 80 ms; -1 = measured at the start",
          0, G_MAXUINT64, DEFAULT_LATENCY,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  /**
   * GstMimiEnc:stats:
   *
   * A structure `application/x-mimienc-stats` with these fields, all guint64,
   * counted from READY→PAUSED on:
   *
   * * `frames`: frames encoded
   * * `late`: those that took more than 80 ms in a live pipeline
   * * `last-step`, `mean-step`, `max-step`: time to compute a frame, in ns,
   *   waiting included
   * * `last-batch`, `mean-batch` (a gdouble), `max-batch`: streams of the
   *   process that were computed in one step with this one
   * * `last-wait`, `mean-wait`, `max-wait`: time that a frame waited until a
   *   step of others was over, in ns
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Frames encoded, late ones, and the time a frame takes in ns",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

static void
gst_mimi_enc_class_init (GstMimiEncClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstAudioEncoderClass *enc_class = GST_AUDIO_ENCODER_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (mimienc_debug, "mimienc", 0, "Mimi encoder");

  object_class->set_property = gst_mimi_enc_set_property;
  object_class->get_property = gst_mimi_enc_get_property;
  object_class->finalize = gst_mimi_enc_finalize;
  install_properties (object_class);

  element_class->change_state = gst_mimi_enc_change_state;
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Mimi audio encoder",
      "Codec/Encoder/Audio",
      "Encodes speech into the tokens of the Mimi neural codec, 12.5 frames "
      "a second", "The gst-moshi authors");

  enc_class->start = gst_mimi_enc_start;
  enc_class->stop = gst_mimi_enc_stop;
  enc_class->getcaps = gst_mimi_enc_getcaps;
  enc_class->set_format = gst_mimi_enc_set_format;
  enc_class->handle_frame = gst_mimi_enc_handle_frame;
  enc_class->pre_push = gst_mimi_enc_pre_push;
  enc_class->sink_event = gst_mimi_enc_sink_event;
  enc_class->src_query = gst_mimi_enc_src_query;
}
