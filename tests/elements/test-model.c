/* Models of elements: opening, loading, waiting, cancelling, sharing, and what
 * a user is told when something is wrong. */
#include "fixtures.h"

#include <glib/gstdio.h>
#include <string.h>
#include "gstmoshimodel.h"
#include "gstmoshisteps.h"

/* Of plugin.c, which is not part of this program. */
GST_DEBUG_CATEGORY (gst_moshi_debug);

static const gchar *const model_elements[] = { "mimienc", "mimidec" };

/* ---------------------------------------------------------- GstMoshiModel */

/* A model in a bare element; while `hold` is set the loading thread stands
 * still in the first message that it posts. */
typedef struct
{
  GstMoshiModel model;
  GstElement *element;
  GstBus *bus;
  gboolean hold_until_cancelled;
  GMutex lock;
  GCond cond;
  gboolean held, release;
  GString *progress;            /* a letter for each message: SCcXE */
} Bare;

static void
note_progress (Bare * bare, GstMessage * message)
{
  static const gchar letters[] = {
    [GST_PROGRESS_TYPE_START] = 'S',
    [GST_PROGRESS_TYPE_CONTINUE] = 'c',
    [GST_PROGRESS_TYPE_COMPLETE] = 'C',
    [GST_PROGRESS_TYPE_CANCELED] = 'X',
    [GST_PROGRESS_TYPE_ERROR] = 'E',
  };
  GstProgressType type;
  gchar *code;

  gst_message_parse_progress (message, &type, &code, NULL);
  g_assert_cmpstr (code, ==, "open");
  g_free (code);
  if (type != GST_PROGRESS_TYPE_CONTINUE)
    g_string_append_c (bare->progress, letters[type]);
}

static gboolean
is_cancelled (Bare * bare)
{
  gboolean cancelled;

  g_mutex_lock (&bare->model.lock);
  cancelled = bare->model.cancel;
  g_mutex_unlock (&bare->model.lock);
  return cancelled;
}

static GstBusSyncReply
on_message (GstBus * bus, GstMessage * message, gpointer data)
{
  Bare *bare = data;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return GST_BUS_PASS;
  g_mutex_lock (&bare->lock);
  note_progress (bare, message);
  bare->held = TRUE;
  g_cond_broadcast (&bare->cond);
  while (!bare->release)
    g_cond_wait (&bare->cond, &bare->lock);
  g_mutex_unlock (&bare->lock);
  while (bare->hold_until_cancelled && !is_cancelled (bare))
    g_thread_yield ();
  gst_message_unref (message);

  return GST_BUS_DROP;
}

static void
bare_init (Bare * bare)
{
  memset (bare, 0, sizeof *bare);
  g_mutex_init (&bare->lock);
  g_cond_init (&bare->cond);
  bare->progress = g_string_new (NULL);
  bare->bus = gst_bus_new ();
  bare->element = gst_object_ref_sink (gst_bin_new (NULL));
  gst_bus_set_sync_handler (bare->bus, on_message, bare, NULL);
  gst_element_set_bus (bare->element, bare->bus);
  gst_moshi_model_init (&bare->model, bare->element, MOSHI_PART_ENCODER);
}

static void
bare_clear (Bare * bare)
{
  gst_moshi_model_clear (&bare->model);
  gst_element_set_bus (bare->element, NULL);
  gst_bus_set_flushing (bare->bus, TRUE);
  gst_object_unref (bare->bus);
  gst_object_unref (bare->element);
  g_string_free (bare->progress, TRUE);
  g_mutex_clear (&bare->lock);
  g_cond_clear (&bare->cond);
}

static void
bare_release (Bare * bare)
{
  g_mutex_lock (&bare->lock);
  bare->release = TRUE;
  g_cond_broadcast (&bare->cond);
  g_mutex_unlock (&bare->lock);
}

static void
bare_wait_held (Bare * bare)
{
  g_mutex_lock (&bare->lock);
  while (!bare->held)
    g_cond_wait (&bare->cond, &bare->lock);
  g_mutex_unlock (&bare->lock);
}

static gboolean
change (Bare * bare, GstStateChange transition)
{
  gboolean done = gst_moshi_model_before_change (&bare->model, transition);

  gst_moshi_model_after_change (&bare->model, transition,
      done ? GST_STATE_CHANGE_SUCCESS : GST_STATE_CHANGE_FAILURE);
  return done;
}

static void
test_load (void)
{
  MoshiModel *model = NULL;
  Bare bare;

  bare_init (&bare);
  bare.release = TRUE;
  g_assert_null (gst_moshi_model_ref (&bare.model));
  g_assert_true (change (&bare, GST_STATE_CHANGE_NULL_TO_READY));
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_PAUSED));
  g_assert_cmpint (gst_moshi_model_wait (&bare.model, &model), ==, GST_FLOW_OK);
  g_assert_cmpint (moshi_model_info (model)->codebooks, ==, MINI_CODEBOOKS);
  g_assert_true (change (&bare, GST_STATE_CHANGE_PAUSED_TO_READY));
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_NULL));
  g_assert_cmpstr (bare.progress->str, ==, "SC");
  g_assert_null (gst_moshi_model_ref (&bare.model));
  bare_clear (&bare);
}

/* READY→NULL ends a load that is under way. */
static void
test_cancel_load (void)
{
  Bare bare;

  bare_init (&bare);
  bare.release = TRUE;
  bare.hold_until_cancelled = TRUE;
  g_assert_true (change (&bare, GST_STATE_CHANGE_NULL_TO_READY));
  bare_wait_held (&bare);
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_NULL));
  g_assert_cmpstr (bare.progress->str, ==, "SX");

  /* and leaves nothing behind: the next load is a whole one */
  bare.hold_until_cancelled = FALSE;
  g_assert_true (change (&bare, GST_STATE_CHANGE_NULL_TO_READY));
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_PAUSED));
  {
    MoshiModel *model;

    g_assert_cmpint (gst_moshi_model_wait (&bare.model, &model), ==,
        GST_FLOW_OK);
  }
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_NULL));
  g_assert_cmpstr (bare.progress->str, ==, "SXSC");
  bare_clear (&bare);
}

static gpointer
wait_in_thread (gpointer data)
{
  MoshiModel *model;

  return GINT_TO_POINTER (gst_moshi_model_wait (data, &model));
}

/* A flush, or PAUSED→READY, ends the wait; the load goes on. */
static void
test_cancel_wait (void)
{
  MoshiModel *model;
  GThread *thread;
  Bare bare;

  bare_init (&bare);
  g_assert_true (change (&bare, GST_STATE_CHANGE_NULL_TO_READY));
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_PAUSED));
  bare_wait_held (&bare);

  thread = g_thread_new ("stream", wait_in_thread, &bare.model);
  gst_moshi_model_set_flushing (&bare.model, TRUE);
  g_assert_cmpint (GPOINTER_TO_INT (g_thread_join (thread)), ==,
      GST_FLOW_FLUSHING);
  gst_moshi_model_set_flushing (&bare.model, FALSE);

  thread = g_thread_new ("stream", wait_in_thread, &bare.model);
  g_assert_true (change (&bare, GST_STATE_CHANGE_PAUSED_TO_READY));
  g_assert_cmpint (GPOINTER_TO_INT (g_thread_join (thread)), ==,
      GST_FLOW_FLUSHING);

  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_PAUSED));
  thread = g_thread_new ("stream", wait_in_thread, &bare.model);
  bare_release (&bare);
  g_assert_cmpint (GPOINTER_TO_INT (g_thread_join (thread)), ==, GST_FLOW_OK);
  g_assert_cmpint (gst_moshi_model_wait (&bare.model, &model), ==, GST_FLOW_OK);
  bare_clear (&bare);
}

/* Two that load at once, and one after them, have the same weights. */
static void
test_shared_load (void)
{
  MoshiModel *model;
  Bare bares[3];

  for (gint i = 0; i < 3; i++) {
    bare_init (&bares[i]);
    bares[i].release = TRUE;
  }
  for (gint i = 0; i < 2; i++)
    g_assert_true (change (&bares[i], GST_STATE_CHANGE_NULL_TO_READY));
  for (gint i = 0; i < 2; i++) {
    g_assert_true (change (&bares[i], GST_STATE_CHANGE_READY_TO_PAUSED));
    g_assert_cmpint (gst_moshi_model_wait (&bares[i].model, &model), ==,
        GST_FLOW_OK);
  }
  g_assert_true (change (&bares[2], GST_STATE_CHANGE_NULL_TO_READY));
  g_assert_true (change (&bares[2], GST_STATE_CHANGE_READY_TO_PAUSED));
  g_assert_cmpint (gst_moshi_model_wait (&bares[2].model, &model), ==,
      GST_FLOW_OK);
  for (gint i = 0; i < 3; i++) {
    /* the first that goes does not take it from the others */
    g_assert_true (change (&bares[i], GST_STATE_CHANGE_READY_TO_NULL));
    g_assert_cmpstr (bares[i].progress->str, ==, "SC");
    bare_clear (&bares[i]);
  }
}

/* A property set in READY counts from READY→PAUSED on. */
static void
test_change_in_ready (void)
{
  GValue value = G_VALUE_INIT;
  gchar *path = fixture_path ("mimi-odd");
  MoshiModel *model;
  Bare bare;

  bare_init (&bare);
  bare.release = TRUE;
  g_assert_true (change (&bare, GST_STATE_CHANGE_NULL_TO_READY));
  g_value_init (&value, G_TYPE_STRING);
  g_value_take_string (&value, path);
  g_assert_true (gst_moshi_model_set_property (&bare.model,
          GST_MOSHI_MODEL_PROP_MODEL, &value));
  g_assert_true (change (&bare, GST_STATE_CHANGE_READY_TO_PAUSED));
  g_assert_cmpint (gst_moshi_model_wait (&bare.model, &model), ==, GST_FLOW_OK);
  g_assert_nonnull (strstr (moshi_model_info (model)->path, "mimi-odd"));
  g_value_unset (&value);
  bare_clear (&bare);
}

/* ---------------------------------------------------------------- elements */

static void
test_states (void)
{
  static const gchar *const names[] = {
    "mimienc", "mimidec", "mimimux", "mimiparse"
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElement *element = gst_element_factory_make (names[i], NULL);

    for (gint cycle = 0; cycle < 10; cycle++) {
      g_assert_cmpint (gst_element_set_state (element, GST_STATE_PLAYING), ==,
          GST_STATE_CHANGE_SUCCESS);
      if (cycle % 3 == 0)
        gst_element_set_state (element, GST_STATE_READY);
      if (cycle % 3 == 1)
        gst_element_set_state (element, GST_STATE_PAUSED);
      g_assert_cmpint (gst_element_set_state (element, GST_STATE_NULL), ==,
          GST_STATE_CHANGE_SUCCESS);
    }
    gst_object_unref (element);
  }
}

/* Sets the element to READY and asserts the error it posts. */
static void
assert_cannot_open (const gchar * name, const gchar * model,
    const gchar * device, GQuark domain, gint code, const gchar * word)
{
  GstElement *element = gst_element_factory_make (name, NULL);
  GstBus *bus = gst_bus_new ();
  GError *error = NULL;
  GstMessage *message;

  gst_element_set_bus (element, bus);
  g_object_set (element, "model", model, "device", device, NULL);
  g_assert_cmpint (gst_element_set_state (element, GST_STATE_READY), ==,
      GST_STATE_CHANGE_FAILURE);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  g_assert_nonnull (message);
  gst_message_parse_error (message, &error, NULL);
  g_test_message ("%s: %s", name, error->message);
  g_assert_error (error, domain, code);
  g_assert_nonnull (strstr (error->message, word));
  g_assert_null (strchr (error->message, '\n'));
  g_error_free (error);
  gst_message_unref (message);
  g_assert_null (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR));
  gst_element_set_state (element, GST_STATE_NULL);
  gst_element_set_bus (element, NULL);
  gst_bus_set_flushing (bus, TRUE);
  gst_object_unref (bus);
  gst_object_unref (element);
}

static void
test_cannot_open (void)
{
  gchar *dir = g_dir_make_tmp ("moshi-XXXXXX", NULL);
  gchar *file = g_build_filename (dir, "mimi.safetensors", NULL);
  gchar *lm = fixture_path ("lm-mini");

  for (guint i = 0; i < G_N_ELEMENTS (model_elements); i++) {
    const gchar *name = model_elements[i];

    assert_cannot_open (name, "/nonexistent/model", "cpu", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_NOT_FOUND, "/nonexistent/model");
    /* the command that would fetch it */
    assert_cannot_open (name, "kyutai/none-such", "cpu", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_NOT_FOUND, "download");
    assert_cannot_open (name, NULL, "abacus", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_SETTINGS, "abacus");
    g_assert_true (g_file_set_contents (file, "not a checkpoint", -1, NULL));
    assert_cannot_open (name, file, "cpu", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_READ, "mimi.safetensors");
    assert_cannot_open (name, lm, "cpu", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_NOT_FOUND, "lm-mini");
  }
  g_remove (file);
  g_rmdir (dir);
  g_free (file);
  g_free (lm);
  g_free (dir);
}

/* Nobody named a model and none is installed: a matter of settings. */
static void
test_no_model (void)
{
  gchar *model = g_strdup (g_getenv ("MOSHI_MODEL"));
  MoshiModelOptions options = {.parts = MOSHI_PART_ENCODER };
  MoshiModel *installed;

  g_unsetenv ("MOSHI_MODEL");
  installed = moshi_model_open (&options, NULL);
  if (installed)
    g_test_skip ("a model is installed on this machine");
  else
    assert_cannot_open ("mimienc", NULL, "cpu", GST_RESOURCE_ERROR,
        GST_RESOURCE_ERROR_SETTINGS, "MOSHI_MODEL");
  moshi_model_unref (installed);
  g_setenv ("MOSHI_MODEL", model, TRUE);
  g_free (model);
}

/* ------------------------------------------------------------------- steps */

/* Late steps count in live pipelines only, and are told once a second. */
static void
test_late_steps (void)
{
  GstElement *element = gst_object_ref_sink (gst_bin_new (NULL));
  GstStructure *stats = gst_structure_new_empty ("stats");
  GstQuery *query = gst_query_new_latency ();
  GstBus *bus = gst_bus_new ();
  GstMoshiSteps steps = { 0 };
  const MoshiTurn alone = {.batch = 1 };
  const MoshiTurn shared = {.batch = 4,.waited_us = 8000 };
  GstMessage *message;
  GstSegment segment;
  gdouble mean;
  guint64 value;
  gint64 jitter;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_element_set_bus (element, bus);
  gst_moshi_steps_add (&steps, element, 100 * MS, &alone, &segment, 0);
  g_assert_null (gst_bus_pop_filtered (bus, GST_MESSAGE_QOS));
  gst_query_set_latency (query, TRUE, 0, 0);
  gst_moshi_steps_note_latency (&steps, element, query);
  gst_moshi_steps_add (&steps, element, 20 * MS, &alone, &segment, 80 * MS);
  gst_moshi_steps_add (&steps, element, 90 * MS, &shared, &segment,
      160 * MS);
  gst_moshi_steps_add (&steps, element, 90 * MS, &alone, &segment, 240 * MS);

  message = gst_bus_pop_filtered (bus, GST_MESSAGE_QOS);
  g_assert_nonnull (message);
  gst_message_parse_qos (message, NULL, NULL, NULL, &value, NULL);
  g_assert_cmpuint (value, ==, 160 * MS);
  gst_message_parse_qos_values (message, &jitter, NULL, NULL);
  g_assert_cmpint (jitter, ==, 10 * MS);
  gst_message_unref (message);
  g_assert_null (gst_bus_pop_filtered (bus, GST_MESSAGE_QOS));

  gst_moshi_steps_fill (&steps, element, stats);
  g_assert_true (gst_structure_get_uint64 (stats, "frames", &value));
  g_assert_cmpuint (value, ==, 4);
  g_assert_true (gst_structure_get_uint64 (stats, "late", &value));
  g_assert_cmpuint (value, ==, 2);
  g_assert_true (gst_structure_get_uint64 (stats, "max-step", &value));
  g_assert_cmpuint (value, ==, 100 * MS);
  g_assert_true (gst_structure_get_uint64 (stats, "mean-step", &value));
  g_assert_cmpuint (value, ==, 75 * MS);
  g_assert_true (gst_structure_get_uint64 (stats, "max-batch", &value));
  g_assert_cmpuint (value, ==, 4);
  g_assert_true (gst_structure_get_uint64 (stats, "last-batch", &value));
  g_assert_cmpuint (value, ==, 1);
  g_assert_true (gst_structure_get_double (stats, "mean-batch", &mean));
  g_assert_cmpfloat (mean, ==, 1.75);
  g_assert_true (gst_structure_get_uint64 (stats, "max-wait", &value));
  g_assert_cmpuint (value, ==, 8 * MS);
  g_assert_true (gst_structure_get_uint64 (stats, "mean-wait", &value));
  g_assert_cmpuint (value, ==, 2 * MS);

  gst_structure_free (stats);
  gst_query_unref (query);
  gst_element_set_bus (element, NULL);
  gst_bus_set_flushing (bus, TRUE);
  gst_object_unref (bus);
  gst_object_unref (element);
}

int
main (int argc, char **argv)
{
  fixture_init (&argc, &argv);
  GST_DEBUG_CATEGORY_INIT (gst_moshi_debug, "moshi-test", 0, "test");
  g_test_add_func ("/model/load", test_load);
  g_test_add_func ("/model/cancel-load", test_cancel_load);
  g_test_add_func ("/model/cancel-wait", test_cancel_wait);
  g_test_add_func ("/model/shared-load", test_shared_load);
  g_test_add_func ("/model/change-in-ready", test_change_in_ready);
  g_test_add_func ("/model/states", test_states);
  g_test_add_func ("/model/cannot-open", test_cannot_open);
  g_test_add_func ("/model/no-model", test_no_model);
  g_test_add_func ("/steps/late", test_late_steps);
  return fixture_run ();
}
