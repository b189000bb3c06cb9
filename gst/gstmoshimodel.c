/* Opening and loading a model for an element.
 *
 * NULL→READY opens: every check that needs no weights is made at once, so that
 * autoplugging can try the next element and an application learns of a wrong
 * path before it has built anything on it. Reading the weights takes as long as
 * the disk does, so a thread does that; it posts PROGRESS messages of the code
 * "open". The streaming thread waits for it with its first frame. Weights are
 * shared inside libmoshi by all users of the same files, device and threads. */
#include "gstmoshimodel.h"

#define GST_CAT_DEFAULT gst_moshi_debug

#define PROGRESS_CODE "open"
/* A small model is there before it is worth a word. */
#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 5)

void
gst_moshi_model_install_properties (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (klass, GST_MOSHI_MODEL_PROP_MODEL,
      g_param_spec_string ("model", "Model",
          "The model: a directory, a checkpoint file, or a hub repository such "
          "as kyutai/moshika-pytorch-bf16 that is in the hub's cache. Unset: "
          "the environment variable MOSHI_MODEL, else the installed model",
          NULL, flags));
  g_object_class_install_property (klass, GST_MOSHI_MODEL_PROP_DEVICE,
      g_param_spec_string ("device", "Device",
          "Where to compute: auto, cpu, cuda, or cuda:N for a certain card",
          "auto", flags));
  g_object_class_install_property (klass, GST_MOSHI_MODEL_PROP_THREADS,
      g_param_spec_uint ("threads", "Threads",
          "Processor threads to compute with; 0 = the machine's cores. "
          "The result does not depend on it", 0, 1024, 0, flags));
}

#define GST_TYPE_MIMI_WEIGHTS (gst_mimi_weights_get_type ())
static GType
gst_mimi_weights_get_type (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
    {GST_MIMI_WEIGHTS_F32, "Exact: the codes and the sound of the reference",
        "f32"},
    {GST_MIMI_WEIGHTS_BF16, "Rounded: faster, half the memory, other codes",
        "bf16"},
    {0, NULL, NULL}
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstMimiWeights",
            values));
  return type;
}

void
gst_moshi_model_install_weights (GObjectClass * klass)
{
  g_object_class_install_property (klass, GST_MOSHI_MODEL_PROP_WEIGHTS,
      g_param_spec_enum ("weights", "Weights",
          "Type of the codec's matrices in memory. bf16 takes half of the "
          "memory and less time, changes some codes and adds some noise; the "
          "other end of the stream need not have the same",
          GST_TYPE_MIMI_WEIGHTS, GST_MIMI_WEIGHTS_F32,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
          GST_PARAM_MUTABLE_READY));
  gst_type_mark_as_plugin_api (GST_TYPE_MIMI_WEIGHTS, 0);
}

void
gst_moshi_model_init (GstMoshiModel * self, GstElement * element, guint parts)
{
  memset (self, 0, sizeof *self);
  self->element = element;
  self->parts = parts;
  self->device = g_strdup ("auto");
  self->stopped = TRUE;
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
}

void
gst_moshi_model_set_quantization (GstMoshiModel * self,
    const gchar * quantization)
{
  g_mutex_lock (&self->lock);
  self->changed |= g_strcmp0 (self->quantization, quantization) != 0;
  self->quantization = quantization;
  g_mutex_unlock (&self->lock);
}

gboolean
gst_moshi_model_set_property (GstMoshiModel * self, guint id,
    const GValue * value)
{
  gboolean mine = TRUE;

  g_mutex_lock (&self->lock);
  switch (id) {
    case GST_MOSHI_MODEL_PROP_MODEL:
      g_free (self->path);
      self->path = g_value_dup_string (value);
      break;
    case GST_MOSHI_MODEL_PROP_DEVICE:
      g_free (self->device);
      self->device = g_value_dup_string (value);
      break;
    case GST_MOSHI_MODEL_PROP_THREADS:
      self->threads = g_value_get_uint (value);
      break;
    case GST_MOSHI_MODEL_PROP_WEIGHTS:
      self->weights = g_value_get_enum (value);
      break;
    default:
      mine = FALSE;
      break;
  }
  self->changed |= mine;
  g_mutex_unlock (&self->lock);

  return mine;
}

gboolean
gst_moshi_model_get_property (GstMoshiModel * self, guint id, GValue * value)
{
  gboolean mine = TRUE;

  g_mutex_lock (&self->lock);
  switch (id) {
    case GST_MOSHI_MODEL_PROP_MODEL:
      g_value_set_string (value, self->path);
      break;
    case GST_MOSHI_MODEL_PROP_DEVICE:
      g_value_set_string (value, self->device);
      break;
    case GST_MOSHI_MODEL_PROP_THREADS:
      g_value_set_uint (value, self->threads);
      break;
    case GST_MOSHI_MODEL_PROP_WEIGHTS:
      g_value_set_enum (value, self->weights);
      break;
    default:
      mine = FALSE;
      break;
  }
  g_mutex_unlock (&self->lock);

  return mine;
}

/* A library status on the bus. A model that nobody named is a matter of
 * settings, not of a missing file. */
static void
error_code (MoshiStatus status, gboolean named, GQuark * domain, gint * code)
{
  static const struct
  {
    MoshiStatus status;
    gboolean library;
    gint code;
  } table[] = {
    {MOSHI_ERROR_ARGUMENT, FALSE, GST_RESOURCE_ERROR_SETTINGS},
    {MOSHI_ERROR_NOT_FOUND, FALSE, GST_RESOURCE_ERROR_NOT_FOUND},
    {MOSHI_ERROR_READ, FALSE, GST_RESOURCE_ERROR_OPEN_READ},
    {MOSHI_ERROR_FORMAT, FALSE, GST_RESOURCE_ERROR_READ},
    {MOSHI_ERROR_MODEL, TRUE, GST_LIBRARY_ERROR_SETTINGS},
    {MOSHI_ERROR_MEMORY, FALSE, GST_RESOURCE_ERROR_NO_SPACE_LEFT},
    {MOSHI_ERROR_DEVICE, TRUE, GST_LIBRARY_ERROR_FAILED},
  };

  *domain = GST_LIBRARY_ERROR;
  *code = GST_LIBRARY_ERROR_FAILED;
  if (status == MOSHI_ERROR_NOT_FOUND && !named)
    status = MOSHI_ERROR_ARGUMENT;
  for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
    if (table[i].status == status) {
      *domain = table[i].library ? GST_LIBRARY_ERROR : GST_RESOURCE_ERROR;
      *code = table[i].code;
    }
  }
}

void
gst_moshi_element_error (GstElement * element, const MoshiError * error,
    const gchar * model)
{
  GQuark domain;
  gint code;

  error_code (error->status, model || g_getenv ("MOSHI_MODEL"), &domain, &code);
  GST_ERROR_OBJECT (element, "%s", error->message);
  gst_element_message_full (element, GST_MESSAGE_ERROR, domain, code,
      g_strdup (error->message),
      g_strdup_printf ("status %d, model %s", error->status,
          model ? model : "(not set)"), __FILE__, GST_FUNCTION, __LINE__);
}

static void
post_progress (GstMoshiModel * self, GstProgressType type, gint percent,
    const gchar * text)
{
  GstMessage *message;

  message = gst_message_new_progress (GST_OBJECT (self->element), type,
      PROGRESS_CODE, text);
  if (percent >= 0)
    gst_structure_set (gst_message_writable_structure (message),
        "percent", G_TYPE_INT, percent, NULL);
  gst_element_post_message (self->element, message);
}

/* MoshiProgress */
static int
on_progress (void *cookie, double done)
{
  GstMoshiModel *self = cookie;
  gint percent = CLAMP ((gint) (100 * done), 0, 100);
  gint64 now = g_get_monotonic_time ();
  gboolean cancel;

  g_mutex_lock (&self->lock);
  cancel = self->cancel;
  g_mutex_unlock (&self->lock);

  if (!cancel && percent > self->percent &&
      now - self->told >= PROGRESS_INTERVAL) {
    gchar text[64];

    self->percent = percent;
    self->told = now;
    g_snprintf (text, sizeof text, "Loading the model: %d %%", percent);
    post_progress (self, GST_PROGRESS_TYPE_CONTINUE, percent, text);
  }
  return cancel;
}

static gpointer
load (gpointer data)
{
  GstMoshiModel *self = data;
  MoshiError error = { 0 };
  gchar *path;
  gint status;

  self->percent = 0;
  self->told = g_get_monotonic_time ();
  post_progress (self, GST_PROGRESS_TYPE_START, 0, "Loading the model");
  status = moshi_model_load (self->model, on_progress, self, &error);

  g_mutex_lock (&self->lock);
  self->state = status ? GST_MOSHI_MODEL_FAILED : GST_MOSHI_MODEL_LOADED;
  path = g_strdup (self->path);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);

  if (status == MOSHI_OK) {
    GST_INFO_OBJECT (self->element, "loaded %s on %s",
        moshi_model_info (self->model)->path, moshi_model_device (self->model));
    post_progress (self, GST_PROGRESS_TYPE_COMPLETE, 100, "Model loaded");
  } else if (status == MOSHI_ERROR_CANCELLED) {
    post_progress (self, GST_PROGRESS_TYPE_CANCELED, -1, "Loading cancelled");
  } else {
    post_progress (self, GST_PROGRESS_TYPE_ERROR, -1, error.message);
    gst_moshi_element_error (self->element, &error, path);
  }
  g_free (path);

  return NULL;
}

static void
close_model (GstMoshiModel * self)
{
  GThread *thread;
  MoshiModel *model;

  g_mutex_lock (&self->lock);
  self->cancel = TRUE;
  thread = self->thread;
  self->thread = NULL;
  g_mutex_unlock (&self->lock);

  if (thread)
    g_thread_join (thread);

  g_mutex_lock (&self->lock);
  model = self->model;
  self->model = NULL;
  self->state = GST_MOSHI_MODEL_CLOSED;
  g_mutex_unlock (&self->lock);

  moshi_model_unref (model);
}

static gboolean
open_model (GstMoshiModel * self)
{
  MoshiModelOptions options = { 0 };
  MoshiError error = { 0 };
  MoshiModel *model;
  gchar *path, *device;

  g_mutex_lock (&self->lock);
  options.model = path = g_strdup (self->path);
  options.device = device = g_strdup (self->device);
  options.threads = self->threads;
  options.mimi_weights =
      self->weights == GST_MIMI_WEIGHTS_BF16 ? "bf16" : "f32";
  options.parts = self->parts;
  options.quantization = self->quantization;
  self->changed = FALSE;
  g_mutex_unlock (&self->lock);

  model = moshi_model_open (&options, &error);
  if (!model)
    goto failed;

  g_mutex_lock (&self->lock);
  self->model = model;
  self->state = GST_MOSHI_MODEL_LOADING;
  self->cancel = FALSE;
  self->thread = g_thread_new ("moshi-load", load, self);
  g_mutex_unlock (&self->lock);
  GST_DEBUG_OBJECT (self->element, "opened %s", moshi_model_info (model)->path);
  g_free (path);
  g_free (device);

  return TRUE;

  /* ERRORS */
failed:
  {
    gst_moshi_element_error (self->element, &error, path);
    g_free (path);
    g_free (device);
    return FALSE;
  }
}

/* Under the lock, after stopped or flushing has changed. */
static void
tell_waiting (GstMoshiModel * self)
{
  if (self->slot)
    moshi_slot_cancel (self->slot, self->stopped || self->flushing);
  g_cond_broadcast (&self->cond);
}

static void
set_stopped (GstMoshiModel * self, gboolean stopped)
{
  g_mutex_lock (&self->lock);
  self->stopped = stopped;
  if (!stopped)
    self->flushing = FALSE;
  tell_waiting (self);
  g_mutex_unlock (&self->lock);
}

/* A property that was set in READY counts from READY→PAUSED on. */
static gboolean
reopen_if_changed (GstMoshiModel * self)
{
  gboolean changed;

  g_mutex_lock (&self->lock);
  changed = self->changed;
  g_mutex_unlock (&self->lock);
  if (!changed)
    return TRUE;

  close_model (self);
  return open_model (self);
}

gboolean
gst_moshi_model_before_change (GstMoshiModel * self, GstStateChange transition)
{
  switch (transition) {
    case GST_STATE_CHANGE_NULL_TO_READY:
      return open_model (self);
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      if (!reopen_if_changed (self))
        return FALSE;
      set_stopped (self, FALSE);
      return TRUE;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      set_stopped (self, TRUE);
      return TRUE;
    default:
      return TRUE;
  }
}

void
gst_moshi_model_after_change (GstMoshiModel * self, GstStateChange transition,
    GstStateChangeReturn result)
{
  gboolean failed = result == GST_STATE_CHANGE_FAILURE;

  if (transition == GST_STATE_CHANGE_READY_TO_NULL ||
      (transition == GST_STATE_CHANGE_NULL_TO_READY && failed))
    close_model (self);
}

void
gst_moshi_model_set_flushing (GstMoshiModel * self, gboolean flushing)
{
  g_mutex_lock (&self->lock);
  self->flushing = flushing;
  tell_waiting (self);
  g_mutex_unlock (&self->lock);
}

void
gst_moshi_model_set_slot (GstMoshiModel * self, MoshiSlot * slot)
{
  g_mutex_lock (&self->lock);
  self->slot = slot;
  tell_waiting (self);
  g_mutex_unlock (&self->lock);
}

void
gst_moshi_model_free_slot (GstMoshiModel * self, MoshiSlot ** slot)
{
  g_mutex_lock (&self->lock);
  self->slot = NULL;
  g_mutex_unlock (&self->lock);
  g_clear_pointer (slot, moshi_slot_free);
}

GstFlowReturn
gst_moshi_model_wait (GstMoshiModel * self, MoshiModel ** model)
{
  GstFlowReturn ret;

  g_mutex_lock (&self->lock);
  while (self->state == GST_MOSHI_MODEL_LOADING && !self->stopped &&
      !self->flushing)
    g_cond_wait (&self->cond, &self->lock);
  if (self->stopped || self->flushing)
    ret = GST_FLOW_FLUSHING;
  else
    ret = self->state == GST_MOSHI_MODEL_LOADED ? GST_FLOW_OK : GST_FLOW_ERROR;
  *model = self->model;
  g_mutex_unlock (&self->lock);

  return ret;
}

MoshiModel *
gst_moshi_model_ref (GstMoshiModel * self)
{
  MoshiModel *model;

  g_mutex_lock (&self->lock);
  model = self->model ? moshi_model_ref (self->model) : NULL;
  g_mutex_unlock (&self->lock);

  return model;
}

void
gst_moshi_model_clear (GstMoshiModel * self)
{
  close_model (self);
  g_free (self->path);
  g_free (self->device);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
}
