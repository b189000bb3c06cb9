/**
 * SECTION:element-mimidec
 * @title: mimidec
 * @short_description: Mimi neural audio decoder
 * @see_also: mimienc, moshilm, mimiparse
 *
 * mimidec turns the tokens of the Mimi codec into sound: mono at 24 kHz, F32 or
 * S16. A stream may use any number of the model's codebooks.
 *
 * Tokens can only be heard with the codec that made them. When the caps carry a
 * `model-id`, it is compared with the model's; a wrong one is an error that
 * names both.
 *
 * ## Time
 *
 * There is no algorithmic delay: each frame of tokens is 80 ms of sound at
 * once. The latency is the time that computing takes (#GstMimiDec:latency).
 * The last frame of a stream is cut to its true length, as its
 * #GstAudioClippingMeta says, or else its duration.
 *
 * On a machine that is too slow for a live source no frame is dropped, for each
 * depends on those before it; the sink then plays with gaps. Every frame that
 * took more than 80 ms is counted as `late` in #GstMimiDec:stats and told by a
 * QOS message, at most one a second.
 *
 * ## Losses
 *
 * With the property `plc`, GAP events are filled with sound, in whole frames:
 * what is left of a gap that is no multiple of 80 ms is kept and added to the
 * next one. The last tokens are decoded again and faded out over 240 ms; longer
 * losses are silent. Without `plc` a GAP event is passed on.
 *
 * A frame of the wrong size, or with an index that the codebook does not have,
 * is refused with a warning and concealed in the same way. More than
 * `max-errors` (10) in a row end the stream with an error.
 *
 * ## State
 *
 * The codec remembers 10 seconds. FLUSH_STOP, STREAM_START and the custom
 * downstream event `moshi/reset` start it anew; a DISCONT or a new segment does
 * not. A decoder that starts in the middle of a stream, as after a seek, sounds
 * right within some frames; mimiparse gives it frames from before the seek's
 * target for that.
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
 * gst-launch-1.0 filesrc location=tone.mimi ! mimiparse ! mimidec ! wavenc ! filesink location=tone.wav
 * ]| Turn a file of tokens into a WAV file.
 * |[
 * gst-launch-1.0 audiotestsrc num-buffers=100 ! audioconvert ! audioresample ! mimienc ! mimidec plc=true ! audioconvert ! audioresample ! autoaudiosink
 * ]| Hear what the codec makes of a tone.
 *
 * Since: 0.1
 */
#include "gstmimidec.h"
#include "gstmoshimodel.h"
#include "gstmoshisteps.h"
#include "mimicaps.h"
#include "mimiconceal.h"
#include "moshievents.h"

#include <gst/audio/audio.h>
#include <math.h>
#include <string.h>

GST_DEBUG_CATEGORY_STATIC (mimidec_debug);
#define GST_CAT_DEFAULT mimidec_debug

#define DEFAULT_LATENCY GST_CLOCK_TIME_NONE
#define MAX_ERRORS 10
/* Frames with which the time of a frame is measured. */
#define WARM_UP_FRAMES 3

enum
{
  PROP_LATENCY = GST_MOSHI_MODEL_PROP_LAST,
  PROP_STATS
};

struct _GstMimiDec
{
  GstAudioDecoder parent;

  GstMoshiModel model;

  /* Properties and statistics, under the object lock */
  GstClockTime latency;
  GstMoshiSteps steps;
  guint64 lost, invalid, concealed;
  gint max_errors;              /* the parent forgets it when it stops */

  /* Of the streaming thread */
  MoshiSlot *decoder;           /* NULL: to be made with the next frame */
  GstMimiFormat format;         /* of the input */
  GstAudioFormat output;
  gboolean refused;             /* the caps: an event that is sent again */
  gboolean negotiated;          /* the output */
  gboolean restart;             /* before the next frame */
  MimiConceal conceal;
  guint64 owed;                 /* samples lost and not yet filled */
  gint invalid_run;             /* refused frames in a row */
  gfloat pcm[GST_MIMI_FRAME_SAMPLES];
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("audio/x-raw, "
        "format = (string) { " GST_AUDIO_NE (F32) ", " GST_AUDIO_NE (S16) " }, "
        "rate = (int) 24000, channels = (int) 1, "
        "layout = (string) interleaved"));

G_DEFINE_TYPE (GstMimiDec, gst_mimi_dec, GST_TYPE_AUDIO_DECODER);
GST_ELEMENT_REGISTER_DEFINE (mimidec, "mimidec", GST_RANK_SECONDARY,
    GST_TYPE_MIMI_DEC);

/* ------------------------------------------------------------ negotiation */

/* The template, with what the open model can decode. */
static GstCaps *
gst_mimi_dec_getcaps (GstAudioDecoder * dec, GstCaps * filter)
{
  MoshiModel *model = gst_moshi_model_ref (&GST_MIMI_DEC (dec)->model);
  GstCaps *caps, *result;

  caps = gst_static_pad_template_get_caps (&sink_template);
  if (model) {
    const MoshiModelInfo *info = moshi_model_info (model);

    caps = gst_caps_make_writable (caps);
    gst_caps_set_simple (caps, "codebook-size", G_TYPE_INT,
        info->codebook_size, NULL);
    if (info->codebooks > 1)
      gst_caps_set_simple (caps, "codebooks", GST_TYPE_INT_RANGE, 1,
          info->codebooks, NULL);
    else
      gst_caps_set_simple (caps, "codebooks", G_TYPE_INT, 1, NULL);
    moshi_model_unref (model);
  }
  result = gst_audio_decoder_proxy_getcaps (dec, caps, filter);
  gst_caps_unref (caps);

  return result;
}

/* Why the model cannot decode the stream, or NULL. */
static gchar *
find_mismatch (const GstMimiFormat * format, const MoshiModelInfo * info)
{
  if (format->codebook_size != info->codebook_size)
    return g_strdup_printf ("The stream's codebooks have %d entries, those of "
        "%s have %d.", format->codebook_size, info->path, info->codebook_size);
  if (format->codebooks > info->codebooks)
    return g_strdup_printf ("The stream has %d codebooks, %s has %d.",
        format->codebooks, info->path, info->codebooks);
  if (format->model_id[0] && info->codec_id[0] &&
      strcmp (format->model_id, info->codec_id))
    return g_strdup_printf ("The stream was made with the codec %s, %s is the "
        "codec %s.", format->model_id, info->path, info->codec_id);
  return NULL;
}

static gboolean
gst_mimi_dec_set_format (GstAudioDecoder * dec, GstCaps * caps)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);
  MoshiModel *model = gst_moshi_model_ref (&self->model);
  gchar *mismatch = NULL;
  GstMimiFormat format;
  gboolean complete;

  if (!model)
    return FALSE;
  complete = gst_mimi_format_from_caps (&format, caps);
  if (complete)
    mismatch = find_mismatch (&format, moshi_model_info (model));
  moshi_model_unref (model);
  if (!complete || mismatch)
    goto refuse;

  self->format = format;
  self->negotiated = FALSE;
  self->refused = FALSE;
  return TRUE;

  /* ERRORS */
refuse:
  {
    /* Caps that were refused come again with every buffer. */
    if (self->refused)
      GST_DEBUG_OBJECT (self, "refused again");
    else if (mismatch)
      GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE,
          ("%s Set model= to the model that made the stream.", mismatch),
          ("%" GST_PTR_FORMAT, caps));
    else
      GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
          ("The caps of the tokens are not complete."),
          ("%" GST_PTR_FORMAT, caps));
    self->refused = TRUE;
    g_free (mismatch);
    return FALSE;
  }
}

static void
send_tags (GstMimiDec * self)
{
  guint bits = mimi_tokens_bits (self->format.codebook_size);
  GstTagList *tags;

  /* 12.5 frames a second */
  tags = gst_tag_list_new (GST_TAG_AUDIO_CODEC, "Mimi", GST_TAG_BITRATE,
      (bits * self->format.codebooks * 25 + 1) / 2, NULL);
  gst_audio_decoder_merge_tags (GST_AUDIO_DECODER (self), tags,
      GST_TAG_MERGE_REPLACE);
  gst_tag_list_unref (tags);
}

/* F32 unless downstream wants S16. */
static gboolean
negotiate_output (GstMimiDec * self)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);
  GstCaps *caps = gst_pad_get_allowed_caps (dec->srcpad);
  GstAudioInfo info;

  gst_audio_info_set_format (&info, GST_AUDIO_FORMAT_F32, GST_MIMI_RATE, 1,
      NULL);
  if (caps && !gst_caps_is_empty (caps)) {
    caps = gst_caps_fixate (caps);
    gst_audio_info_from_caps (&info, caps);
  }
  gst_clear_caps (&caps);
  self->output = GST_AUDIO_INFO_FORMAT (&info);
  self->negotiated = TRUE;

  return gst_audio_decoder_set_output_format (dec, &info);
}

/* --------------------------------------------------------------- decoding */

static GstClockTime
now (void)
{
  return g_get_monotonic_time () * GST_USECOND;
}

/* The slowest of a few frames, after which the codec is as new. */
static gboolean
measure_step (GstMimiDec * self, GstClockTime * step, MoshiError * error)
{
  static const guint16 codes[MIMI_MAX_CODEBOOKS];

  *step = 0;
  for (guint i = 0; i < WARM_UP_FRAMES; i++) {
    GstClockTime start = now ();

    if (mimi_decoder_slot_step (self->decoder, codes, self->format.codebooks,
            self->pcm, error))
      return FALSE;
    *step = MAX (*step, now () - start);
  }
  moshi_slot_reset (self->decoder);
  return TRUE;
}

static void
update_latency (GstMimiDec * self, GstClockTime measured)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);
  GstClockTime latency, old;

  GST_OBJECT_LOCK (self);
  latency = self->latency;
  GST_OBJECT_UNLOCK (self);

  if (!GST_CLOCK_TIME_IS_VALID (latency))
    latency = gst_moshi_steps_latency (measured);
  gst_audio_decoder_get_latency (dec, &old, NULL);
  if (latency != old)
    gst_audio_decoder_set_latency (dec, latency, latency);
}

static GstFlowReturn
make_decoder (GstMimiDec * self)
{
  MoshiModel *model;
  MoshiError error = { 0 };
  GstClockTime step;
  GstFlowReturn ret;

  ret = gst_moshi_model_wait (&self->model, &model);
  if (ret != GST_FLOW_OK)
    return ret;

  self->decoder = mimi_decoder_slot_new (model, &error);
  gst_moshi_model_set_slot (&self->model, self->decoder);
  if (!self->decoder || !measure_step (self, &step, &error))
    goto failed;
  update_latency (self, step);
  GST_INFO_OBJECT (self, "%d codebooks on %s, a frame takes %" GST_TIME_FORMAT,
      self->format.codebooks, moshi_model_device (model), GST_TIME_ARGS (step));

  return GST_FLOW_OK;

  /* ERRORS */
failed:
  {
    gst_moshi_model_free_slot (&self->model, &self->decoder);
    if (error.status == MOSHI_ERROR_CANCELLED)
      return GST_FLOW_FLUSHING;
    gst_moshi_element_error (GST_ELEMENT (self), &error, "");
    return GST_FLOW_ERROR;
  }
}

static void
restart (GstMimiDec * self)
{
  if (self->decoder)
    moshi_slot_reset (self->decoder);
  memset (&self->conceal, 0, sizeof self->conceal);
  self->owed = 0;
  self->invalid_run = 0;
  self->restart = FALSE;
}

/* Makes everything ready for a frame. */
static GstFlowReturn
prepare (GstMimiDec * self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  if (!self->decoder)
    ret = make_decoder (self);
  if (ret != GST_FLOW_OK)
    return ret;

  if (!self->negotiated ||
      gst_pad_needs_reconfigure (GST_AUDIO_DECODER_SRC_PAD (self))) {
    if (!negotiate_output (self))
      return GST_FLOW_NOT_NEGOTIATED;
    send_tags (self);
  }
  if (self->restart)
    restart (self);

  return GST_FLOW_OK;
}

static GstBuffer *
make_output (GstMimiDec * self, gsize from, gsize samples)
{
  gboolean f32 = self->output == GST_AUDIO_FORMAT_F32;
  const gfloat *pcm = self->pcm + from;
  GstBuffer *buffer;
  GstMapInfo map;

  buffer = gst_audio_decoder_allocate_output_buffer (GST_AUDIO_DECODER (self),
      samples * (f32 ? sizeof (gfloat) : sizeof (gint16)));
  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  if (f32) {
    memcpy (map.data, pcm, samples * sizeof (gfloat));
  } else {
    gint16 *out = (gint16 *) map.data;

    for (gsize i = 0; i < samples; i++)
      out[i] = lrintf (CLAMP (pcm[i] * 32768.0f, -32768.0f, 32767.0f));
  }
  gst_buffer_unmap (buffer, &map);

  return buffer;
}

/* The part of the frame that is sound of the stream. */
static void
get_true_part (GstBuffer * buffer, gsize * from, gsize * samples)
{
  GstAudioClippingMeta *clip = gst_buffer_get_audio_clipping_meta (buffer);
  GstClockTime duration = GST_BUFFER_DURATION (buffer);

  *from = 0;
  *samples = GST_MIMI_FRAME_SAMPLES;
  if (clip && clip->format == GST_FORMAT_DEFAULT) {
    *from = MIN (clip->start, GST_MIMI_FRAME_SAMPLES);
    *samples -= *from;
    *samples -= MIN (clip->end, *samples);
  } else if (duration > 0 && duration < GST_MIMI_FRAME_DURATION) {
    *samples = gst_util_uint64_scale_round (duration, GST_MIMI_RATE,
        GST_SECOND);
  }
}

static GstFlowReturn
failed_step (GstMimiDec * self, const MoshiError * error)
{
  if (error->status == MOSHI_ERROR_CANCELLED)
    return GST_FLOW_FLUSHING;
  GST_ELEMENT_ERROR (self, STREAM, DECODE, ("%s", error->message), (NULL));
  return GST_FLOW_ERROR;
}

static GstFlowReturn
conceal_frame (GstMimiDec * self)
{
  MoshiError error = { 0 };

  if (mimi_conceal_lost (&self->conceal, self->decoder, self->pcm, &error))
    return failed_step (self, &error);
  GST_OBJECT_LOCK (self);
  self->concealed++;
  GST_OBJECT_UNLOCK (self);

  return GST_FLOW_OK;
}

/* An empty buffer stands for a loss as long as its duration. */
static GstFlowReturn
fill_loss (GstMimiDec * self, GstClockTime duration)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);
  GstFlowReturn ret = GST_FLOW_OK;

  if (!GST_CLOCK_TIME_IS_VALID (duration))
    duration = GST_MIMI_FRAME_DURATION;
  self->owed += gst_util_uint64_scale_round (duration, GST_MIMI_RATE,
      GST_SECOND);

  while (ret == GST_FLOW_OK && self->owed >= GST_MIMI_FRAME_SAMPLES) {
    self->owed -= GST_MIMI_FRAME_SAMPLES;
    GST_OBJECT_LOCK (self);
    self->lost++;
    GST_OBJECT_UNLOCK (self);
    ret = conceal_frame (self);
    if (ret == GST_FLOW_OK)
      ret = gst_audio_decoder_finish_subframe (dec, make_output (self, 0,
              GST_MIMI_FRAME_SAMPLES));
  }
  if (ret == GST_FLOW_OK)
    ret = gst_audio_decoder_finish_subframe (dec, NULL);

  return ret;
}

/* A frame that cannot be decoded is told, and concealed. */
static GstFlowReturn
refuse_frame (GstMimiDec * self, GstBuffer * buffer, MimiTokensResult result)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);
  GstFlowReturn ret = GST_FLOW_OK;

  GST_OBJECT_LOCK (self);
  self->invalid++;
  GST_OBJECT_UNLOCK (self);

  /* The parent forgets its count with every buffer that is made, so the weight
   * counts those in a row. */
  self->invalid_run++;
  if (result == MIMI_TOKENS_WRONG_SIZE)
    GST_AUDIO_DECODER_ERROR (self, self->invalid_run, STREAM, DECODE,
        ("A frame of %" G_GSIZE_FORMAT " bytes came where the caps promise %"
            G_GSIZE_FORMAT ".", gst_buffer_get_size (buffer),
            gst_mimi_format_frame_size (&self->format)), (NULL), ret);
  else
    GST_AUDIO_DECODER_ERROR (self, self->invalid_run, STREAM, DECODE,
        ("A frame has an index that the codebooks of %d entries do not have.",
            self->format.codebook_size), (NULL), ret);
  if (ret == GST_FLOW_OK)
    ret = conceal_frame (self);
  if (ret != GST_FLOW_OK)
    return ret;

  return gst_audio_decoder_finish_frame (dec, make_output (self, 0,
          GST_MIMI_FRAME_SAMPLES), 1);
}

static GstFlowReturn
decode (GstMimiDec * self, GstBuffer * buffer, const guint16 * codes)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);
  MoshiError error = { 0 };
  GstClockTime start = now (), took;
  MoshiTurn turn;
  gsize from, samples;

  if (mimi_decoder_slot_step (self->decoder, codes, self->format.codebooks,
          self->pcm, &error))
    goto failed;
  took = now () - start;
  moshi_slot_turn (self->decoder, &turn);
  gst_moshi_steps_add (&self->steps, GST_ELEMENT (self), took, &turn,
      &dec->input_segment, GST_BUFFER_PTS (buffer));
  mimi_conceal_good (&self->conceal, codes, self->format.codebooks, self->pcm);
  self->invalid_run = 0;

  get_true_part (buffer, &from, &samples);
  return gst_audio_decoder_finish_frame (dec,
      samples ? make_output (self, from, samples) : NULL, 1);

  /* ERRORS */
failed:
  {
    return failed_step (self, &error);
  }
}

static GstFlowReturn
gst_mimi_dec_handle_frame (GstAudioDecoder * dec, GstBuffer * buffer)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);
  guint16 codes[MIMI_MAX_CODEBOOKS];
  MimiTokensResult result;
  GstFlowReturn ret;
  GstMapInfo map;

  if (!buffer)
    return GST_FLOW_OK;
  if (!self->format.codebooks)  /* a gap before the first caps */
    return gst_audio_decoder_finish_frame (dec, NULL, 1);
  ret = prepare (self);
  if (ret != GST_FLOW_OK)
    return ret;
  if (gst_buffer_get_size (buffer) == 0)
    return fill_loss (self, GST_BUFFER_DURATION (buffer));

  gst_buffer_map (buffer, &map, GST_MAP_READ);
  result = mimi_tokens_read (self->format.stream_format,
      self->format.codebooks, self->format.codebook_size, map.data, map.size,
      codes);
  gst_buffer_unmap (buffer, &map);
  if (result != MIMI_TOKENS_OK)
    return refuse_frame (self, buffer, result);

  return decode (self, buffer, codes);
}

/* ----------------------------------------------------------------- events */

static gboolean
gst_mimi_dec_sink_event (GstAudioDecoder * dec, GstEvent * event)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      gst_moshi_model_set_flushing (&self->model, TRUE);
      break;
    case GST_EVENT_FLUSH_STOP:
      gst_moshi_model_set_flushing (&self->model, FALSE);
      self->restart = TRUE;
      break;
    case GST_EVENT_STREAM_START:
      self->restart = TRUE;
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
      if (moshi_event_is_reset (event, GST_ELEMENT (self)))
        self->restart = TRUE;
      break;
    case GST_EVENT_EOS:
      /* An empty stream has a format too. */
      if (self->format.codebooks > 0 && !self->negotiated &&
          negotiate_output (self))
        gst_audio_decoder_negotiate (dec);
      break;
    default:
      break;
  }
  return GST_AUDIO_DECODER_CLASS (gst_mimi_dec_parent_class)->sink_event (dec,
      event);
}

static gboolean
gst_mimi_dec_src_query (GstAudioDecoder * dec, GstQuery * query)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);
  gboolean handled;

  handled = GST_AUDIO_DECODER_CLASS (gst_mimi_dec_parent_class)->src_query (dec,
      query);
  if (handled && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    gst_moshi_steps_note_latency (&self->steps, GST_ELEMENT (self), query);
  return handled;
}

/* ---------------------------------------------------------- start and stop */

static gboolean
gst_mimi_dec_start (GstAudioDecoder * dec)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);

  GST_OBJECT_LOCK (self);
  memset (&self->steps, 0, sizeof self->steps);
  self->lost = self->invalid = self->concealed = 0;
  GST_OBJECT_UNLOCK (self);
  gst_audio_decoder_set_plc_aware (dec, TRUE);
  gst_audio_decoder_set_max_errors (dec, self->max_errors);
  self->format.codebooks = 0;
  self->refused = FALSE;
  self->negotiated = FALSE;
  restart (self);
  update_latency (self, 0);

  return TRUE;
}

static gboolean
gst_mimi_dec_stop (GstAudioDecoder * dec)
{
  GstMimiDec *self = GST_MIMI_DEC (dec);

  gst_moshi_model_free_slot (&self->model, &self->decoder);
  return TRUE;
}

static GstStateChangeReturn
gst_mimi_dec_change_state (GstElement * element, GstStateChange transition)
{
  GstMimiDec *self = GST_MIMI_DEC (element);
  GstAudioDecoder *dec = GST_AUDIO_DECODER (element);
  GstStateChangeReturn ret;

  if (!gst_moshi_model_before_change (&self->model, transition))
    return GST_STATE_CHANGE_FAILURE;
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED)
    self->max_errors = gst_audio_decoder_get_max_errors (dec);
  ret = GST_ELEMENT_CLASS (gst_mimi_dec_parent_class)->change_state (element,
      transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    gst_audio_decoder_set_max_errors (dec, self->max_errors);
  gst_moshi_model_after_change (&self->model, transition, ret);

  return ret;
}

/* -------------------------------------------------------------- properties */

static GstStructure *
make_stats (GstMimiDec * self)
{
  GstStructure *stats = gst_structure_new_empty ("application/x-mimidec-stats");

  gst_moshi_steps_fill (&self->steps, GST_ELEMENT (self), stats);
  GST_OBJECT_LOCK (self);
  gst_structure_set (stats,
      "lost", G_TYPE_UINT64, self->lost,
      "invalid", G_TYPE_UINT64, self->invalid,
      "concealed", G_TYPE_UINT64, self->concealed, NULL);
  GST_OBJECT_UNLOCK (self);

  return stats;
}

static void
gst_mimi_dec_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  GstMimiDec *self = GST_MIMI_DEC (object);

  if (gst_moshi_model_set_property (&self->model, id, value))
    return;

  switch (id) {
    case PROP_LATENCY:
      GST_OBJECT_LOCK (self);
      self->latency = g_value_get_uint64 (value);
      GST_OBJECT_UNLOCK (self);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
}

static void
gst_mimi_dec_get_property (GObject * object, guint id, GValue * value,
    GParamSpec * pspec)
{
  GstMimiDec *self = GST_MIMI_DEC (object);

  if (gst_moshi_model_get_property (&self->model, id, value))
    return;

  switch (id) {
    case PROP_LATENCY:
      GST_OBJECT_LOCK (self);
      g_value_set_uint64 (value, self->latency);
      GST_OBJECT_UNLOCK (self);
      break;
    case PROP_STATS:
      g_value_take_boxed (value, make_stats (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
}

static void
gst_mimi_dec_finalize (GObject * object)
{
  gst_moshi_model_clear (&GST_MIMI_DEC (object)->model);
  G_OBJECT_CLASS (gst_mimi_dec_parent_class)->finalize (object);
}

static void
gst_mimi_dec_init (GstMimiDec * self)
{
  GstAudioDecoder *dec = GST_AUDIO_DECODER (self);

  gst_moshi_model_init (&self->model, GST_ELEMENT (self), MOSHI_PART_DECODER);
  self->latency = DEFAULT_LATENCY;
  gst_audio_decoder_set_needs_format (dec, TRUE);
  gst_audio_decoder_set_drainable (dec, FALSE);
  gst_audio_decoder_set_max_errors (dec, MAX_ERRORS);
  gst_audio_decoder_set_use_default_pad_acceptcaps (dec, TRUE);
  GST_PAD_SET_ACCEPT_TEMPLATE (GST_AUDIO_DECODER_SINK_PAD (self));
}

static void
install_properties (GObjectClass * object_class)
{
  gst_moshi_model_install_properties (object_class);
  gst_moshi_model_install_weights (object_class);

  /**
   * GstMimiDec:latency:
   *
   * The time that computing a frame is expected to take: the answer to latency
   * queries.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_LATENCY,
      g_param_spec_uint64 ("latency", "Latency",
          "Expected time to compute a frame, in ns, told as latency; "
          "-1 = measured at the start",
          0, G_MAXUINT64, DEFAULT_LATENCY,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  /**
   * GstMimiDec:stats:
   *
   * A structure `application/x-mimidec-stats` with these fields, all guint64,
   * counted from READY→PAUSED on:
   *
   * * `frames`: frames decoded
   * * `late`: those that took more than 80 ms in a live pipeline
   * * `last-step`, `mean-step`, `max-step`: time to compute a frame, in ns,
   *   waiting included
   * * `last-batch`, `mean-batch` (a gdouble), `max-batch`: streams of the
   *   process that were computed in one step with this one
   * * `last-wait`, `mean-wait`, `max-wait`: time that a frame waited until a
   *   step of others was over, in ns
   * * `lost`: frames that never came (with `plc`)
   * * `invalid`: frames that could not be decoded
   * * `concealed`: frames of sound made up for both
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Frames decoded, late, lost, invalid and concealed, and the time a "
          "frame takes in ns", GST_TYPE_STRUCTURE,
          G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

static void
gst_mimi_dec_class_init (GstMimiDecClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstAudioDecoderClass *dec_class = GST_AUDIO_DECODER_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (mimidec_debug, "mimidec", 0, "Mimi decoder");

  object_class->set_property = gst_mimi_dec_set_property;
  object_class->get_property = gst_mimi_dec_get_property;
  object_class->finalize = gst_mimi_dec_finalize;
  install_properties (object_class);

  element_class->change_state = gst_mimi_dec_change_state;
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Mimi audio decoder",
      "Codec/Decoder/Audio",
      "Decodes the tokens of the Mimi neural codec into sound",
      "The gst-moshi authors");

  dec_class->start = gst_mimi_dec_start;
  dec_class->stop = gst_mimi_dec_stop;
  dec_class->getcaps = gst_mimi_dec_getcaps;
  dec_class->set_format = gst_mimi_dec_set_format;
  dec_class->handle_frame = gst_mimi_dec_handle_frame;
  dec_class->sink_event = gst_mimi_dec_sink_event;
  dec_class->src_query = gst_mimi_dec_src_query;
}
