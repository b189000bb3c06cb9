/* mimienc: tokens, time, negotiation, events, properties. */
#include "fixtures.h"

#include <string.h>
#include "moshievents.h"

#define TOKENS_CAPS "audio/x-mimi, codebooks=%d, stream-format=%s"

/* Pushes samples from..to of the sound in buffers of that many samples. */
static void
push_pcm (GstHarness * h, const Vector * v, gsize from, gsize to, gsize chunk,
    gboolean f32)
{
  for (; from < to; from += MIN (chunk, to - from))
    g_assert_cmpint (gst_harness_push (h, pcm_buffer (v, from,
                MIN (chunk, to - from), f32)), ==, GST_FLOW_OK);
}

/* The next buffer has the codes of that frame, its time and duration. */
static void
assert_frame (GstHarness * h, const Vector * v, gint frame, gint at)
{
  GstBuffer *buffer = gst_harness_try_pull (h);
  guint16 codes[32], expected[32];
  gsize end = MIN ((gsize) (at + 1) * FRAME, v->samples);

  g_assert_nonnull (buffer);
  read_tokens (h, buffer, codes);
  vector_frame (v, frame, expected);
  g_assert_cmpmem (codes, v->codebooks * 2, expected, v->codebooks * 2);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, at * 80 * MS);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer), ==,
      gst_util_uint64_scale (end, GST_SECOND, 24000));
  gst_buffer_unref (buffer);
}

static void
encode_vector (const gchar * name, const gchar * format, gboolean f32,
    gsize chunk)
{
  Vector v;
  gchar *caps;
  GstHarness *h;

  vector_open (&v, name);
  caps = g_strdup_printf (TOKENS_CAPS, v.codebooks, format);
  h = harness_new ("mimienc", f32 ? F32_CAPS : S16_CAPS, caps);
  push_pcm (h, &v, 0, v.samples, chunk, f32);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (gint i = 0; i < v.frames; i++)
    assert_frame (h, &v, i, i);
  g_assert_null (gst_harness_try_pull (h));
  g_assert_cmpuint (get_stat (h, "frames"), ==, v.frames);
  assert_no_error (h);
  harness_free (h);
  g_free (caps);
  vector_close (&v);
}

static void
test_tokens (void)
{
  encode_vector ("mimi-mini.frame1.safetensors", "u16", TRUE, FRAME);
  encode_vector ("mimi-mini.synth.safetensors", "u16", TRUE, FRAME);
  encode_vector ("mimi-mini.synth.safetensors", "packed", FALSE, 1000);
  encode_vector ("mimi-mini.k32.safetensors", "packed", TRUE, 4801);
  encode_vector ("mimi-mini.k4-tail.safetensors", "u16", FALSE, 777);
}

/* One sample at a time: the most that chunks can be odd. */
static void
test_single_samples (void)
{
  encode_vector ("mimi-mini.frame1.safetensors", "packed", TRUE, 1);
}

/* A conversation as the reference's server starts it: the encoder begins anew
 * after the first frame. */
static void
test_server_convention (gconstpointer way)
{
  gboolean flush = !strcmp (way, "flush");
  Vector v;
  GstHarness *h;
  GstBuffer *buffer;

  vector_open (&v, "duplex-mini.server.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  assert_frame (h, &v, 0, 0);
  if (flush) {
    GstSegment segment;

    gst_segment_init (&segment, GST_FORMAT_TIME);
    gst_harness_push_event (h, gst_event_new_flush_start ());
    gst_harness_push_event (h, gst_event_new_flush_stop (FALSE));
    gst_harness_push_event (h, gst_event_new_segment (&segment));
  } else {
    gst_harness_push_event (h,
        gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
            gst_structure_new (MOSHI_EVENT_RESET, "element", G_TYPE_STRING,
                "mimienc", NULL)));
  }
  for (gint i = 1; i < v.frames; i++) {
    gsize end = MIN ((gsize) (i + 1) * FRAME, v.samples);

    push_pcm (h, &v, i * FRAME, end, 500, FALSE);
    if (i == v.frames - 1)
      gst_harness_push_event (h, gst_event_new_eos ());
    assert_frame (h, &v, i, i);
  }
  buffer = gst_harness_try_pull (h);
  g_assert_null (buffer);
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

/* A reset for somebody else passes by, and reaches them. */
static void
test_reset_of_others (void)
{
  Vector v;
  GstHarness *h;
  GstEvent *event;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
          gst_structure_new (MOSHI_EVENT_RESET, "element", G_TYPE_STRING,
              "moshilm", NULL)));
  push_pcm (h, &v, FRAME, 3 * FRAME, FRAME, FALSE);
  for (gint i = 0; i < 3; i++)
    assert_frame (h, &v, i, i);
  event = harness_find_event (h, GST_EVENT_CUSTOM_DOWNSTREAM);
  g_assert_nonnull (event);
  gst_event_unref (event);
  harness_free (h);
  vector_close (&v);
}

/* A new stream is a new conversation; a new segment is not. */
static void
test_stream_start (void)
{
  GstSegment segment;
  Vector v;
  GstHarness *h;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, 2 * FRAME, FRAME, FALSE);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_pcm (h, &v, 2 * FRAME, 4 * FRAME, FRAME, FALSE);
  for (gint i = 0; i < 4; i++)
    assert_frame (h, &v, i, i);

  gst_harness_push_event (h, gst_event_new_stream_start ("another"));
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_pcm (h, &v, 0, 2 * FRAME, FRAME, FALSE);
  for (gint i = 0; i < 2; i++)
    assert_frame (h, &v, i, i);
  harness_free (h);
  vector_close (&v);
}

/* -------------------------------------------------------------------- time */

static void
test_partial_frame (void)
{
  const gsize samples = 2 * FRAME + 700;
  Vector v;
  GstHarness *h;
  GstAudioClippingMeta *clip;
  GstBuffer *buffer;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", F32_CAPS, NULL);
  push_pcm (h, &v, 0, samples, 999, TRUE);
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 2);
  gst_harness_push_event (h, gst_event_new_eos ());
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 3);
  for (gint i = 0; i < 2; i++) {
    buffer = gst_harness_pull (h);
    g_assert_cmpuint (GST_BUFFER_DURATION (buffer), ==, 80 * MS);
    g_assert_null (gst_buffer_get_audio_clipping_meta (buffer));
    gst_buffer_unref (buffer);
  }
  buffer = gst_harness_pull (h);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, 160 * MS);
  g_assert_cmpuint (GST_BUFFER_DURATION (buffer), ==,
      gst_util_uint64_scale (samples, GST_SECOND, 24000) - 160 * MS);
  clip = gst_buffer_get_audio_clipping_meta (buffer);
  g_assert_nonnull (clip);
  g_assert_cmpint (clip->format, ==, GST_FORMAT_DEFAULT);
  g_assert_cmpuint (clip->start, ==, 0);
  g_assert_cmpuint (clip->end, ==, FRAME - 700);
  gst_buffer_unref (buffer);
  harness_free (h);
  vector_close (&v);
}

/* Tokens of the sound with gaps are those of the sound with zeros there. */
static void
test_gaps (void)
{
  /* the order of sound (1) and gap (0), in samples */
  static const struct
  {
    gboolean sound;
    gsize samples;
  } parts[] = {
    {FALSE, 3000}, {TRUE, 2500}, {FALSE, 100}, {FALSE, 4000}, {TRUE, 5001},
    {FALSE, 2500}
  };
  Vector v, zeros;
  GstHarness *h, *expected;
  gint16 *pcm;
  gsize at = 0;

  vector_open (&v, "mimi-mini.synth.safetensors");
  zeros = v;
  zeros.pcm = pcm = g_memdup2 (v.pcm, v.samples * sizeof *pcm);
  h = harness_new ("mimienc", S16_CAPS, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
    gsize n = parts[i].samples;
    GstBuffer *buffer = pcm_buffer (&v, at, n, FALSE);

    if (parts[i].sound) {
      gst_harness_push (h, buffer);
    } else {
      gst_harness_push_event (h, gst_event_new_gap (GST_BUFFER_PTS (buffer),
              GST_BUFFER_DURATION (buffer)));
      gst_buffer_unref (buffer);
      memset (pcm + at, 0, n * sizeof *pcm);
    }
    at += n;
  }
  gst_harness_push_event (h, gst_event_new_eos ());

  expected = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (expected, &zeros, 0, at, at, FALSE);
  gst_harness_push_event (expected, gst_event_new_eos ());
  g_assert_cmpuint (gst_harness_buffers_received (h), ==,
      (at + FRAME - 1) / FRAME);
  for (gsize i = 0; i < (at + FRAME - 1) / FRAME; i++) {
    GstBuffer *a = gst_harness_try_pull (h);
    GstBuffer *b = gst_harness_try_pull (expected);
    guint16 x[32], y[32];

    read_tokens (h, a, x);
    read_tokens (expected, b, y);
    g_assert_cmpmem (x, 16, y, 16);
    g_assert_cmpuint (GST_BUFFER_PTS (a), ==, GST_BUFFER_PTS (b));
    g_assert_cmpuint (GST_BUFFER_DURATION (a), ==, GST_BUFFER_DURATION (b));
    gst_buffer_unref (a);
    gst_buffer_unref (b);
  }
  g_assert_null (harness_find_event (h, GST_EVENT_GAP));
  harness_free (h);
  harness_free (expected);
  g_free (pcm);
  vector_close (&v);
}

/* Before caps there is nothing to encode: the event goes on. */
static void
test_gap_before_caps (void)
{
  GstHarness *h = harness_new ("mimienc", NULL, NULL);

  g_assert_true (gst_harness_push_event (h, gst_event_new_stream_start ("x")));
  g_assert_true (gst_harness_push_event (h, gst_event_new_gap (0, 80 * MS)));
  assert_no_error (h);
  harness_free (h);
}

/* A jump of time without a gap event stays one, marked. */
static void
test_discont (void)
{
  Vector v;
  GstHarness *h;
  GstBuffer *buffer;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  buffer = pcm_buffer (&v, FRAME, FRAME, FALSE);
  GST_BUFFER_PTS (buffer) += GST_SECOND;
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  assert_frame (h, &v, 0, 0);
  buffer = gst_harness_pull (h);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, GST_SECOND + 80 * MS);
  g_assert_true (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_DISCONT));
  {
    guint16 codes[32], expected[32];

    read_tokens (h, buffer, codes);
    vector_frame (&v, 1, expected);
    g_assert_cmpmem (codes, 16, expected, 16);
  }
  gst_buffer_unref (buffer);
  harness_free (h);
  vector_close (&v);
}

/* A flush forgets the partial frame too, and with nothing to forget it does no
 * harm. */
static void
test_flush (void)
{
  GstSegment segment;
  Vector v;
  GstHarness *h;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  for (gint i = 0; i < 2; i++) {
    gst_harness_push_event (h, gst_event_new_flush_start ());
    gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  }
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_pcm (h, &v, 0, 2 * FRAME + 500, 2 * FRAME + 500, FALSE);
  for (gint i = 0; i < 2; i++)
    assert_frame (h, &v, i, i);
  gst_harness_push_event (h, gst_event_new_flush_start ());
  gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_pcm (h, &v, 0, 3 * FRAME, 1000, FALSE);
  for (gint i = 0; i < 3; i++)
    assert_frame (h, &v, i, i);
  g_assert_null (gst_harness_try_pull (h));
  harness_free (h);
  vector_close (&v);
}

static void
test_eos_without_data (void)
{
  GstHarness *h = harness_new ("mimienc", F32_CAPS, NULL);
  GstEvent *event;

  g_assert_true (gst_harness_push_event (h, gst_event_new_eos ()));
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 0);
  event = harness_find_event (h, GST_EVENT_EOS);
  g_assert_nonnull (event);
  gst_event_unref (event);
  assert_no_error (h);
  harness_free (h);
}

/* What lies before the segment is cut, the rest keeps its time. */
static void
test_segment (void)
{
  GstSegment segment;
  Vector v;
  GstHarness *h;
  GstBuffer *buffer;
  GstEvent *event;
  const GstSegment *out;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = 40 * MS;
  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_pcm (h, &v, 0, 2 * FRAME, 2 * FRAME, FALSE);
  buffer = gst_harness_pull (h);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, 40 * MS);
  gst_buffer_unref (buffer);
  event = gst_pad_get_sticky_event (h->sinkpad, GST_EVENT_SEGMENT, 0);
  gst_event_parse_segment (event, &out);
  g_assert_cmpuint (out->start, ==, 40 * MS);
  gst_event_unref (event);
  harness_free (h);
  vector_close (&v);
}

static void
test_caps_change (void)
{
  Vector v;
  GstHarness *h;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, 2 * FRAME, FRAME, FALSE);
  gst_harness_set_src_caps_str (h, F32_CAPS);
  push_pcm (h, &v, 2 * FRAME, 4 * FRAME, FRAME, TRUE);
  for (gint i = 0; i < 4; i++)
    assert_frame (h, &v, i, i);
  harness_free (h);
  vector_close (&v);
}

static void
test_latency (void)
{
  Vector v;
  GstHarness *h;
  GstClockTime latency;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc latency=7000000", S16_CAPS, NULL);
  gst_harness_set_upstream_latency (h, 10 * MS);
  g_assert_cmpuint (gst_harness_query_latency (h), ==, 97 * MS);
  harness_free (h);

  /* measured, once there is something to measure with */
  h = harness_new ("mimienc", S16_CAPS, NULL);
  gst_harness_set_upstream_latency (h, 0);
  g_assert_cmpuint (gst_harness_query_latency (h), ==, 80 * MS);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  latency = gst_harness_query_latency (h);
  g_assert_cmpuint (latency, >, 80 * MS);
  g_assert_cmpuint (latency % (5 * MS), ==, 0);
  {
    GstMessage *message = harness_pop_message (h, GST_MESSAGE_LATENCY);

    g_assert_nonnull (message);
    gst_message_unref (message);
  }
  harness_free (h);
  vector_close (&v);
}

/* ------------------------------------------------------------- negotiation */

static gint
negotiated_codebooks (GstHarness * h)
{
  GstCaps *caps = gst_pad_get_current_caps (h->sinkpad);
  gint codebooks = 0;

  gst_structure_get_int (gst_caps_get_structure (caps, 0), "codebooks",
      &codebooks);
  gst_caps_unref (caps);
  return codebooks;
}

static void
test_output_caps (void)
{
  Vector v;
  GstHarness *h;
  GstCaps *caps, *expected;
  const gchar *id;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  caps = gst_pad_get_current_caps (h->sinkpad);
  id = gst_structure_get_string (gst_caps_get_structure (caps, 0), "model-id");
  g_assert_nonnull (id);
  g_assert_cmpuint (strlen (id), ==, 16);
  expected = gst_caps_from_string ("audio/x-mimi, rate=24000, channels=1, "
      "codebooks=8, codebook-size=64, frame-duration-us=80000, "
      "stream-format=packed, framed=true");
  gst_caps_set_simple (expected, "model-id", G_TYPE_STRING, id, NULL);
  g_assert_true (gst_caps_is_equal (caps, expected));
  gst_caps_unref (expected);
  gst_caps_unref (caps);
  harness_free (h);
  vector_close (&v);
}

static void
test_codebooks (void)
{
  static const struct
  {
    const gchar *element, *sink_caps;
    gint codebooks;
  } cases[] = {
    {"mimienc", NULL, 8},
    {"mimienc codebooks=3", NULL, 3},
    {"mimienc codebooks=32", "audio/x-mimi", 32},
    {"mimienc codebooks=3", "audio/x-mimi, codebooks=5", 5},
    {"mimienc codebooks=3", "audio/x-mimi, codebooks=[4,6]", 4},
    {"mimienc codebooks=31", "audio/x-mimi, codebooks=[1,16]", 16},
  };
  Vector v;

  vector_open (&v, "mimi-mini.synth.safetensors");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = harness_new (cases[i].element, S16_CAPS,
        cases[i].sink_caps);

    push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
    g_assert_cmpint (negotiated_codebooks (h), ==, cases[i].codebooks);
    harness_free (h);
  }
  vector_close (&v);
}

static void
test_codebooks_while_playing (void)
{
  Vector v;
  GstHarness *h;
  guint16 codes[32], expected[32];
  GstBuffer *buffer;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  g_assert_cmpint (negotiated_codebooks (h), ==, 8);
  assert_frame (h, &v, 0, 0);
  g_object_set (h->element, "codebooks", 4, NULL);
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  g_assert_cmpint (negotiated_codebooks (h), ==, 4);
  buffer = gst_harness_pull (h);
  read_tokens (h, buffer, codes);
  vector_frame (&v, 0, expected);
  g_assert_cmpmem (codes, 8, expected, 8);
  gst_buffer_unref (buffer);
  harness_free (h);
  vector_close (&v);
}

static void
test_caps_that_do_not_fit (void)
{
  Vector v;
  GstHarness *h;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, "audio/x-mimi, codebook-size=2048");
  g_assert_cmpint (gst_harness_push (h, pcm_buffer (&v, 0, FRAME, FALSE)), ==,
      GST_FLOW_NOT_NEGOTIATED);
  assert_error (h, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION, "mimi-mini",
      "size 64");
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

/* --------------------------------------------------------- tags, properties */

static void
test_tags (void)
{
  Vector v;
  GstHarness *h;
  GstEvent *event = NULL, *next;
  GstTagList *tags;
  gchar *text;
  guint bitrate;

  vector_open (&v, "mimi-mini.synth.safetensors");
  h = harness_new ("mimienc", S16_CAPS, NULL);
  gst_tag_setter_add_tags (GST_TAG_SETTER (h->element), GST_TAG_MERGE_REPLACE,
      GST_TAG_ARTIST, "Me", NULL);
  gst_harness_push_event (h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE,
              "Hello", GST_TAG_AUDIO_CODEC, "PCM", NULL)));
  push_pcm (h, &v, 0, FRAME, FRAME, FALSE);
  while ((next = harness_find_event (h, GST_EVENT_TAG)))
    gst_event_take (&event, next);
  g_assert_nonnull (event);
  gst_event_parse_tag (event, &tags);
  g_assert_true (gst_tag_list_get_string (tags, GST_TAG_AUDIO_CODEC, &text));
  g_assert_cmpstr (text, ==, "Mimi");
  g_free (text);
  g_assert_true (gst_tag_list_get_string (tags, GST_TAG_TITLE, &text));
  g_assert_cmpstr (text, ==, "Hello");
  g_free (text);
  g_assert_true (gst_tag_list_get_string (tags, GST_TAG_ARTIST, &text));
  g_assert_cmpstr (text, ==, "Me");
  g_free (text);
  /* 8 codebooks of 6 bits, 12.5 times a second */
  g_assert_true (gst_tag_list_get_uint (tags, GST_TAG_BITRATE, &bitrate));
  g_assert_cmpuint (bitrate, ==, 600);
  gst_event_unref (event);
  harness_free (h);
  vector_close (&v);
}

/* Properties and events from other threads, while sound flows. */
static void
test_stress (void)
{
  GstHarness *h = harness_new ("mimienc", S16_CAPS, NULL);
  GstHarnessThread *threads[3];
  GValue four = G_VALUE_INIT;
  GstSegment segment;
  GstCaps *caps = gst_caps_from_string (S16_CAPS);
  gint16 *silence = g_new0 (gint16, 1000);
  GstBuffer *buffer = exact_buffer (silence, 1000 * sizeof *silence);
  GstEvent *reset = gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
      gst_structure_new_empty (MOSHI_EVENT_RESET));
  guint pushes;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  g_value_init (&four, G_TYPE_UINT);
  g_value_set_uint (&four, 4);
  gst_harness_set_drop_buffers (h, TRUE);
  threads[0] = gst_harness_stress_push_buffer_start (h, caps, &segment, buffer);
  threads[1] = gst_harness_stress_property_start (h, "codebooks", &four);
  threads[2] = gst_harness_stress_push_event_start (h, reset);
  while (get_stat (h, "frames") < 200)
    g_thread_yield ();
  pushes = gst_harness_stress_thread_stop (threads[0]);
  g_assert_cmpuint (pushes, >=, 200);
  gst_harness_stress_thread_stop (threads[1]);
  gst_harness_stress_thread_stop (threads[2]);
  assert_no_error (h);
  gst_event_unref (reset);
  gst_buffer_unref (buffer);
  gst_caps_unref (caps);
  g_value_unset (&four);
  g_free (silence);
  harness_free (h);
}

static void
test_presets (void)
{
  GstElement *element = gst_element_factory_make ("mimienc", NULL);
  guint codebooks;

  g_assert_true (gst_preset_load_preset (GST_PRESET (element), "Best Quality"));
  g_object_get (element, "codebooks", &codebooks, NULL);
  g_assert_cmpuint (codebooks, ==, 32);
  g_assert_true (gst_preset_load_preset (GST_PRESET (element), "Conversation"));
  g_object_get (element, "codebooks", &codebooks, NULL);
  g_assert_cmpuint (codebooks, ==, 8);
  gst_object_unref (element);
}

int
main (int argc, char **argv)
{
  fixture_init (&argc, &argv);
  g_test_add_func ("/mimienc/tokens", test_tokens);
  g_test_add_func ("/mimienc/single-samples", test_single_samples);
  g_test_add_data_func ("/mimienc/server-convention/event", "event",
      test_server_convention);
  g_test_add_data_func ("/mimienc/server-convention/flush", "flush",
      test_server_convention);
  g_test_add_func ("/mimienc/reset-of-others", test_reset_of_others);
  g_test_add_func ("/mimienc/stream-start", test_stream_start);
  g_test_add_func ("/mimienc/partial-frame", test_partial_frame);
  g_test_add_func ("/mimienc/gaps", test_gaps);
  g_test_add_func ("/mimienc/gap-before-caps", test_gap_before_caps);
  g_test_add_func ("/mimienc/discont", test_discont);
  g_test_add_func ("/mimienc/flush", test_flush);
  g_test_add_func ("/mimienc/eos-without-data", test_eos_without_data);
  g_test_add_func ("/mimienc/segment", test_segment);
  g_test_add_func ("/mimienc/caps-change", test_caps_change);
  g_test_add_func ("/mimienc/latency", test_latency);
  g_test_add_func ("/mimienc/output-caps", test_output_caps);
  g_test_add_func ("/mimienc/codebooks", test_codebooks);
  g_test_add_func ("/mimienc/codebooks-while-playing",
      test_codebooks_while_playing);
  g_test_add_func ("/mimienc/caps-that-do-not-fit", test_caps_that_do_not_fit);
  g_test_add_func ("/mimienc/tags", test_tags);
  g_test_add_func ("/mimienc/stress", test_stress);
  g_test_add_func ("/mimienc/presets", test_presets);
  return fixture_run ();
}
