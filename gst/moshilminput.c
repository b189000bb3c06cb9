/* What comes in on the sink pad: streams, caps, segments, holes, the end, and
 * frames of tokens. */
#include "gstmoshilm-private.h"
#include "moshievents.h"

#define GST_CAT_DEFAULT gst_moshi_lm_debug

/* Caps say other numbers than the model has. */
static gboolean
refuse_caps (GstMoshiLm * self, const MoshiModelInfo * info,
    const GstCaps * caps)
{
  if (!self->refused)
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("The model hears frames of %d codebooks of %d entries; the stream has "
            "%d of %d.", info->user_codebooks, info->lm_codebook_size,
            self->in.codebooks, self->in.codebook_size),
        ("caps %" GST_PTR_FORMAT, caps));
  self->refused = TRUE;
  return FALSE;
}

static gboolean
set_caps (GstMoshiLm * self, GstCaps * caps)
{
  MoshiModelInfo info;

  self->negotiated = FALSE;
  if (!moshi_lm_get_info (self, &info) ||
      !gst_mimi_format_from_caps (&self->in, caps))
    return FALSE;
  if (self->in.codebooks != info.user_codebooks ||
      self->in.codebook_size != info.lm_codebook_size)
    return refuse_caps (self, &info, caps);

  self->out = self->in;
  self->out.codebooks = info.own_codebooks;
  if (info.own_codebooks > 0) {
    gst_pad_check_reconfigure (self->srcpad);
    if (!moshi_lm_output_negotiate (self))
      return FALSE;
  }
  self->negotiated = TRUE;

  return TRUE;
}

/* Each pad has a stream of its own, in the group of the input. */
static gboolean
start_stream (GstMoshiLm * self, GstPad * pad, GstEvent * input, guint group,
    const gchar * suffix)
{
  const gchar *upstream;
  GstEvent *event;
  GstStreamFlags flags;
  gchar *id;

  gst_event_parse_stream_start (input, &upstream);
  id = g_strconcat (upstream, "/", suffix, NULL);
  event = gst_event_new_stream_start (id);
  g_free (id);
  gst_event_set_seqnum (event, gst_event_get_seqnum (input));
  gst_event_parse_stream_flags (input, &flags);
  if (pad == self->textpad)
    flags |= GST_STREAM_FLAG_SPARSE;
  gst_event_set_stream_flags (event, flags);
  gst_event_set_group_id (event, group);

  return gst_pad_push_event (pad, event);
}

static void
start_streams (GstMoshiLm * self, GstEvent * input)
{
  GstCaps *caps = gst_static_pad_template_get_caps (&moshi_lm_text_template);
  guint group;

  if (!gst_event_parse_group_id (input, &group))
    group = gst_util_group_id_next ();
  start_stream (self, self->srcpad, input, group, "speech");
  start_stream (self, self->textpad, input, group, "text");
  gst_pad_set_caps (self->textpad, caps);
  gst_caps_unref (caps);
}

/* The time at which the next frame is due goes on in another segment: a hole or
 * none, that is what running time says. */
static void
set_segment (GstMoshiLm * self, const GstSegment * segment)
{
  GstClockTime running;

  if (GST_CLOCK_TIME_IS_VALID (self->next_pts)) {
    running = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME,
        self->next_pts);
    self->next_pts = GST_CLOCK_TIME_IS_VALID (running) ?
        gst_segment_position_from_running_time (segment, GST_FORMAT_TIME,
        running) : GST_CLOCK_TIME_NONE;
  }
  gst_segment_copy_into (segment, &self->segment);
}

static gboolean
segment_event (GstMoshiLm * self, GstEvent * event)
{
  const GstSegment *segment;
  GstSegment out;
  GstEvent *copy;
  gboolean ok;

  gst_event_parse_segment (event, &segment);
  if (segment->format != GST_FORMAT_TIME || segment->rate <= 0)
    goto wrong;

  moshi_lm_output_finish_text (self);
  set_segment (self, segment);
  /* Moshi may speak beyond the end of what it hears. */
  gst_segment_copy_into (segment, &out);
  out.stop = out.duration = GST_CLOCK_TIME_NONE;
  copy = gst_event_new_segment (&out);
  gst_event_set_seqnum (copy, gst_event_get_seqnum (event));
  self->text_position = -1;
  ok = gst_pad_push_event (self->textpad, gst_event_ref (copy));
  ok = moshi_lm_output_event (self, copy) && ok;
  gst_event_unref (event);

  return ok;

  /* ERRORS */
wrong:
  {
    if (!self->refused)
      GST_ELEMENT_ERROR (self, STREAM, FORMAT,
          ("A conversation needs time that goes forward: the segment's format "
              "is %s and its rate %g. An appsrc needs format=time.",
              gst_format_get_name (segment->format), segment->rate), (NULL));
    self->refused = TRUE;
    gst_event_unref (event);
    return FALSE;
  }
}

static GstFlowReturn
gap_event (GstMoshiLm * self, GstEvent * event)
{
  GstClockTime pts, duration;

  gst_event_parse_gap (event, &pts, &duration);
  gst_event_unref (event);
  if (!self->negotiated || !GST_CLOCK_TIME_IS_VALID (pts))
    return GST_FLOW_OK;
  if (!GST_CLOCK_TIME_IS_VALID (duration))
    duration = 0;

  return moshi_lm_talk_gap (self, pts, pts + duration);
}

static gboolean
push_both (GstMoshiLm * self, GstEvent * event)
{
  gst_pad_push_event (self->textpad, gst_event_ref (event));
  return moshi_lm_output_event (self, event);
}

static GstFlowReturn
end_event (GstMoshiLm * self, GstEvent * event)
{
  GstFlowReturn ret = moshi_lm_talk_drain (self);

  moshi_lm_talk_finish (self);
  gst_pad_push_event (self->textpad, gst_event_ref (event));
  gst_pad_push_event (self->srcpad, event);

  return ret == GST_FLOW_FLUSHING ? ret : GST_FLOW_OK;
}

static gboolean
flush_event (GstMoshiLm * self, GstPad * pad, GstEvent * event)
{
  gboolean flushing = GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_START, ok;

  gst_moshi_model_set_flushing (&self->model, flushing);
  ok = gst_pad_event_default (pad, GST_OBJECT (self), event);
  if (!flushing) {
    gst_segment_init (&self->segment, GST_FORMAT_TIME);
    gst_flow_combiner_reset (self->combiner);
    moshi_lm_output_drop_events (self, TRUE);
    moshi_lm_talk_reset (self);
  }
  return ok;
}

static gboolean
serialized_event (GstMoshiLm * self, GstEvent * event)
{
  if (moshi_event_is_reset (event, GST_ELEMENT (self))) {
    moshi_lm_talk_finish (self);
    moshi_lm_talk_reset (self);
  }
  return push_both (self, event);
}

static gboolean
caps_event (GstMoshiLm * self, GstEvent * event)
{
  GstCaps *caps;
  gboolean ok;

  gst_event_parse_caps (event, &caps);
  ok = set_caps (self, caps);
  gst_event_unref (event);

  return ok;
}

GstFlowReturn
moshi_lm_input_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);
  gboolean ok = TRUE;

  GST_LOG_OBJECT (pad, "%" GST_PTR_FORMAT, event);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_STREAM_START:
      moshi_lm_talk_finish (self);
      moshi_lm_talk_reset (self);
      start_streams (self, event);
      gst_event_unref (event);
      break;
    case GST_EVENT_CAPS:
      if (!caps_event (self, event))
        return GST_FLOW_NOT_NEGOTIATED;
      break;
    case GST_EVENT_SEGMENT:
      ok = segment_event (self, event);
      break;
    case GST_EVENT_GAP:
      return gap_event (self, event);
    case GST_EVENT_EOS:
      return end_event (self, event);
    case GST_EVENT_FLUSH_START:
    case GST_EVENT_FLUSH_STOP:
      ok = flush_event (self, pad, event);
      break;
    default:
      if (GST_EVENT_IS_SERIALIZED (event))
        ok = serialized_event (self, event);
      else
        ok = gst_pad_event_default (pad, parent, event);
      break;
  }
  return ok ? GST_FLOW_OK : GST_FLOW_ERROR;
}

static gboolean
read_tokens (GstMoshiLm * self, GstBuffer * buffer, guint16 * codes)
{
  GstMapInfo map;
  MimiTokensResult result;
  guint i;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    goto no_map;
  result = mimi_tokens_read (self->in.stream_format, self->in.codebooks,
      self->in.codebook_size, map.data, map.size, codes);
  gst_buffer_unmap (buffer, &map);
  if (result == MIMI_TOKENS_WRONG_SIZE)
    goto wrong_size;
  if (result == MIMI_TOKENS_OUT_OF_RANGE)
    goto out_of_range;
  return TRUE;

  /* ERRORS */
no_map:
  {
    GST_ELEMENT_ERROR (self, RESOURCE, READ, ("A buffer cannot be read."),
        (NULL));
    return FALSE;
  }
wrong_size:
  {
    GST_ELEMENT_ERROR (self, STREAM, DECODE,
        ("A frame of %d codebooks of %d entries has %" G_GSIZE_FORMAT
            " bytes; the buffer has %" G_GSIZE_FORMAT ".", self->in.codebooks,
            self->in.codebook_size, gst_mimi_format_frame_size (&self->in),
            gst_buffer_get_size (buffer)), ("%" GST_PTR_FORMAT, buffer));
    return FALSE;
  }
out_of_range:
  {
    for (i = 0; codes[i] < self->in.codebook_size; i++);
    GST_ELEMENT_ERROR (self, STREAM, DECODE,
        ("Token %u of codebook %u is out of range: it has %d entries.",
            codes[i], i, self->in.codebook_size), ("%" GST_PTR_FORMAT, buffer));
    return FALSE;
  }
}

/* An empty buffer with a duration stands for a lost frame. */
static GstFlowReturn
hear_buffer (GstMoshiLm * self, GstBuffer * buffer)
{
  GstClockTime pts = GST_BUFFER_PTS (buffer);
  guint16 codes[MIMI_MAX_CODEBOOKS];

  if (!self->negotiated)
    goto not_negotiated;
  if (gst_buffer_get_size (buffer) == 0 && GST_BUFFER_PTS_IS_VALID (buffer) &&
      GST_BUFFER_DURATION_IS_VALID (buffer))
    return moshi_lm_talk_gap (self, pts, pts + GST_BUFFER_DURATION (buffer));
  if (!read_tokens (self, buffer, codes))
    return GST_FLOW_ERROR;

  return moshi_lm_talk_hear (self, codes, pts, GST_BUFFER_IS_DISCONT (buffer));

  /* ERRORS */
not_negotiated:
  {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("Tokens came without caps that say what they are."), (NULL));
    return GST_FLOW_NOT_NEGOTIATED;
  }
}

GstFlowReturn
moshi_lm_input_chain (GstPad * pad, GstObject * parent, GstBuffer * buffer)
{
  GstFlowReturn ret = hear_buffer (GST_MOSHI_LM (parent), buffer);

  gst_buffer_unref (buffer);
  return ret;
}
