/* The conversation: exactly one step for every 80 ms, in order.
 *
 * Frames are counted by their time, not by their arrival: the model takes every
 * step for 80 ms, so a hole in the input must be stepped through, and a frame
 * that comes twice must not be heard twice. A step gives text at once and, when
 * max_delay further steps have been made, the frame of speech that goes with
 * it; `frames` remembers the times of the steps in between. */
#include "gstmoshilm-private.h"

#include <string.h>

#define GST_CAT_DEFAULT gst_moshi_lm_debug

#define DURATION ((gint64) GST_MIMI_FRAME_DURATION)

/* Moshi has finished when it has written nothing for so many frames; it speaks
 * what it wrote within them. */
#define QUIET_FRAMES 25
/* Speech-to-text is given this much more than its delay, as the reference's
 * runner does. */
#define STT_TAIL (1 * GST_SECOND)

static gint64
frames_in (GstClockTime time)
{
  return time / GST_MIMI_FRAME_DURATION;
}

/* -------------------------------------------------------------------- step */

/* What a speech-to-text model thinks of pauses: the probability that the user
 * has stopped, for each of its horizons. */
static void
post_vad (GstMoshiLm * self, gint64 time)
{
  const float *heads = moshi_session_slot_extra_heads (self->session);
  GstClockTime timestamp = MAX (time, 0);
  GValue pauses = G_VALUE_INIT;
  GstStructure *s;
  gboolean post;

  GST_OBJECT_LOCK (self);
  post = self->settings.post_messages;
  GST_OBJECT_UNLOCK (self);
  if (heads == NULL || !post)
    return;

  gst_value_array_init (&pauses, self->info.extra_heads);
  for (gint i = 0; i < self->info.extra_heads; i++) {
    GValue pause = G_VALUE_INIT;

    g_value_init (&pause, G_TYPE_DOUBLE);
    g_value_set_double (&pause, heads[i * self->info.extra_head_size]);
    gst_value_array_append_and_take_value (&pauses, &pause);
  }
  s = gst_structure_new ("moshi-vad",
      "timestamp", G_TYPE_UINT64, timestamp,
      "stream-time", G_TYPE_UINT64,
      gst_segment_to_stream_time (&self->segment, GST_FORMAT_TIME, timestamp),
      "running-time", G_TYPE_UINT64,
      gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, timestamp),
      NULL);
  gst_structure_take_value (s, "pause", &pauses);
  gst_element_post_message (GST_ELEMENT (self),
      gst_message_new_element (GST_OBJECT (self), s));
}

static GstFlowReturn
step (GstMoshiLm * self, const gint32 * user, gint64 time)
{
  gint32 tokens[1 + MIMI_MAX_CODEBOOKS], text;
  MoshiLmFrame *frame;
  MoshiError error = { 0 };
  GstClockTime took;
  GstFlowReturn ret;
  MoshiTurn turn;
  gint64 start;

  if (GST_PAD_IS_FLUSHING (self->sinkpad))
    return GST_FLOW_FLUSHING;

  moshi_lm_session_update (self, MAX (time, 0));
  frame = &self->frames[self->heard % (self->info.max_delay + 1)];
  frame->time = time;
  frame->discont = self->discont;
  self->discont = FALSE;

  start = g_get_monotonic_time ();
  if (moshi_session_slot_step (self->session, user, tokens, &text, &error))
    goto failed;
  took = (g_get_monotonic_time () - start) * GST_USECOND;
  moshi_slot_turn (self->session, &turn);
  gst_moshi_steps_add (&self->stats.steps, GST_ELEMENT (self), took, &turn,
      &self->segment, MAX (time, 0));
  self->heard++;

  if (self->info.extra_heads > 0)
    post_vad (self, time);
  ret = moshi_lm_output_text (self, text, time);
  /* Whether src is linked by now, only a push can tell. */
  if ((ret == GST_FLOW_OK || ret == GST_FLOW_NOT_LINKED) &&
      self->info.own_codebooks > 0 && tokens[0] != MOSHI_TOKEN_NOT_READY)
    ret = moshi_lm_output_speech (self, tokens + 1);

  return ret;

  /* ERRORS */
failed:
  {
    if (error.status == MOSHI_ERROR_CANCELLED)
      return GST_FLOW_FLUSHING;
    gst_moshi_element_error (GST_ELEMENT (self), &error, self->info.path);
    return GST_FLOW_ERROR;
  }
}

static void
count (GstMoshiLm * self, guint64 * counter)
{
  GST_OBJECT_LOCK (self);
  (*counter)++;
  GST_OBJECT_UNLOCK (self);
}

/* The model never sees what it is given in its very first step. */
static GstFlowReturn
first_step (GstMoshiLm * self, const gint32 * user, gint64 time)
{
  guint prefix = self->info.silence_prefix * GST_SECOND / DURATION + 0.5;
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean repeat;

  GST_OBJECT_LOCK (self);
  repeat = self->settings.repeat_first_frame;
  GST_OBJECT_UNLOCK (self);

  /* The frame that is stepped twice makes the conversation longer by one.
   * Speech comes out without a hole, from the time of the first frame on; text
   * that is written down stays at the time where it was heard. */
  self->lead = repeat && self->info.own_codebooks > 0 ? DURATION : 0;
  time += self->lead;
  if (repeat)
    ret = step (self, prefix ? self->silence : user,
        time - (prefix + 1) * DURATION);
  for (guint i = 0; i < prefix && ret == GST_FLOW_OK; i++)
    ret = step (self, self->silence, time - (prefix - i) * DURATION);
  if (ret == GST_FLOW_OK)
    ret = step (self, user, time);

  return ret;
}

/* One frame of 80 ms, which starts at pts. */
static GstFlowReturn
hear (GstMoshiLm * self, const gint32 * user, GstClockTime pts)
{
  GstFlowReturn ret;

  if (self->heard == 0)
    ret = first_step (self, user, pts);
  else
    ret = step (self, user, pts + self->lead);
  self->next_pts = pts + DURATION;

  return ret;
}

/* ------------------------------------------------------------------- holes */

/* The conversation goes on at another time. */
static void
break_off (GstMoshiLm * self, GstClockTime pts)
{
  moshi_lm_output_finish_text (self);
  self->discont = self->text_discont = TRUE;
  self->next_pts = pts;
}

/* Steps with silence until a frame at `pts` is the next. A hole longer than
 * max-gap is not filled to its end. */
static GstFlowReturn
fill (GstMoshiLm * self, GstClockTime pts)
{
  gint64 missing = 0, limit;
  GstFlowReturn ret = GST_FLOW_OK;

  if (pts > self->next_pts)
    missing = frames_in (pts - self->next_pts + DURATION / 2);
  if (missing == 0)
    return GST_FLOW_OK;

  GST_OBJECT_LOCK (self);
  limit = frames_in (self->settings.max_gap);
  GST_OBJECT_UNLOCK (self);
  GST_DEBUG_OBJECT (self, "%" G_GINT64_FORMAT " frames missing before %"
      GST_TIME_FORMAT, missing, GST_TIME_ARGS (pts));

  for (gint64 i = 0; i < MIN (missing, limit) && ret == GST_FLOW_OK; i++) {
    count (self, &self->stats.silent);
    ret = hear (self, self->silence, self->next_pts);
  }
  if (missing > limit)
    break_off (self, pts);

  return ret;
}

/* A frame of the past has been heard already, or silence in its place; unless
 * the stream says that it goes on at another time. */
static gboolean
is_duplicate (GstMoshiLm * self, GstClockTime pts, gboolean discont)
{
  GstClockTime back, limit;

  if (pts + DURATION / 2 >= self->next_pts)
    return FALSE;

  back = self->next_pts - pts;
  GST_OBJECT_LOCK (self);
  limit = self->settings.max_gap;
  GST_OBJECT_UNLOCK (self);
  if (discont || back > limit) {
    GST_DEBUG_OBJECT (self, "going back to %" GST_TIME_FORMAT,
        GST_TIME_ARGS (pts));
    break_off (self, pts);
    return FALSE;
  }
  GST_DEBUG_OBJECT (self, "frame %" GST_TIME_FORMAT " was heard already",
      GST_TIME_ARGS (pts));
  count (self, &self->stats.duplicates);

  return TRUE;
}

static GstClockTime
default_pts (GstMoshiLm * self)
{
  if (GST_CLOCK_TIME_IS_VALID (self->next_pts))
    return self->next_pts;
  return GST_CLOCK_TIME_IS_VALID (self->segment.start) ? self->segment.start :
      0;
}

GstFlowReturn
moshi_lm_talk_hear (GstMoshiLm * self, const guint16 * codes, GstClockTime pts,
    gboolean discont)
{
  gint32 user[MIMI_MAX_CODEBOOKS];
  GstFlowReturn ret = moshi_lm_session_ensure (self);

  if (ret != GST_FLOW_OK)
    return ret;
  if (!GST_CLOCK_TIME_IS_VALID (pts))
    pts = default_pts (self);
  if (GST_CLOCK_TIME_IS_VALID (self->next_pts)) {
    if (is_duplicate (self, pts, discont))
      return GST_FLOW_OK;
    ret = fill (self, pts);
    if (ret != GST_FLOW_OK)
      return ret;
  }
  if (moshi_lm_pace_skip (self, pts)) {
    break_off (self, pts + DURATION);
    moshi_lm_output_no_text (self, pts + DURATION + self->lead);
    return GST_FLOW_OK;
  }

  for (gint i = 0; i < self->info.user_codebooks; i++)
    user[i] = codes[i];

  return hear (self, user, pts);
}

GstFlowReturn
moshi_lm_talk_gap (GstMoshiLm * self, GstClockTime pts, GstClockTime end)
{
  GstFlowReturn ret = moshi_lm_session_ensure (self);

  if (ret != GST_FLOW_OK)
    return ret;
  if (!GST_CLOCK_TIME_IS_VALID (self->next_pts))
    self->next_pts = pts;

  return fill (self, end);
}

/* --------------------------------------------------------------------- end */

/* How many frames of silence a speech-to-text model needs to write down the
 * last word. */
static guint
tail_frames (GstMoshiLm * self)
{
  GstClockTime tail = self->info.audio_delay * GST_SECOND + STT_TAIL;

  return (tail + DURATION - 1) / DURATION;
}

static gboolean
has_finished (GstMoshiLm * self, guint drained)
{
  if (self->info.own_codebooks == 0)
    return drained >= tail_frames (self);
  if (!g_strcmp0 (self->info.model_type, "hibiki"))
    return drained > 0 && self->last_text == MOSHI_LM_TOKEN_EOS;
  return self->quiet >= QUIET_FRAMES && drained >= QUIET_FRAMES;
}

static GstFlowReturn
drain_frame (GstMoshiLm * self, const gint32 * user)
{
  count (self, &self->stats.drained);
  return hear (self, user, self->next_pts);
}

GstFlowReturn
moshi_lm_talk_drain (GstMoshiLm * self)
{
  gint32 goodbye[MIMI_MAX_CODEBOOKS];
  GstFlowReturn ret = GST_FLOW_OK;
  guint limit, i;

  if (self->session == NULL || self->heard == 0)
    return GST_FLOW_OK;

  GST_OBJECT_LOCK (self);
  limit = self->settings.drain_frames;
  GST_OBJECT_UNLOCK (self);
  /* Hibiki was taught that the end of the speech is a frame of the token that
   * no codec makes. */
  for (i = 0; i < MIMI_MAX_CODEBOOKS; i++)
    goodbye[i] = self->info.lm_codebook_size;

  for (i = 0; i < limit && ret == GST_FLOW_OK && !has_finished (self, i); i++)
    ret = drain_frame (self, i == 0 &&
        !g_strcmp0 (self->info.model_type, "hibiki") ? goodbye : self->silence);
  /* The speech that goes with the last text. */
  if (i > 0 && self->info.own_codebooks > 0)
    for (gint j = 0; j < self->info.max_delay && ret == GST_FLOW_OK; j++)
      ret = drain_frame (self, self->silence);
  GST_DEBUG_OBJECT (self, "drained with %u frames of at most %u: %s", i, limit,
      gst_flow_get_name (ret));

  return ret;
}

void
moshi_lm_talk_finish (GstMoshiLm * self)
{
  moshi_lm_output_finish_text (self);
  moshi_lm_output_events (self, G_MAXUINT64);
}

void
moshi_lm_talk_reset (GstMoshiLm * self)
{
  if (self->session)
    moshi_slot_reset (self->session);
  if (self->text)
    moshi_text_flush (self->text);
  moshi_words_reset (&self->words);
  moshi_lm_pace_reset (self);
  self->heard = 0;
  self->next_pts = GST_CLOCK_TIME_NONE;
  self->lead = 0;
  self->quiet = 0;
  self->last_text = MOSHI_TOKEN_NONE;
  self->discont = self->text_discont = TRUE;
  self->text_position = -1;
}

void
moshi_lm_talk_init (GstMoshiLm * self)
{
  moshi_lm_output_init (self);
  gst_segment_init (&self->segment, GST_FORMAT_TIME);
  moshi_lm_talk_reset (self);
}
