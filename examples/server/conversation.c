/* A conversation: Opus in, Opus and words out, through a pipeline.
 *
 * Its streaming threads hand what they make to the main loop. What a caller
 * sends goes into an appsrc, whose queue is how far the conversation is behind;
 * when it stays there, sound is left out until it is in the present again.
 */
#include "conversation.h"

#include <gio/gio.h>
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>

#include "metrics.h"

/* Not live, no clock: everything is computed as soon as it is there. Packets of
 * 40 ms, as those of the reference. */
#define EARS "appsrc name=ears format=time block=false max-bytes=0 max-time=0 "
#define CAPS_OGG "audio/x-opus,channel-mapping-family=0,channels=1,rate=48000"
#define CAPS_PCM \
  "audio/x-raw,format=S16LE,layout=interleaved,rate=24000,channels=1"
#define DECODE "! opusdec ! audioconvert ! audioresample "
#define ENCODE "! audioconvert " \
  "! opusenc audio-type=voice frame-size=40 bitrate=32000 "
#define MODEL \
  "! mimienc name=encoder ! moshilm name=moshi drain-frames=0 " \
  "! mimidec name=decoder "
#define MOUTH "! appsink name=mouth sync=false async=false "
#define WORDS \
  "moshi.text_src ! queue ! appsink name=words sync=false async=false"

#define PIPELINE_OGG \
  EARS "caps=" CAPS_OGG " " DECODE MODEL ENCODE MOUTH WORDS
#define PIPELINE_PCM \
  EARS "caps=" CAPS_PCM " ! audioconvert " MODEL \
  "! audioconvert dithering=none ! " CAPS_PCM " " MOUTH WORDS

/* Half a second of silence: as long as first steps are slower than others. */
#define PIPELINE_KEEPER \
  "audiotestsrc wave=silence samplesperbuffer=1920 num-buffers=6 " \
  "! audio/x-raw,rate=24000,channels=1 " MODEL "! fakesink " \
  "moshi.text_src ! queue ! fakesink async=false"

static const gchar *const elements[] = { "encoder", "moshi", "decoder" };

#define FRAME (80 * GST_MSECOND)
#define FAR_BEHIND (10 * GST_SECOND)
#define BEHIND (400 * GST_MSECOND)
#define BEHIND_FOR (2 * G_USEC_PER_SEC)
#define IN_THE_PRESENT (160 * GST_MSECOND)

static void
set (GstElement * pipeline, const gchar * name, const gchar * property,
    const gchar * value)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  if (value && g_object_class_find_property (G_OBJECT_GET_CLASS (element),
          property))
    gst_util_set_object_arg (G_OBJECT (element), property, value);
  gst_object_unref (element);
}

static GstElement *
make_pipeline (const gchar * description, const ModelOptions * options,
    GError ** error)
{
  GstElement *pipeline = gst_parse_launch (description, error);
  guint i;

  if (*error) {
    g_clear_pointer (&pipeline, gst_object_unref);
    return NULL;
  }
  for (i = 0; i < G_N_ELEMENTS (elements); i++) {
    set (pipeline, elements[i], "model", options->model);
    set (pipeline, elements[i], "device", options->device);
    set (pipeline, elements[i], "threads", options->threads);
  }
  set (pipeline, "moshi", "context", options->context);
  set (pipeline, "moshi", "quantization", options->quantization);
  return pipeline;
}

static gchar *
error_of (GstMessage * message)
{
  GError *error;
  gchar *text;

  gst_message_parse_error (message, &error, NULL);
  text = g_strdup_printf ("%s: %s", GST_MESSAGE_SRC_NAME (message),
      error->message);
  g_error_free (error);
  return text;
}

/* ------------------------------------------------------------- the model */

struct _ModelKeeper
{
  ModelOptions options;
  ModelKeeperFunc func;
  gpointer user_data;
  GThread *thread;
  GstElement *pipeline;
  gchar *model, *error;
  gboolean freed;
};

static void
note_progress (GHashTable * loading, GstMessage * message)
{
  GstProgressType type;

  gst_message_parse_progress (message, &type, NULL, NULL);
  if (type == GST_PROGRESS_TYPE_START)
    g_hash_table_add (loading, GST_MESSAGE_SRC (message));
  else if (type != GST_PROGRESS_TYPE_CONTINUE)
    g_hash_table_remove (loading, GST_MESSAGE_SRC (message));
}

/* In READY the elements have checked the model's files, and load them. */
static gchar *
wait_for_load (GstBus * bus)
{
  GHashTable *loading = g_hash_table_new (NULL, NULL);
  GstMessage *message;
  gchar *error = NULL;

  while (!error && (message = gst_bus_timed_pop_filtered (bus,
              g_hash_table_size (loading) ? GST_CLOCK_TIME_NONE : 0,
              GST_MESSAGE_PROGRESS | GST_MESSAGE_ERROR))) {
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
      error = error_of (message);
    else
      note_progress (loading, message);
    gst_message_unref (message);
  }
  g_hash_table_unref (loading);
  return error;
}

static gchar *
warm_up (GstElement * pipeline, GstBus * bus)
{
  GstMessage *message;
  gchar *error = NULL;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    error = error_of (message);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_READY);
  return error;
}

static gboolean
on_kept (gpointer user_data)
{
  ModelKeeper *self = user_data;

  g_thread_join (g_steal_pointer (&self->thread));
  if (!self->freed)
    self->func (self->error, self->user_data);
  else
    model_keeper_free (self);
  return G_SOURCE_REMOVE;
}

static gpointer
keep (gpointer user_data)
{
  ModelKeeper *self = user_data;
  GError *error = NULL;
  GstElement *moshi;
  GstBus *bus;

  self->pipeline = make_pipeline (PIPELINE_KEEPER, &self->options, &error);
  if (error) {
    self->error = g_strdup (error->message);
    g_error_free (error);
  } else {
    bus = gst_element_get_bus (self->pipeline);
    gst_element_set_state (self->pipeline, GST_STATE_READY);
    self->error = wait_for_load (bus);
    if (!self->error)
      self->error = warm_up (self->pipeline, bus);
    gst_object_unref (bus);
    moshi = gst_bin_get_by_name (GST_BIN (self->pipeline), "moshi");
    g_object_get (moshi, "model", &self->model, NULL);
    if (!self->model)
      self->model = g_strdup (g_getenv ("MOSHI_MODEL"));
    gst_object_unref (moshi);
  }
  g_main_context_invoke (NULL, on_kept, self);
  return NULL;
}

ModelKeeper *
model_keeper_new (const ModelOptions * options, ModelKeeperFunc func,
    gpointer user_data)
{
  ModelKeeper *self = g_new0 (ModelKeeper, 1);

  self->options = *options;
  self->func = func;
  self->user_data = user_data;
  self->thread = g_thread_new ("load", keep, self);
  return self;
}

const gchar *
model_keeper_get_model (ModelKeeper * self)
{
  return self->model ? self->model : "the model in the box";
}

void
model_keeper_free (ModelKeeper * self)
{
  if (self->thread) {
    self->freed = TRUE;         /* by on_kept() */
    return;
  }
  if (self->pipeline) {
    gst_element_set_state (self->pipeline, GST_STATE_NULL);
    gst_object_unref (self->pipeline);
  }
  g_free (self->model);
  g_free (self->error);
  g_free (self);
}

/* -------------------------------------------------------- a conversation */

struct _Conversation
{
  gatomicrefcount refs;
  const ModelOptions *options;
  SoundFormat format;
  Settings settings;
  ConversationFuncs funcs;
  gpointer user_data;

  /* Of the thread that begins or ends; between them, of the main loop. */
  GstElement *pipeline;
  GstAppSrc *ears;
  gchar *error;
  guint bus_watch;

  /* Of the main loop. */
  gboolean begun, ended, failed;
  GSourceFunc end_func;
  gpointer end_data;
  GstClockTime heard;           /* what was pushed */
  gint64 behind_since;          /* monotonic time; 0: it is not */
  gboolean skipping;

  gint frames;                  /* atomic */
};

static void
conversation_unref (gpointer user_data)
{
  Conversation *self = user_data;

  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  g_free (self->error);
  g_free (self);
}

static Conversation *
conversation_ref (Conversation * self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

/* ---- from the streaming threads ---- */

typedef struct
{
  Conversation *self;
  GBytes *bytes;
  void (*func) (GBytes * bytes, gpointer user_data);
} Delivery;

static gboolean
deliver (gpointer user_data)
{
  Delivery *d = user_data;

  if (!d->self->ended)
    d->func (d->bytes, d->self->user_data);
  return G_SOURCE_REMOVE;
}

static void
delivery_free (gpointer user_data)
{
  Delivery *d = user_data;

  g_bytes_unref (d->bytes);
  conversation_unref (d->self);
  g_free (d);
}

static GstFlowReturn
take_sample (Conversation * self, GstAppSink * sink,
    void (*func) (GBytes *, gpointer))
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  Delivery *d;
  gpointer data;
  gsize size;

  if (!sample)
    return GST_FLOW_EOS;
  gst_buffer_extract_dup (gst_sample_get_buffer (sample), 0, -1, &data, &size);
  gst_sample_unref (sample);
  d = g_new0 (Delivery, 1);
  d->self = conversation_ref (self);
  d->bytes = g_bytes_new_take (data, size);
  d->func = func;
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, deliver, d,
      delivery_free);
  return GST_FLOW_OK;
}

static GstFlowReturn
on_sound (GstAppSink * sink, gpointer user_data)
{
  Conversation *self = user_data;

  return take_sample (self, sink, self->funcs.sound);
}

static GstFlowReturn
on_words (GstAppSink * sink, gpointer user_data)
{
  Conversation *self = user_data;

  return take_sample (self, sink, self->funcs.word);
}

static GstPadProbeReturn
on_frame (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  Conversation *self = user_data;
  GstClockTime last, sum = 0;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (elements); i++) {
    GstElement *element =
        gst_bin_get_by_name (GST_BIN (self->pipeline), elements[i]);
    GstStructure *stats;

    g_object_get (element, "stats", &stats, NULL);
    if (gst_structure_get_clock_time (stats, "last-step", &last)
        || gst_structure_get_uint64 (stats, "last-step", &last))
      sum += last;
    gst_structure_free (stats);
    gst_object_unref (element);
  }
  metrics_step (sum / (gdouble) GST_SECOND);
  g_atomic_int_inc (&self->frames);
  return GST_PAD_PROBE_OK;
}

/* ---- beginning ---- */

static void
connect_sink (Conversation * self, const gchar * name,
    GstFlowReturn (*new_sample) (GstAppSink *, gpointer))
{
  GstElement *sink = gst_bin_get_by_name (GST_BIN (self->pipeline), name);
  GstAppSinkCallbacks callbacks = {.new_sample = new_sample };

  gst_app_sink_set_callbacks (GST_APP_SINK (sink), &callbacks,
      conversation_ref (self), conversation_unref);
  gst_object_unref (sink);
}

static void
connect_outputs (Conversation * self)
{
  GstElement *decoder = gst_bin_get_by_name (GST_BIN (self->pipeline),
      "decoder");
  GstPad *pad = gst_element_get_static_pad (decoder, "src");

  connect_sink (self, "mouth", on_sound);
  connect_sink (self, "words", on_words);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame,
      conversation_ref (self), conversation_unref);
  gst_object_unref (pad);
  gst_object_unref (decoder);
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Conversation *self = user_data;
  gchar *text;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR && !self->ended
      && !self->failed) {
    self->failed = TRUE;
    text = error_of (message);
    self->funcs.failed (text, self->user_data);
    g_free (text);
  }
  return G_SOURCE_CONTINUE;
}

static gboolean
on_ended (gpointer user_data)
{
  Conversation *self = user_data;

  self->end_func (self->end_data);
  conversation_unref (self);
  return G_SOURCE_REMOVE;
}

static void
end (GTask * task, gpointer source, gpointer user_data,
    GCancellable * cancellable)
{
  Conversation *self = user_data;

  g_clear_pointer (&self->ears, gst_object_unref);
  if (self->pipeline) {
    gst_element_set_state (self->pipeline, GST_STATE_NULL);
    g_clear_pointer (&self->pipeline, gst_object_unref);
  }
  g_main_context_invoke (NULL, on_ended, self);
}

static void
run_in_thread (GTaskThreadFunc func, Conversation * self)
{
  GTask *task = g_task_new (NULL, NULL, NULL, NULL);

  g_task_set_task_data (task, self, NULL);
  g_task_run_in_thread (task, func);
  g_object_unref (task);
}

static gboolean
on_begun (gpointer user_data)
{
  Conversation *self = user_data;
  GstBus *bus;

  self->begun = TRUE;
  if (self->ended) {
    run_in_thread (end, self);
    return G_SOURCE_REMOVE;
  }
  if (self->pipeline) {
    bus = gst_element_get_bus (self->pipeline);
    self->bus_watch = gst_bus_add_watch (bus, on_message, self);
    gst_object_unref (bus);
  }
  if (self->error)
    self->funcs.failed (self->error, self->user_data);
  else
    self->funcs.ready (&self->settings, self->user_data);
  return G_SOURCE_REMOVE;
}

static void
begin (GTask * task, gpointer source, gpointer user_data,
    GCancellable * cancellable)
{
  Conversation *self = user_data;
  GError *error = NULL;
  GstElement *moshi;

  self->pipeline = make_pipeline (self->format == SOUND_PCM ? PIPELINE_PCM :
      PIPELINE_OGG, self->options, &error);
  if (error) {
    self->error = g_strdup (error->message);
    g_error_free (error);
  } else {
    self->ears = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (self->pipeline),
            "ears"));
    connect_outputs (self);
    moshi = gst_bin_get_by_name (GST_BIN (self->pipeline), "moshi");
    gst_element_set_state (self->pipeline, GST_STATE_READY);
    settings_apply (&self->settings, moshi);
    gst_object_unref (moshi);
    if (gst_element_set_state (self->pipeline, GST_STATE_PLAYING) ==
        GST_STATE_CHANGE_FAILURE)
      self->error = g_strdup ("the model does not start");
  }
  g_main_context_invoke (NULL, on_begun, self);
}

Conversation *
conversation_new (const ModelOptions * options, const Settings * settings,
    SoundFormat format, const ConversationFuncs * funcs, gpointer user_data)
{
  Conversation *self = g_new0 (Conversation, 1);

  g_atomic_ref_count_init (&self->refs);
  self->options = options;
  self->settings = *settings;
  self->format = format;
  self->funcs = *funcs;
  self->user_data = user_data;
  run_in_thread (begin, self);
  return self;
}

void
conversation_end (Conversation * self, GSourceFunc func, gpointer user_data)
{
  self->ended = TRUE;
  self->end_func = func;
  self->end_data = user_data;
  if (self->bus_watch)
    g_source_remove (self->bus_watch);
  self->bus_watch = 0;
  if (self->begun)
    run_in_thread (end, self);
}

/* ---- what the caller says ---- */

/* TRUE while sound is to be left out. */
static gboolean
is_too_far_behind (Conversation * self)
{
  GstClockTime behind = gst_app_src_get_current_level_time (self->ears);
  gint64 now = g_get_monotonic_time ();

  if (behind < BEHIND)
    self->behind_since = 0;
  else if (self->behind_since == 0)
    self->behind_since = now;

  if (behind <= IN_THE_PRESENT)
    self->skipping = FALSE;
  else if (behind > FAR_BEHIND || (self->behind_since
          && now - self->behind_since > BEHIND_FOR))
    self->skipping = TRUE;
  return self->skipping;
}

void
conversation_push (Conversation * self, const guint8 * data, gsize size,
    GstClockTime duration)
{
  GstBuffer *buffer;

  if (!self->begun || self->failed || !self->ears)
    return;
  if (is_too_far_behind (self)) {
    metric_add (METRIC_SKIPPED_MS, duration / GST_MSECOND);
    return;
  }
  buffer = gst_buffer_new_memdup (data, size);
  GST_BUFFER_PTS (buffer) = self->heard;
  GST_BUFFER_DURATION (buffer) = duration;
  self->heard += duration;
  gst_app_src_push_buffer (self->ears, buffer);
}

guint64
conversation_get_frames (Conversation * self)
{
  return g_atomic_int_get (&self->frames);
}

GstClockTimeDiff
conversation_get_lag (Conversation * self)
{
  return self->heard - conversation_get_frames (self) * FRAME;
}
