/**
 * SECTION:element-moshilm
 * @title: moshilm
 * @short_description: a speech-text model that listens and speaks
 * @see_also: mimienc, mimidec
 *
 * moshilm holds a conversation. It hears the tokens of a codec (mimienc), and
 * for every frame of 80 ms that it hears it says one: tokens for mimidec on
 * the pad `src`, and what they mean on the pad `text_src`, which need not be
 * linked. It listens while it speaks. Models that only listen (speech to text)
 * have no tokens to say: nothing comes out of `src`, and the text is what was
 * heard.
 *
 * The number of codebooks and their size are those of the model, on either
 * side.
 *
 * ## Time
 *
 * The conversation has one frame for every 80 ms of the stream, whatever
 * arrives when. A GAP event or a jump of the timestamps by k frames is stepped
 * through with k frames of silence (the codec's codes of silence; without a
 * codec beside the language model, no input), so that Moshi goes on talking.
 * Of a hole longer than #GstMoshiLm:max-gap the rest is left out, and the next
 * frame is marked DISCONT. A frame from before is not heard again, unless it
 * is marked DISCONT.
 *
 * A buffer of speech carries the time of the frame that the model answered
 * with it, so that recordings of both voices line up. The model completes it
 * max_delay frames later (one for Moshi, two for Hibiki): that, and the time
 * of computing (#GstMoshiLm:latency), is the latency that the element reports.
 * From N frames come N - max_delay. Text is known max_delay frames before the
 * speech it goes with, and is pushed at once, with the time of the speech.
 * Speech to text: the time when it was said.
 *
 * At the end of the stream Moshi may finish: it hears silence until it has
 * written nothing for two seconds, at most #GstMoshiLm:drain-frames. Hibiki is
 * told that the speech has ended, and stops when it says so; speech to text
 * runs for as long as its text is behind. With drain-frames=0 the stream ends
 * at once.
 *
 * ## Text
 *
 * `text_src` gives UTF-8: words, lines or the model's own pieces
 * (#GstMoshiLm:text-mode), with the time and duration of their frames, and GAP
 * events where nothing is said. A word is pushed when the next one begins or
 * in the first frame without text.
 *
 * ## A new conversation
 *
 * FLUSH_STOP, STREAM_START and the custom downstream event `moshi/reset` begin
 * a new conversation: the model forgets everything, and the random numbers
 * start again from the seed. The model in memory, the properties, the caps and
 * the statistics stay. A new segment does not: as long as running time
 * continues, the conversation does.
 *
 * ## A machine that is too slow
 *
 * A step that takes longer than 80 ms in a live pipeline, or a frame that
 * comes more than #GstMoshiLm:max-lateness after its time, is told by a QOS
 * message, at most one a second each. Late frames are not heard and nothing is
 * said for them until one comes in time: the conversation jumps, and is in the
 * present again. Without a live source no frame is ever left out.
 *
 * ## Properties of the model
 *
 * A checkpoint names the sampling that suits it. #GstMoshiLm:temperature,
 * #GstMoshiLm:top-k, #GstMoshiLm:text-temperature and #GstMoshiLm:text-top-k
 * follow it until they are set. Two conversations with the same input,
 * sampling and #GstMoshiLm:seed are the same.
 *
 * ## Messages
 *
 * PROGRESS messages with the code `open` tell how far the model is loaded. A
 * model with a detector of pauses (speech to text) posts an element message
 * `moshi-vad` for every frame, with `timestamp`, `stream-time`, `running-time`
 * and `pause`, an array of the probabilities that the speaker has stopped for
 * 0.5, 1, 2 and 3 seconds; #GstMoshiLm:post-messages turns it off.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 filesrc location=user_hello.wav ! wavparse ! audioconvert ! audioresample ! mimienc ! moshilm ! mimidec ! audioconvert ! wavenc ! filesink location=reply.wav
 * ]| Answers a file with a file.
 * |[
 * gst-launch-1.0 filesrc location=user_hello.wav ! wavparse ! audioconvert ! audioresample ! mimienc ! moshilm name=m m.src ! fakesink m.text_src ! queue ! filesink location=reply.txt
 * ]| Writes down what Moshi says.
 *
 * Since: 0.1
 */
#include "gstmoshilm-private.h"

#include <string.h>

GST_DEBUG_CATEGORY (gst_moshi_lm_debug);
#define GST_CAT_DEFAULT gst_moshi_lm_debug

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

GstStaticPadTemplate moshi_lm_text_template =
GST_STATIC_PAD_TEMPLATE ("text_src",
    GST_PAD_SRC, GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("text/x-raw, format = (string) utf8"));

G_DEFINE_TYPE (GstMoshiLm, gst_moshi_lm, GST_TYPE_ELEMENT);
GST_ELEMENT_REGISTER_DEFINE (moshilm, "moshilm", GST_RANK_NONE,
    GST_TYPE_MOSHI_LM);

/* ------------------------------------------------------------------ states */

static gboolean
check_model (GstMoshiLm * self)
{
  MoshiModelInfo info;

  if (!moshi_lm_get_info (self, &info))
    return FALSE;
  if (info.user_codebooks < 1)
    goto deaf;
  if (MAX (info.user_codebooks, info.own_codebooks) > MIMI_MAX_CODEBOOKS)
    goto too_many;
  return TRUE;

  /* ERRORS */
deaf:
  {
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        ("The model %s (%s) does not listen; moshilm needs one that does, such "
            "as Moshi, Hibiki or speech-to-text.", info.path, info.model_type),
        (NULL));
    return FALSE;
  }
too_many:
  {
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        ("The model %s wants %d codebooks and speaks %d; a frame of tokens has "
            "at most %d.", info.path, info.user_codebooks, info.own_codebooks,
            MIMI_MAX_CODEBOOKS), (NULL));
    return FALSE;
  }
}

static void
start (GstMoshiLm * self)
{
  GST_OBJECT_LOCK (self);
  memset (&self->stats, 0, sizeof self->stats);
  self->live = FALSE;
  self->upstream_latency = 0;
  self->last_seek = GST_SEQNUM_INVALID;
  GST_OBJECT_UNLOCK (self);
  gst_segment_init (&self->segment, GST_FORMAT_TIME);
  self->refused = FALSE;
  moshi_lm_talk_reset (self);
}

static void
stop (GstMoshiLm * self)
{
  moshi_lm_output_drop_events (self, FALSE);
  moshi_lm_session_free (self);
  moshi_lm_talk_reset (self);
  gst_flow_combiner_reset (self->combiner);
  self->negotiated = FALSE;
}

static GstStateChangeReturn
gst_moshi_lm_change_state (GstElement * element, GstStateChange transition)
{
  GstMoshiLm *self = GST_MOSHI_LM (element);
  gboolean rising = transition == GST_STATE_CHANGE_NULL_TO_READY ||
      transition == GST_STATE_CHANGE_READY_TO_PAUSED;
  GstStateChangeReturn ret = GST_STATE_CHANGE_FAILURE;

  if (!gst_moshi_model_before_change (&self->model, transition))
    return ret;
  if (rising && !check_model (self))
    goto done;
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED)
    start (self);

  ret = GST_ELEMENT_CLASS (gst_moshi_lm_parent_class)->change_state (element,
      transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop (self);

done:
  gst_moshi_model_after_change (&self->model, transition, ret);
  return ret;
}

/* ----------------------------------------------------------------- queries */

static gboolean
answer_caps (GstMoshiLm * self, GstPad * pad, GstQuery * query)
{
  GstCaps *caps = gst_pad_get_pad_template_caps (pad), *filter;
  MoshiModelInfo info;
  gint codebooks;

  if (moshi_lm_get_info (self, &info)) {
    codebooks = pad == self->sinkpad ? info.user_codebooks : info.own_codebooks;
    caps = gst_caps_make_writable (caps);
    gst_caps_set_simple (caps,
        "codebook-size", G_TYPE_INT, info.lm_codebook_size, NULL);
    if (codebooks > 0)
      gst_caps_set_simple (caps, "codebooks", G_TYPE_INT, codebooks, NULL);
  }
  gst_query_parse_caps (query, &filter);
  if (filter) {
    GstCaps *both = gst_caps_intersect_full (filter, caps,
        GST_CAPS_INTERSECT_FIRST);

    gst_caps_replace (&caps, both);
    gst_caps_unref (both);
  }
  gst_query_set_caps_result (query, caps);
  gst_caps_unref (caps);

  return TRUE;
}

static gboolean
gst_moshi_lm_sink_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_CAPS)
    return answer_caps (GST_MOSHI_LM (parent), pad, query);
  return gst_pad_query_default (pad, parent, query);
}

static gboolean
answer_latency (GstMoshiLm * self, GstPad * pad, GstQuery * query)
{
  GstClockTime min, max, mine = moshi_lm_latency (self, pad);
  gboolean live;

  if (!gst_pad_peer_query (self->sinkpad, query))
    return FALSE;
  gst_moshi_steps_note_latency (&self->stats.steps, GST_ELEMENT (self), query);
  gst_query_parse_latency (query, &live, &min, &max);
  GST_OBJECT_LOCK (self);
  self->live = live;
  self->upstream_latency = min;
  GST_OBJECT_UNLOCK (self);

  GST_DEBUG_OBJECT (pad, "latency %" GST_TIME_FORMAT " and %" GST_TIME_FORMAT
      " before it, %slive", GST_TIME_ARGS (mine), GST_TIME_ARGS (min),
      live ? "" : "not ");
  if (GST_CLOCK_TIME_IS_VALID (max))
    max += mine;
  gst_query_set_latency (query, live, min + mine, max);

  return TRUE;
}

static gboolean
gst_moshi_lm_src_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_CAPS:
      if (pad == self->srcpad)
        return answer_caps (self, pad, query);
      break;
    case GST_QUERY_LATENCY:
      return answer_latency (self, pad, query);
    default:
      break;
  }
  return gst_pad_query_default (pad, parent, query);
}

/* A seek that comes up from both sinks is one seek. */
static gboolean
gst_moshi_lm_src_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);
  guint32 seqnum = gst_event_get_seqnum (event);
  gboolean again;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    GST_OBJECT_LOCK (self);
    again = seqnum == self->last_seek;
    self->last_seek = seqnum;
    GST_OBJECT_UNLOCK (self);
    if (again) {
      gst_event_unref (event);
      return TRUE;
    }
  }
  return gst_pad_event_default (pad, parent, event);
}

/* ----------------------------------------------------------------- element */

static void
gst_moshi_lm_finalize (GObject * object)
{
  GstMoshiLm *self = GST_MOSHI_LM (object);

  moshi_lm_output_drop_events (self, FALSE);
  moshi_lm_session_free (self);
  gst_flow_combiner_unref (self->combiner);
  g_free (self->settings.condition);
  gst_moshi_model_clear (&self->model);
  G_OBJECT_CLASS (gst_moshi_lm_parent_class)->finalize (object);
}

static void
gst_moshi_lm_class_init (GstMoshiLmClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_moshi_lm_debug, "moshilm", 0,
      "Moshi language model");

  object_class->set_property = moshi_lm_set_property;
  object_class->get_property = moshi_lm_get_property;
  object_class->finalize = gst_moshi_lm_finalize;
  element_class->change_state = gst_moshi_lm_change_state;

  gst_moshi_model_install_properties (object_class);
  moshi_lm_install_properties (object_class);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_add_static_pad_template (element_class,
      &moshi_lm_text_template);
  gst_element_class_set_static_metadata (element_class,
      "Moshi speech-text language model", "Filter/Audio/Text",
      "Holds a conversation: hears Mimi tokens, answers with Mimi tokens and "
      "text", "The gst-moshi authors");
}

static GstPad *
add_src_pad (GstMoshiLm * self, GstStaticPadTemplate * template)
{
  GstPad *pad = gst_pad_new_from_static_template (template,
      template->name_template);

  gst_pad_set_event_function (pad, gst_moshi_lm_src_event);
  gst_pad_set_query_function (pad, gst_moshi_lm_src_query);
  gst_pad_use_fixed_caps (pad);
  gst_element_add_pad (GST_ELEMENT (self), pad);
  gst_flow_combiner_add_pad (self->combiner, pad);

  return pad;
}

static void
gst_moshi_lm_init (GstMoshiLm * self)
{
  moshi_lm_settings_init (&self->settings);
  self->step_latency = GST_CLOCK_TIME_NONE;
  gst_moshi_model_init (&self->model, GST_ELEMENT (self),
      MOSHI_PART_LM | MOSHI_PART_TEXT);
  self->combiner = gst_flow_combiner_new ();

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, moshi_lm_input_chain);
  gst_pad_set_event_full_function (self->sinkpad, moshi_lm_input_event);
  gst_pad_set_query_function (self->sinkpad, gst_moshi_lm_sink_query);
  /* So that caps that do not fit come to be named in the error. */
  GST_PAD_SET_ACCEPT_TEMPLATE (self->sinkpad);
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = add_src_pad (self, &src_template);
  self->textpad = add_src_pad (self, &moshi_lm_text_template);
  moshi_lm_talk_init (self);
}
