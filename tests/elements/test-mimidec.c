/* mimidec: sound, losses, wrong tokens, negotiation, events. */
#include "fixtures.h"

#include <math.h>
#include <string.h>
#include "mimicaps.h"
#include "moshievents.h"

#define VECTOR "mimi-mini.synth.safetensors"

static gchar *
tokens_caps (gint codebooks, const gchar * format)
{
  return g_strdup_printf ("audio/x-mimi, rate=24000, channels=1, codebooks=%d, "
      "codebook-size=%d, frame-duration-us=80000, stream-format=%s, "
      "framed=true", codebooks, MINI_CODEBOOK_SIZE, format);
}

static GstHarness *
decoder_new (const gchar * launch, gint codebooks, const gchar * format,
    const gchar * sink_caps)
{
  gchar *caps = tokens_caps (codebooks, format);
  GstHarness *h = harness_new (launch, caps, sink_caps);

  g_free (caps);
  return h;
}

static GstBuffer *
tokens_buffer (MimiStreamFormat format, const Vector * v, gint frame)
{
  gsize size = mimi_tokens_size (format, v->codebooks, MINI_CODEBOOK_SIZE);
  guint8 *data = g_malloc (size);
  guint16 codes[32];
  GstBuffer *buffer;

  vector_frame (v, frame, codes);
  mimi_tokens_write (format, v->codebooks, MINI_CODEBOOK_SIZE, codes, data);
  buffer = gst_buffer_new_wrapped (data, size);
  GST_BUFFER_PTS (buffer) = frame * 80 * MS;
  GST_BUFFER_DURATION (buffer) = 80 * MS;

  return buffer;
}

static void
push_frames (GstHarness * h, const Vector * v, gint from, gint to)
{
  for (; from < to; from++)
    g_assert_cmpint (gst_harness_push (h, tokens_buffer (MIMI_STREAM_PACKED, v,
                from)), ==, GST_FLOW_OK);
}

/* Samples of the next buffer, which has to begin at that time. */
static gfloat *
pull_pcm (GstHarness * h, GstClockTime pts, gsize samples)
{
  GstBuffer *buffer = gst_harness_try_pull (h);
  gfloat *pcm = g_new (gfloat, samples);

  g_assert_nonnull (buffer);
  g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, pts);
  g_assert_cmpuint (gst_buffer_get_size (buffer), ==, samples * sizeof *pcm);
  gst_buffer_extract (buffer, 0, pcm, samples * sizeof *pcm);
  gst_buffer_unref (buffer);

  return pcm;
}

/* What libmoshi makes of the first frames. */
static gfloat *
decode_directly (const Vector * v, gint frames)
{
  MoshiModelOptions options = {.parts = MOSHI_PART_DECODER };
  gfloat *pcm = g_new (gfloat, frames * FRAME);
  MoshiError error = { 0 };
  MoshiModel *model;
  MimiDecoder *decoder;
  guint16 codes[32];

  model = moshi_model_open (&options, &error);
  g_assert_cmpint (moshi_model_load (model, NULL, NULL, &error), ==, MOSHI_OK);
  decoder = mimi_decoder_new (model, 1, &error);
  for (gint i = 0; i < frames; i++) {
    vector_frame (v, i, codes);
    g_assert_cmpint (mimi_decoder_step (decoder, codes, v->codebooks, NULL,
            pcm + i * FRAME, &error), ==, MOSHI_OK);
  }
  mimi_decoder_free (decoder);
  moshi_model_unref (model);

  return pcm;
}

static gdouble
snr_db (const gfloat * a, const gfloat * b, gsize n)
{
  gdouble signal = 0, noise = 0;

  for (gsize i = 0; i < n; i++) {
    signal += (gdouble) a[i] * a[i];
    noise += ((gdouble) a[i] - b[i]) * ((gdouble) a[i] - b[i]);
  }
  return 10 * log10 (signal / noise);
}

/* Bit for bit what libmoshi makes, and so what the reference makes. */
static void
decode_vector (const gchar * name, MimiStreamFormat format)
{
  Vector v;
  GstHarness *h;
  gfloat *expected, *pcm;

  vector_open (&v, name);
  h = decoder_new ("mimidec", v.codebooks,
      format == MIMI_STREAM_U16 ? "u16" : "packed", F32_CAPS);
  expected = decode_directly (&v, v.frames);
  for (gint i = 0; i < v.frames; i++) {
    gst_harness_push (h, tokens_buffer (format, &v, i));
    pcm = pull_pcm (h, i * 80 * MS, FRAME);
    g_assert_cmpmem (pcm, FRAME * sizeof *pcm, expected + i * FRAME,
        FRAME * sizeof *pcm);
    g_free (pcm);
  }
  g_assert_cmpfloat (snr_db (v.pcm_dec, expected, v.frames * FRAME), >, 110);
  g_assert_cmpuint (get_stat (h, "frames"), ==, v.frames);
  assert_no_error (h);
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

static void
test_sound (void)
{
  decode_vector ("mimi-mini.synth.safetensors", MIMI_STREAM_PACKED);
  decode_vector ("mimi-mini.synth.safetensors", MIMI_STREAM_U16);
  decode_vector ("mimi-mini.k4-tail.safetensors", MIMI_STREAM_U16);
  decode_vector ("mimi-mini.k32.safetensors", MIMI_STREAM_PACKED);
}

static void
test_s16 (void)
{
  Vector v;
  GstHarness *h;
  gfloat *expected;
  GstBuffer *buffer;
  GstMapInfo map;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "packed", S16_CAPS);
  push_frames (h, &v, 0, 2);
  expected = decode_directly (&v, 2);
  for (gint i = 0; i < 2; i++) {
    buffer = gst_harness_pull (h);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_assert_cmpuint (map.size, ==, FRAME * 2);
    for (gint j = 0; j < FRAME; j++) {
      gfloat x = CLAMP (expected[i * FRAME + j] * 32768, -32768, 32767);

      g_assert_cmpfloat (fabs (x - ((gint16 *) map.data)[j]), <=, 0.5);
    }
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

/* ----------------------------------------------------------------- lengths */

static void
test_trim (void)
{
  Vector v;
  GstHarness *h;
  gfloat *expected, *pcm;
  GstBuffer *buffer;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  expected = decode_directly (&v, 3);
  buffer = tokens_buffer (MIMI_STREAM_PACKED, &v, 0);
  gst_buffer_add_audio_clipping_meta (buffer, GST_FORMAT_DEFAULT, 100, 20);
  gst_harness_push (h, buffer);
  pcm = pull_pcm (h, 0, FRAME - 120);
  g_assert_cmpmem (pcm, 4 * (FRAME - 120), expected + 100, 4 * (FRAME - 120));
  g_free (pcm);

  /* where metadata was lost, by the duration */
  buffer = tokens_buffer (MIMI_STREAM_PACKED, &v, 1);
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale (700, GST_SECOND, 24000);
  gst_harness_push (h, buffer);
  pcm = pull_pcm (h, 80 * MS, 700);
  g_assert_cmpmem (pcm, 4 * 700, expected + FRAME, 4 * 700);
  g_free (pcm);

  /* all of it, and more than all of it */
  buffer = tokens_buffer (MIMI_STREAM_PACKED, &v, 2);
  gst_buffer_add_audio_clipping_meta (buffer, GST_FORMAT_DEFAULT, 1, G_MAXUINT64);
  g_assert_cmpint (gst_harness_push (h, buffer), ==, GST_FLOW_OK);
  g_assert_null (gst_harness_try_pull (h));
  assert_no_error (h);
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

/* Out of mimienc and through mimidec, a sound keeps its length. */
static void
test_round_trip_length (void)
{
  static const gsize lengths[] = { 1, 1919, 1920, 1921, 31337 };
  Vector v;

  vector_open (&v, VECTOR);
  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    GstHarness *h = harness_new ("mimienc ! mimidec", S16_CAPS, NULL);
    GstBuffer *buffer;
    gsize bytes = 0;

    gst_harness_push (h, pcm_buffer (&v, 0, lengths[i], FALSE));
    gst_harness_push_event (h, gst_event_new_eos ());
    while ((buffer = gst_harness_try_pull (h))) {
      bytes += gst_buffer_get_size (buffer);
      gst_buffer_unref (buffer);
    }
    g_assert_cmpuint (bytes, ==, lengths[i] * sizeof (gfloat));
    harness_free (h);
  }
  vector_close (&v);
}

/* Frames from before the segment prepare the codec and are not heard. */
static void
test_segment (void)
{
  GstSegment segment;
  Vector v;
  GstHarness *h;
  gfloat *expected, *pcm;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  expected = decode_directly (&v, 4);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = 200 * MS;
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  push_frames (h, &v, 0, 4);
  pcm = pull_pcm (h, 200 * MS, FRAME / 2);
  g_assert_cmpmem (pcm, 2 * FRAME, expected + 2 * FRAME + FRAME / 2, 2 * FRAME);
  g_free (pcm);
  g_free (pull_pcm (h, 240 * MS, FRAME));
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

/* ------------------------------------------------------------------ losses */

static gfloat
peak (const gfloat * pcm, gsize n)
{
  gfloat peak = 0;

  for (gsize i = 0; i < n; i++)
    peak = MAX (peak, fabsf (pcm[i]));
  return peak;
}

static gfloat
largest_step (const gfloat * pcm, gsize n)
{
  gfloat step = 0;

  for (gsize i = 1; i < n; i++)
    step = MAX (step, fabsf (pcm[i] - pcm[i - 1]));
  return step;
}

/* A loss in the middle: no hole in time, no louder and no more abrupt than the
 * sound itself, silent in the end, and loud again afterwards. */
static void
test_concealment (void)
{
  enum
  { BEFORE = 20, LOST = 5, AFTER = 5 };
  Vector v;
  GstHarness *h;
  gfloat *all = g_new (gfloat, (BEFORE + LOST + AFTER) * FRAME);
  gfloat *repeated;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec plc=true", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, BEFORE);
  gst_harness_push_event (h, gst_event_new_gap (BEFORE * 80 * MS,
          LOST * 80 * MS));
  push_frames (h, &v, BEFORE + LOST, BEFORE + LOST + AFTER);
  for (gint i = 0; i < BEFORE + LOST + AFTER; i++) {
    gfloat *pcm = pull_pcm (h, i * 80 * MS, FRAME);

    memcpy (all + i * FRAME, pcm, FRAME * sizeof *pcm);
    g_free (pcm);
  }
  g_assert_null (harness_find_event (h, GST_EVENT_GAP));
  g_assert_cmpuint (get_stat (h, "lost"), ==, LOST);
  g_assert_cmpuint (get_stat (h, "concealed"), ==, LOST);
  g_assert_cmpuint (get_stat (h, "frames"), ==, BEFORE + AFTER);

  /* the same without fading, as the measure */
  {
    gint32 *codes = g_new (gint32, v.codebooks * v.frames);
    Vector w = v;

    memcpy (codes, v.codes, v.codebooks * v.frames * sizeof *codes);
    for (gint k = 0; k < v.codebooks; k++)
      for (gint i = 0; i < LOST; i++)
        codes[k * v.frames + BEFORE + i] = codes[k * v.frames + BEFORE - 1];
    w.codes = codes;
    repeated = decode_directly (&w, BEFORE + LOST + AFTER);
    g_free (codes);
  }
  g_assert_cmpmem (all, BEFORE * FRAME * 4, repeated, BEFORE * FRAME * 4);
  for (gint i = 0; i < 3 * FRAME; i++)
    g_assert_cmpfloat (fabsf (all[BEFORE * FRAME + i]), <=,
        fabsf (repeated[BEFORE * FRAME + i]));
  g_assert_cmpfloat (peak (all + BEFORE * FRAME, FRAME), >, 0);
  g_assert_cmpfloat (peak (all + (BEFORE + 3) * FRAME, 2 * FRAME), ==, 0);
  g_assert_cmpfloat (peak (all + (BEFORE + LOST) * FRAME, FRAME), >, 0);
  g_assert_cmpfloat (largest_step (all + (BEFORE - 1) * FRAME,
          (LOST + 2) * FRAME), <=, largest_step (repeated,
          (BEFORE + LOST + AFTER) * FRAME));

  harness_free (h);
  g_free (all);
  g_free (repeated);
  vector_close (&v);
}

/* What a gap has beyond whole frames waits for the next gap. */
static void
test_concealment_remainder (void)
{
  Vector v;
  GstHarness *h;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec plc=true", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, 1);
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 1);
  gst_harness_push_event (h, gst_event_new_gap (80 * MS, 100 * MS));
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 2);
  gst_harness_push_event (h, gst_event_new_gap (180 * MS, 30 * MS));
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 2);
  gst_harness_push_event (h, gst_event_new_gap (210 * MS, 30 * MS));
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 3);
  g_assert_cmpuint (get_stat (h, "lost"), ==, 2);
  harness_free (h);
  vector_close (&v);
}

static void
test_gap_without_plc (void)
{
  Vector v;
  GstHarness *h;
  GstEvent *event;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, 1);
  gst_harness_push_event (h, gst_event_new_gap (80 * MS, 80 * MS));
  event = harness_find_event (h, GST_EVENT_GAP);
  g_assert_nonnull (event);
  gst_event_unref (event);
  g_assert_cmpuint (gst_harness_buffers_received (h), ==, 1);
  harness_free (h);
  vector_close (&v);
}

/* Losses before the first frame are silence; before caps they are nothing. */
static void
test_gap_at_start (void)
{
  Vector v;
  GstHarness *h;
  gfloat *pcm;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec plc=true", 8, "packed", F32_CAPS);
  gst_harness_push_event (h, gst_event_new_gap (0, 80 * MS));
  pcm = pull_pcm (h, 0, FRAME);
  g_assert_cmpfloat (peak (pcm, FRAME), ==, 0);
  g_free (pcm);
  push_frames (h, &v, 1, 2);
  g_free (pull_pcm (h, 80 * MS, FRAME));
  harness_free (h);

  h = harness_new ("mimidec plc=true", NULL, F32_CAPS);
  gst_harness_push_event (h, gst_event_new_stream_start ("x"));
  gst_harness_push_event (h, gst_event_new_gap (0, 80 * MS));
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

/* ------------------------------------------------------------ wrong tokens */

/* A frame whose bytes are the index 255 in every codebook. */
static GstBuffer *
out_of_range (gint frame)
{
  static const guint8 data[16] = {
    255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0
  };
  GstBuffer *buffer = exact_buffer (data, sizeof data);

  GST_BUFFER_PTS (buffer) = frame * 80 * MS;
  return buffer;
}

/* One is concealed, and the time goes on. */
static void
test_wrong_token (void)
{
  Vector v;
  GstHarness *h;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "u16", F32_CAPS);
  gst_harness_push (h, tokens_buffer (MIMI_STREAM_U16, &v, 0));
  g_assert_cmpint (gst_harness_push (h, out_of_range (1)), ==, GST_FLOW_OK);
  gst_harness_push (h, tokens_buffer (MIMI_STREAM_U16, &v, 2));
  for (gint i = 0; i < 3; i++)
    g_free (pull_pcm (h, i * 80 * MS, FRAME));
  g_assert_cmpuint (get_stat (h, "invalid"), ==, 1);
  g_assert_cmpuint (get_stat (h, "concealed"), ==, 1);
  g_assert_cmpuint (get_stat (h, "lost"), ==, 0);
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

/* The limit can be set, and is kept when the element stops. */
static void
test_max_errors (void)
{
  GstHarness *h = decoder_new ("mimidec max-errors=0", 8, "u16", F32_CAPS);
  gint max_errors;

  g_assert_cmpint (gst_harness_push (h, out_of_range (0)), ==, GST_FLOW_ERROR);
  gst_element_set_state (h->element, GST_STATE_READY);
  g_object_get (h->element, "max-errors", &max_errors, NULL);
  g_assert_cmpint (max_errors, ==, 0);
  harness_free (h);
}

/* Ten in a row are borne, not eleven; a good one in between forgives. */
static void
test_wrong_tokens (void)
{
  Vector v;
  GstHarness *h;
  gint frame = 0;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "u16", F32_CAPS);
  for (gint run = 0; run < 3; run++) {
    gst_harness_push (h, tokens_buffer (MIMI_STREAM_U16, &v, frame++));
    for (gint i = 0; i < 10; i++)
      g_assert_cmpint (gst_harness_push (h, out_of_range (frame++)), ==,
          GST_FLOW_OK);
  }
  g_assert_cmpint (gst_harness_push (h, out_of_range (frame++)), ==,
      GST_FLOW_ERROR);
  assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE, "index", "64");
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

static void
test_wrong_sizes (void)
{
  static const gsize sizes[] = { 1, 15, 17, 32, 6, 100000 };
  guint8 *data = g_malloc0 (100000);
  GstHarness *h = decoder_new ("mimidec", 8, "u16", F32_CAPS);

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    g_assert_cmpint (gst_harness_push (h, exact_buffer (data, sizes[i])), ==,
        GST_FLOW_OK);
  for (guint i = 0; i < 4; i++)
    g_assert_cmpint (gst_harness_push (h, exact_buffer (data, 3)), ==,
        GST_FLOW_OK);
  g_assert_cmpint (gst_harness_push (h, exact_buffer (data, 3)), ==,
      GST_FLOW_ERROR);
  assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE, "3 bytes", "16");
  harness_free (h);
  g_free (data);
}

/* ------------------------------------------------------------- negotiation */

static void
test_caps_that_do_not_fit (void)
{
  static const struct
  {
    const gchar *fields, *word, *other;
  } cases[] = {
    {"codebooks=8, codebook-size=2048", "2048", "64"},
    {"codebooks=8, codebook-size=64, model-id=0123456789abcdef",
        "0123456789abcdef", "is the codec"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = harness_new ("mimidec", NULL, F32_CAPS);
    gchar *text = g_strdup_printf ("audio/x-mimi, rate=24000, channels=1, %s, "
        "frame-duration-us=80000, stream-format=u16, framed=true",
        cases[i].fields);
    GstCaps *caps = gst_caps_from_string (text);

    gst_harness_set_src_caps (h, gst_caps_ref (caps));
    g_assert_cmpint (gst_harness_push (h, exact_buffer ("12345678", 8)), ==,
        GST_FLOW_NOT_NEGOTIATED);
    assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
        cases[i].word, cases[i].other);
    assert_no_error (h);
    gst_caps_unref (caps);
    g_free (text);
    harness_free (h);
  }
}

/* A stream with more codebooks than the model has. */
static void
test_too_many_codebooks (void)
{
  gchar *model = fixture_path ("mimi-odd"), *launch;
  gchar *caps_text;
  MoshiModelOptions options = {.model = model,.parts = MOSHI_PART_DECODER };
  MoshiModel *opened = moshi_model_open (&options, NULL);
  GstHarness *h;
  GstCaps *caps;

  if (!opened || moshi_model_info (opened)->codebooks == 32) {
    g_test_skip ("no model with fewer than 32 codebooks");
  } else {
    launch = g_strdup_printf ("mimidec model=%s", model);
    h = harness_new (launch, NULL, F32_CAPS);
    caps_text = g_strdup_printf ("audio/x-mimi, rate=24000, channels=1, "
        "codebooks=32, codebook-size=%d, frame-duration-us=80000, "
        "stream-format=u16, framed=true",
        moshi_model_info (opened)->codebook_size);
    caps = gst_caps_from_string (caps_text);
    gst_harness_set_src_caps (h, gst_caps_ref (caps));
    g_assert_cmpint (gst_harness_push (h, exact_buffer ("12345678", 8)), ==,
        GST_FLOW_NOT_NEGOTIATED);
    assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE,
        "32 codebooks", "mimi-odd");
    gst_caps_unref (caps);
    g_free (caps_text);
    g_free (launch);
    harness_free (h);
  }
  moshi_model_unref (opened);
  g_free (model);
}

/* mimidec says what its model can do, so that mimienc knows. */
static void
test_caps_query (void)
{
  GstHarness *h = harness_new ("mimidec", NULL, F32_CAPS);
  GstCaps *caps = gst_pad_peer_query_caps (h->srcpad, NULL);
  gint size = 0;

  g_assert_true (gst_structure_get_int (gst_caps_get_structure (caps, 0),
          "codebook-size", &size));
  g_assert_cmpint (size, ==, MINI_CODEBOOK_SIZE);
  gst_caps_unref (caps);
  harness_free (h);
}

/* The number of codebooks may change; the codec goes on. */
static void
test_caps_change (void)
{
  Vector v, four;
  GstHarness *h;
  gchar *caps;

  vector_open (&v, VECTOR);
  four = v;
  four.codebooks = 4;
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, 2);
  caps = tokens_caps (4, "packed");
  gst_harness_set_src_caps_str (h, caps);
  push_frames (h, &four, 2, 4);
  for (gint i = 0; i < 4; i++)
    g_free (pull_pcm (h, i * 80 * MS, FRAME));
  g_free (caps);
  assert_no_error (h);
  harness_free (h);
  vector_close (&v);
}

/* ------------------------------------------------------------------ events */

static void
assert_sound (GstHarness * h, const gfloat * expected, gint frame,
    GstClockTime pts, gboolean equal)
{
  gfloat *pcm = pull_pcm (h, pts, FRAME);

  g_assert_true (equal == !memcmp (pcm, expected + frame * FRAME,
          FRAME * sizeof *pcm));
  g_free (pcm);
}

static void
test_flush (void)
{
  GstSegment segment;
  Vector v;
  GstHarness *h;
  gfloat *expected;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  vector_open (&v, VECTOR);
  expected = decode_directly (&v, 3);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  for (gint i = 0; i < 3; i++) {
    gst_harness_push_event (h, gst_event_new_flush_start ());
    gst_harness_push_event (h, gst_event_new_flush_stop (TRUE));
    gst_harness_push_event (h, gst_event_new_segment (&segment));
    push_frames (h, &v, 0, i + 1);
    for (gint j = 0; j <= i; j++)
      assert_sound (h, expected, j, j * 80 * MS, TRUE);
  }
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

/* A DISCONT is no new conversation, a reset is. */
static void
test_discont_and_reset (void)
{
  Vector v;
  GstHarness *h;
  gfloat *expected;
  GstBuffer *buffer;

  vector_open (&v, VECTOR);
  expected = decode_directly (&v, 3);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, 1);
  assert_sound (h, expected, 0, 0, TRUE);
  buffer = tokens_buffer (MIMI_STREAM_PACKED, &v, 1);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  GST_BUFFER_PTS (buffer) = GST_SECOND;
  gst_harness_push (h, buffer);
  assert_sound (h, expected, 1, GST_SECOND, TRUE);

  gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
          gst_structure_new_empty (MOSHI_EVENT_RESET)));
  push_frames (h, &v, 0, 1);
  assert_sound (h, expected, 0, 0, TRUE);
  harness_free (h);
  g_free (expected);
  vector_close (&v);
}

static void
test_eos_without_data (void)
{
  GstHarness *h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  GstEvent *event;

  g_assert_true (gst_harness_push_event (h, gst_event_new_eos ()));
  event = harness_find_event (h, GST_EVENT_EOS);
  /* Whoever writes a file of it must know of what. */
  g_assert_true (gst_pad_has_current_caps (h->sinkpad));
  g_assert_nonnull (event);
  gst_event_unref (event);
  assert_no_error (h);
  harness_free (h);
}

static void
test_latency (void)
{
  Vector v;
  GstHarness *h;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec latency=7000000", 8, "packed", F32_CAPS);
  gst_harness_set_upstream_latency (h, 10 * MS);
  g_assert_cmpuint (gst_harness_query_latency (h), ==, 17 * MS);
  harness_free (h);

  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  gst_harness_set_upstream_latency (h, 0);
  push_frames (h, &v, 0, 1);
  g_assert_cmpuint (gst_harness_query_latency (h), >, 0);
  g_assert_cmpuint (gst_harness_query_latency (h) % (5 * MS), ==, 0);
  harness_free (h);
  vector_close (&v);
}

static void
test_tags (void)
{
  Vector v;
  GstHarness *h;
  GstEvent *event;
  GstTagList *tags;
  gchar *text;

  vector_open (&v, VECTOR);
  h = decoder_new ("mimidec", 8, "packed", F32_CAPS);
  push_frames (h, &v, 0, 1);
  event = harness_find_event (h, GST_EVENT_TAG);
  g_assert_nonnull (event);
  gst_event_parse_tag (event, &tags);
  g_assert_true (gst_tag_list_get_string (tags, GST_TAG_AUDIO_CODEC, &text));
  g_assert_cmpstr (text, ==, "Mimi");
  g_free (text);
  gst_event_unref (event);
  harness_free (h);
  vector_close (&v);
}

int
main (int argc, char **argv)
{
  fixture_init (&argc, &argv);
  g_test_add_func ("/mimidec/sound", test_sound);
  g_test_add_func ("/mimidec/s16", test_s16);
  g_test_add_func ("/mimidec/trim", test_trim);
  g_test_add_func ("/mimidec/round-trip-length", test_round_trip_length);
  g_test_add_func ("/mimidec/segment", test_segment);
  g_test_add_func ("/mimidec/concealment", test_concealment);
  g_test_add_func ("/mimidec/concealment-remainder",
      test_concealment_remainder);
  g_test_add_func ("/mimidec/gap-without-plc", test_gap_without_plc);
  g_test_add_func ("/mimidec/gap-at-start", test_gap_at_start);
  g_test_add_func ("/mimidec/wrong-token", test_wrong_token);
  g_test_add_func ("/mimidec/wrong-tokens", test_wrong_tokens);
  g_test_add_func ("/mimidec/max-errors", test_max_errors);
  g_test_add_func ("/mimidec/wrong-sizes", test_wrong_sizes);
  g_test_add_func ("/mimidec/caps-that-do-not-fit", test_caps_that_do_not_fit);
  g_test_add_func ("/mimidec/too-many-codebooks", test_too_many_codebooks);
  g_test_add_func ("/mimidec/caps-query", test_caps_query);
  g_test_add_func ("/mimidec/caps-change", test_caps_change);
  g_test_add_func ("/mimidec/flush", test_flush);
  g_test_add_func ("/mimidec/discont-and-reset", test_discont_and_reset);
  g_test_add_func ("/mimidec/eos-without-data", test_eos_without_data);
  g_test_add_func ("/mimidec/latency", test_latency);
  g_test_add_func ("/mimidec/tags", test_tags);
  return fixture_run ();
}
