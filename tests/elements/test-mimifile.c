/* mimimux and mimiparse: what a file holds, and what a broken one says. */
#include "fixtures.h"

#include <glib/gstdio.h>
#include <string.h>
#include "mimicaps.h"
#include "mimifile.h"

#define FRAMES 40
#define CODEBOOKS 8
#define FRAME_BYTES 6           /* 8 × 6 bits */
#define ID "0123456789abcdef"

#define TOKENS_CAPS(format) "audio/x-mimi, rate=24000, channels=1, " \
    "codebooks=8, codebook-size=64, frame-duration-us=80000, " \
    "stream-format=" format ", framed=true, model-id=" ID
#define FILE_CAPS "audio/x-mimi, framed=false"

static void
frame_codes (gint frame, guint16 * codes)
{
  for (gint k = 0; k < CODEBOOKS; k++)
    codes[k] = (frame * 7 + k * 11) % MINI_CODEBOOK_SIZE;
}

static GstBuffer *
frame_buffer (MimiStreamFormat format, gint frame)
{
  gsize size = mimi_tokens_size (format, CODEBOOKS, MINI_CODEBOOK_SIZE);
  guint8 *data = g_malloc (size);
  guint16 codes[CODEBOOKS];
  GstBuffer *buffer;

  frame_codes (frame, codes);
  mimi_tokens_write (format, CODEBOOKS, MINI_CODEBOOK_SIZE, codes, data);
  buffer = gst_buffer_new_wrapped (data, size);
  GST_BUFFER_PTS (buffer) = frame * 80 * MS;
  GST_BUFFER_DURATION (buffer) = 80 * MS;

  return buffer;
}

/* A file of FRAMES frames that says it has that many samples. */
static GByteArray *
make_file (guint64 samples)
{
  GByteArray *file = g_byte_array_new ();
  MimiFileHeader header = {
    .codebooks = CODEBOOKS,
    .codebook_size = MINI_CODEBOOK_SIZE,
    .samples = samples,
    .model_id = ID,
  };

  g_byte_array_set_size (file, MIMI_FILE_HEADER_SIZE + FRAMES * FRAME_BYTES);
  mimi_file_header_write (&header, file->data);
  for (gint i = 0; i < FRAMES; i++) {
    guint16 codes[CODEBOOKS];

    frame_codes (i, codes);
    mimi_tokens_write (MIMI_STREAM_PACKED, CODEBOOKS, MINI_CODEBOOK_SIZE, codes,
        file->data + MIMI_FILE_HEADER_SIZE + i * FRAME_BYTES);
  }
  return file;
}

/* ----------------------------------------------------------------- mimimux */

static void
mux_frames (GstHarness * h, MimiStreamFormat format, guint trimmed)
{
  for (gint i = 0; i < FRAMES; i++) {
    GstBuffer *buffer = frame_buffer (format, i);

    if (trimmed && i == FRAMES - 1)
      gst_buffer_add_audio_clipping_meta (buffer, GST_FORMAT_DEFAULT, 0,
          trimmed);
    g_assert_cmpint (gst_harness_push (h, buffer), ==, GST_FLOW_OK);
  }
}

static GByteArray *
pull_all (GstHarness * h)
{
  GByteArray *bytes = g_byte_array_new ();
  GstBuffer *buffer;
  GstMapInfo map;

  while ((buffer = gst_harness_try_pull (h))) {
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  return bytes;
}

/* Where nobody can seek the length stays open. */
static void
test_mux_stream (gconstpointer data)
{
  gboolean u16 = !strcmp (data, "u16");
  GByteArray *expected = make_file (MIMI_FILE_UNKNOWN), *bytes;
  GstHarness *h = harness_new ("mimimux",
      u16 ? TOKENS_CAPS ("u16") : TOKENS_CAPS ("packed"), NULL);
  const GValue *headers;
  GstBuffer *header;
  GstCaps *caps;

  mux_frames (h, u16 ? MIMI_STREAM_U16 : MIMI_STREAM_PACKED, 0);
  gst_harness_push_event (h, gst_event_new_eos ());
  caps = gst_pad_get_current_caps (h->sinkpad);
  headers = gst_structure_get_value (gst_caps_get_structure (caps, 0),
      "streamheader");
  g_assert_cmpuint (gst_value_array_get_size (headers), ==, 1);
  header = gst_value_get_buffer (gst_value_array_get_value (headers, 0));
  g_assert_true (GST_BUFFER_FLAG_IS_SET (header, GST_BUFFER_FLAG_HEADER));
  g_assert_cmpint (gst_buffer_memcmp (header, 0, expected->data,
          MIMI_FILE_HEADER_SIZE), ==, 0);
  gst_caps_unref (caps);

  bytes = pull_all (h);
  g_assert_cmpmem (bytes->data, bytes->len, expected->data, expected->len);
  assert_no_error (h);
  harness_free (h);
  g_byte_array_unref (bytes);
  g_byte_array_unref (expected);
}

/* A sink that can seek gets the header again. */
static GstPadProbeReturn
answer_seekable (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (info);

  if (GST_QUERY_TYPE (query) != GST_QUERY_SEEKING)
    return GST_PAD_PROBE_OK;
  gst_query_set_seeking (query, GST_FORMAT_BYTES, TRUE, 0, -1);
  return GST_PAD_PROBE_HANDLED;
}

static void
test_mux_rewrites_header (void)
{
  GByteArray *expected = make_file (FRAMES * FRAME - 500), *bytes;
  GstHarness *h = harness_new ("mimimux", TOKENS_CAPS ("packed"), NULL);
  GstEvent *event;
  const GstSegment *segment;
  gint segments = 0;

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM,
      answer_seekable, NULL, NULL);
  mux_frames (h, MIMI_STREAM_PACKED, 500);
  gst_harness_push_event (h, gst_event_new_eos ());
  bytes = pull_all (h);
  g_assert_cmpuint (bytes->len, ==, expected->len + MIMI_FILE_HEADER_SIZE);
  g_assert_cmpmem (bytes->data + expected->len, MIMI_FILE_HEADER_SIZE,
      expected->data, MIMI_FILE_HEADER_SIZE);
  while ((event = harness_find_event (h, GST_EVENT_SEGMENT))) {
    gst_event_parse_segment (event, &segment);
    g_assert_cmpint (segment->format, ==, GST_FORMAT_BYTES);
    g_assert_cmpuint (segment->start, ==, 0);
    gst_event_unref (event);
    segments++;
  }
  g_assert_cmpint (segments, ==, 2);
  harness_free (h);
  g_byte_array_unref (bytes);
  g_byte_array_unref (expected);
}

static void
test_mux_refuses (void)
{
  GstHarness *h = harness_new ("mimimux", TOKENS_CAPS ("u16"), NULL);
  static const guint8 wrong[16] = { 64 };

  g_assert_cmpint (gst_harness_push (h, exact_buffer (wrong, 16)), ==,
      GST_FLOW_ERROR);
  assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_MUX, "Frame 0", "64");
  harness_free (h);

  h = harness_new ("mimimux", TOKENS_CAPS ("u16"), NULL);
  gst_harness_push (h, frame_buffer (MIMI_STREAM_U16, 0));
  gst_harness_set_src_caps_str (h, "audio/x-mimi, rate=24000, channels=1, "
      "codebooks=4, codebook-size=64, frame-duration-us=80000, "
      "stream-format=u16, framed=true");
  assert_error (h, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
      "number of codebooks", "changed");
  harness_free (h);
}

/* --------------------------------------------------------------- mimiparse */

static GstFlowReturn
push_bytes (GstHarness * h, const GByteArray * bytes, gsize chunk)
{
  GstFlowReturn ret = GST_FLOW_OK;

  for (gsize at = 0; ret == GST_FLOW_OK && at < bytes->len; at += chunk)
    ret = gst_harness_push (h, exact_buffer (bytes->data + at,
            MIN (chunk, bytes->len - at)));
  return ret;
}

static GstHarness *
parser_new (void)
{
  GstHarness *h = harness_new ("mimiparse", NULL, NULL);
  GstCaps *caps = gst_caps_from_string (FILE_CAPS);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_BYTES);
  gst_harness_push_event (h, gst_event_new_stream_start ("file"));
  gst_harness_push_event (h, gst_event_new_caps (caps));
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  gst_caps_unref (caps);
  return h;
}

/* Frames come out whole, with their time, whatever the pieces were. */
static void
parse_file (guint64 samples, gsize chunk, gsize extra, gint frames,
    guint last_samples)
{
  GByteArray *file = make_file (samples);
  GstHarness *h = parser_new ();
  GstBuffer *buffer;
  GstCaps *caps, *expected;

  g_byte_array_set_size (file, file->len + extra);
  push_bytes (h, file, chunk);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (gint i = 0; i < frames; i++) {
    GstAudioClippingMeta *clip;
    guint16 codes[32], right[CODEBOOKS];

    buffer = gst_harness_try_pull (h);
    g_assert_nonnull (buffer);
    read_tokens (h, buffer, codes);
    frame_codes (i, right);
    g_assert_cmpmem (codes, sizeof right, right, sizeof right);
    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, i * 80 * MS);
    clip = gst_buffer_get_audio_clipping_meta (buffer);
    if (i == frames - 1 && last_samples < FRAME) {
      g_assert_nonnull (clip);
      g_assert_cmpuint (clip->end, ==, FRAME - last_samples);
      g_assert_cmpuint (gst_util_uint64_scale_round (GST_BUFFER_DURATION
              (buffer), 24000, GST_SECOND), ==, last_samples);
    } else {
      g_assert_null (clip);
      g_assert_cmpuint (GST_BUFFER_DURATION (buffer), ==, 80 * MS);
    }
    gst_buffer_unref (buffer);
  }
  g_assert_null (gst_harness_try_pull (h));

  caps = gst_pad_get_current_caps (h->sinkpad);
  expected = gst_caps_from_string (TOKENS_CAPS ("packed"));
  g_assert_true (gst_caps_is_equal (caps, expected));
  gst_caps_unref (caps);
  gst_caps_unref (expected);
  assert_no_error (h);
  harness_free (h);
  g_byte_array_unref (file);
}

static void
test_parse (void)
{
  parse_file (FRAMES * FRAME, 4096, 0, FRAMES, FRAME);
  parse_file (FRAMES * FRAME, 1, 0, FRAMES, FRAME);
  parse_file (FRAMES * FRAME, 7, 0, FRAMES, FRAME);
  parse_file (MIMI_FILE_UNKNOWN, 79, 0, FRAMES, FRAME);
  /* the last frame is partial */
  parse_file (FRAMES * FRAME - 1919, 100, 0, FRAMES, 1);
  /* fewer frames than there are bytes for */
  parse_file (10 * FRAME + 1, 100, 3, 11, 1);
  /* half a frame at the end */
  parse_file (MIMI_FILE_UNKNOWN, 100, 3, FRAMES, FRAME);
  /* more promised than there is */
  parse_file (1000 * FRAME, 100, 0, FRAMES, FRAME);
}

static void
assert_refused (const GByteArray * bytes, gint code, const gchar * word)
{
  GstHarness *h = parser_new ();

  g_assert_cmpint (push_bytes (h, bytes, bytes->len), ==, GST_FLOW_ERROR);
  assert_error (h, GST_STREAM_ERROR, code, ".mimi file", word);
  assert_no_error (h);
  harness_free (h);
}

static void
test_parse_refuses (void)
{
  GByteArray *file = make_file (FRAMES * FRAME);

  file->data[MIMI_FILE_HEADER_SIZE - 1] ^= 1;
  assert_refused (file, GST_STREAM_ERROR_FORMAT, "checksum");
  file->data[10] = 4;
  assert_refused (file, GST_STREAM_ERROR_FORMAT, "size of the header");
  file->data[8] = 9;
  assert_refused (file, GST_STREAM_ERROR_FORMAT, "version 9");
  file->data[0] = 0;
  assert_refused (file, GST_STREAM_ERROR_WRONG_TYPE, "not");
  g_byte_array_unref (file);
}

/* The header alone, or less than it. */
static void
test_parse_truncated (void)
{
  for (gsize n = 1; n <= MIMI_FILE_HEADER_SIZE; n += 13) {
    GByteArray *file = make_file (FRAMES * FRAME);
    GstHarness *h = parser_new ();
    GstMessage *message;

    g_byte_array_set_size (file, n);
    push_bytes (h, file, 5);
    gst_harness_push_event (h, gst_event_new_eos ());
    g_assert_null (gst_harness_try_pull (h));
    message = harness_pop_message (h, GST_MESSAGE_ERROR);
    g_assert_nonnull (message);
    gst_message_unref (message);
    harness_free (h);
    g_byte_array_unref (file);
  }
}

/* A large header of a later edition is skipped to where it says. */
static void
test_parse_longer_header (void)
{
  GByteArray *file = make_file (MIMI_FILE_UNKNOWN);
  GstHarness *h = parser_new ();
  guint8 bigger[4] = { 0 };

  /* wrong now in its checksum: it is the last of the header, wherever that is */
  file->data[10] = 84;
  g_byte_array_append (file, bigger, sizeof bigger);
  g_assert_cmpint (push_bytes (h, file, 40), ==, GST_FLOW_ERROR);
  assert_error (h, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT, ".mimi file",
      "checksum");
  harness_free (h);
  g_byte_array_unref (file);
}

static void
test_parse_queries (void)
{
  GByteArray *file = make_file (FRAMES * FRAME - 960);
  GstHarness *h = parser_new ();
  gint64 value;

  push_bytes (h, file, file->len);
  g_assert_true (gst_element_query_duration (h->element, GST_FORMAT_TIME,
          &value));
  g_assert_cmpint (value, ==, FRAMES * 80 * MS - 40 * MS);
  g_assert_true (gst_element_query_convert (h->element, GST_FORMAT_BYTES,
          MIMI_FILE_HEADER_SIZE + 5 * FRAME_BYTES, GST_FORMAT_TIME, &value));
  g_assert_cmpint (value, ==, 400 * MS);
  g_assert_true (gst_element_query_convert (h->element, GST_FORMAT_TIME,
          410 * MS, GST_FORMAT_BYTES, &value));
  g_assert_cmpint (value, ==, MIMI_FILE_HEADER_SIZE + 5 * FRAME_BYTES);
  harness_free (h);
  g_byte_array_unref (file);
}

/* What mimimux wrote mimiparse reads, and mimidec makes as long as it was. */
static void
test_round_trip (void)
{
  static const gsize lengths[] = { 1, 1920, 5000, 31337 };
  Vector v;

  vector_open (&v, "mimi-mini.synth.safetensors");
  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    GstHarness *h = harness_new
        ("mimienc ! mimimux ! mimiparse ! mimidec", S16_CAPS, NULL);
    GByteArray *bytes;

    gst_harness_push (h, pcm_buffer (&v, 0, lengths[i], FALSE));
    gst_harness_push_event (h, gst_event_new_eos ());
    bytes = pull_all (h);
    /* in a pipe the last frame is whole: nobody told its length */
    g_assert_cmpuint (bytes->len, ==,
        (lengths[i] + FRAME - 1) / FRAME * FRAME * sizeof (gfloat));
    assert_no_error (h);
    g_byte_array_unref (bytes);
    harness_free (h);
  }
  vector_close (&v);
}

int
main (int argc, char **argv)
{
  fixture_init (&argc, &argv);
  g_test_add_data_func ("/mimimux/stream/packed", "packed", test_mux_stream);
  g_test_add_data_func ("/mimimux/stream/u16", "u16", test_mux_stream);
  g_test_add_func ("/mimimux/rewrites-header", test_mux_rewrites_header);
  g_test_add_func ("/mimimux/refuses", test_mux_refuses);
  g_test_add_func ("/mimiparse/parse", test_parse);
  g_test_add_func ("/mimiparse/refuses", test_parse_refuses);
  g_test_add_func ("/mimiparse/truncated", test_parse_truncated);
  g_test_add_func ("/mimiparse/longer-header", test_parse_longer_header);
  g_test_add_func ("/mimiparse/queries", test_parse_queries);
  g_test_add_func ("/mimifile/round-trip", test_round_trip);
  return fixture_run ();
}
