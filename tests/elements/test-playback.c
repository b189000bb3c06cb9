/* .mimi files as people use them: written by filesink, found by decodebin,
 * sought in. With GStreamer's own elements. */
#include "fixtures.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include "mimicaps.h"
#include "mimifile.h"

#define PLAY "filesrc name=src ! decodebin ! " F32_CAPS \
    " ! appsink name=sink sync=false"

static gchar *dir;

static gchar *
file_path (const gchar * name)
{
  return g_build_filename (dir, name, NULL);
}

/* -------------------------------------------------------------- the player */

typedef struct
{
  GstElement *pipeline, *sink;
} Player;

static void
player_open (Player * player, const gchar * path)
{
  GstElement *src;

  player->pipeline = gst_parse_launch (PLAY, NULL);
  src = gst_bin_get_by_name (GST_BIN (player->pipeline), "src");
  g_object_set (src, "location", path, NULL);
  gst_object_unref (src);
  player->sink = gst_bin_get_by_name (GST_BIN (player->pipeline), "sink");
  gst_element_set_state (player->pipeline, GST_STATE_PAUSED);
  g_assert_cmpint (gst_element_get_state (player->pipeline, NULL, NULL,
          10 * GST_SECOND), ==, GST_STATE_CHANGE_SUCCESS);
}

static void
player_close (Player * player)
{
  gst_element_set_state (player->pipeline, GST_STATE_NULL);
  gst_object_unref (player->sink);
  gst_object_unref (player->pipeline);
}

/* All the sound from here to the end, and the time of its first sample. */
static GArray *
player_run (Player * player, GstClockTime * first)
{
  GArray *pcm = g_array_new (FALSE, FALSE, sizeof (gfloat));
  GstSample *sample;

  *first = GST_CLOCK_TIME_NONE;
  gst_element_set_state (player->pipeline, GST_STATE_PLAYING);
  for (;;) {
    GstBuffer *buffer;
    GstMapInfo map;

    g_signal_emit_by_name (player->sink, "pull-sample", &sample);
    if (!sample)
      return pcm;
    buffer = gst_sample_get_buffer (sample);
    if (!GST_CLOCK_TIME_IS_VALID (*first))
      *first = GST_BUFFER_PTS (buffer);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_array_append_vals (pcm, map.data, map.size / sizeof (gfloat));
    gst_buffer_unmap (buffer, &map);
    gst_sample_unref (sample);
  }
}

static void
player_seek (Player * player, GstSeekFlags flags, GstClockTime position)
{
  g_assert_true (gst_element_seek_simple (player->pipeline, GST_FORMAT_TIME,
          GST_SEEK_FLAG_FLUSH | flags, position));
  g_assert_cmpint (gst_element_get_state (player->pipeline, NULL, NULL,
          10 * GST_SECOND), ==, GST_STATE_CHANGE_SUCCESS);
}

static gint64
player_duration (Player * player)
{
  gint64 duration;

  g_assert_true (gst_element_query_duration (player->pipeline, GST_FORMAT_TIME,
          &duration));
  return duration;
}

/* Frames that its decoder has decoded. */
static guint64
player_decoded (Player * player)
{
  GstIterator *it = gst_bin_iterate_all_by_element_factory_name
      (GST_BIN (player->pipeline), "mimidec");
  GValue value = G_VALUE_INIT;
  GstStructure *stats;
  guint64 frames;

  g_assert_cmpint (gst_iterator_next (it, &value), ==, GST_ITERATOR_OK);
  g_object_get (g_value_get_object (&value), "stats", &stats, NULL);
  gst_structure_get_uint64 (stats, "frames", &frames);
  gst_structure_free (stats);
  g_value_unset (&value);
  gst_iterator_free (it);

  return frames;
}

/* --------------------------------------------------------------- the files */

/* Tokens of any sound, in a file that tells its length or does not. */
static gchar *
write_file (const gchar * name, gint frames, gint held, guint64 samples)
{
  gchar *path = file_path (name);
  MimiFileHeader header = {
    .codebooks = 8,
    .codebook_size = MINI_CODEBOOK_SIZE,
    .samples = samples,
  };
  gsize frame_size = mimi_file_frame_size (&header);
  gsize size = MIMI_FILE_HEADER_SIZE + held * frame_size;
  guint8 *data = g_malloc (size);
  GRand *random = g_rand_new_with_seed (1);

  g_assert_cmpint (held, <=, frames);
  mimi_file_header_write (&header, data);
  for (gsize i = MIMI_FILE_HEADER_SIZE; i < size; i++)
    data[i] = g_rand_int (random);
  g_assert_true (g_file_set_contents (path, (gchar *) data, size, NULL));
  g_rand_free (random);
  g_free (data);

  return path;
}

/* Runs a pipeline to its end. */
static void
run_pipeline (const gchar * launch)
{
  GstElement *pipeline = gst_parse_launch (launch, NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_assert_nonnull (message);
  g_assert_cmpint (GST_MESSAGE_TYPE (message), ==, GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}

static void
check_length (const gchar * path, gsize samples)
{
  GstClockTime first;
  GArray *pcm;
  Player player;

  player_open (&player, path);
  g_assert_cmpint (player_duration (&player), ==,
      gst_util_uint64_scale_round (samples, GST_SECOND, 24000));
  pcm = player_run (&player, &first);
  g_assert_cmpuint (first, ==, 0);
  g_assert_cmpuint (pcm->len, ==, samples);
  g_array_unref (pcm);
  player_close (&player);
}

/* What mimienc, mimimux and filesink write has the length of the sound. */
static void
test_record (void)
{
  gchar *path = file_path ("recorded.mimi");
  gchar *launch = g_strdup_printf ("audiotestsrc samplesperbuffer=31337 "
      "num-buffers=1 ! " S16_CAPS " ! mimienc ! mimimux ! filesink location=%s",
      path);

  run_pipeline (launch);
  check_length (path, 31337);
  g_free (launch);
  g_free (path);
}

/* encodebin finds the encoder and the writer by a profile. */
static void
test_encodebin (void)
{
  gchar *path = file_path ("encodebin.mimi");
  gchar *launch = g_strdup_printf ("encodebin name=e "
      "profile=audio/x-mimi,framed=(boolean)false:"
      "audio/x-mimi,framed=(boolean)true ! filesink location=%s "
      "audiotestsrc samplesperbuffer=4800 num-buffers=4 ! " S16_CAPS
      " ! e.audio_0", path);

  run_pipeline (launch);
  check_length (path, 19200);
  g_free (launch);
  g_free (path);
}

static void
test_decodebin3 (void)
{
  gchar *path = file_path ("recorded.mimi");
  gchar *launch = g_strdup_printf ("filesrc location=%s ! decodebin3 ! "
      F32_CAPS " ! fakesink", path);

  run_pipeline (launch);
  g_free (launch);
  g_free (path);
}

static void
test_lengths (void)
{
  gchar *path;

  path = write_file ("interrupted.mimi", 50, 50, MIMI_FILE_UNKNOWN);
  check_length (path, 50 * FRAME);
  g_free (path);
  path = write_file ("truncated.mimi", 50, 20, 50 * FRAME);
  check_length (path, 20 * FRAME);
  g_free (path);
  path = write_file ("partial.mimi", 50, 50, 49 * FRAME + 1);
  check_length (path, 49 * FRAME + 1);
  g_free (path);
}

static gdouble
snr_db (const gfloat * right, const gfloat * got, gsize n)
{
  gdouble signal = 0, noise = 1e-30;

  for (gsize i = 0; i < n; i++) {
    signal += (gdouble) right[i] * right[i];
    noise += ((gdouble) right[i] - got[i]) * ((gdouble) right[i] - got[i]);
  }
  return 10 * log10 (signal / noise);
}

/* Seeks land on the sample, sound as if the file had been played up to there,
 * and do not decode all of it for that. */
static void
test_seek (void)
{
  static const struct
  {
    GstSeekFlags flags;
    GstClockTime position;
  } seeks[] = {
    {0, 3 * GST_SECOND},
    {GST_SEEK_FLAG_ACCURATE, 40 * GST_SECOND + 123 * MS},
    {0, 40 * GST_SECOND + 123 * MS},
    {GST_SEEK_FLAG_KEY_UNIT, 59 * GST_SECOND},
    {GST_SEEK_FLAG_ACCURATE, 0},
  };
  const gint frames = 750;
  gchar *path = write_file ("minute.mimi", frames, frames, frames * FRAME);
  GstClockTime first;
  GArray *all, *pcm;
  Player player;

  player_open (&player, path);
  all = player_run (&player, &first);
  g_assert_cmpuint (all->len, ==, frames * FRAME);
  for (guint i = 0; i < G_N_ELEMENTS (seeks); i++) {
    gsize from = gst_util_uint64_scale_round (seeks[i].position, 24000,
        GST_SECOND);
    guint64 decoded = player_decoded (&player);
    gdouble snr;

    gst_element_set_state (player.pipeline, GST_STATE_PAUSED);
    player_seek (&player, seeks[i].flags, seeks[i].position);
    pcm = player_run (&player, &first);
    g_assert_cmpuint (first, ==, seeks[i].position);
    g_assert_cmpuint (pcm->len, ==, all->len - from);
    snr = snr_db ((gfloat *) all->data + from, (gfloat *) pcm->data, pcm->len);
    g_test_message ("%.3f s: %.1f dB", seeks[i].position / 1e9, snr);
    g_assert_cmpfloat (snr, >, 80);
    /* 10 s of lead-in, and 2 s between the entries of the index */
    decoded = player_decoded (&player) - decoded;
    g_assert_cmpuint (decoded, <=, frames - from / FRAME + 125 + 25);
    g_array_unref (pcm);
  }
  g_array_unref (all);
  player_close (&player);
  g_free (path);
}

/* Bytes that only begin like a file are not played. What mimiparse says of them
 * is tested without decodebin, which may keep it to itself while it is still
 * linking. */
static void
test_garbage (void)
{
  gchar *path = file_path ("garbage.mimi");
  GstElement *pipeline = gst_parse_launch (PLAY, NULL);
  GstElement *src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  GstBus *bus = gst_element_get_bus (pipeline);
  guint8 data[4096] = { 0 };
  GstMessage *message;

  memcpy (data, MIMI_FILE_MAGIC, MIMI_FILE_MAGIC_SIZE);
  data[8] = 1;
  data[10] = 80;
  g_assert_true (g_file_set_contents (path, (gchar *) data, sizeof data, NULL));
  g_object_set (src, "location", path, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_assert_nonnull (message);
  g_assert_cmpint (GST_MESSAGE_TYPE (message), ==, GST_MESSAGE_ERROR);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (src);
  gst_object_unref (pipeline);
  g_free (path);
}

static gboolean
have (const gchar * name)
{
  GstElementFactory *factory = gst_element_factory_find (name);

  if (!factory)
    return FALSE;
  gst_object_unref (factory);
  return TRUE;
}

static void
remove_files (void)
{
  GDir *files = g_dir_open (dir, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (files))) {
    gchar *path = file_path (name);

    g_remove (path);
    g_free (path);
  }
  g_dir_close (files);
  g_rmdir (dir);
  g_free (dir);
}

int
main (int argc, char **argv)
{
  int result;

  fixture_init (&argc, &argv);
  if (!have ("decodebin") || !have ("appsink") || !have ("audiotestsrc")) {
    g_print ("1..0 # SKIP gst-plugins-base is not installed\n");
    return 0;
  }
  dir = g_dir_make_tmp ("mimi-XXXXXX", NULL);
  g_test_add_func ("/playback/record", test_record);
  if (have ("encodebin"))
    g_test_add_func ("/playback/encodebin", test_encodebin);
  if (have ("decodebin3"))
    g_test_add_func ("/playback/decodebin3", test_decodebin3);
  g_test_add_func ("/playback/lengths", test_lengths);
  g_test_add_func ("/playback/seek", test_seek);
  g_test_add_func ("/playback/garbage", test_garbage);
  result = fixture_run ();
  remove_files ();
  return result;
}
