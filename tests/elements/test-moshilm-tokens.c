/* moshilm gives the reference's tokens, whatever the bytes they travel in. */
#include "lm-harness.h"

#include <string.h>

#include "moshi.h"

typedef struct
{
  const gchar *checkpoint, *vector, *condition;
  gfloat cfg_coef;
  gboolean packed_in, packed_out;
} Case;

static const Case cases[] = {
  {"lm-mini", "greedy", NULL, 1, TRUE, TRUE},
  {"lm-mini", "greedy", NULL, 1, TRUE, FALSE},
  {"lm-mini", "greedy", NULL, 1, FALSE, TRUE},
  {"lm-mini", "greedy", NULL, 1, FALSE, FALSE},
  {"lm-mini-schedule", "greedy", NULL, 1, TRUE, TRUE},
  {"stt-mini", "greedy", NULL, 1, FALSE, TRUE},
  {"stt-mini", "greedy", NULL, 1, TRUE, TRUE},
  /* Translating well is Hibiki's default. */
  {"hibiki-mini", "greedy", NULL, 1, TRUE, TRUE},
  {"hibiki-mini", "greedy", "description=very_good", 1, FALSE, TRUE},
  {"hibiki-mini", "cfg", "description = good", 2, TRUE, FALSE},
};

/* What a model's tokenizer makes of tokens. */
static gchar *
text_of (const Case * c, const Table * tokens)
{
  gchar *path = g_build_filename (g_getenv ("MOSHI_TEST_VECTORS"),
      c->checkpoint, NULL);
  MoshiModelOptions options = {.model = path,
    .parts = MOSHI_PART_LM | MOSHI_PART_TEXT
  };
  MoshiError error;
  MoshiModel *model = moshi_model_open (&options, &error);
  MoshiText *text;
  GString *all = g_string_new (NULL);

  g_assert_nonnull (model);
  g_assert_cmpint (moshi_model_load (model, NULL, NULL, &error), ==, 0);
  text = moshi_text_new (model, &error);
  for (gint i = 0; i < tokens->rows; i++)
    g_string_append (all, moshi_text_push (text, tokens->data[i]));
  g_string_append (all, moshi_text_flush (text));
  moshi_text_free (text);
  moshi_model_unref (model);
  g_free (path);

  return g_string_free (all, FALSE);
}

/* Row `row` of `out` came in the step `row`, and is the frame max_delay before. */
static void
check_speech (LmHarness * lm, const Table * out)
{
  gint own = out->columns - 1, delay = 0;

  for (gint i = 0; i < out->rows && own > 0; i++) {
    const gint32 *row = out->data + i * out->columns;
    gint32 codes[32];
    GstBuffer *buffer;

    if (row[0] == MOSHI_TOKEN_NOT_READY) {
      delay++;
      continue;
    }
    buffer = gst_harness_pull (lm->speech);
    lm_read (lm, buffer, own, codes);
    g_assert_cmpmem (codes, own * sizeof *codes, row + 1, own * sizeof *row);
    g_assert_cmpuint (GST_BUFFER_PTS (buffer), ==, (i - delay) * FRAME);
    g_assert_cmpuint (GST_BUFFER_DURATION (buffer), ==, FRAME);
    gst_buffer_unref (buffer);
  }
  g_assert_null (gst_harness_try_pull (lm->speech));
}

static void
test_vector (gconstpointer data)
{
  const Case *c = data;
  gchar *file = g_strdup_printf ("%s.%s.safetensors", c->checkpoint, c->vector);
  Table user = read_table (file, "user"), out = read_table (file, "out");
  Table tokens = read_table (file, "text");
  LmHarness *lm = lm_harness_new (c->checkpoint, TRUE, "drain-frames", 0,
      "text-mode", 2, "condition", c->condition, "cfg-coef", c->cfg_coef, NULL);
  gchar *expected = text_of (c, &tokens), *said, *caps;

  if (out.columns > 1) {
    caps = lm_caps (out.columns - 1, lm->size, c->packed_out);
    gst_harness_set_sink_caps_str (lm->speech, caps);
    g_free (caps);
  }
  lm_set_caps (lm, c->packed_in);
  for (gint i = 0; i < user.rows; i++)
    g_assert_cmpint (lm_push (lm, user.data + i * user.columns, i * FRAME), ==,
        GST_FLOW_OK);
  g_assert_true (gst_harness_push_event (lm->speech, gst_event_new_eos ()));

  check_speech (lm, &out);
  said = lm_pull_text (lm, "");
  g_assert_cmpstr (said, ==, expected);
  g_assert_cmpuint (lm_stat (lm, "frames"), ==, user.rows);

  g_free (said);
  g_free (expected);
  g_free (file);
  free_table (&user);
  free_table (&out);
  free_table (&tokens);
  lm_harness_free (lm);
}

/* The probabilities of pauses go to the bus. */
static void
test_vad (void)
{
  Table user = read_table ("stt-mini.greedy.safetensors", "user");
  LmHarness *lm = lm_harness_new ("stt-mini", FALSE, NULL);
  guint n = 0;
  GstMessage *message;

  lm_set_caps (lm, TRUE);
  for (gint i = 0; i < 10; i++)
    lm_push (lm, user.data + i * user.columns, i * FRAME);
  while ((message = gst_bus_pop_filtered (lm->bus, GST_MESSAGE_ELEMENT))) {
    const GstStructure *s = gst_message_get_structure (message);
    const GValue *pauses = gst_structure_get_value (s, "pause");
    guint64 time;

    g_assert_cmpstr (gst_structure_get_name (s), ==, "moshi-vad");
    g_assert_true (gst_structure_get_uint64 (s, "running-time", &time));
    g_assert_cmpuint (time, ==, n++ * FRAME);
    g_assert_cmpuint (gst_value_array_get_size (pauses), ==, 4);
    for (guint i = 0; i < 4; i++) {
      gdouble p = g_value_get_double (gst_value_array_get_value (pauses, i));

      g_assert_cmpfloat (p, >, 0);
      g_assert_cmpfloat (p, <, 1);
    }
    gst_message_unref (message);
  }
  g_assert_cmpuint (n, ==, 10);

  g_object_set (lm->element, "post-messages", FALSE, NULL);
  lm_push (lm, user.data, 10 * FRAME);
  g_assert_null (gst_bus_pop_filtered (lm->bus, GST_MESSAGE_ELEMENT));
  free_table (&user);
  lm_harness_free (lm);
}

int
main (int argc, char **argv)
{
  int result;

  gst_init (&argc, &argv);
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const Case *c = &cases[i];
    gchar *name = g_strdup_printf ("/moshilm/tokens/%s.%s/%u-%s-%s",
        c->checkpoint, c->vector, i, c->packed_in ? "packed" : "u16",
        c->packed_out ? "packed" : "u16");

    g_test_add_data_func (name, c, test_vector);
    g_free (name);
  }
  g_test_add_func ("/moshilm/vad", test_vad);
  result = g_test_run ();
  gst_deinit ();
  return result;
}
