#ifndef METRICS_H
#define METRICS_H

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  METRIC_SESSIONS,
  METRIC_SESSIONS_LIMIT,
  METRIC_QUEUE,
  METRIC_QUEUE_LIMIT,
  METRIC_READY,
  METRIC_CALLS,
  METRIC_TALKS,
  METRIC_REFUSED_FULL,
  METRIC_REFUSED_TOKEN,
  METRIC_REFUSED_ORIGIN,
  METRIC_REFUSED_DRAINING,
  METRIC_ENDED_CALLER,
  METRIC_ENDED_SILENT,
  METRIC_ENDED_SLOW,
  METRIC_ENDED_FLOOD,
  METRIC_ENDED_BROKEN,
  METRIC_ENDED_LIMIT,
  METRIC_ENDED_DRAINING,
  METRIC_ENDED_ERROR,
  METRIC_FRAMES,
  METRIC_LATE,
  METRIC_SKIPPED_MS,
  METRIC_BAD_INPUT,
  METRIC_SLOW_REQUESTS,
  METRIC_BYTES_IN,
  METRIC_BYTES_OUT,
  N_METRICS
} Metric;

/* From any thread. */
void metric_add (Metric metric, gint64 n);
void metric_set (Metric metric, gint64 n);
gint64 metric_get (Metric metric);
/* One frame's computing time. */
void metrics_step (gdouble seconds);
/* Prometheus' text format 0.0.4. */
gchar *metrics_text (const gchar * version, const gchar * model,
    const gchar * device);

G_END_DECLS

#endif
