/* The properties of moshilm and its statistics. */
#include "gstmoshilm-private.h"

#define DEFAULT_TEMPERATURE 0.8f
#define DEFAULT_TOP_K 250
#define DEFAULT_TEXT_TEMPERATURE 0.7f
#define DEFAULT_TEXT_TOP_K 25
#define DEFAULT_PADDING_BONUS 0.0f
#define DEFAULT_REPETITION_PENALTY 1.0f
#define DEFAULT_REPETITION_CONTEXT 64
#define DEFAULT_CFG_COEF 1.0f
#define DEFAULT_MAX_GAP (10 * GST_SECOND)
#define DEFAULT_MAX_LATENESS (400 * GST_MSECOND)
#define DEFAULT_DRAIN_FRAMES 125

enum
{
  PROP_TEMPERATURE = GST_MOSHI_MODEL_PROP_LAST,
  PROP_TOP_K,
  PROP_TEXT_TEMPERATURE,
  PROP_TEXT_TOP_K,
  PROP_SEED,
  PROP_PADDING_BONUS,
  PROP_REPETITION_PENALTY,
  PROP_REPETITION_CONTEXT,
  PROP_CONTEXT,
  PROP_KV_TYPE,
  PROP_QUANTIZATION,
  PROP_CONDITION,
  PROP_CFG_COEF,
  PROP_LATENCY,
  PROP_MAX_GAP,
  PROP_MAX_LATENESS,
  PROP_DRAIN_FRAMES,
  PROP_REPEAT_FIRST_FRAME,
  PROP_TEXT_MODE,
  PROP_POST_MESSAGES,
  PROP_STATS
};

#define GST_TYPE_MOSHI_TEXT_MODE (gst_moshi_text_mode_get_type ())
static GType
gst_moshi_text_mode_get_type (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
    {GST_MOSHI_TEXT_MODE_WORD, "Words, without spaces", "word"},
    {GST_MOSHI_TEXT_MODE_LINE, "Lines of captions, up to 42 letters", "line"},
    {GST_MOSHI_TEXT_MODE_PIECE, "Pieces as they are, with their spaces",
        "piece"},
    {0, NULL, NULL}
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstMoshiTextMode",
            values));
  return type;
}

static const GEnumValue quantizations[] = {
  {GST_MOSHI_QUANTIZATION_NONE, "As in the file", "none"},
  {GST_MOSHI_QUANTIZATION_Q8, "8 bits a weight", "q8"},
  {GST_MOSHI_QUANTIZATION_Q4, "4 bits a weight", "q4"},
  {0, NULL, NULL}
};

#define GST_TYPE_MOSHI_QUANTIZATION (gst_moshi_quantization_get_type ())
static GType
gst_moshi_quantization_get_type (void)
{
  static gsize type = 0;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstMoshiQuantization",
            quantizations));
  return type;
}

#define GST_TYPE_MOSHI_KV_TYPE (gst_moshi_kv_type_get_type ())
static GType
gst_moshi_kv_type_get_type (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
    {GST_MOSHI_KV_TYPE_F32, "Exact", "f32"},
    {GST_MOSHI_KV_TYPE_BF16, "Half the memory", "bf16"},
    {GST_MOSHI_KV_TYPE_INT8, "A quarter of the memory", "int8"},
    {0, NULL, NULL}
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstMoshiKvType",
            values));
  return type;
}

static void
set_sampling_property (GstMoshiLm * self, guint id, const GValue * value)
{
  MoshiLmSettings *s = &self->settings;

  switch (id) {
    case PROP_TEMPERATURE:
      s->sampling.temperature = g_value_get_float (value);
      s->sampling_set |= MOSHI_SET_TEMPERATURE;
      break;
    case PROP_TOP_K:
      s->sampling.top_k = g_value_get_int (value);
      s->sampling_set |= MOSHI_SET_TOP_K;
      break;
    case PROP_TEXT_TEMPERATURE:
      s->sampling.text_temperature = g_value_get_float (value);
      s->sampling_set |= MOSHI_SET_TEXT_TEMPERATURE;
      break;
    case PROP_TEXT_TOP_K:
      s->sampling.text_top_k = g_value_get_int (value);
      s->sampling_set |= MOSHI_SET_TEXT_TOP_K;
      break;
    case PROP_PADDING_BONUS:
      s->sampling.padding_bonus = g_value_get_float (value);
      break;
    case PROP_REPETITION_PENALTY:
      s->sampling.repetition_penalty = g_value_get_float (value);
      break;
    case PROP_REPETITION_CONTEXT:
      s->sampling.repetition_context = g_value_get_int (value);
      break;
    default:
      s->sampling.seed = g_value_get_uint64 (value);
      break;
  }
}

void
moshi_lm_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  GstMoshiLm *self = GST_MOSHI_LM (object);
  MoshiLmSettings *s = &self->settings;
  gboolean latency_changed = FALSE;

  if (gst_moshi_model_set_property (&self->model, id, value))
    return;

  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_TEMPERATURE:
    case PROP_TOP_K:
    case PROP_TEXT_TEMPERATURE:
    case PROP_TEXT_TOP_K:
    case PROP_SEED:
    case PROP_PADDING_BONUS:
    case PROP_REPETITION_PENALTY:
    case PROP_REPETITION_CONTEXT:
      set_sampling_property (self, id, value);
      break;
    case PROP_CONTEXT:
      s->context = g_value_get_uint (value);
      break;
    case PROP_KV_TYPE:
      s->kv_type = g_value_get_enum (value);
      break;
    case PROP_QUANTIZATION:
      s->quantization = g_value_get_enum (value);
      /* The library calls them as we do. */
      gst_moshi_model_set_quantization (&self->model,
          quantizations[s->quantization].value_nick);
      break;
    case PROP_CONDITION:
      g_free (s->condition);
      s->condition = g_value_dup_string (value);
      break;
    case PROP_CFG_COEF:
      s->cfg_coef = g_value_get_float (value);
      break;
    case PROP_LATENCY:
      latency_changed = s->latency != g_value_get_uint64 (value);
      s->latency = g_value_get_uint64 (value);
      break;
    case PROP_MAX_GAP:
      s->max_gap = g_value_get_uint64 (value);
      break;
    case PROP_MAX_LATENESS:
      s->max_lateness = g_value_get_int64 (value);
      break;
    case PROP_DRAIN_FRAMES:
      s->drain_frames = g_value_get_uint (value);
      break;
    case PROP_REPEAT_FIRST_FRAME:
      s->repeat_first_frame = g_value_get_boolean (value);
      break;
    case PROP_TEXT_MODE:
      s->text_mode = g_value_get_enum (value);
      break;
    case PROP_POST_MESSAGES:
      s->post_messages = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);

  if (latency_changed)
    gst_element_post_message (GST_ELEMENT (self),
        gst_message_new_latency (GST_OBJECT (self)));
}

static GstStructure *
make_stats (GstMoshiLm * self)
{
  GstStructure *s = gst_structure_new_empty ("application/x-moshilm-stats");
  MoshiLmStats stats;

  GST_OBJECT_LOCK (self);
  stats = self->stats;
  GST_OBJECT_UNLOCK (self);
  gst_moshi_steps_fill (&self->stats.steps, GST_ELEMENT (self), s);
  gst_structure_set (s,
      "silent", G_TYPE_UINT64, stats.silent,
      "skipped", G_TYPE_UINT64, stats.skipped,
      "duplicates", G_TYPE_UINT64, stats.duplicates,
      "drained", G_TYPE_UINT64, stats.drained,
      "words", G_TYPE_UINT64, stats.words,
      "lateness", G_TYPE_INT64, stats.lateness, NULL);

  return s;
}

/* What counts: the model's own value where none was set. */
static MoshiSampling
effective_sampling (GstMoshiLm * self)
{
  MoshiSampling sampling;
  MoshiModelInfo info;
  gboolean open = moshi_lm_get_info (self, &info);
  guint set;

  GST_OBJECT_LOCK (self);
  sampling = self->settings.sampling;
  set = self->settings.sampling_set;
  GST_OBJECT_UNLOCK (self);

  return open ? moshi_lm_merge_sampling (&sampling, set, &info) : sampling;
}

void
moshi_lm_get_property (GObject * object, guint id, GValue * value,
    GParamSpec * pspec)
{
  GstMoshiLm *self = GST_MOSHI_LM (object);
  MoshiLmSettings *s = &self->settings;
  MoshiSampling sampling;

  if (gst_moshi_model_get_property (&self->model, id, value))
    return;
  if (id == PROP_STATS) {
    g_value_take_boxed (value, make_stats (self));
    return;
  }
  sampling = effective_sampling (self);

  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_TEMPERATURE:
      g_value_set_float (value, sampling.temperature);
      break;
    case PROP_TOP_K:
      g_value_set_int (value, sampling.top_k);
      break;
    case PROP_TEXT_TEMPERATURE:
      g_value_set_float (value, sampling.text_temperature);
      break;
    case PROP_TEXT_TOP_K:
      g_value_set_int (value, sampling.text_top_k);
      break;
    case PROP_SEED:
      g_value_set_uint64 (value, sampling.seed);
      break;
    case PROP_PADDING_BONUS:
      g_value_set_float (value, sampling.padding_bonus);
      break;
    case PROP_REPETITION_PENALTY:
      g_value_set_float (value, sampling.repetition_penalty);
      break;
    case PROP_REPETITION_CONTEXT:
      g_value_set_int (value, sampling.repetition_context);
      break;
    case PROP_CONTEXT:
      g_value_set_uint (value, s->context);
      break;
    case PROP_KV_TYPE:
      g_value_set_enum (value, s->kv_type);
      break;
    case PROP_QUANTIZATION:
      g_value_set_enum (value, s->quantization);
      break;
    case PROP_CONDITION:
      g_value_set_string (value, s->condition);
      break;
    case PROP_CFG_COEF:
      g_value_set_float (value, s->cfg_coef);
      break;
    case PROP_LATENCY:
      g_value_set_uint64 (value, s->latency);
      break;
    case PROP_MAX_GAP:
      g_value_set_uint64 (value, s->max_gap);
      break;
    case PROP_MAX_LATENESS:
      g_value_set_int64 (value, s->max_lateness);
      break;
    case PROP_DRAIN_FRAMES:
      g_value_set_uint (value, s->drain_frames);
      break;
    case PROP_REPEAT_FIRST_FRAME:
      g_value_set_boolean (value, s->repeat_first_frame);
      break;
    case PROP_TEXT_MODE:
      g_value_set_enum (value, s->text_mode);
      break;
    case PROP_POST_MESSAGES:
      g_value_set_boolean (value, s->post_messages);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
install_text_tweaks (GObjectClass * klass, GParamFlags flags)
{
  /**
   * GstMoshiLm:padding-bonus:
   *
   * Moshi talks less or more: padding, the token of a frame without text, is
   * drawn e^padding-bonus times as often as the model would. Without effect
   * where #GstMoshiLm:text-temperature is 0. The query parameter pad_mult of
   * Kyutai's servers.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_PADDING_BONUS,
      g_param_spec_float ("padding-bonus", "Padding bonus",
          "Frames without text are e^bonus times as likely: above 0 Moshi talks "
          "less, below 0 more. Not with text-temperature=0", -4, 4,
          DEFAULT_PADDING_BONUS, flags));
  /**
   * GstMoshiLm:repetition-penalty:
   *
   * Against loops in what Moshi says: logits of text tokens that were among
   * the last #GstMoshiLm:repetition-context ones are divided by it, or
   * multiplied where they are negative.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_REPETITION_PENALTY,
      g_param_spec_float ("repetition-penalty", "Repetition penalty",
          "How much less likely text becomes that was said lately: its logit is "
          "divided by this, or multiplied where negative; 1 = not at all", 1, 2,
          DEFAULT_REPETITION_PENALTY, flags));
  /**
   * GstMoshiLm:repetition-context:
   *
   * What #GstMoshiLm:repetition-penalty looks back at: tokens of text, padding
   * not counted.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_REPETITION_CONTEXT,
      g_param_spec_int ("repetition-context", "Repetition context",
          "Tokens of text, padding not counted, that the repetition penalty "
          "looks back at", 0, MOSHI_MAX_REPETITION_CONTEXT,
          DEFAULT_REPETITION_CONTEXT, flags));
}

static void
install_sampling (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_PLAYING | GST_PARAM_CONTROLLABLE;

  /**
   * GstMoshiLm:temperature:
   *
   * How freely the voice is chosen; 0 always takes the likeliest codes. Until
   * it is set, what the model's configuration says.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_TEMPERATURE,
      g_param_spec_float ("temperature", "Temperature",
          "Temperature of the sampling of speech; 0 = greedy. Until it is set, "
          "the model's configuration rules", 0, 100, DEFAULT_TEMPERATURE,
          flags));
  /**
   * GstMoshiLm:top-k:
   *
   * Codes are drawn from the k likeliest; 0 from all. Until it is set, what
   * the model's configuration says.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_TOP_K,
      g_param_spec_int ("top-k", "Top k",
          "Draw codes of speech from the k likeliest; 0 = from all. Until it is "
          "set, the model's configuration rules", 0, G_MAXINT, DEFAULT_TOP_K,
          flags));
  /**
   * GstMoshiLm:text-temperature:
   *
   * As #GstMoshiLm:temperature, for the text.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_TEXT_TEMPERATURE,
      g_param_spec_float ("text-temperature", "Text temperature",
          "Temperature of the sampling of text; 0 = greedy. Until it is set, "
          "the model's configuration rules", 0, 100, DEFAULT_TEXT_TEMPERATURE,
          flags));
  /**
   * GstMoshiLm:text-top-k:
   *
   * As #GstMoshiLm:top-k, for the text.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_TEXT_TOP_K,
      g_param_spec_int ("text-top-k", "Text top k",
          "Draw text from the k likeliest tokens; 0 = from all. Until it is set, "
          "the model's configuration rules", 0, G_MAXINT, DEFAULT_TEXT_TOP_K,
          flags));
  /**
   * GstMoshiLm:seed:
   *
   * Chooses the random numbers of the conversation; another seed takes effect
   * with the next frame.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_uint64 ("seed", "Seed",
          "Chooses the random numbers of the conversation: the same seed, input "
          "and sampling give the same one", 0, G_MAXUINT64, 0, flags));
  install_text_tweaks (klass, flags);
}

static void
install_model_use (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_READY;

  /**
   * GstMoshiLm:context:
   *
   * How far back the model remembers, in frames of 80 ms. Less needs less
   * memory and time.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_CONTEXT,
      g_param_spec_uint ("context", "Context",
          "Frames of 80 ms that the model remembers, at most what it was made "
          "for; 0 = that", 0, G_MAXINT, 0, flags));
  /**
   * GstMoshiLm:kv-type:
   *
   * How the memory of the talk is kept: what attention reads back in every
   * frame. bf16 and int8 need a half and a quarter of the memory and are
   * faster in long talks; tokens are no longer exactly the reference's.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_KV_TYPE,
      g_param_spec_enum ("kv-type", "Type of keys and values",
          "How keys and values of past frames are kept: bf16 takes half of "
          "the memory, int8 a quarter, and only f32 is exact",
          GST_TYPE_MOSHI_KV_TYPE, GST_MOSHI_KV_TYPE_F32, flags));
  /**
   * GstMoshiLm:quantization:
   *
   * What the model's weights are converted to when they are loaded: a
   * conversation needs a half (q8) or a quarter (q4) of the memory and time of
   * bf16 weights. The result is kept in the directory that MOSHI_CACHE names,
   * so that only the first load takes long; an empty MOSHI_CACHE keeps
   * nothing. A file that is quantized already is taken as it is.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_QUANTIZATION,
      g_param_spec_enum ("quantization", "Quantization",
          "What weights are converted to when they are loaded. The result is "
          "kept in the directory MOSHI_CACHE (default: ~/.cache/gst-moshi; "
          "empty: not kept)",
          GST_TYPE_MOSHI_QUANTIZATION, GST_MOSHI_QUANTIZATION_NONE, flags));
  /**
   * GstMoshiLm:condition:
   *
   * Conditions of a model that has them: name=value, several separated by
   * commas. Hibiki's is description, from very_bad to very_good; unset, it is
   * description=very_good.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_CONDITION,
      g_param_spec_string ("condition", "Condition",
          "Conditions of a model that has them: name=value,name=value. Unset: "
          "description=very_good for Hibiki, none for others", NULL, flags));
  /**
   * GstMoshiLm:cfg-coef:
   *
   * Strength of classifier-free guidance by the condition; other than 1 it
   * doubles the work.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_CFG_COEF,
      g_param_spec_float ("cfg-coef", "Guidance",
          "Coefficient of classifier-free guidance; 1 = none, others double the "
          "work", -100, 100, DEFAULT_CFG_COEF, flags));
  /**
   * GstMoshiLm:repeat-first-frame:
   *
   * A model is never shown the frame that it is given in its first step. The
   * reference's file runner makes two steps with the first frame, so that
   * nothing of the user is lost; the conversation is one frame longer.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_REPEAT_FIRST_FRAME,
      g_param_spec_boolean ("repeat-first-frame", "Repeat the first frame",
          "Make two steps with the first frame, which the model does not see "
          "in its first step; as the reference does with files", FALSE, flags));
  /**
   * GstMoshiLm:text-mode:
   *
   * What a buffer of text_src holds: a word; a line of captions, which lasts
   * until the next; or the text of one token with its spaces, as soon as it is
   * known.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_TEXT_MODE,
      g_param_spec_enum ("text-mode", "Text mode",
          "What a buffer of text holds", GST_TYPE_MOSHI_TEXT_MODE,
          GST_MOSHI_TEXT_MODE_WORD, flags));
}

static void
install_time (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_PLAYING;

  /**
   * GstMoshiLm:latency:
   *
   * Computing time of a frame, as it is reported to live pipelines on top of
   * the model's own delay.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_LATENCY,
      g_param_spec_uint64 ("latency", "Latency",
          "Time in ns that computing a frame is expected to take, part of the "
          "reported latency; -1 = as measured when the conversation starts", 0,
          G_MAXUINT64, GST_CLOCK_TIME_NONE, flags));
  /**
   * GstMoshiLm:max-gap:
   *
   * A hole in the input is stepped through with silence up to this length.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_MAX_GAP,
      g_param_spec_uint64 ("max-gap", "Longest gap",
          "Time in ns of a hole in the input that is heard as silence; of a "
          "longer one the rest is left out", 0, G_MAXINT64, DEFAULT_MAX_GAP,
          flags));
  /**
   * GstMoshiLm:max-lateness:
   *
   * In a live pipeline, frames that are heard later than this after their time
   * are left out until one comes in time.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_MAX_LATENESS,
      g_param_spec_int64 ("max-lateness", "Greatest lateness",
          "Time in ns that a frame of a live pipeline may be late; later ones "
          "are skipped until the conversation is in the present again; "
          "-1 = never skip", -1, G_MAXINT64, DEFAULT_MAX_LATENESS, flags));
  /**
   * GstMoshiLm:drain-frames:
   *
   * How long Moshi may go on after the end of the input.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_DRAIN_FRAMES,
      g_param_spec_uint ("drain-frames", "Frames to drain",
          "Frames of 80 ms that Moshi may go on after the end of the input, "
          "until it has finished; 0 = end at once", 0, G_MAXINT,
          DEFAULT_DRAIN_FRAMES, flags));
  /**
   * GstMoshiLm:post-messages:
   *
   * Whether to post `moshi-vad` messages.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_POST_MESSAGES,
      g_param_spec_boolean ("post-messages", "Post messages",
          "Post an element message moshi-vad for every frame, where the model "
          "detects pauses", TRUE, flags));
  /**
   * GstMoshiLm:stats:
   *
   * Statistics since READY→PAUSED, a #GstStructure
   * application/x-moshilm-stats. All #guint64: `frames`, steps of the model;
   * `late`, steps of a live pipeline that took more than 80 ms; `last-step`,
   * `mean-step` and `max-step`, their time in ns, waiting included;
   * `last-batch`, `mean-batch` (a #gdouble) and `max-batch`, conversations of
   * the process that were in one step with this one; `last-wait`, `mean-wait`
   * and `max-wait`, the time in ns that a frame waited until a step of others
   * was over; `silent`, frames that were missing and heard as silence;
   * `skipped`, frames that were not heard because they were late;
   * `duplicates`, frames that came twice; `drained`, frames after the end of
   * the input; `words`, buffers of text. And `lateness`, #gint64: how late the
   * last frame of a live pipeline was, in ns: what waits in the queues before
   * the element.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "frames, late, last-step, mean-step, max-step, last-batch, "
          "mean-batch, max-batch, last-wait, mean-wait, max-wait, silent, "
          "skipped, duplicates, drained, words, lateness",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

void
moshi_lm_install_properties (GObjectClass * klass)
{
  install_sampling (klass);
  install_model_use (klass);
  install_time (klass);
  gst_type_mark_as_plugin_api (GST_TYPE_MOSHI_TEXT_MODE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_MOSHI_KV_TYPE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_MOSHI_QUANTIZATION, 0);
}

void
moshi_lm_settings_init (MoshiLmSettings * s)
{
  s->sampling.temperature = DEFAULT_TEMPERATURE;
  s->sampling.top_k = DEFAULT_TOP_K;
  s->sampling.text_temperature = DEFAULT_TEXT_TEMPERATURE;
  s->sampling.text_top_k = DEFAULT_TEXT_TOP_K;
  s->sampling.padding_bonus = DEFAULT_PADDING_BONUS;
  s->sampling.repetition_penalty = DEFAULT_REPETITION_PENALTY;
  s->sampling.repetition_context = DEFAULT_REPETITION_CONTEXT;
  s->cfg_coef = DEFAULT_CFG_COEF;
  s->latency = GST_CLOCK_TIME_NONE;
  s->max_gap = DEFAULT_MAX_GAP;
  s->max_lateness = DEFAULT_MAX_LATENESS;
  s->drain_frames = DEFAULT_DRAIN_FRAMES;
  s->post_messages = TRUE;
}
