/* Counters of the process, and how Prometheus reads them. */
#include "metrics.h"

#include <string.h>

#define FRAME 0.08              /* s */

/* Rows of one name are neighbours. */
static const struct
{
  const gchar *name, *labels, *type, *help;
} rows[N_METRICS] = {
  [METRIC_SESSIONS] = {"moshi_sessions", "", "gauge", "Talks now"},
  [METRIC_SESSIONS_LIMIT] = {"moshi_sessions_limit", "", "gauge",
        "Talks at once"},
  [METRIC_QUEUE] = {"moshi_queue", "", "gauge", "Callers who wait"},
  [METRIC_QUEUE_LIMIT] = {"moshi_queue_limit", "", "gauge",
        "Callers who may wait"},
  [METRIC_READY] = {"moshi_ready", "", "gauge",
        "1 when the model is loaded and new callers are taken"},
  [METRIC_CALLS] = {"moshi_calls_total", "", "counter",
        "Callers who may call"},
  [METRIC_TALKS] = {"moshi_talks_total", "", "counter", "Talks begun"},
#define REFUSED(metric, reason) \
  [metric] = {"moshi_refused_total", "{reason=\"" reason "\"}", "counter", \
        "Callers turned away"}
  REFUSED (METRIC_REFUSED_FULL, "full"),
  REFUSED (METRIC_REFUSED_TOKEN, "token"),
  REFUSED (METRIC_REFUSED_ORIGIN, "origin"),
  REFUSED (METRIC_REFUSED_DRAINING, "draining"),
#define ENDED(metric, reason) \
  [metric] = {"moshi_ended_total", "{reason=\"" reason "\"}", "counter", \
        "Connections ended, by reason"}
  ENDED (METRIC_ENDED_CALLER, "caller"),
  ENDED (METRIC_ENDED_SILENT, "silent"),
  ENDED (METRIC_ENDED_SLOW, "slow"),
  ENDED (METRIC_ENDED_FLOOD, "flood"),
  ENDED (METRIC_ENDED_BROKEN, "broken"),
  ENDED (METRIC_ENDED_LIMIT, "limit"),
  ENDED (METRIC_ENDED_DRAINING, "draining"),
  ENDED (METRIC_ENDED_ERROR, "error"),
  [METRIC_FRAMES] = {"moshi_frames_total", "", "counter",
        "Frames of 80 ms spoken"},
  [METRIC_LATE] = {"moshi_late_frames_total", "", "counter",
        "Frames that took longer than they last"},
  [METRIC_SKIPPED_MS] = {"moshi_skipped_milliseconds_total", "", "counter",
        "Sound of callers left out to be in the present again"},
  [METRIC_BAD_INPUT] = {"moshi_bad_input_total", "", "counter",
        "Messages, pages and packets left out"},
  [METRIC_SLOW_REQUESTS] = {"moshi_slow_requests_total", "", "counter",
        "Connections ended that took too long over a request"},
  [METRIC_BYTES_IN] = {"moshi_received_bytes_total", "", "counter",
        "Bytes of messages from callers"},
  [METRIC_BYTES_OUT] = {"moshi_sent_bytes_total", "", "counter",
        "Bytes of messages to callers"},
};

static const gdouble bounds[] = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04,
  0.05, 0.06, 0.07, FRAME, 0.1, 0.16, 0.32
};

static GMutex lock;             /* all below */
static gint64 values[N_METRICS];
static guint64 steps[G_N_ELEMENTS (bounds) + 1];
static gdouble step_sum;

void
metric_add (Metric metric, gint64 n)
{
  g_mutex_lock (&lock);
  values[metric] += n;
  g_mutex_unlock (&lock);
}

void
metric_set (Metric metric, gint64 n)
{
  g_mutex_lock (&lock);
  values[metric] = n;
  g_mutex_unlock (&lock);
}

gint64
metric_get (Metric metric)
{
  gint64 n;

  g_mutex_lock (&lock);
  n = values[metric];
  g_mutex_unlock (&lock);
  return n;
}

void
metrics_step (gdouble seconds)
{
  guint i = 0;

  while (i < G_N_ELEMENTS (bounds) && seconds > bounds[i])
    i++;
  g_mutex_lock (&lock);
  steps[i]++;
  step_sum += seconds;
  values[METRIC_FRAMES]++;
  values[METRIC_LATE] += seconds > FRAME;
  g_mutex_unlock (&lock);
}

static void
append_header (GString * text, const gchar * name, const gchar * type,
    const gchar * help)
{
  g_string_append_printf (text, "# HELP %s %s\n# TYPE %s %s\n", name, help,
      name, type);
}

static void
append_steps (GString * text)
{
  gchar number[G_ASCII_DTOSTR_BUF_SIZE];
  guint64 n = 0;
  guint i;

  append_header (text, "moshi_step_seconds", "histogram",
      "Computing time of a frame: encoder, language model, decoder");
  for (i = 0; i <= G_N_ELEMENTS (bounds); i++) {
    n += steps[i];
    g_string_append_printf (text,
        "moshi_step_seconds_bucket{le=\"%s\"} %" G_GUINT64_FORMAT "\n",
        i < G_N_ELEMENTS (bounds) ? g_ascii_formatd (number, sizeof number,
            "%g", bounds[i]) : "+Inf", n);
  }
  g_string_append_printf (text, "moshi_step_seconds_sum %s\n"
      "moshi_step_seconds_count %" G_GUINT64_FORMAT "\n",
      g_ascii_formatd (number, sizeof number, "%.6f", step_sum), n);
}

static void
append_label (GString * text, const gchar * key, const gchar * value)
{
  gchar *escaped = g_strescape (value ? value : "", NULL);

  g_string_append_printf (text, "%s=\"%s\"", key, escaped);
  g_free (escaped);
}

gchar *
metrics_text (const gchar * version, const gchar * model,
    const gchar * device)
{
  GString *text = g_string_new (NULL);
  guint i;

  append_header (text, "moshi_info", "gauge", "What runs here");
  g_string_append (text, "moshi_info{");
  append_label (text, "version", version);
  append_label (text, ",model", model);
  append_label (text, ",device", device);
  g_string_append (text, "} 1\n");

  g_mutex_lock (&lock);
  for (i = 0; i < N_METRICS; i++) {
    if (i == 0 || strcmp (rows[i].name, rows[i - 1].name) != 0)
      append_header (text, rows[i].name, rows[i].type, rows[i].help);
    g_string_append_printf (text, "%s%s %" G_GINT64_FORMAT "\n", rows[i].name,
        rows[i].labels, values[i]);
  }
  append_steps (text);
  g_mutex_unlock (&lock);
  return g_string_free (text, FALSE);
}
