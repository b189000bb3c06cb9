/* How long an element's steps take: its statistics and its QOS messages. */
#ifndef GST_MOSHI_STEPS_H
#define GST_MOSHI_STEPS_H

#include <gst/gst.h>
#include "moshi.h"

G_BEGIN_DECLS

/* Written by the streaming thread, read by anyone, under the element's object
 * lock. All zero is a fresh one. */
typedef struct
{
  guint64 frames;
  guint64 late;                 /* steps of a live pipeline that took > 80 ms */
  GstClockTime last, max, total;
  /* Of the steps that were shared with other streams: how many were in one, and
   * how long ours had to wait for it. */
  guint64 batch_last, batch_max, batch_total;
  GstClockTime wait_last, wait_max, wait_total;
  GstClockTime told;            /* monotonic time of the last QOS message */
  gboolean live;                /* as upstream answered the latency query */
} GstMoshiSteps;

/* Counts a step, and posts a QOS message when it was late: at most one a
 * second. `took` includes the time of waiting that `turn` tells. timestamp is
 * the frame's, in segment. */
void gst_moshi_steps_add (GstMoshiSteps * self, GstElement * element,
    GstClockTime took, const MoshiTurn * turn, const GstSegment * segment,
    GstClockTime timestamp);
/* To be shown every answer of upstream to a LATENCY query. */
void gst_moshi_steps_note_latency (GstMoshiSteps * self, GstElement * element,
    GstQuery * query);
/* The latency to tell for a measured time of a step: rounded up to 5 ms, so that
 * small variations do not change it. */
GstClockTime gst_moshi_steps_latency (GstClockTime measured);
/* Sets the fields frames, late, last-step, mean-step and max-step, last-batch,
 * mean-batch and max-batch, last-wait, mean-wait and max-wait; times in ns. */
void gst_moshi_steps_fill (GstMoshiSteps * self, GstElement * element,
    GstStructure * stats);

G_END_DECLS

#endif
