/* Counting steps. A step that takes longer than its frame lasts makes a live
 * conversation fall behind: that is said on the bus, never hidden. */
#include "gstmoshisteps.h"
#include "mimicaps.h"

#define LATENCY_STEP (5 * GST_MSECOND)

static void
post_qos (GstMoshiSteps * self, GstElement * element, GstClockTime took,
    const GstSegment * segment, GstClockTime timestamp, guint64 frames)
{
  GstMessage *message;

  message = gst_message_new_qos (GST_OBJECT (element), TRUE,
      gst_segment_to_running_time (segment, GST_FORMAT_TIME, timestamp),
      gst_segment_to_stream_time (segment, GST_FORMAT_TIME, timestamp),
      timestamp, GST_MIMI_FRAME_DURATION);
  gst_message_set_qos_values (message,
      GST_CLOCK_DIFF (GST_MIMI_FRAME_DURATION, took),
      (gdouble) GST_MIMI_FRAME_DURATION / took, 1000000);
  gst_message_set_qos_stats (message, GST_FORMAT_BUFFERS, frames, 0);
  gst_element_post_message (element, message);
}

void
gst_moshi_steps_add (GstMoshiSteps * self, GstElement * element,
    GstClockTime took, const MoshiTurn * turn, const GstSegment * segment,
    GstClockTime timestamp)
{
  GstClockTime now = g_get_monotonic_time () * GST_USECOND;
  guint64 frames;
  gboolean tell;

  GST_OBJECT_LOCK (element);
  frames = ++self->frames;
  self->last = took;
  self->max = MAX (self->max, took);
  self->total += took;
  self->batch_last = turn->batch;
  self->batch_max = MAX (self->batch_max, self->batch_last);
  self->batch_total += self->batch_last;
  self->wait_last = turn->waited_us * GST_USECOND;
  self->wait_max = MAX (self->wait_max, self->wait_last);
  self->wait_total += self->wait_last;
  tell = self->live && took > GST_MIMI_FRAME_DURATION;
  if (tell) {
    self->late++;
    tell = self->told == 0 || now - self->told >= GST_SECOND;
  }
  if (tell)
    self->told = now;
  GST_OBJECT_UNLOCK (element);

  if (tell)
    post_qos (self, element, took, segment, timestamp, frames);
}

void
gst_moshi_steps_note_latency (GstMoshiSteps * self, GstElement * element,
    GstQuery * query)
{
  gboolean live;

  gst_query_parse_latency (query, &live, NULL, NULL);
  GST_OBJECT_LOCK (element);
  self->live = live;
  GST_OBJECT_UNLOCK (element);
}

GstClockTime
gst_moshi_steps_latency (GstClockTime measured)
{
  return (measured + LATENCY_STEP - 1) / LATENCY_STEP * LATENCY_STEP;
}

void
gst_moshi_steps_fill (GstMoshiSteps * self, GstElement * element,
    GstStructure * stats)
{
  guint64 n;

  GST_OBJECT_LOCK (element);
  n = MAX (self->frames, 1);
  gst_structure_set (stats,
      "frames", G_TYPE_UINT64, self->frames,
      "late", G_TYPE_UINT64, self->late,
      "last-step", G_TYPE_UINT64, self->last,
      "mean-step", G_TYPE_UINT64, self->total / n,
      "max-step", G_TYPE_UINT64, self->max,
      "last-batch", G_TYPE_UINT64, self->batch_last,
      "mean-batch", G_TYPE_DOUBLE, (gdouble) self->batch_total / n,
      "max-batch", G_TYPE_UINT64, self->batch_max,
      "last-wait", G_TYPE_UINT64, self->wait_last,
      "mean-wait", G_TYPE_UINT64, self->wait_total / n,
      "max-wait", G_TYPE_UINT64, self->wait_max, NULL);
  GST_OBJECT_UNLOCK (element);
}
