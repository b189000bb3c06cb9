/* moshilm's life: states, flushes, pads, properties, and what it says when
 * something does not fit. */
#include "lm-harness.h"

#include <glib/gstdio.h>
#include <gst/controller/controller.h>
#include <string.h>

static LmHarness *
mini (gboolean with_text)
{
  LmHarness *lm = lm_harness_new ("lm-mini", with_text, "drain-frames", 0,
      NULL);

  lm_set_caps (lm, FALSE);
  return lm;
}

static GstElement *
make_element (const gchar * checkpoint)
{
  GstElement *element = gst_object_ref_sink (gst_element_factory_make
      ("moshilm", NULL));
  gchar *path;

  if (checkpoint) {
    path = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"), checkpoint, NULL);
    g_object_set (element, "model", path, NULL);
    g_free (path);
  }
  gst_element_set_bus (element, gst_bus_new ());
  return element;
}

static void
drop_element (GstElement * element)
{
  GstBus *bus = gst_element_get_bus (element);

  gst_element_set_state (element, GST_STATE_NULL);
  gst_element_set_bus (element, NULL);
  gst_object_unref (bus);
  gst_object_unref (bus);
  gst_object_unref (element);
}

static void
check_error (GstElement * element, GQuark domain, gint code,
    const gchar * expected)
{
  GstBus *bus = gst_element_get_bus (element);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND,
      GST_MESSAGE_ERROR);
  GError *error;

  g_assert_nonnull (message);
  gst_message_parse_error (message, &error, NULL);
  g_assert_error (error, domain, code);
  if (!strstr (error->message, expected))
    g_error ("\"%s\" does not say \"%s\"", error->message, expected);
  g_error_free (error);
  gst_message_unref (message);
  /* One failure is one error. */
  g_assert_null (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR));
  gst_object_unref (bus);
}

static GBytes *
converse (LmHarness * lm)
{
  lm_push_noise (lm, 0, 20, 0);
  return lm_pull_speech (lm);
}

static void
assert_same (GBytes * a, GBytes * b, gboolean same)
{
  g_assert_cmpuint (g_bytes_get_size (a), >, 0);
  g_assert_cmpint (g_bytes_equal (a, b), ==, same);
  g_bytes_unref (a);
  g_bytes_unref (b);
}

/* ------------------------------------------------------------------ states */

static void
test_states (void)
{
  GstElement *element = make_element (NULL);

  for (guint i = 0; i < 10; i++) {
    g_assert_cmpint (gst_element_set_state (element, GST_STATE_PLAYING), ==,
        GST_STATE_CHANGE_SUCCESS);
    g_assert_cmpint (gst_element_set_state (element, GST_STATE_NULL), ==,
        GST_STATE_CHANGE_SUCCESS);
  }
  for (guint i = 0; i < 10; i++) {
    gst_element_set_state (element, GST_STATE_READY);
    gst_element_set_state (element, GST_STATE_PAUSED);
    gst_element_set_state (element, GST_STATE_READY);
  }
  drop_element (element);
}

static void
test_again_after_null (void)
{
  LmHarness *lm = mini (FALSE);
  GBytes *first = converse (lm);

  gst_element_set_state (lm->element, GST_STATE_NULL);
  gst_element_set_state (lm->element, GST_STATE_PLAYING);
  gst_harness_push_event (lm->speech, gst_event_new_stream_start ("again"));
  lm_set_caps (lm, FALSE);
  assert_same (first, converse (lm), TRUE);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, 20);
  lm_harness_free (lm);
}

static gpointer
push_one (gpointer data)
{
  LmHarness *lm = data;

  return GINT_TO_POINTER (lm_push (lm, lm_noise (lm, 0), 0));
}

/* Whoever waits for the model is let go, whether it is there by then or not. */
static void
test_cancel_load (void)
{
  for (guint i = 0; i < 20; i++) {
    LmHarness *lm = mini (FALSE);
    GThread *thread = g_thread_new ("push", push_one, lm);
    GstFlowReturn ret;

    g_usleep (i * 100);
    gst_element_set_state (lm->element, GST_STATE_NULL);
    ret = GPOINTER_TO_INT (g_thread_join (thread));
    g_assert_true (ret == GST_FLOW_OK || ret == GST_FLOW_FLUSHING);
    lm_harness_free (lm);
  }
}

static void
expect_progress (LmHarness * lm)
{
  GstProgressType type = GST_PROGRESS_TYPE_START;
  gchar *code;

  while (type != GST_PROGRESS_TYPE_COMPLETE) {
    GstMessage *message = lm_message (lm, GST_MESSAGE_PROGRESS);

    gst_message_parse_progress (message, &type, &code, NULL);
    g_assert_cmpstr (code, ==, "open");
    g_assert_cmpint (type, !=, GST_PROGRESS_TYPE_ERROR);
    g_free (code);
    gst_message_unref (message);
  }
}

static void
test_progress (void)
{
  LmHarness *lm = mini (FALSE);

  expect_progress (lm);
  lm_harness_free (lm);
}

/* Two conversations over one model, at the same time. */
static gpointer
converse_in_thread (gpointer data)
{
  LmHarness *lm = data;

  lm_push_noise (lm, 0, 20, 0);
  return NULL;
}

static void
test_two (void)
{
  LmHarness *a = mini (TRUE), *b = mini (TRUE);
  GThread *thread;

  thread = g_thread_new ("other", converse_in_thread, a);
  converse_in_thread (b);
  g_thread_join (thread);
  assert_same (lm_pull_speech (a), lm_pull_speech (b), TRUE);
  lm_harness_free (a);
  lm_harness_free (b);
}

/* Four conversations that share their steps say what one says alone. */
static void
test_shared (void)
{
  LmHarness *alone = mini (FALSE), *lm[4];
  GBytes *said = converse (alone);
  GThread *threads[4];

  g_setenv ("MOSHI_BATCH", "4", TRUE);
  for (guint i = 0; i < 4; i++)
    lm[i] = mini (FALSE);
  for (guint i = 0; i < 4; i++)
    threads[i] = g_thread_new ("talk", converse_in_thread, lm[i]);
  for (guint i = 0; i < 4; i++) {
    g_thread_join (threads[i]);
    assert_same (g_bytes_ref (said), lm_pull_speech (lm[i]), TRUE);
    g_assert_cmpuint (lm_stat (lm[i], "max-batch"), >=, 1);
    g_assert_cmpuint (lm_stat (lm[i], "max-batch"), <=, 4);
    g_assert_cmpuint (lm_stat (lm[i], "max-wait"), <=,
        lm_stat (lm[i], "max-step"));
  }
  for (guint i = 0; i < 4; i++)
    lm_harness_free (lm[i]);
  g_unsetenv ("MOSHI_BATCH");
  g_assert_cmpuint (lm_stat (alone, "max-batch"), ==, 1);
  g_bytes_unref (said);
  lm_harness_free (alone);
}

/* --------------------------------------------------------- new conversations */

static void
end_flush (LmHarness * lm)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_flush_stop (TRUE)));
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_segment (&segment)));
}

static void
flush (LmHarness * lm)
{
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_flush_start ()));
  end_flush (lm);
}

static void
test_flush (void)
{
  LmHarness *lm = mini (TRUE);
  GBytes *first;

  flush (lm);
  first = converse (lm);
  lm_push_noise (lm, 40, 1, 0);
  flush (lm);
  g_bytes_unref (lm_pull_speech (lm));
  assert_same (first, converse (lm), TRUE);
  lm_harness_free (lm);
}

static gpointer
push_until_flushed (gpointer data)
{
  LmHarness *lm = data;
  GstFlowReturn ret = GST_FLOW_OK;

  for (guint i = 0; ret == GST_FLOW_OK; i++)
    ret = lm_push (lm, lm_noise (lm, i), i * FRAME);
  return GINT_TO_POINTER (ret);
}

/* A flush lets go who waits for a step that others make, and those do not hear
 * of it. */
static void
test_flush_among_others (void)
{
  LmHarness *lm, *other, *alone = mini (FALSE);
  GBytes *said = converse (alone);

  g_setenv ("MOSHI_BATCH", "4", TRUE);
  lm = mini (FALSE);
  other = mini (FALSE);
  flush (lm);
  for (guint i = 0; i < 20; i++) {
    GThread *flushed = g_thread_new ("flushed", push_until_flushed, lm);
    GThread *talking = g_thread_new ("talk", converse_in_thread, other);

    g_usleep (i * 200);
    gst_harness_push_event (lm->speech, gst_event_new_flush_start ());
    g_assert_cmpint (GPOINTER_TO_INT (g_thread_join (flushed)), ==,
        GST_FLOW_FLUSHING);
    end_flush (lm);
    g_thread_join (talking);
    assert_same (g_bytes_ref (said), lm_pull_speech (other), TRUE);
    flush (other);
  }
  g_bytes_unref (lm_pull_speech (lm));
  assert_same (g_bytes_ref (said), converse (lm), TRUE);
  lm_harness_free (lm);
  lm_harness_free (other);
  g_unsetenv ("MOSHI_BATCH");
  g_bytes_unref (said);
  lm_harness_free (alone);
}

static void
test_reset_event (void)
{
  LmHarness *lm = mini (TRUE);
  GBytes *first = converse (lm);
  GstStructure *others = gst_structure_new ("moshi/reset",
      "element", G_TYPE_STRING, "mimienc", NULL);
  GBytes *go_on;

  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
              gst_structure_new_empty ("moshi/reset"))));
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, others)));
  lm_push_noise (lm, 0, 10, 0);
  g_assert_true (gst_harness_push_event (lm->speech,
          gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
              gst_structure_new ("moshi/reset", "element", G_TYPE_STRING,
                  "mimienc", NULL))));
  lm_push_noise (lm, 10, 10, 0);
  go_on = lm_pull_speech (lm);
  assert_same (first, go_on, TRUE);
  lm_harness_free (lm);
}

static void
test_stream_start (void)
{
  LmHarness *lm = mini (FALSE);
  GBytes *first = converse (lm);

  gst_harness_push_event (lm->speech, gst_event_new_stream_start ("other"));
  lm_set_caps (lm, FALSE);
  assert_same (first, converse (lm), TRUE);
  lm_harness_free (lm);
}

/* -------------------------------------------------------------------- pads */

static GstEvent *
sticky (GstHarness * h, GstEventType type)
{
  GstEvent *event = gst_pad_get_sticky_event (h->sinkpad, type, 0);

  g_assert_nonnull (event);
  return event;
}

static void
test_streams (void)
{
  LmHarness *lm = mini (TRUE);
  GstEvent *a, *b;
  const gchar *id_a, *id_b;
  guint group_a, group_b;
  const GstSegment *segment;
  GstCaps *caps;

  lm_push_noise (lm, 0, 2, 0);
  a = sticky (lm->speech, GST_EVENT_STREAM_START);
  b = sticky (lm->text, GST_EVENT_STREAM_START);
  gst_event_parse_stream_start (a, &id_a);
  gst_event_parse_stream_start (b, &id_b);
  g_assert_cmpstr (id_a, !=, id_b);
  g_assert_true (gst_event_parse_group_id (a, &group_a));
  g_assert_true (gst_event_parse_group_id (b, &group_b));
  g_assert_cmpuint (group_a, ==, group_b);
  gst_event_unref (a);
  gst_event_unref (b);

  a = sticky (lm->text, GST_EVENT_SEGMENT);
  gst_event_parse_segment (a, &segment);
  g_assert_cmpint (segment->format, ==, GST_FORMAT_TIME);
  gst_event_unref (a);
  caps = gst_pad_get_current_caps (lm->text->sinkpad);
  g_assert_true (gst_caps_is_strictly_equal (caps,
          gst_static_caps_get (&(GstStaticCaps)
              GST_STATIC_CAPS ("text/x-raw, format=(string)utf8"))));
  gst_caps_unref (caps);
  lm_harness_free (lm);
}

static void
test_unlinked (void)
{
  LmHarness *lm = mini (FALSE);
  GstPad *peer = lm->speech->sinkpad, *src;

  lm_push_noise (lm, 0, 5, 0);
  /* Neither: then there is nobody to talk to. */
  src = gst_pad_get_peer (peer);
  gst_pad_unlink (src, peer);
  g_assert_cmpint (lm_push (lm, lm_noise (lm, 5), 5 * FRAME), ==,
      GST_FLOW_NOT_LINKED);
  gst_pad_link (src, peer);
  g_assert_cmpint (lm_push (lm, lm_noise (lm, 6), 6 * FRAME), ==, GST_FLOW_OK);
  gst_object_unref (src);
  lm_harness_free (lm);
}

static void
test_only_text (void)
{
  LmHarness *lm = mini (TRUE);
  GstPad *src = gst_pad_get_peer (lm->speech->sinkpad);
  gchar *text;

  gst_pad_unlink (src, lm->speech->sinkpad);
  lm_push_noise (lm, 0, 30, 0);
  text = lm_pull_text (lm, " ");
  g_assert_cmpuint (strlen (text), >, 0);
  g_free (text);
  gst_object_unref (src);
  lm_harness_free (lm);
}

static void
test_caps (void)
{
  LmHarness *lm = mini (FALSE);
  GstPad *sink = gst_pad_get_peer (lm->speech->srcpad);
  GstCaps *caps = gst_pad_query_caps (sink, NULL);
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  gint n;

  g_assert_true (gst_structure_get_int (s, "codebooks", &n));
  g_assert_cmpint (n, ==, 8);
  g_assert_true (gst_structure_get_int (s, "codebook-size", &n));
  g_assert_cmpint (n, ==, 64);
  gst_caps_unref (caps);
  gst_object_unref (sink);

  /* packed where downstream takes both. */
  lm_push_noise (lm, 0, 2, 0);
  caps = gst_pad_get_current_caps (lm->speech->sinkpad);
  s = gst_caps_get_structure (caps, 0);
  g_assert_cmpstr (gst_structure_get_string (s, "stream-format"), ==, "packed");
  g_assert_false (gst_structure_has_field (s, "model-id"));
  gst_caps_unref (caps);
  lm_harness_free (lm);
}

static void
test_model_id (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, NULL);
  GstCaps *caps;

  gst_harness_set_src_caps_str (lm->speech, "audio/x-mimi, rate=24000, "
      "channels=1, codebooks=8, codebook-size=64, frame-duration-us=80000, "
      "stream-format=u16, framed=true, model-id=abcd");
  lm_push_noise (lm, 0, 2, 0);
  caps = gst_pad_get_current_caps (lm->speech->sinkpad);
  g_assert_cmpstr (gst_structure_get_string (gst_caps_get_structure (caps, 0),
          "model-id"), ==, "abcd");
  gst_caps_unref (caps);
  lm_harness_free (lm);
}

/* The model in the box knows the codec beside it. */
static void
test_wrong_model_id (void)
{
  LmHarness *lm = lm_harness_new (NULL, FALSE, NULL);
  GstMessage *message;
  GError *error;

  gst_harness_set_src_caps_str (lm->speech, "audio/x-mimi, rate=24000, "
      "channels=1, codebooks=8, codebook-size=256, frame-duration-us=80000, "
      "stream-format=u16, framed=true, model-id=abcd");
  lm_push_noise (lm, 0, 2, 0);
  message = lm_message (lm, GST_MESSAGE_WARNING);
  gst_message_parse_warning (message, &error, NULL);
  g_assert_error (error, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE);
  g_assert_nonnull (strstr (error->message, "abcd"));
  g_error_free (error);
  gst_message_unref (message);
  lm_harness_free (lm);
}

/* Downstream changes its mind in the middle of a conversation. */
static void
test_renegotiate (void)
{
  LmHarness *lm = mini (FALSE);
  gchar *caps = lm_caps (8, 64, FALSE);
  GstBuffer *buffer;

  lm_push_noise (lm, 0, 2, 0);
  buffer = gst_harness_pull (lm->speech);
  g_assert_cmpuint (gst_buffer_get_size (buffer), ==, 6);
  gst_buffer_unref (buffer);
  gst_harness_set_sink_caps_str (lm->speech, caps);
  gst_harness_push_upstream_event (lm->speech, gst_event_new_reconfigure ());
  lm_push_noise (lm, 2, 1, 0);
  buffer = gst_harness_pull (lm->speech);
  g_assert_cmpuint (gst_buffer_get_size (buffer), ==, 16);
  gst_buffer_unref (buffer);
  g_free (caps);
  lm_harness_free (lm);
}

/* Input in the other stream format, in the middle of a conversation. */
static void
test_caps_change (void)
{
  LmHarness *lm = mini (FALSE), *plain = mini (FALSE);

  lm_push_noise (lm, 0, 10, 0);
  lm_set_caps (lm, TRUE);
  lm_push_noise (lm, 10, 10, 0);
  assert_same (converse (plain), lm_pull_speech (lm), TRUE);
  lm_harness_free (plain);
  lm_harness_free (lm);
}

/* Tags and unknown events keep their place among the frames. */
static GstPadProbeReturn
note_order (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  GString *order = user_data;

  if (GST_IS_BUFFER (info->data))
    g_string_append_c (order, 'b');
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_TAG)
    g_string_append_c (order, 't');
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_CUSTOM_DOWNSTREAM)
    g_string_append_c (order, 'c');
  return GST_PAD_PROBE_OK;
}

static void
test_event_order (void)
{
  LmHarness *lm = mini (TRUE);
  GString *order = g_string_new (NULL);
  GstTagList *tags = gst_tag_list_new (GST_TAG_TITLE, "Hello", NULL);

  gst_pad_add_probe (lm->speech->sinkpad, GST_PAD_PROBE_TYPE_BUFFER |
      GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, note_order, order, NULL);
  lm_push_noise (lm, 0, 3, 0);
  gst_harness_push_event (lm->speech, gst_event_new_tag (tags));
  lm_push_noise (lm, 3, 2, 0);
  gst_harness_push_event (lm->speech,
      gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
          gst_structure_new_empty ("anything")));
  gst_harness_push_event (lm->speech, gst_event_new_eos ());
  /* The tags came after the third frame, of which two had been answered. */
  g_assert_cmpstr (order->str, ==, "bbbtbc");
  gst_event_unref (sticky (lm->text, GST_EVENT_TAG));
  g_string_free (order, TRUE);
  lm_harness_free (lm);
}

/* -------------------------------------------------------------- properties */

static gfloat
get_float (gpointer object, const gchar * name)
{
  gfloat value;

  g_object_get (object, name, &value, NULL);
  return value;
}

/* The checkpoint names its sampling; a property that was set wins. */
static void
test_sampling_defaults (void)
{
  GstElement *element = make_element ("hibiki-mini");
  gint k;

  g_object_set (element, "text-temperature", 0.25, NULL);
  g_assert_cmpfloat (get_float (element, "temperature"), ==, 0.8f);
  gst_element_set_state (element, GST_STATE_READY);
  g_assert_cmpfloat (get_float (element, "text-temperature"), ==, 0.25f);
  g_object_get (element, "text-top-k", &k, NULL);
  g_assert_cmpint (k, ==, 250);
  drop_element (element);

  element = make_element ("stt-mini");
  gst_element_set_state (element, GST_STATE_READY);
  g_assert_cmpfloat (get_float (element, "temperature"), ==, 0);
  g_assert_cmpfloat (get_float (element, "text-temperature"), ==, 0);
  drop_element (element);
}

static LmHarness *
warm (guint64 seed)
{
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, "temperature", 1.0,
      "text-temperature", 1.0, "seed", seed, NULL);

  lm_set_caps (lm, FALSE);
  return lm;
}

static void
test_seed (void)
{
  LmHarness *a = warm (1), *b = warm (1), *c = warm (2);
  GBytes *bytes = converse (a);

  g_bytes_ref (bytes);
  assert_same (bytes, converse (b), TRUE);
  assert_same (bytes, converse (c), FALSE);
  lm_harness_free (a);
  lm_harness_free (b);
  lm_harness_free (c);
}

/* Changed while playing: heard from the next frame on. */
static void
test_change_while_playing (void)
{
  LmHarness *greedy = mini (FALSE), *lm = mini (FALSE);
  GBytes *all = converse (greedy), *begin, *a, *b;

  lm_push_noise (lm, 0, 10, 0);
  begin = lm_pull_speech (lm);
  a = g_bytes_new_from_bytes (all, 0, g_bytes_get_size (begin));
  b = g_bytes_new_from_bytes (all, g_bytes_get_size (begin),
      g_bytes_get_size (all) - g_bytes_get_size (begin));
  assert_same (a, begin, TRUE);
  g_object_set (lm->element, "temperature", 2.0, "top-k", 0, NULL);
  lm_push_noise (lm, 10, 10, 0);
  assert_same (b, lm_pull_speech (lm), FALSE);
  g_bytes_unref (all);
  lm_harness_free (greedy);
  lm_harness_free (lm);
}

/* What is said differs. A context matters only to a penalty. */
static void
test_text_tweaks (void)
{
  static const struct
  {
    const gchar *name;
    gdouble value, standard;
  } tweaks[] = {
    {"padding-bonus", 4, 0},
    {"repetition-penalty", 1.5, 1},
    {"repetition-context", 1, 64},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (tweaks); i++) {
    LmHarness *plain = warm (3), *lm = warm (3);
    gdouble penalty = i == 2 ? 2.0 : 1.0;
    GValue number = G_VALUE_INIT;

    g_value_init (&number, G_TYPE_DOUBLE);
    g_object_get_property (G_OBJECT (lm->element), tweaks[i].name, &number);
    g_assert_cmpfloat (g_value_get_double (&number), ==, tweaks[i].standard);
    g_object_set (lm->element, "repetition-penalty", penalty, NULL);
    g_object_set (plain->element, "repetition-penalty", penalty, NULL);
    g_value_set_double (&number, tweaks[i].value);
    g_object_set_property (G_OBJECT (lm->element), tweaks[i].name, &number);
    assert_same (converse (plain), converse (lm), FALSE);
    lm_harness_free (plain);
    lm_harness_free (lm);
  }
}

static void
test_context (void)
{
  LmHarness *whole = mini (FALSE), *lm = lm_harness_new ("lm-mini", FALSE,
      "context", 2, NULL);

  lm_set_caps (lm, FALSE);
  assert_same (converse (whole), converse (lm), FALSE);
  lm_harness_free (whole);
  lm_harness_free (lm);
}

/* How the ring is kept reaches the session. */
static void
test_kv_type (void)
{
  LmHarness *exact = mini (FALSE), *lm = lm_harness_new ("lm-mini", FALSE,
      "kv-type", 2, NULL);
  gint kv_type;

  g_object_get (exact->element, "kv-type", &kv_type, NULL);
  g_assert_cmpint (kv_type, ==, 0);
  lm_set_caps (lm, FALSE);
  assert_same (converse (exact), converse (lm), FALSE);
  lm_harness_free (exact);
  lm_harness_free (lm);
}

/* Removes a directory of plain files; the number of them. */
static guint
remove_dir (const gchar * path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;
  guint n = 0;

  while ((name = g_dir_read_name (dir))) {
    gchar *file = g_build_filename (path, name, NULL);

    g_assert_cmpint (g_remove (file), ==, 0);
    g_free (file);
    n++;
  }
  g_dir_close (dir);
  g_assert_cmpint (g_rmdir (path), ==, 0);
  return n;
}

/* Converted, from the cache, and as the file has them, which takes effect when
 * the element starts. */
static void
test_quantization (void)
{
  gchar *old = g_strdup (g_getenv ("MOSHI_CACHE"));
  gchar *cache = g_dir_make_tmp ("moshi-cache-XXXXXX", NULL);
  LmHarness *plain = mini (FALSE);
  GBytes *exact = converse (plain), *converted = NULL;

  lm_harness_free (plain);
  g_setenv ("MOSHI_CACHE", cache, TRUE);
  for (guint round = 0; round < 2; round++) {
    LmHarness *lm = lm_harness_new ("lm-mini", FALSE, "quantization", 2, NULL);

    expect_progress (lm);
    lm_set_caps (lm, FALSE);
    if (round == 0)
      converted = converse (lm);
    else
      assert_same (converse (lm), g_bytes_ref (converted), TRUE);
    gst_element_set_state (lm->element, GST_STATE_READY);
    g_object_set (lm->element, "quantization", 0, NULL);
    gst_element_set_state (lm->element, GST_STATE_PLAYING);
    lm_set_caps (lm, FALSE);
    assert_same (converse (lm), g_bytes_ref (exact), TRUE);
    lm_harness_free (lm);
  }
  assert_same (exact, converted, FALSE);
  g_assert_cmpuint (remove_dir (cache), ==, 1);

  if (old)
    g_setenv ("MOSHI_CACHE", old, TRUE);
  else
    g_unsetenv ("MOSHI_CACHE");
  g_free (old);
  g_free (cache);
}

static void
test_stress (void)
{
  LmHarness *lm = mini (FALSE);
  GValue value = G_VALUE_INIT, milliseconds = G_VALUE_INIT;
  GstHarnessThread *properties, *events, *latency;
  GstEvent *reconfigure = gst_event_new_reconfigure ();

  g_value_init (&value, G_TYPE_FLOAT);
  g_value_set_float (&value, 0.5);
  g_value_init (&milliseconds, G_TYPE_UINT64);
  g_value_set_uint64 (&milliseconds, GST_MSECOND);
  properties = gst_harness_stress_property_start_full (lm->speech,
      "temperature", &value, 100);
  events = gst_harness_stress_push_upstream_event_start_full (lm->speech,
      reconfigure, 200);
  latency = gst_harness_stress_property_start_full (lm->speech, "latency",
      &milliseconds, 300);
  lm_push_noise (lm, 0, 200, 0);
  gst_harness_stress_thread_stop (properties);
  gst_harness_stress_thread_stop (events);
  gst_event_unref (reconfigure);
  gst_harness_stress_thread_stop (latency);
  g_assert_cmpuint (gst_harness_buffers_received (lm->speech), ==, 199);
  g_value_unset (&value);
  g_value_unset (&milliseconds);
  lm_harness_free (lm);
}

/* Hot up to the tenth frame, greedy from then on. */
static void
test_controlled (void)
{
  LmHarness *lm = mini (FALSE);
  GstControlSource *source = gst_interpolation_control_source_new ();
  GstTimedValueControlSource *values = GST_TIMED_VALUE_CONTROL_SOURCE (source);

  g_object_set (source, "mode", GST_INTERPOLATION_MODE_NONE, NULL);
  gst_timed_value_control_source_set (values, 0, 2.0);
  gst_timed_value_control_source_set (values, 10 * FRAME, 0.0);
  gst_object_add_control_binding (GST_OBJECT (lm->element),
      gst_direct_control_binding_new_absolute (GST_OBJECT (lm->element),
          "temperature", source));
  lm_push_noise (lm, 0, 10, 0);
  g_assert_cmpfloat (get_float (lm->element, "temperature"), ==, 2);
  lm_push_noise (lm, 10, 1, 0);
  g_assert_cmpfloat (get_float (lm->element, "temperature"), ==, 0);
  gst_object_unref (source);
  lm_harness_free (lm);
}

/* ------------------------------------------------------------------ errors */

typedef struct
{
  const gchar *name;
  const gchar *checkpoint;
  gboolean resource;            /* domain */
  gint code;
  const gchar *message;
} Wrong;

static const Wrong wrongs[] = {
  {"missing", "no-such-model", TRUE, GST_RESOURCE_ERROR_NOT_FOUND,
      "no-such-model"},
  {"tts", "tts-mini", FALSE, GST_LIBRARY_ERROR_SETTINGS,
      "does not listen"},
};

static void
test_wrong_ready (gconstpointer data)
{
  const Wrong *w = data;
  GstElement *element = make_element (w->checkpoint);

  g_assert_cmpint (gst_element_set_state (element, GST_STATE_READY), ==,
      GST_STATE_CHANGE_FAILURE);
  check_error (element, w->resource ? GST_RESOURCE_ERROR : GST_LIBRARY_ERROR,
      w->code, w->message);
  drop_element (element);
}

static void
test_wrong_condition (void)
{
  LmHarness *lm = lm_harness_new ("hibiki-mini", FALSE, "condition",
      "description=splendid", NULL);
  gchar *error;

  lm_set_caps (lm, FALSE);
  g_assert_cmpint (lm_push (lm, lm_noise (lm, 0), 0), ==, GST_FLOW_ERROR);
  error = lm_error (lm, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error, "splendid"));
  g_free (error);
  lm_harness_free (lm);
}

static void
test_wrong_caps (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, NULL);
  gchar *caps = lm_caps (4, 2048, TRUE), *error;

  gst_harness_set_src_caps_str (lm->speech, caps);
  error = lm_error (lm, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION);
  g_assert_cmpstr (error, ==, "The model hears frames of 8 codebooks of 64 "
      "entries; the stream has 4 of 2048.");
  g_free (error);
  g_free (caps);
  lm_harness_free (lm);
}

static void
test_wrong_downstream (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, NULL);
  gchar *caps = lm_caps (16, 64, TRUE), *error;

  gst_harness_set_sink_caps_str (lm->speech, caps);
  lm_set_caps (lm, TRUE);
  error = lm_error (lm, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION);
  g_assert_nonnull (strstr (error, "speaks frames of 8 codebooks"));
  g_free (error);
  g_free (caps);
  lm_harness_free (lm);
}

static void
test_out_of_range (void)
{
  const gint32 codes[8] = { 0, 0, 0, 64, 0, 0, 0, 0 };
  LmHarness *lm = mini (FALSE);
  gchar *error;

  lm_push_noise (lm, 0, 2, 0);
  g_assert_cmpint (lm_push (lm, codes, 2 * FRAME), ==, GST_FLOW_ERROR);
  error = lm_error (lm, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE);
  g_assert_cmpstr (error, ==,
      "Token 64 of codebook 3 is out of range: it has 64 entries.");
  g_free (error);
  lm_harness_free (lm);
}

static void
test_wrong_size (void)
{
  LmHarness *lm = mini (FALSE);
  gchar *error;

  g_assert_cmpint (gst_harness_push (lm->speech,
          gst_buffer_new_wrapped (g_malloc0 (15), 15)), ==, GST_FLOW_ERROR);
  error = lm_error (lm, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE);
  g_assert_nonnull (strstr (error, "16 bytes; the buffer has 15"));
  g_free (error);
  lm_harness_free (lm);
}

static void
test_no_caps (void)
{
  LmHarness *lm = lm_harness_new ("lm-mini", FALSE, NULL);
  GstPad *sink = gst_element_get_static_pad (lm->element, "sink");
  GstSegment segment;
  gchar *error;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_send_event (sink, gst_event_new_stream_start ("x"));
  gst_pad_send_event (sink, gst_event_new_segment (&segment));
  g_assert_cmpint (gst_pad_chain (sink, gst_buffer_new_wrapped (g_malloc0 (16),
              16)), ==, GST_FLOW_NOT_NEGOTIATED);
  error = lm_error (lm, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION);
  g_free (error);
  gst_object_unref (sink);
  lm_harness_free (lm);
}

static void
add_errors (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (wrongs); i++) {
    gchar *name = g_strdup_printf ("/moshilm/error/%s", wrongs[i].name);

    g_test_add_data_func (name, &wrongs[i], test_wrong_ready);
    g_free (name);
  }
  g_test_add_func ("/moshilm/error/condition", test_wrong_condition);
  g_test_add_func ("/moshilm/error/caps", test_wrong_caps);
  g_test_add_func ("/moshilm/error/downstream", test_wrong_downstream);
  g_test_add_func ("/moshilm/error/out-of-range", test_out_of_range);
  g_test_add_func ("/moshilm/error/size", test_wrong_size);
  g_test_add_func ("/moshilm/error/no-caps", test_no_caps);
}

int
main (int argc, char **argv)
{
  int result;

  gst_init (&argc, &argv);
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/moshilm/states", test_states);
  g_test_add_func ("/moshilm/states/again", test_again_after_null);
  g_test_add_func ("/moshilm/load/cancel", test_cancel_load);
  g_test_add_func ("/moshilm/load/progress", test_progress);
  g_test_add_func ("/moshilm/two", test_two);
  g_test_add_func ("/moshilm/shared", test_shared);
  g_test_add_func ("/moshilm/new/flush", test_flush);
  g_test_add_func ("/moshilm/new/flush/among-others", test_flush_among_others);
  g_test_add_func ("/moshilm/new/reset", test_reset_event);
  g_test_add_func ("/moshilm/new/stream-start", test_stream_start);
  g_test_add_func ("/moshilm/pads/streams", test_streams);
  g_test_add_func ("/moshilm/pads/unlinked", test_unlinked);
  g_test_add_func ("/moshilm/pads/only-text", test_only_text);
  g_test_add_func ("/moshilm/pads/caps", test_caps);
  g_test_add_func ("/moshilm/pads/model-id", test_model_id);
  g_test_add_func ("/moshilm/pads/wrong-model-id", test_wrong_model_id);
  g_test_add_func ("/moshilm/pads/renegotiate", test_renegotiate);
  g_test_add_func ("/moshilm/pads/caps-change", test_caps_change);
  g_test_add_func ("/moshilm/pads/event-order", test_event_order);
  g_test_add_func ("/moshilm/properties/model", test_sampling_defaults);
  g_test_add_func ("/moshilm/properties/seed", test_seed);
  g_test_add_func ("/moshilm/properties/playing", test_change_while_playing);
  g_test_add_func ("/moshilm/properties/text-tweaks", test_text_tweaks);
  g_test_add_func ("/moshilm/properties/context", test_context);
  g_test_add_func ("/moshilm/properties/kv-type", test_kv_type);
  g_test_add_func ("/moshilm/properties/quantization", test_quantization);
  g_test_add_func ("/moshilm/properties/stress", test_stress);
  g_test_add_func ("/moshilm/properties/controlled", test_controlled);
  add_errors ();
  result = g_test_run ();
  gst_deinit ();
  return result;
}
