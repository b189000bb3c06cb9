/**
 * SECTION:element-moshilm
 * @title: moshilm
 * @short_description: Moshi, a speech-text language model that listens and speaks
 * @see_also: mimienc, mimidec
 *
 * moshilm holds a conversation. It hears the tokens of a codec (mimienc), and
 * for every frame of 80 ms that it hears it says one: tokens for mimidec on the
 * pad `src`, and what they mean on the pad `text_src`, which need not be
 * linked. It listens while it speaks. Models that only listen (speech to text)
 * have no tokens to say: nothing comes out of `src`, and the text is what was
 * heard.
 *
 * The number of codebooks and their size are those of the model, on either side.
 *
 * ## Time
 *
 * The conversation has one frame for every 80 ms of the stream, whatever arrives
 * when. A GAP event or a jump of the timestamps by k frames is stepped through
 * with k frames of silence (the codec's codes of silence; without a codec beside
 * the language model, no input), so that Moshi goes on talking. Of a hole longer
 * than #GstMoshiLm:max-gap the rest is left out, and the next frame is marked
 * DISCONT. A frame from before is not heard again, unless it is marked DISCONT.
 *
 * A buffer of speech carries the time of the frame that the model answered with
 * it, so that recordings of both voices line up. The model completes it
 * max_delay frames later (one for Moshi, two for Hibiki): that, and the time of
 * computing (#GstMoshiLm:latency), is the latency that the element reports. From
 * N frames come N - max_delay. Text is known max_delay frames before the speech
 * it goes with, and is pushed at once, with the time of the speech. Speech to
 * text: the time when it was said.
 *
 * At the end of the stream Moshi may finish: it hears silence until it has
 * written nothing for two seconds, at most #GstMoshiLm:drain-frames. Hibiki is
 * told that the speech has ended, and stops when it says so; speech to text runs
 * for as long as its text is behind. With drain-frames=0 the stream ends at
 * once.
 *
 * ## Text
 *
 * `text_src` gives UTF-8: words, lines or the model's own pieces
 * (#GstMoshiLm:text-mode), with the time and duration of their frames, and GAP
 * events where nothing is said. A word is pushed when the next one begins or in
 * the first frame without text.
 *
 * ## A new conversation
 *
 * FLUSH_STOP, STREAM_START and the custom downstream event `moshi/reset` begin
 * a new conversation: the model forgets everything, and the random numbers start
 * again from the seed. The model in memory, the properties, the caps and the
 * statistics stay. A new segment does not: as long as running time continues,
 * the conversation does.
 *
 * ## A machine that is too slow
 *
 * A step that takes longer than 80 ms in a live pipeline, or a frame that comes
 * more than #GstMoshiLm:max-lateness after its time, is told by a QOS message,
 * at most one a second each. Late frames are not heard and nothing is said for
 * them until one comes in time: the conversation jumps, and is in the present
 * again. Without a live source no frame is ever left out.
 *
 * ## Properties of the model
 *
 * A checkpoint names the sampling that suits it. #GstMoshiLm:temperature,
 * #GstMoshiLm:top-k, #GstMoshiLm:text-temperature and #GstMoshiLm:text-top-k
 * follow it until they are set. Two conversations with the same input, sampling
 * and #GstMoshiLm:seed are the same.
 *
 * ## Messages
 *
 * PROGRESS messages with the code `open` tell how far the model is loaded. A
 * model with a detector of pauses (speech to text) posts an element message
 * `moshi-vad` for every frame, with `timestamp`, `stream-time`, `running-time`
 * and `pause`, an array of the probabilities that the speaker has stopped for
 * 0.5, 1, 2 and 3 seconds; #GstMoshiLm:post-messages turns it off.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 filesrc location=user_hello.wav ! wavparse ! audioconvert ! audioresample ! mimienc ! moshilm ! mimidec ! audioconvert ! wavenc ! filesink location=reply.wav
 * ]| Answers a file with a file.
 * |[
 * gst-launch-1.0 filesrc location=user_hello.wav ! wavparse ! audioconvert ! audioresample ! mimienc ! moshilm name=m m.src ! fakesink m.text_src ! queue ! filesink location=reply.txt
 * ]| Writes down what Moshi says.
 *
 * Since: 0.1
 */
#include "gstmoshilm-private.h"
#include "moshievents.h"

#include <string.h>

GST_DEBUG_CATEGORY (gst_moshi_lm_debug);
#define GST_CAT_DEFAULT gst_moshi_lm_debug

#define DEFAULT_TEMPERATURE 0.8f
#define DEFAULT_TOP_K 250
#define DEFAULT_TEXT_TEMPERATURE 0.7f
#define DEFAULT_TEXT_TOP_K 25
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
  PROP_CONTEXT,
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

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src",
    GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_MIMI_CAPS));

static GstStaticPadTemplate text_template = GST_STATIC_PAD_TEMPLATE ("text_src",
    GST_PAD_SRC, GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("text/x-raw, format = (string) utf8"));

G_DEFINE_TYPE (GstMoshiLm, gst_moshi_lm, GST_TYPE_ELEMENT);
GST_ELEMENT_REGISTER_DEFINE (moshilm, "moshilm", GST_RANK_NONE,
    GST_TYPE_MOSHI_LM);

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

#define GST_TYPE_MOSHI_QUANTIZATION (gst_moshi_quantization_get_type ())
static GType
gst_moshi_quantization_get_type (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
    {GST_MOSHI_QUANTIZATION_NONE, "As in the file", "none"},
    {GST_MOSHI_QUANTIZATION_Q8, "8 bits a weight", "q8"},
    {GST_MOSHI_QUANTIZATION_Q4, "4 bits a weight", "q4"},
    {0, NULL, NULL}
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstMoshiQuantization",
            values));
  return type;
}

/* -------------------------------------------------------------- properties */

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
    default:
      s->sampling.seed = g_value_get_uint64 (value);
      break;
  }
}

static void
gst_moshi_lm_set_property (GObject * object, guint id, const GValue * value,
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
      set_sampling_property (self, id, value);
      break;
    case PROP_CONTEXT:
      s->context = g_value_get_uint (value);
      break;
    case PROP_QUANTIZATION:
      s->quantization = g_value_get_enum (value);
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

static void
gst_moshi_lm_get_property (GObject * object, guint id, GValue * value,
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
    case PROP_CONTEXT:
      g_value_set_uint (value, s->context);
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
install_sampling (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_PLAYING | GST_PARAM_CONTROLLABLE;

  /**
   * GstMoshiLm:temperature:
   *
   * How freely the voice is chosen; 0 always takes the likeliest codes. Until it
   * is set, what the model's configuration says.
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
   * Codes are drawn from the k likeliest; 0 from all. Until it is set, what the
   * model's configuration says.
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
}

static void
install_model_use (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
      GST_PARAM_MUTABLE_READY;

  /**
   * GstMoshiLm:context:
   *
   * How far back the model remembers, in frames of 80 ms. Less needs less memory
   * and time.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_CONTEXT,
      g_param_spec_uint ("context", "Context",
          "Frames of 80 ms that the model remembers, at most what it was made "
          "for; 0 = that", 0, G_MAXINT, 0, flags));
  /**
   * GstMoshiLm:quantization:
   *
   * What weights are converted to when they are loaded.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_QUANTIZATION,
      g_param_spec_enum ("quantization", "Quantization",
          "What weights are converted to when they are loaded",
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
   * Computing time of a frame, as it is reported to live pipelines on top of the
   * model's own delay.
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
   * `mean-step` and `max-step`, their time in ns; `silent`, frames that were
   * missing and heard as silence; `skipped`, frames that were not heard because
   * they were late; `duplicates`, frames that came twice; `drained`, frames after
   * the end of the input; `words`, buffers of text. And `lateness`, #gint64: how
   * late the last frame of a live pipeline was, in ns: what waits in the queues
   * before the element.
   *
   * Since: 0.1
   */
  g_object_class_install_property (klass, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "frames, late, last-step, mean-step, max-step, silent, skipped, "
          "duplicates, drained, words, lateness",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

/* ------------------------------------------------------------------ states */

/* Settings that no model of this version can fulfil, or that do not fit the
 * model that was opened. */
static gboolean
check_settings (GstMoshiLm * self)
{
  GstMoshiQuantization quantization;

  GST_OBJECT_LOCK (self);
  quantization = self->settings.quantization;
  GST_OBJECT_UNLOCK (self);
  if (quantization == GST_MOSHI_QUANTIZATION_NONE)
    return TRUE;

  GST_ELEMENT_ERROR (self, RESOURCE, SETTINGS,
      ("quantization=%s is not available in this version; use "
          "quantization=none.",
          quantization == GST_MOSHI_QUANTIZATION_Q8 ? "q8" : "q4"), (NULL));
  return FALSE;
}

static gboolean
check_model (GstMoshiLm * self)
{
  MoshiModelInfo info;

  if (!moshi_lm_get_info (self, &info))
    return FALSE;
  if (info.user_codebooks < 1)
    goto deaf;
  if (MAX (info.user_codebooks, info.own_codebooks) > MIMI_MAX_CODEBOOKS)
    goto too_many;
  return TRUE;

  /* ERRORS */
deaf:
  {
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        ("The model %s (%s) does not listen; moshilm needs one that does, such "
            "as Moshi, Hibiki or speech-to-text.", info.path, info.model_type),
        (NULL));
    return FALSE;
  }
too_many:
  {
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        ("The model %s wants %d codebooks and speaks %d; a frame of tokens has "
            "at most %d.", info.path, info.user_codebooks, info.own_codebooks,
            MIMI_MAX_CODEBOOKS), (NULL));
    return FALSE;
  }
}

static void
start (GstMoshiLm * self)
{
  GST_OBJECT_LOCK (self);
  memset (&self->stats, 0, sizeof self->stats);
  self->live = FALSE;
  self->upstream_latency = 0;
  self->last_seek = GST_SEQNUM_INVALID;
  GST_OBJECT_UNLOCK (self);
  gst_segment_init (&self->segment, GST_FORMAT_TIME);
  moshi_lm_talk_reset (self);
}

static void
stop (GstMoshiLm * self)
{
  moshi_lm_talk_drop_events (self, FALSE);
  moshi_lm_session_free (self);
  moshi_lm_talk_reset (self);
  gst_flow_combiner_reset (self->combiner);
  self->negotiated = FALSE;
}

static GstStateChangeReturn
gst_moshi_lm_change_state (GstElement * element, GstStateChange transition)
{
  GstMoshiLm *self = GST_MOSHI_LM (element);
  gboolean rising = transition == GST_STATE_CHANGE_NULL_TO_READY ||
      transition == GST_STATE_CHANGE_READY_TO_PAUSED;
  GstStateChangeReturn ret = GST_STATE_CHANGE_FAILURE;

  if (rising && !check_settings (self))
    return ret;
  if (!gst_moshi_model_before_change (&self->model, transition))
    return ret;
  if (rising && !check_model (self))
    goto done;
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED)
    start (self);

  ret = GST_ELEMENT_CLASS (gst_moshi_lm_parent_class)->change_state (element,
      transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop (self);

done:
  gst_moshi_model_after_change (&self->model, transition, ret);
  return ret;
}

/* ------------------------------------------------------------------- input */

/* Caps say other numbers than the model has. */
static gboolean
refuse_caps (GstMoshiLm * self, const MoshiModelInfo * info,
    const GstCaps * caps)
{
  GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
      ("The model hears frames of %d codebooks of %d entries; the stream has %d "
          "of %d.", info->user_codebooks, info->lm_codebook_size,
          self->in.codebooks, self->in.codebook_size),
      ("caps %" GST_PTR_FORMAT, caps));
  return FALSE;
}

static gboolean
set_caps (GstMoshiLm * self, GstCaps * caps)
{
  MoshiModelInfo info;

  self->negotiated = FALSE;
  if (!moshi_lm_get_info (self, &info) ||
      !gst_mimi_format_from_caps (&self->in, caps))
    return FALSE;
  if (self->in.codebooks != info.user_codebooks ||
      self->in.codebook_size != info.lm_codebook_size)
    return refuse_caps (self, &info, caps);

  self->out = self->in;
  self->out.codebooks = info.own_codebooks;
  if (info.own_codebooks > 0) {
    gst_pad_check_reconfigure (self->srcpad);
    if (!moshi_lm_negotiate (self))
      return FALSE;
  }
  self->negotiated = TRUE;

  return TRUE;
}

/* Each pad has a stream of its own, in the group of the input. */
static gboolean
start_stream (GstMoshiLm * self, GstPad * pad, GstEvent * input, guint group,
    const gchar * suffix)
{
  const gchar *upstream;
  GstEvent *event;
  GstStreamFlags flags;
  gchar *id;

  gst_event_parse_stream_start (input, &upstream);
  id = g_strconcat (upstream, "/", suffix, NULL);
  event = gst_event_new_stream_start (id);
  g_free (id);
  gst_event_set_seqnum (event, gst_event_get_seqnum (input));
  gst_event_parse_stream_flags (input, &flags);
  if (pad == self->textpad)
    flags |= GST_STREAM_FLAG_SPARSE;
  gst_event_set_stream_flags (event, flags);
  gst_event_set_group_id (event, group);

  return gst_pad_push_event (pad, event);
}

static void
start_streams (GstMoshiLm * self, GstEvent * input)
{
  GstCaps *caps = gst_static_pad_template_get_caps (&text_template);
  guint group;

  if (!gst_event_parse_group_id (input, &group))
    group = gst_util_group_id_next ();
  start_stream (self, self->srcpad, input, group, "speech");
  start_stream (self, self->textpad, input, group, "text");
  gst_pad_set_caps (self->textpad, caps);
  gst_caps_unref (caps);
}

/* The time at which the next frame is due goes on in another segment: a hole or
 * none, that is what running time says. */
static void
set_segment (GstMoshiLm * self, const GstSegment * segment)
{
  GstClockTime running;

  if (GST_CLOCK_TIME_IS_VALID (self->next_pts)) {
    running = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME,
        self->next_pts);
    self->next_pts = GST_CLOCK_TIME_IS_VALID (running) ?
        gst_segment_position_from_running_time (segment, GST_FORMAT_TIME,
        running) : GST_CLOCK_TIME_NONE;
  }
  gst_segment_copy_into (segment, &self->segment);
}

static gboolean
segment_event (GstMoshiLm * self, GstEvent * event)
{
  const GstSegment *segment;
  GstSegment out;
  GstEvent *copy;
  gboolean ok;

  gst_event_parse_segment (event, &segment);
  if (segment->format != GST_FORMAT_TIME || segment->rate <= 0)
    goto wrong;

  moshi_lm_talk_finish_text (self);
  set_segment (self, segment);
  /* Moshi may speak beyond the end of what it hears. */
  gst_segment_copy_into (segment, &out);
  out.stop = out.duration = GST_CLOCK_TIME_NONE;
  copy = gst_event_new_segment (&out);
  gst_event_set_seqnum (copy, gst_event_get_seqnum (event));
  self->text_position = -1;
  ok = gst_pad_push_event (self->textpad, gst_event_ref (copy));
  ok = moshi_lm_talk_queue_event (self, copy) && ok;
  gst_event_unref (event);

  return ok;

  /* ERRORS */
wrong:
  {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("A conversation needs time that goes forward: the segment's format is "
            "%s and its rate %g. An appsrc needs format=time.",
            gst_format_get_name (segment->format), segment->rate), (NULL));
    gst_event_unref (event);
    return FALSE;
  }
}

static GstFlowReturn
gap_event (GstMoshiLm * self, GstEvent * event)
{
  GstClockTime pts, duration;

  gst_event_parse_gap (event, &pts, &duration);
  gst_event_unref (event);
  if (!self->negotiated || !GST_CLOCK_TIME_IS_VALID (pts))
    return GST_FLOW_OK;
  if (!GST_CLOCK_TIME_IS_VALID (duration))
    duration = 0;

  return moshi_lm_talk_gap (self, pts, pts + duration);
}

static gboolean
push_both (GstMoshiLm * self, GstEvent * event)
{
  gst_pad_push_event (self->textpad, gst_event_ref (event));
  return moshi_lm_talk_queue_event (self, event);
}

static GstFlowReturn
end_event (GstMoshiLm * self, GstEvent * event)
{
  GstFlowReturn ret = moshi_lm_talk_drain (self);

  moshi_lm_talk_finish (self);
  gst_pad_push_event (self->textpad, gst_event_ref (event));
  gst_pad_push_event (self->srcpad, event);

  return ret == GST_FLOW_FLUSHING ? ret : GST_FLOW_OK;
}

static gboolean
flush_event (GstMoshiLm * self, GstPad * pad, GstEvent * event)
{
  gboolean flushing = GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_START, ok;

  gst_moshi_model_set_flushing (&self->model, flushing);
  ok = gst_pad_event_default (pad, GST_OBJECT (self), event);
  if (!flushing) {
    gst_segment_init (&self->segment, GST_FORMAT_TIME);
    gst_flow_combiner_reset (self->combiner);
    moshi_lm_talk_drop_events (self, TRUE);
    moshi_lm_talk_reset (self);
  }
  return ok;
}

static gboolean
serialized_event (GstMoshiLm * self, GstEvent * event)
{
  if (moshi_event_is_reset (event, GST_ELEMENT (self))) {
    moshi_lm_talk_finish (self);
    moshi_lm_talk_reset (self);
  }
  return push_both (self, event);
}

static gboolean
caps_event (GstMoshiLm * self, GstEvent * event)
{
  GstCaps *caps;
  gboolean ok;

  gst_event_parse_caps (event, &caps);
  ok = set_caps (self, caps);
  gst_event_unref (event);

  return ok;
}

static GstFlowReturn
gst_moshi_lm_sink_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);
  gboolean ok = TRUE;

  GST_LOG_OBJECT (pad, "%" GST_PTR_FORMAT, event);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_STREAM_START:
      moshi_lm_talk_finish (self);
      moshi_lm_talk_reset (self);
      start_streams (self, event);
      gst_event_unref (event);
      break;
    case GST_EVENT_CAPS:
      if (!caps_event (self, event))
        return GST_FLOW_NOT_NEGOTIATED;
      break;
    case GST_EVENT_SEGMENT:
      ok = segment_event (self, event);
      break;
    case GST_EVENT_GAP:
      return gap_event (self, event);
    case GST_EVENT_EOS:
      return end_event (self, event);
    case GST_EVENT_FLUSH_START:
    case GST_EVENT_FLUSH_STOP:
      ok = flush_event (self, pad, event);
      break;
    default:
      if (GST_EVENT_IS_SERIALIZED (event))
        ok = serialized_event (self, event);
      else
        ok = gst_pad_event_default (pad, parent, event);
      break;
  }
  return ok ? GST_FLOW_OK : GST_FLOW_ERROR;
}

static gboolean
read_tokens (GstMoshiLm * self, GstBuffer * buffer, guint16 * codes)
{
  GstMapInfo map;
  MimiTokensResult result;
  guint i;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    goto no_map;
  result = mimi_tokens_read (self->in.stream_format, self->in.codebooks,
      self->in.codebook_size, map.data, map.size, codes);
  gst_buffer_unmap (buffer, &map);
  if (result == MIMI_TOKENS_WRONG_SIZE)
    goto wrong_size;
  if (result == MIMI_TOKENS_OUT_OF_RANGE)
    goto out_of_range;
  return TRUE;

  /* ERRORS */
no_map:
  {
    GST_ELEMENT_ERROR (self, RESOURCE, READ, ("A buffer cannot be read."),
        (NULL));
    return FALSE;
  }
wrong_size:
  {
    GST_ELEMENT_ERROR (self, STREAM, DECODE,
        ("A frame of %d codebooks of %d entries has %" G_GSIZE_FORMAT
            " bytes; the buffer has %" G_GSIZE_FORMAT ".", self->in.codebooks,
            self->in.codebook_size, gst_mimi_format_frame_size (&self->in),
            gst_buffer_get_size (buffer)), ("%" GST_PTR_FORMAT, buffer));
    return FALSE;
  }
out_of_range:
  {
    for (i = 0; codes[i] < self->in.codebook_size; i++);
    GST_ELEMENT_ERROR (self, STREAM, DECODE,
        ("Token %u of codebook %u is out of range: it has %d entries.",
            codes[i], i, self->in.codebook_size), ("%" GST_PTR_FORMAT, buffer));
    return FALSE;
  }
}

/* An empty buffer with a duration stands for a lost frame. */
static GstFlowReturn
hear_buffer (GstMoshiLm * self, GstBuffer * buffer)
{
  GstClockTime pts = GST_BUFFER_PTS (buffer);
  guint16 codes[MIMI_MAX_CODEBOOKS];

  if (!self->negotiated)
    goto not_negotiated;
  if (gst_buffer_get_size (buffer) == 0 && GST_BUFFER_PTS_IS_VALID (buffer) &&
      GST_BUFFER_DURATION_IS_VALID (buffer))
    return moshi_lm_talk_gap (self, pts, pts + GST_BUFFER_DURATION (buffer));
  if (!read_tokens (self, buffer, codes))
    return GST_FLOW_ERROR;

  return moshi_lm_talk_hear (self, codes, pts, GST_BUFFER_IS_DISCONT (buffer));

  /* ERRORS */
not_negotiated:
  {
    GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
        ("Tokens came without caps that say what they are."), (NULL));
    return GST_FLOW_NOT_NEGOTIATED;
  }
}

static GstFlowReturn
gst_moshi_lm_chain (GstPad * pad, GstObject * parent, GstBuffer * buffer)
{
  GstFlowReturn ret = hear_buffer (GST_MOSHI_LM (parent), buffer);

  gst_buffer_unref (buffer);
  return ret;
}

/* ----------------------------------------------------------------- queries */

static gboolean
answer_caps (GstMoshiLm * self, GstPad * pad, GstQuery * query)
{
  GstCaps *caps = gst_pad_get_pad_template_caps (pad), *filter;
  MoshiModelInfo info;
  gint codebooks;

  if (moshi_lm_get_info (self, &info)) {
    codebooks = pad == self->sinkpad ? info.user_codebooks : info.own_codebooks;
    caps = gst_caps_make_writable (caps);
    gst_caps_set_simple (caps,
        "codebook-size", G_TYPE_INT, info.lm_codebook_size, NULL);
    if (codebooks > 0)
      gst_caps_set_simple (caps, "codebooks", G_TYPE_INT, codebooks, NULL);
  }
  gst_query_parse_caps (query, &filter);
  if (filter) {
    GstCaps *both = gst_caps_intersect_full (filter, caps,
        GST_CAPS_INTERSECT_FIRST);

    gst_caps_replace (&caps, both);
    gst_caps_unref (both);
  }
  gst_query_set_caps_result (query, caps);
  gst_caps_unref (caps);

  return TRUE;
}

static gboolean
gst_moshi_lm_sink_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_CAPS)
    return answer_caps (GST_MOSHI_LM (parent), pad, query);
  return gst_pad_query_default (pad, parent, query);
}

static gboolean
answer_latency (GstMoshiLm * self, GstPad * pad, GstQuery * query)
{
  GstClockTime min, max, mine = moshi_lm_latency (self, pad);
  gboolean live;

  if (!gst_pad_peer_query (self->sinkpad, query))
    return FALSE;
  gst_moshi_steps_note_latency (&self->stats.steps, GST_ELEMENT (self), query);
  gst_query_parse_latency (query, &live, &min, &max);
  GST_OBJECT_LOCK (self);
  self->live = live;
  self->upstream_latency = min;
  GST_OBJECT_UNLOCK (self);

  GST_DEBUG_OBJECT (pad, "latency %" GST_TIME_FORMAT " and %" GST_TIME_FORMAT
      " before it, %slive", GST_TIME_ARGS (mine), GST_TIME_ARGS (min),
      live ? "" : "not ");
  if (GST_CLOCK_TIME_IS_VALID (max))
    max += mine;
  gst_query_set_latency (query, live, min + mine, max);

  return TRUE;
}

static gboolean
gst_moshi_lm_src_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_CAPS:
      if (pad == self->srcpad)
        return answer_caps (self, pad, query);
      break;
    case GST_QUERY_LATENCY:
      return answer_latency (self, pad, query);
    default:
      break;
  }
  return gst_pad_query_default (pad, parent, query);
}

/* A seek that comes up from both sinks is one seek. */
static gboolean
gst_moshi_lm_src_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  GstMoshiLm *self = GST_MOSHI_LM (parent);
  guint32 seqnum = gst_event_get_seqnum (event);
  gboolean again;

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK) {
    GST_OBJECT_LOCK (self);
    again = seqnum == self->last_seek;
    self->last_seek = seqnum;
    GST_OBJECT_UNLOCK (self);
    if (again) {
      gst_event_unref (event);
      return TRUE;
    }
  }
  return gst_pad_event_default (pad, parent, event);
}

/* ----------------------------------------------------------------- element */

static void
gst_moshi_lm_finalize (GObject * object)
{
  GstMoshiLm *self = GST_MOSHI_LM (object);

  moshi_lm_talk_drop_events (self, FALSE);
  moshi_lm_session_free (self);
  gst_flow_combiner_unref (self->combiner);
  g_free (self->settings.condition);
  gst_moshi_model_clear (&self->model);
  G_OBJECT_CLASS (gst_moshi_lm_parent_class)->finalize (object);
}

static void
gst_moshi_lm_class_init (GstMoshiLmClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_moshi_lm_debug, "moshilm", 0,
      "Moshi language model");

  object_class->set_property = gst_moshi_lm_set_property;
  object_class->get_property = gst_moshi_lm_get_property;
  object_class->finalize = gst_moshi_lm_finalize;
  element_class->change_state = gst_moshi_lm_change_state;

  gst_moshi_model_install_properties (object_class);
  install_sampling (object_class);
  install_model_use (object_class);
  install_time (object_class);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_add_static_pad_template (element_class, &text_template);
  gst_element_class_set_static_metadata (element_class,
      "Moshi speech-text language model", "Filter/Audio/Text",
      "Holds a conversation: hears Mimi tokens, answers with Mimi tokens and "
      "text", "gst-moshi");
  gst_type_mark_as_plugin_api (GST_TYPE_MOSHI_TEXT_MODE, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_MOSHI_QUANTIZATION, 0);
}

static GstPad *
add_src_pad (GstMoshiLm * self, GstStaticPadTemplate * template)
{
  GstPad *pad = gst_pad_new_from_static_template (template,
      template->name_template);

  gst_pad_set_event_function (pad, gst_moshi_lm_src_event);
  gst_pad_set_query_function (pad, gst_moshi_lm_src_query);
  gst_pad_use_fixed_caps (pad);
  gst_element_add_pad (GST_ELEMENT (self), pad);
  gst_flow_combiner_add_pad (self->combiner, pad);

  return pad;
}

static void
gst_moshi_lm_init (GstMoshiLm * self)
{
  MoshiLmSettings *s = &self->settings;

  s->sampling.temperature = DEFAULT_TEMPERATURE;
  s->sampling.top_k = DEFAULT_TOP_K;
  s->sampling.text_temperature = DEFAULT_TEXT_TEMPERATURE;
  s->sampling.text_top_k = DEFAULT_TEXT_TOP_K;
  s->cfg_coef = DEFAULT_CFG_COEF;
  s->latency = GST_CLOCK_TIME_NONE;
  s->max_gap = DEFAULT_MAX_GAP;
  s->max_lateness = DEFAULT_MAX_LATENESS;
  s->drain_frames = DEFAULT_DRAIN_FRAMES;
  s->post_messages = TRUE;
  self->step_latency = GST_CLOCK_TIME_NONE;
  gst_moshi_model_init (&self->model, GST_ELEMENT (self),
      MOSHI_PART_LM | MOSHI_PART_TEXT);
  self->combiner = gst_flow_combiner_new ();

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, gst_moshi_lm_chain);
  gst_pad_set_event_full_function (self->sinkpad, gst_moshi_lm_sink_event);
  gst_pad_set_query_function (self->sinkpad, gst_moshi_lm_sink_query);
  /* So that caps that do not fit come to be named in the error. */
  GST_PAD_SET_ACCEPT_TEMPLATE (self->sinkpad);
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = add_src_pad (self, &src_template);
  self->textpad = add_src_pad (self, &text_template);
  moshi_lm_talk_init (self);
}
