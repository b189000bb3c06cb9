/* Whole conversations on a card, by the emulation of tests/cuda: those of several
 * pipelines share their steps, and hear what each would hear alone. */
#include "fixtures.h"

#include <string.h>

#define CHAINS 3
#define FRAMES 4

/* Sound to sound in one thread. */
typedef struct
{
  GstHarness *h;
  gint number;
  GstFlowReturn flow;
  GByteArray *said;
} Chain;

static void
chain_init (Chain * chain, gint number, const gchar * device)
{
  gchar *lm = fixture_path ("lm-mini");
  gchar *launch = g_strdup_printf ("mimienc device=%s ! moshilm name=lm "
      "model=%s device=%s temperature=0 text-temperature=0 drain-frames=0 ! "
      "mimidec device=%s", device, lm, device, device);

  memset (chain, 0, sizeof *chain);
  chain->number = number;
  chain->said = g_byte_array_new ();
  chain->h = harness_new (launch, S16_CAPS, F32_CAPS);
  g_free (launch);
  g_free (lm);
}

static void
chain_clear (Chain * chain)
{
  harness_free (chain->h);
  g_byte_array_unref (chain->said);
}

/* Each chain hears another part of the sound. */
static GstFlowReturn
push_frame (Chain * chain, const Vector * vector, gint frame)
{
  GstBuffer *buffer =
      pcm_buffer (vector, (frame + chain->number) * FRAME, FRAME, FALSE);

  GST_BUFFER_PTS (buffer) = frame * 80 * MS;
  return gst_harness_push (chain->h, buffer);
}

static gpointer
talk (gpointer data)
{
  Chain *chain = data;
  GstBuffer *buffer;
  Vector vector;

  vector_open (&vector, "mimi-mini.synth.safetensors");
  for (gint t = 0; t < FRAMES; t++)
    g_assert_cmpint (push_frame (chain, &vector, t), ==, GST_FLOW_OK);
  gst_harness_push_event (chain->h, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (chain->h))) {
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (chain->said, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  vector_close (&vector);
  return NULL;
}

static guint64
lm_stat (Chain * chain, const gchar * field)
{
  GstElement *lm = gst_bin_get_by_name (GST_BIN (chain->h->element), "lm");
  GstStructure *stats = NULL;
  guint64 value = 0;

  g_object_get (lm, "stats", &stats, NULL);
  g_assert_true (gst_structure_get_uint64 (stats, field, &value));
  gst_structure_free (stats);
  gst_object_unref (lm);
  return value;
}

static void
test_shared (void)
{
  Chain chains[CHAINS];
  GThread *threads[CHAINS];
  guint64 most = 0;

  g_setenv ("MOSHI_EMULATION", "seed=5", TRUE);
  for (gint i = 0; i < CHAINS; i++)
    chain_init (&chains[i], i, "cuda");
  for (gint i = 0; i < CHAINS; i++)
    threads[i] = g_thread_new ("chain", talk, &chains[i]);
  for (gint i = 0; i < CHAINS; i++) {
    g_thread_join (threads[i]);
    assert_no_error (chains[i].h);
    g_assert_cmpuint (lm_stat (&chains[i], "max-step"), >, 0);
    most = MAX (most, lm_stat (&chains[i], "max-batch"));
  }
  g_assert_cmpuint (most, >, 1);
  for (gint i = 0; i < CHAINS; i++) {
    Chain alone;

    chain_init (&alone, i, "cuda");
    talk (&alone);
    g_assert_cmpuint (lm_stat (&alone, "max-batch"), ==, 1);
    g_assert_cmpuint (alone.said->len, >, 0);
    g_assert_cmpmem (alone.said->data, alone.said->len,
        chains[i].said->data, chains[i].said->len);
    chain_clear (&alone);
    chain_clear (&chains[i]);
  }
}

/* Goes on until the card is lost. */
static gpointer
talk_on (gpointer data)
{
  Chain *chain = data;
  Vector vector;

  vector_open (&vector, "mimi-mini.synth.safetensors");
  for (gint t = 0; t < 40 && !chain->flow; t++)
    chain->flow = push_frame (chain, &vector, t % 20);
  vector_close (&vector);
  return NULL;
}

/* Whichever element it was that had the step, it alone has said so. */
static void
assert_lost (Chain * chain)
{
  GstMessage *message = harness_pop_message (chain->h, GST_MESSAGE_ERROR);
  GError *error = NULL;

  g_assert_nonnull (message);
  gst_message_parse_error (message, &error, NULL);
  g_assert_true (g_str_has_prefix (error->message,
          "cuda:0 (Emulation): cudaErrorIllegalAddress: "));
  g_error_free (error);
  gst_message_unref (message);
  assert_no_error (chain->h);
}

/* Every pipeline of the card says so once; one on the CPU goes on. */
static void
test_lost (void)
{
  Chain on_card[2], on_cpu;
  GThread *threads[2];

  g_setenv ("MOSHI_EMULATION", "fail-launch=3000", TRUE);
  chain_init (&on_cpu, 0, "cpu");
  for (gint i = 0; i < 2; i++)
    chain_init (&on_card[i], i, "cuda");
  for (gint i = 0; i < 2; i++)
    threads[i] = g_thread_new ("chain", talk_on, &on_card[i]);
  for (gint i = 0; i < 2; i++) {
    g_thread_join (threads[i]);
    g_assert_cmpint (on_card[i].flow, ==, GST_FLOW_ERROR);
    assert_lost (&on_card[i]);
    chain_clear (&on_card[i]);
  }
  talk (&on_cpu);
  assert_no_error (on_cpu.h);
  g_assert_cmpuint (on_cpu.said->len, >, 0);
  chain_clear (&on_cpu);
}

/* What is wrong with the card is said when an element opens its model. */
static void
test_refused (void)
{
  static const struct
  {
    const gchar *machine, *device, *message;
  } cases[] = {
    {"driver=0", "cuda", "there is no NVIDIA driver"},
    {"driver=12020", "cuda", "the NVIDIA driver is for CUDA 12.2"},
    {"devices=1", "cuda:7", "this machine has 1 CUDA card"},
  };
  static const gchar *const names[] = { "mimienc", "moshilm", "mimidec" };
  gchar *lm = fixture_path ("lm-mini");

  for (guint i = 0; i < G_N_ELEMENTS (cases) * G_N_ELEMENTS (names); i++) {
    const gchar *name = names[i % 3];
    GstElement *element = gst_element_factory_make (name, NULL);
    GstBus *bus = gst_bus_new ();
    GError *error = NULL;
    GstMessage *message;

    g_setenv ("MOSHI_EMULATION", cases[i / 3].machine, TRUE);
    gst_element_set_bus (element, bus);
    g_object_set (element, "device", cases[i / 3].device, NULL);
    if (i % 3 == 1)
      g_object_set (element, "model", lm, NULL);
    g_assert_cmpint (gst_element_set_state (element, GST_STATE_READY), ==,
        GST_STATE_CHANGE_FAILURE);
    message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
    g_assert_nonnull (message);
    gst_message_parse_error (message, &error, NULL);
    g_assert_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND);
    g_assert_nonnull (strstr (error->message, cases[i / 3].message));
    g_error_free (error);
    gst_message_unref (message);
    gst_element_set_state (element, GST_STATE_NULL);
    gst_element_set_bus (element, NULL);
    gst_bus_set_flushing (bus, TRUE);
    gst_object_unref (bus);
    gst_object_unref (element);
  }
  g_free (lm);
}

int
main (int argc, char **argv)
{
  fixture_init (&argc, &argv);
  g_setenv ("MOSHI_BATCH", "4", TRUE);
  g_test_add_func ("/cuda/elements/shared", test_shared);
  g_test_add_func ("/cuda/elements/lost", test_lost);
  g_test_add_func ("/cuda/elements/refused", test_refused);
  return fixture_run ();
}
