/* moshilm and time: one step for every 80 ms, holes, latency, the end. */
#include "lm-harness.h"

#include <string.h>

/* lm-mini speaks one frame after it hears. */
#define MINI_DELAY 1

static LmHarness *
mini (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", TRUE, "drain-frames", 0, NULL);

  lm_set_caps (lm, FALSE);
  return lm;
}

/* n frames come out, from first × 80 ms on, without a hole. */
static void
check_frames (LmHarness * lm, guint first, guint n)
{
  for (guint i = first; i < first + n; i++) {
    GstBuffer *buffer = gst_harness_pull (lm->speech);

    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, i * FRAME);
    g_assert_cmpuint (GST_BUFFER_DURATION (buffer), ==, FRAME);
    g_assert_cmpint (GST_BUFFER_IS_DISCONT (buffer), ==, i == 0);
    gst_buffer_unref (buffer);
  }
  g_assert_null (gst_harness_try_pull (lm->speech));
}

static void
push_gap (LmHarness * lm, GstClockTime pts, GstClockTime duration)
{
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_gap (pts, duration)));
}

static void
test_gap_event (void)
{
  LmHarness *lm = mini ();

  lm_push_noise (lm, 0, 5, 0);
  push_gap (lm, 5 * FRAME, 3 * FRAME);
  lm_push_noise (lm, 8, 2, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 3);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 10);
  check_frames (lm, 0, 10 - MINI_DELAY);
  lm_harness_free (lm);
}

/* Gaps need not be whole frames; what matters is when the next frame is due. */
static void
test_odd_gaps (void)
{
  LmHarness *lm = mini ();

  lm_push_noise (lm, 0, 2, 0);
  push_gap (lm, 2 * FRAME, 30 * GST_MSECOND);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 0);
  push_gap (lm, 2 * FRAME + 30 * GST_MSECOND, 90 * GST_MSECOND);
  push_gap (lm, 2 * FRAME + 120 * GST_MSECOND, GST_CLOCK_TIME_NONE);
  push_gap (lm, 2 * FRAME + 120 * GST_MSECOND, 120 * GST_MSECOND);
  lm_push_noise (lm, 5, 2, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 3);
  check_frames (lm, 0, 7 - MINI_DELAY);
  lm_harness_free (lm);
}

static void
test_gap_first (void)
{
  LmHarness *lm = mini ();

  push_gap (lm, 0, 2 * FRAME);
  lm_push_noise (lm, 2, 3, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 2);
  check_frames (lm, 0, 5 - MINI_DELAY);
  lm_harness_free (lm);
}

static void
test_gap_only (void)
{
  LmHarness *lm = mini ();

  push_gap (lm, 0, 10 * FRAME);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  check_frames (lm, 0, 10 - MINI_DELAY);
  lm_harness_free (lm);
}

/* An empty buffer with a duration is what a decoder base class makes of a lost
 * frame. */
static void
test_lost_frame (void)
{
  LmHarness *lm = mini ();
  GstBuffer *lost = gst_buffer_new ();

  lm_push_noise (lm, 0, 2, 0);
  GST_BUFFER_PTS (lost) = 2 * FRAME;
  GST_BUFFER_DURATION (lost) = FRAME;
  g_assert_cmpint (gst_harness_push (lm->speech, lost), ==, GST_FLOW_OK);
  lm_push_noise (lm, 3, 1, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 1);
  check_frames (lm, 0, 4 - MINI_DELAY);
  lm_harness_free (lm);
}

/* A jump of the timestamps is a gap, to the bit. */
static void
test_jump (void)
{
  LmHarness *gap = mini (), *jump = mini ();
  GBytes *a, *b;

  lm_push_noise (gap, 0, 5, 0);
  push_gap (gap, 5 * FRAME, 4 * FRAME);
  lm_push_noise (gap, 9, 5, 0);
  lm_push_noise (jump, 0, 5, 0);
  lm_push_noise (jump, 9, 5, 0);
  g_assert_cmpuint (lm_stat (jump, "silent"), ==, 4);
  a = lm_pull_speech (gap);
  b = lm_pull_speech (jump);
  g_assert_true (g_bytes_equal (a, b));
  g_assert_cmpuint (g_bytes_get_size (a), ==, 13 * 6);
  g_bytes_unref (a);
  g_bytes_unref (b);
  lm_harness_free (gap);
  lm_harness_free (jump);
}

/* Nobody waits for hours of silence. */
static void
test_long_jump (void)
{
  LmHarness *lm = mini ();
  const guint far = 3 * 3600 * 25 / 2;
  GstBuffer *buffer, *last = NULL;
  guint n = 0;

  g_object_set (lm->element, "max-gap", 10 * FRAME, NULL);
  lm_push_noise (lm, 0, 5, 0);
  lm_push_noise (lm, far, 3, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 10);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 18);
  while ((buffer = gst_harness_try_pull (lm->speech))) {
    gst_clear_buffer (&last);
    last = buffer;
    n++;
    if (n == 16) {
      g_assert_true (GST_BUFFER_IS_DISCONT (buffer));
      g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, far * FRAME);
    } else if (n > 1) {
      g_assert_false (GST_BUFFER_IS_DISCONT (buffer));
    }
  }
  g_assert_cmpuint (n, ==, 18 - MINI_DELAY);
  g_assert_cmpuint (GST_BUFFER_PTS (last), ==, (far + 1) * FRAME);
  gst_buffer_unref (last);
  lm_harness_free (lm);
}

static void
test_duplicates (void)
{
  LmHarness *lm = mini ();
  GstBuffer *back;

  lm_push_noise (lm, 0, 5, 0);
  lm_push_noise (lm, 4, 1, 0);
  lm_push_noise (lm, 2, 5, 0);
  g_assert_cmpuint (lm_stat (lm, "duplicates"), ==, 4);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 7);
  check_frames (lm, 0, 7 - MINI_DELAY);

  /* Unless the stream says that it goes on there. */
  back = lm_frame (lm, lm_noise (lm, 3), 3 * FRAME);
  GST_BUFFER_FLAG_SET (back, GST_BUFFER_FLAG_DISCONT);
  g_assert_cmpint (gst_harness_push (lm->speech, back), ==, GST_FLOW_OK);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 8);
  lm_harness_free (lm);
}

/* Timestamps that shake are no holes, and go through as they are. */
static void
test_jitter (void)
{
  static const gint ms[] = { 0, 20, -20, 35, -30, 0, 39 };
  LmHarness *lm = mini ();
  GstBuffer *buffer;

  for (guint i = 0; i < G_N_ELEMENTS (ms); i++)
    lm_push (lm, lm_noise (lm, i),
        (i + 10) * FRAME + ms[i] * (gint64) GST_MSECOND / 2);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 0);
  g_assert_cmpuint (lm_stat (lm, "duplicates"), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (ms) - 1; i++) {
    buffer = gst_harness_pull (lm->speech);
    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==,
        (i + 10) * FRAME + ms[i] * (gint64) GST_MSECOND / 2);
    gst_buffer_unref (buffer);
  }
  lm_harness_free (lm);
}

static void
test_no_pts (void)
{
  LmHarness *lm = mini ();

  for (guint i = 0; i < 5; i++)
    g_assert_cmpint (lm_push (lm, lm_noise (lm, i), GST_CLOCK_TIME_NONE), ==,
        GST_FLOW_OK);
  check_frames (lm, 0, 5 - MINI_DELAY);
  lm_harness_free (lm);
}

/* A new segment in which running time goes on is the same conversation. */
static void
test_segments (void)
{
  LmHarness *lm = mini ();
  GstSegment segment;
  GstBuffer *buffer;

  lm_push_noise (lm, 0, 5, 0);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = segment.position = 100 * FRAME;
  segment.base = 5 * FRAME;
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_segment (&segment)));
  lm_push_noise (lm, 100, 5, 0);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 0);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 10);

  /* The fifth frame, completed after the segment came, still is of the old. */
  for (guint i = 0; i < 9; i++) {
    buffer = gst_harness_pull (lm->speech);
    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==,
        (i < 5 ? i : i + 95) * FRAME);
    gst_buffer_unref (buffer);
  }
  lm_harness_free (lm);
}

/* With a hole of running time between the segments. */
static void
test_segment_hole (void)
{
  LmHarness *lm = mini ();
  GstSegment segment;

  lm_push_noise (lm, 0, 5, 0);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.base = 8 * FRAME;
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_segment (&segment)));
  lm_push_noise (lm, 0, 2, 0);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 7);
  lm_harness_free (lm);
}

/* The frames that lead in to where a file was sought have no stream time. */
static void
test_lead_in (void)
{
  LmHarness *lm = mini ();
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = 3 * FRAME;
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_segment (&segment)));
  lm_push_noise (lm, 0, 5, 0);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 5);
  lm_harness_free (lm);
}

static void
test_wrong_segments (void)
{
  LmHarness *lm = mini ();
  GstSegment segment;
  gchar *error;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (lm->speech, gst_event_new_segment (&segment));
  error = lm_error (lm, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT);
  g_assert_nonnull (strstr (error, "format=time"));
  g_free (error);
  lm_harness_free (lm);
}

/* Every instant of the text pad is told: by a word or by a gap. */
static void
test_text_timeline (void)
{
  LmHarness *lm = mini ();
  GstClockTime position = 0, start, duration;
  GstEvent *event;
  GstBuffer *buffer = NULL;
  guint gaps = 0, words = 0;

  lm_push_noise (lm, 0, 60, 0);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  while ((event = gst_harness_try_pull_event (lm->text))) {
    gboolean is_gap = GST_EVENT_TYPE (event) == GST_EVENT_GAP;
    gboolean ends = GST_EVENT_TYPE (event) == GST_EVENT_EOS;

    start = 60 * FRAME;
    if (is_gap)
      gst_event_parse_gap (event, &start, &duration);
    while ((is_gap || ends) && position < start) {
      buffer = gst_harness_try_pull (lm->text);
      g_assert_nonnull (buffer);
      g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, position);
      g_assert_cmpuint (GST_BUFFER_DURATION (buffer) % FRAME, ==, 0);
      g_assert_cmpuint (GST_BUFFER_DURATION (buffer), >, 0);
      position += GST_BUFFER_DURATION (buffer);
      gst_buffer_unref (buffer);
      words++;
    }
    g_assert_false ((is_gap || ends) && position != start);
    if (is_gap) {
      position += duration;
      gaps++;
    }
    gst_event_unref (event);
  }
  g_assert_cmpuint (position, ==, 60 * FRAME);
  g_assert_cmpuint (words, ==, lm_stat (lm, "words"));
  g_assert_cmpuint (words, >, 0);
  lm_harness_free (lm);
}

/* ---------------------------------------------------------- first and last */

static void
test_repeat_first_frame (void)
{
  const gchar *file = "duplex-mini.file.safetensors";
  Table codes = read_table (file, "codes"), out = read_table (file, "out");
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, "drain-frames", 0,
      "repeat-first-frame", TRUE, NULL);
  gint32 frame[8];

  lm_set_caps (lm, FALSE);
  for (gint t = 0; t < codes.columns; t++) {
    for (gint k = 0; k < 8; k++)
      frame[k] = codes.data[k * codes.columns + t];
    lm_push (lm, frame, t * FRAME);
  }
  /* As many frames as were heard, at the same times. */
  g_assert_cmpint (out.rows, ==, codes.columns + 1);
  for (gint i = 0; i < codes.columns; i++) {
    GstBuffer *buffer = gst_harness_pull (lm->speech);
    const gint32 *row = out.data + (i + 1) * out.columns;

    lm_read (lm, buffer, 8, frame);
    g_assert_cmpmem (frame, sizeof frame, row + 1, sizeof frame);
    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, i * FRAME);
    gst_buffer_unref (buffer);
  }
  g_assert_null (gst_harness_try_pull (lm->speech));
  free_table (&codes);
  free_table (&out);
  lm_harness_free (lm);
}

static void
check_eos (GstHarness * h)
{
  GstEvent *event;
  gboolean eos = FALSE;

  while ((event = gst_harness_try_pull_event (h))) {
    g_assert_false (eos);
    eos = GST_EVENT_TYPE (event) == GST_EVENT_EOS;
    gst_event_unref (event);
  }
  g_assert_true (eos);
}

static void
test_drain_limit (void)
{
  LmHarness *lm = mini ();

  g_object_set (lm->element, "drain-frames", 7, NULL);
  lm_push_noise (lm, 0, 5, 0);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  /* 7 that answer and one that completes the last. */
  g_assert_cmpuint (lm_stat (lm, "drained"), ==, 7 + MINI_DELAY);
  check_frames (lm, 0, 12);
  check_eos (lm->speech);
  check_eos (lm->text);
  lm_harness_free (lm);
}

/* The model in the box falls silent when it hears nothing of sense; a model that
 * keeps talking is cut off. */
static void
test_drain_until_quiet (void)
{
  LmHarness *lm = lm_harness_new (NULL, TRUE, NULL);
  guint64 drained;

  lm_set_caps (lm, TRUE);
  lm_push_noise (lm, 0, 2, 0);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  drained = lm_stat (lm, "drained");
  g_assert_cmpuint (drained, >=, 25);
  g_assert_cmpuint (drained, <, 126);
  g_assert_cmpuint (gst_harness_buffers_received (lm->speech), ==, drained + 1);
  lm_harness_free (lm);
}

/* Half a second of delay and one more second, as the reference's runner. */
static void
test_drain_stt (void)
{
  LmHarness *lm = lm_harness_new ("stt-mini", TRUE, NULL);

  lm_set_caps (lm, TRUE);
  lm_push_noise (lm, 0, 20, 0);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  g_assert_cmpuint (lm_stat (lm, "drained"), ==, 19);
  g_assert_cmpuint (gst_harness_buffers_received (lm->speech), ==, 0);
  check_eos (lm->speech);
  check_eos (lm->text);
  lm_harness_free (lm);
}

/* stt-mini, but for a configuration that wants 0.4 s of silence first. */
static gchar *
make_prefixed (void)
{
  gchar *from = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"), "stt-mini",
      NULL);
  gchar *to = g_dir_make_tmp ("moshilm-XXXXXX", NULL), *text, **parts;
  static const gchar *const names[] = {
    "config.json", "model.safetensors", "tokenizer.model"
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    gchar *source = g_build_filename (from, names[i], NULL);
    gchar *target = g_build_filename (to, names[i], NULL);
    gsize size;

    g_assert_true (g_file_get_contents (source, &text, &size, NULL));
    if (i == 0) {
      parts = g_strsplit (text, "_silence_prefix_seconds\": 0.0", 2);
      g_assert_cmpuint (g_strv_length (parts), ==, 2);
      g_free (text);
      text = g_strjoinv ("_silence_prefix_seconds\": 0.4", parts);
      size = strlen (text);
      g_strfreev (parts);
    }
    g_assert_true (g_file_set_contents (target, text, size, NULL));
    g_free (text);
    g_free (source);
    g_free (target);
  }
  g_free (from);
  return to;
}

static void
remove_prefixed (gchar * path)
{
  const gchar *command[] = { "rm", "-r", path, NULL };

  g_assert_true (g_spawn_sync (NULL, (gchar **) command, NULL,
          G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
  g_free (path);
}

/* Words are written at the time when they were said, and never before the
 * stream began. */
static void
test_silence_prefix (void)
{
  gchar *path = make_prefixed ();

  for (gint repeat = 0; repeat < 2; repeat++) {
    LmHarness *lm = lm_harness_new (path, TRUE, "drain-frames", 0,
        "repeat-first-frame", repeat, NULL);
    GstBuffer *buffer;
    GstClockTime position = 0;

    lm_set_caps (lm, TRUE);
    lm_push_noise (lm, 0, 10, 0);
    g_assert_cmpuint (lm_stat (lm, "frames"), ==, 15 + repeat);
    g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
    while ((buffer = gst_harness_try_pull (lm->text))) {
      g_assert_cmpuint (GST_BUFFER_PTS (buffer), >=, position);
      position = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
      gst_buffer_unref (buffer);
    }
    g_assert_cmpuint (position, <=, 10 * FRAME - 500 * GST_MSECOND);
    lm_harness_free (lm);
  }
  remove_prefixed (path);
}

static void
test_drain_hibiki (void)
{
  LmHarness *lm =
      lm_harness_new ("hibiki-mini", TRUE, "drain-frames", 10, NULL);
  guint64 drained;

  lm_set_caps (lm, TRUE);
  lm_push_noise (lm, 0, 20, 0);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  drained = lm_stat (lm, "drained");
  g_assert_cmpuint (drained, >, 2);
  g_assert_cmpuint (drained, <=, 12);
  g_assert_cmpuint (gst_harness_buffers_received (lm->speech), ==,
      20 + drained - 2);
  lm_harness_free (lm);
}

static void
test_eos_without_data (void)
{
  LmHarness *lm = mini ();

  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 0);
  check_eos (lm->speech);
  check_eos (lm->text);
  lm_harness_free (lm);
}

/* ------------------------------------------------------------------- clock */

static void
check_latency (LmHarness * lm, gboolean live, GstClockTime expected)
{
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean is_live;

  gst_harness_set_live (lm->speech, live);
  g_assert_true (gst_pad_peer_query (lm->speech->sinkpad, query));
  gst_query_parse_latency (query, &is_live, &min, &max);
  g_assert_cmpint (is_live, ==, live);
  g_assert_cmpuint (min, ==, expected);
  gst_query_unref (query);
}

static void
test_latency (void)
{
  LmHarness *lm = lm_harness_new ("hibiki-mini", TRUE, "latency",
      30 * GST_MSECOND, NULL);

  gst_harness_set_upstream_latency (lm->speech, 100 * GST_MSECOND);
  check_latency (lm, TRUE, (100 + 2 * 80 + 30) * GST_MSECOND);
  check_latency (lm, FALSE, (100 + 2 * 80 + 30) * GST_MSECOND);

  g_assert_null (gst_bus_pop_filtered (lm->bus, GST_MESSAGE_LATENCY));
  g_object_set (lm->element, "latency", 50 * GST_MSECOND, NULL);
  gst_message_unref (lm_message (lm, GST_MESSAGE_LATENCY));
  check_latency (lm, TRUE, (100 + 2 * 80 + 50) * GST_MSECOND);
  lm_harness_free (lm);
}

/* Measured when the conversation starts, and told. */
static void
test_measured_latency (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", TRUE, "repeat-first-frame", TRUE,
      NULL);

  check_latency (lm, TRUE, 0);
  lm_set_caps (lm, TRUE);
  lm_push_noise (lm, 0, 1, 0);
  gst_message_unref (lm_message (lm, GST_MESSAGE_LATENCY));
  g_assert_cmpuint (gst_harness_query_latency (lm->speech), >, 0);
  lm_harness_free (lm);
}

/* What is heard half a second late is left out until the present is reached. */
static void
test_late (void)
{
  LmHarness *lm = mini ();
  GstMessage *message;
  guint64 processed, dropped;
  gint64 jitter;
  GstFormat format;
  GstBuffer *buffer;

  gst_harness_use_testclock (lm->speech);
  gst_harness_query_latency (lm->speech);
  lm_push_noise (lm, 0, 5, 0);
  gst_harness_set_time (lm->speech, 15 * FRAME);
  lm_push_noise (lm, 5, 9, 0);
  g_assert_cmpuint (lm_stat (lm, "skipped"), ==, 9);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 5);
  message = lm_message (lm, GST_MESSAGE_QOS);
  gst_message_parse_qos_values (message, &jitter, NULL, NULL);
  g_assert_cmpint (jitter, ==, 10 * FRAME);
  gst_message_parse_qos_stats (message, &format, &processed, &dropped);
  g_assert_cmpuint (processed, ==, 5);
  g_assert_cmpuint (dropped, ==, 1);
  gst_message_unref (message);
  /* Not one message for each. */
  g_assert_null (gst_bus_pop_filtered (lm->bus, GST_MESSAGE_QOS));

  lm_push_noise (lm, 15, 4, 0);
  g_assert_cmpuint (lm_stat (lm, "skipped"), ==, 9);
  g_assert_cmpuint (lm_stat (lm, "silent"), ==, 1);
  for (guint i = 0; i < 5; i++)
    gst_buffer_unref (gst_harness_pull (lm->speech));
  buffer = gst_harness_pull (lm->speech);
  g_assert_true (GST_BUFFER_IS_DISCONT (buffer));
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, 14 * FRAME);
  gst_buffer_unref (buffer);
  lm_harness_free (lm);
}

static void
test_never_skip (void)
{
  LmHarness *lm = mini ();

  g_object_set (lm->element, "max-lateness", (gint64) - 1, NULL);
  gst_harness_use_testclock (lm->speech);
  gst_harness_query_latency (lm->speech);
  gst_harness_set_time (lm->speech, 100 * FRAME);
  lm_push_noise (lm, 0, 5, 0);
  g_assert_cmpuint (lm_stat (lm, "skipped"), ==, 0);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 5);
  lm_harness_free (lm);
}

/* A file is never too late. */
static void
test_not_live (void)
{
  LmHarness *lm = mini ();

  gst_harness_set_live (lm->speech, FALSE);
  gst_harness_use_testclock (lm->speech);
  gst_harness_query_latency (lm->speech);
  gst_harness_set_time (lm->speech, 100 * FRAME);
  lm_push_noise (lm, 0, 5, 0);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 5);
  lm_harness_free (lm);
}

int
main (int argc, char **argv)
{
  int result;

  gst_init (&argc, &argv);
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/moshilm/gap/event", test_gap_event);
  g_test_add_func ("/moshilm/gap/odd", test_odd_gaps);
  g_test_add_func ("/moshilm/gap/first", test_gap_first);
  g_test_add_func ("/moshilm/gap/only", test_gap_only);
  g_test_add_func ("/moshilm/gap/lost-frame", test_lost_frame);
  g_test_add_func ("/moshilm/jump", test_jump);
  g_test_add_func ("/moshilm/jump/long", test_long_jump);
  g_test_add_func ("/moshilm/duplicates", test_duplicates);
  g_test_add_func ("/moshilm/jitter", test_jitter);
  g_test_add_func ("/moshilm/no-pts", test_no_pts);
  g_test_add_func ("/moshilm/segments", test_segments);
  g_test_add_func ("/moshilm/segments/hole", test_segment_hole);
  g_test_add_func ("/moshilm/segments/lead-in", test_lead_in);
  g_test_add_func ("/moshilm/segments/wrong", test_wrong_segments);
  g_test_add_func ("/moshilm/text/timeline", test_text_timeline);
  g_test_add_func ("/moshilm/repeat-first-frame", test_repeat_first_frame);
  g_test_add_func ("/moshilm/drain/limit", test_drain_limit);
  g_test_add_func ("/moshilm/drain/until-quiet", test_drain_until_quiet);
  g_test_add_func ("/moshilm/drain/stt", test_drain_stt);
  g_test_add_func ("/moshilm/silence-prefix", test_silence_prefix);
  g_test_add_func ("/moshilm/drain/hibiki", test_drain_hibiki);
  g_test_add_func ("/moshilm/eos-without-data", test_eos_without_data);
  g_test_add_func ("/moshilm/latency", test_latency);
  g_test_add_func ("/moshilm/latency/measured", test_measured_latency);
  g_test_add_func ("/moshilm/late", test_late);
  g_test_add_func ("/moshilm/late/never-skip", test_never_skip);
  g_test_add_func ("/moshilm/late/not-live", test_not_live);
  result = g_test_run ();
  gst_deinit ();
  return result;
}
