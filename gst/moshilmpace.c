/* Keeping pace with the clock.
 *
 * A live conversation has one frame every 80 ms. Should computing fall behind,
 * frames would wait in queues and Moshi would answer later and later. Instead,
 * once a frame is heard more than max-lateness after its time, frames are left
 * out (not heard, nothing said for them) until one comes in time: the
 * conversation jumps, and is in the present again. */
#include "gstmoshilm-private.h"

#define GST_CAT_DEFAULT gst_moshi_lm_debug

static void
post_qos (GstMoshiLm * self, GstClockTime pts, GstClockTimeDiff lateness,
    guint64 frames, guint64 skipped)
{
  GstClockTime now = g_get_monotonic_time () * GST_USECOND;
  GstMessage *message;

  if (self->told != 0 && now - self->told < GST_SECOND)
    return;
  self->told = now;

  message = gst_message_new_qos (GST_OBJECT (self), TRUE,
      gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, pts),
      gst_segment_to_stream_time (&self->segment, GST_FORMAT_TIME, pts),
      pts, GST_MIMI_FRAME_DURATION);
  gst_message_set_qos_values (message, lateness,
      (gdouble) GST_MIMI_FRAME_DURATION / (GST_MIMI_FRAME_DURATION + lateness),
      1000000);
  gst_message_set_qos_stats (message, GST_FORMAT_BUFFERS, frames, skipped);
  gst_element_post_message (GST_ELEMENT (self), message);
}

/* How long after its time a frame is heard; < 0 is early. FALSE where there is
 * no such time: not live, or no clock runs. */
static gboolean
get_lateness (GstMoshiLm * self, GstClockTime pts, GstClockTimeDiff * lateness)
{
  GstClockTime base_time, due, upstream;
  GstClock *clock = NULL;
  gboolean live;

  GST_OBJECT_LOCK (self);
  live = self->live && GST_STATE (self) == GST_STATE_PLAYING;
  upstream = self->upstream_latency;
  base_time = GST_ELEMENT_CAST (self)->base_time;
  if (live && GST_ELEMENT_CLOCK (self))
    clock = gst_object_ref (GST_ELEMENT_CLOCK (self));
  GST_OBJECT_UNLOCK (self);
  if (clock == NULL)
    return FALSE;

  due = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, pts);
  if (GST_CLOCK_TIME_IS_VALID (due))
    *lateness = GST_CLOCK_DIFF (base_time + due + upstream,
        gst_clock_get_time (clock));
  gst_object_unref (clock);

  return GST_CLOCK_TIME_IS_VALID (due);
}

gboolean
moshi_lm_pace_skip (GstMoshiLm * self, GstClockTime pts)
{
  GstClockTimeDiff lateness, limit;
  guint64 frames, skipped;

  if (!get_lateness (self, pts, &lateness))
    return self->skipping = FALSE;

  GST_OBJECT_LOCK (self);
  limit = self->settings.max_lateness;
  self->stats.lateness = lateness;
  GST_OBJECT_UNLOCK (self);

  if (limit < 0)
    self->skipping = FALSE;
  else if (lateness > limit)
    self->skipping = TRUE;
  else if (lateness < (GstClockTimeDiff) GST_MIMI_FRAME_DURATION)
    self->skipping = FALSE;
  if (!self->skipping)
    return FALSE;

  GST_OBJECT_LOCK (self);
  skipped = ++self->stats.skipped;
  frames = self->stats.steps.frames;
  GST_OBJECT_UNLOCK (self);
  GST_DEBUG_OBJECT (self, "frame %" GST_TIME_FORMAT " is %" GST_STIME_FORMAT
      " late: skipped", GST_TIME_ARGS (pts), GST_STIME_ARGS (lateness));
  post_qos (self, pts, lateness, frames, skipped);

  return TRUE;
}

void
moshi_lm_pace_reset (GstMoshiLm * self)
{
  self->skipping = FALSE;
  self->told = 0;
}

/* In frames: how far a model's output is behind its input. A first frame that
 * is stepped twice makes up for one. */
static guint
output_delay (const MoshiModelInfo * info, gboolean repeat)
{
  guint delay = MAX (info->max_delay, 0);

  return repeat && delay > 0 ? delay - 1 : delay;
}

GstClockTime
moshi_lm_latency (GstMoshiLm * self, GstPad * pad)
{
  GstClockTime step, latency;
  MoshiModelInfo info;
  gboolean repeat;

  if (!moshi_lm_get_info (self, &info))
    return 0;

  GST_OBJECT_LOCK (self);
  repeat = self->settings.repeat_first_frame;
  step = self->settings.latency;
  if (step == GST_CLOCK_TIME_NONE)
    step = self->step_latency;
  GST_OBJECT_UNLOCK (self);
  if (step == GST_CLOCK_TIME_NONE)
    step = 0;

  latency = step + output_delay (&info, repeat) * GST_MIMI_FRAME_DURATION;
  /* Words are written down audio_delay after they were heard, and carry the
   * time when they were said. */
  if (pad == self->textpad && info.own_codebooks == 0)
    latency += info.audio_delay * GST_SECOND;

  return latency;
}
