/* The library's session behind a conversation: made when the first frame comes,
 * with the properties of that moment; sampling follows the properties while it
 * runs. */
#include "gstmoshilm-private.h"

#include <string.h>

#define GST_CAT_DEFAULT gst_moshi_lm_debug

/* The codes of silence settle after a few frames. */
#define SILENCE_FRAMES 8
/* The first steps of a session touch its memory for the first time. */
#define WARM_UP_STEPS 3

gboolean
moshi_lm_get_info (GstMoshiLm * self, MoshiModelInfo * info)
{
  MoshiModel *model = gst_moshi_model_ref (&self->model);

  if (model == NULL)
    return FALSE;
  *info = *moshi_model_info (model);
  moshi_model_unref (model);

  return TRUE;
}

MoshiSampling
moshi_lm_merge_sampling (const MoshiSampling * property, guint set,
    const MoshiModelInfo * info)
{
  MoshiSampling sampling = *property;

  if (!(set & MOSHI_SET_TEMPERATURE))
    sampling.temperature = info->temperature;
  if (!(set & MOSHI_SET_TEXT_TEMPERATURE))
    sampling.text_temperature = info->text_temperature;
  if (!(set & MOSHI_SET_TOP_K))
    sampling.top_k = info->top_k;
  if (!(set & MOSHI_SET_TEXT_TOP_K))
    sampling.text_top_k = info->text_top_k;

  return sampling;
}

static MoshiSampling
wanted_sampling (GstMoshiLm * self)
{
  MoshiSampling sampling;
  guint set;

  GST_OBJECT_LOCK (self);
  sampling = self->settings.sampling;
  set = self->settings.sampling_set;
  GST_OBJECT_UNLOCK (self);

  return moshi_lm_merge_sampling (&sampling, set, &self->info);
}

static gboolean
same_sampling (const MoshiSampling * a, const MoshiSampling * b)
{
  return a->temperature == b->temperature &&
      a->text_temperature == b->text_temperature &&
      a->top_k == b->top_k && a->text_top_k == b->text_top_k &&
      a->seed == b->seed && a->padding_bonus == b->padding_bonus &&
      a->repetition_penalty == b->repetition_penalty &&
      a->repetition_context == b->repetition_context;
}

void
moshi_lm_session_update (GstMoshiLm * self, GstClockTime timestamp)
{
  MoshiSampling sampling;
  GstClockTime time =
      gst_segment_to_stream_time (&self->segment, GST_FORMAT_TIME, timestamp);

  if (GST_CLOCK_TIME_IS_VALID (time))
    gst_object_sync_values (GST_OBJECT (self), time);
  sampling = wanted_sampling (self);
  if (same_sampling (&sampling, &self->sampling))
    return;

  GST_DEBUG_OBJECT (self, "temperature %g, top-k %d, text-temperature %g, "
      "text-top-k %d, seed %" G_GUINT64_FORMAT ", padding-bonus %g, "
      "repetition-penalty %g, repetition-context %d", sampling.temperature,
      sampling.top_k, sampling.text_temperature, sampling.text_top_k,
      sampling.seed, sampling.padding_bonus, sampling.repetition_penalty,
      sampling.repetition_context);
  moshi_session_slot_set_sampling (self->session, &sampling);
  self->sampling = sampling;
}

/* "name=value,name=value" into conditions, whose strings are in *strings. */
static GArray *
parse_conditions (const gchar * text, gchar *** strings)
{
  GArray *conditions = g_array_new (FALSE, TRUE, sizeof (MoshiCondition));

  *strings = g_strsplit (text, ",", -1);
  for (gchar ** s = *strings; *s != NULL; s++) {
    gchar *equals = strchr (*s, '=');
    MoshiCondition condition = { 0 };

    if (*g_strstrip (*s) == '\0')
      continue;
    if (equals)
      *equals++ = '\0';
    condition.name = g_strstrip (*s);
    condition.value = equals ? g_strstrip (equals) : NULL;
    g_array_append_val (conditions, condition);
  }
  return conditions;
}

/* Hibiki is always told to translate as well as it can; the reference's
 * runner does so too. */
static gchar *
wanted_condition (GstMoshiLm * self)
{
  gchar *condition;

  GST_OBJECT_LOCK (self);
  condition = g_strdup (self->settings.condition);
  GST_OBJECT_UNLOCK (self);
  if (condition == NULL && !g_strcmp0 (self->info.model_type, "hibiki"))
    condition = g_strdup ("description=very_good");

  return condition;
}

static MoshiSlot *
make_session (GstMoshiLm * self, MoshiModel * model, MoshiError * error)
{
  static const gchar *const kv_types[] = {
    [GST_MOSHI_KV_TYPE_F32] = "f32",
    [GST_MOSHI_KV_TYPE_BF16] = "bf16",
    [GST_MOSHI_KV_TYPE_INT8] = "int8",
  };
  MoshiSessionOptions options;
  MoshiSlot *session;
  gchar *condition = wanted_condition (self), **strings;
  GArray *conditions = parse_conditions (condition ? condition : "", &strings);

  moshi_session_options_init (&options, model);
  options.sampling = wanted_sampling (self);
  options.conditions = (const MoshiCondition *) conditions->data;
  options.n_conditions = conditions->len;
  GST_OBJECT_LOCK (self);
  options.context = self->settings.context;
  options.kv_type = kv_types[self->settings.kv_type];
  options.cfg_coef = self->settings.cfg_coef;
  GST_OBJECT_UNLOCK (self);

  session = moshi_session_slot_new (model, &options, error);
  self->sampling = options.sampling;
  g_array_unref (conditions);
  g_strfreev (strings);
  g_free (condition);

  return session;
}

/* MoshiProgress: a load that nobody waits for any more is given up. */
static int
cancelled (void *cookie, double done)
{
  GstMoshiLm *self = cookie;
  gboolean stop;

  g_mutex_lock (&self->model.lock);
  stop = self->model.stopped || self->model.flushing;
  g_mutex_unlock (&self->model.lock);

  return stop;
}

static MoshiModel *
open_codec (GstMoshiLm * self, MoshiError * error)
{
  MoshiModelOptions options = {.parts = MOSHI_PART_ENCODER };
  MoshiModel *codec;
  gchar *path, *device;

  g_mutex_lock (&self->model.lock);
  options.model = path = g_strdup (self->model.path);
  options.device = device = g_strdup (self->model.device);
  options.threads = self->model.threads;
  g_mutex_unlock (&self->model.lock);
  codec = moshi_model_open (&options, error);
  g_free (path);
  g_free (device);

  return codec;
}

static int
encode_silence (GstMoshiLm * self, MoshiModel * codec, MoshiError * error)
{
  const MoshiModelInfo *info = moshi_model_info (codec);
  guint n = self->info.user_codebooks;
  guint16 codes[MIMI_MAX_CODEBOOKS];
  MimiEncoder *encoder;
  gfloat *pcm;
  int status;

  status = moshi_model_load (codec, cancelled, self, error);
  if (status < 0)
    return status;
  encoder = mimi_encoder_new (codec, 1, n, error);
  if (encoder == NULL)
    return error->status;

  pcm = g_new0 (gfloat, info->frame_size);
  for (guint i = 0; i < SILENCE_FRAMES && status == 0; i++)
    status = mimi_encoder_step (encoder, pcm, NULL, codes, error);
  for (guint i = 0; i < n && status == 0; i++)
    self->silence[i] = codes[i];
  mimi_encoder_free (encoder);
  g_free (pcm);

  return status;
}

/* The model knows silence by the codes that its codec gives it. Where there is
 * no codec beside the language model, it gets no input instead. */
static void
find_silence (GstMoshiLm * self)
{
  MoshiError error = { 0 };
  MoshiModel *codec;
  const MoshiModelInfo *info;

  for (guint i = 0; i < MIMI_MAX_CODEBOOKS; i++)
    self->silence[i] = MOSHI_TOKEN_NONE;

  codec = open_codec (self, &error);
  if (codec == NULL) {
    GST_INFO_OBJECT (self, "silence is no input: %s", error.message);
    return;
  }
  info = moshi_model_info (codec);
  if (info->codebooks < self->info.user_codebooks ||
      info->codebook_size != self->info.lm_codebook_size)
    GST_INFO_OBJECT (self, "silence is no input: the codec at %s is another",
        info->path);
  else if (encode_silence (self, codec, &error) < 0)
    GST_INFO_OBJECT (self, "silence is no input: %s", error.message);

  if (self->in.model_id[0] && info->codec_id && info->codec_id[0] &&
      strcmp (self->in.model_id, info->codec_id) != 0)
    GST_ELEMENT_WARNING (self, STREAM, WRONG_TYPE,
        ("The tokens were made by the codec %s and the model was made for "
            "%s; it will not understand them.", self->in.model_id,
            info->codec_id), (NULL));
  moshi_model_unref (codec);
}

static void
set_step_latency (GstMoshiLm * self, GstClockTime took)
{
  GstClockTime latency = gst_moshi_steps_latency (took + took / 2), before;
  gboolean tell;

  GST_OBJECT_LOCK (self);
  before = self->step_latency;
  self->step_latency = latency;
  tell = self->settings.latency == GST_CLOCK_TIME_NONE && before != latency;
  GST_OBJECT_UNLOCK (self);

  GST_INFO_OBJECT (self, "a step takes about %" GST_TIME_FORMAT " on %s",
      GST_TIME_ARGS (took), moshi_model_device (self->model.model));
  if (tell)
    gst_element_post_message (GST_ELEMENT (self),
        gst_message_new_latency (GST_OBJECT (self)));
}

static int
warm_up (GstMoshiLm * self, MoshiError * error)
{
  gint32 tokens[1 + MIMI_MAX_CODEBOOKS];
  gint64 took = 0;
  int status = 0;

  for (guint i = 0; i < WARM_UP_STEPS && status == 0; i++) {
    gint64 start = g_get_monotonic_time ();

    status = moshi_session_slot_step (self->session, self->silence, tokens,
        NULL, error);
    took = g_get_monotonic_time () - start;
  }
  moshi_slot_reset (self->session);
  if (status == 0)
    set_step_latency (self, took * GST_USECOND);

  return status;
}

GstFlowReturn
moshi_lm_session_ensure (GstMoshiLm * self)
{
  MoshiModel *model;
  MoshiError error = { 0 };
  GstMoshiTextMode mode;
  GstFlowReturn ret;

  if (self->session)
    return GST_FLOW_OK;
  ret = gst_moshi_model_wait (&self->model, &model);
  if (ret != GST_FLOW_OK)
    return ret;

  self->info = *moshi_model_info (model);
  self->session = make_session (self, model, &error);
  gst_moshi_model_set_slot (&self->model, self->session);
  if (self->session == NULL)
    goto failed;
  self->text = moshi_text_new (model, &error);
  if (self->text == NULL)
    goto failed;
  find_silence (self);
  if (warm_up (self, &error) < 0)
    goto failed;

  self->frames = g_new0 (MoshiLmFrame, self->info.max_delay + 1);
  GST_OBJECT_LOCK (self);
  mode = self->settings.text_mode;
  GST_OBJECT_UNLOCK (self);
  self->words.mode = mode;

  return GST_FLOW_OK;

  /* ERRORS */
failed:
  {
    moshi_lm_session_free (self);
    if (error.status == MOSHI_ERROR_CANCELLED)
      return GST_FLOW_FLUSHING;
    gst_moshi_element_error (GST_ELEMENT (self), &error, self->info.path);
    return GST_FLOW_ERROR;
  }
}

void
moshi_lm_session_free (GstMoshiLm * self)
{
  gst_moshi_model_free_slot (&self->model, &self->session);
  g_clear_pointer (&self->text, moshi_text_free);
  g_clear_pointer (&self->frames, g_free);
}
