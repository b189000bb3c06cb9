/* The query parameters of /api/chat: names, ranges, and the properties of
 * moshilm that they are. */
#include "settings.h"

#include <json-glib/json-glib.h>
#include <math.h>

#define MAX_SEED 9007199254740992.0     /* what a double holds exactly */

static const struct
{
  const gchar *name;
  gdouble min, max;
  gboolean whole;
  const gchar *property;
  const gchar *alias;           /* another name of the parameter */
} rows[N_SETTINGS] = {
  [SETTING_TEXT_TEMPERATURE] =
      {"text_temperature", 0, 2, FALSE, "text-temperature"},
  [SETTING_TEXT_TOPK] = {"text_topk", 0, 100000, TRUE, "text-top-k"},
  [SETTING_AUDIO_TEMPERATURE] =
      {"audio_temperature", 0, 2, FALSE, "temperature"},
  [SETTING_AUDIO_TOPK] = {"audio_topk", 0, 100000, TRUE, "top-k"},
  [SETTING_PAD_MULT] = {"pad_mult", -4, 4, FALSE, "padding-bonus"},
  [SETTING_REPETITION_PENALTY] =
      {"repetition_penalty", 1, 2, FALSE, "repetition-penalty"},
  [SETTING_REPETITION_PENALTY_CONTEXT] =
      {"repetition_penalty_context", 0, 200, TRUE, "repetition-context"},
  [SETTING_TEXT_SEED] = {"text_seed", 0, MAX_SEED, TRUE, NULL, "seed"},
  [SETTING_AUDIO_SEED] = {"audio_seed", 0, MAX_SEED, TRUE, NULL, "seed"},
  [SETTING_MAX_STEPS] = {"max_steps", 1, 1e9, TRUE, NULL},
};

static gdouble
read_number (Setting setting, const gchar * text)
{
  gchar *end;
  gdouble value = g_ascii_strtod (text, &end);

  if (end == text || *end != '\0' || !isfinite (value)
      || value < rows[setting].min || value > rows[setting].max
      || (rows[setting].whole && value != floor (value)))
    return NAN;
  return value;
}

void
settings_read (Settings * settings, GHashTable * query, const gchar ** wrong)
{
  guint i;

  *wrong = NULL;
  for (i = 0; i < N_SETTINGS; i++) {
    const gchar *text =
        query ? g_hash_table_lookup (query, rows[i].name) : NULL;

    if (!text && query && rows[i].alias)
      text = g_hash_table_lookup (query, rows[i].alias);
    settings->values[i] = text ? read_number (i, text) : NAN;
    if (text && isnan (settings->values[i]))
      *wrong = rows[i].name;
  }
}

/* moshilm has one seed. The same two give the same conversation. */
static guint64
seed_of (Settings * settings)
{
  gdouble *text = &settings->values[SETTING_TEXT_SEED];
  gdouble *audio = &settings->values[SETTING_AUDIO_SEED];

  if (isnan (*text))
    *text = g_random_int ();
  if (isnan (*audio))
    *audio = g_random_int ();
  return (guint64) * audio ^ (guint64) * text << 32;
}

void
settings_apply (Settings * settings, GstElement * moshi)
{
  guint i;

  for (i = 0; i < N_SETTINGS; i++) {
    gdouble *value = &settings->values[i];
    GValue number = G_VALUE_INIT;

    if (rows[i].property == NULL)
      continue;
    g_value_init (&number, G_TYPE_DOUBLE);
    g_value_set_double (&number, *value);
    if (!isnan (*value))
      g_object_set_property (G_OBJECT (moshi), rows[i].property, &number);
    g_object_get_property (G_OBJECT (moshi), rows[i].property, &number);
    *value = g_value_get_double (&number);
    g_value_unset (&number);
  }
  g_object_set (moshi, "seed", seed_of (settings), NULL);
}

gchar *
settings_metadata (const Settings * settings, const gchar * model,
    const gchar * instance, const gchar * version)
{
  JsonBuilder *b = json_builder_new ();
  JsonNode *root;
  gchar *text;
  guint i;

  json_builder_begin_object (b);
  for (i = 0; i < N_SETTINGS; i++) {
    if (isnan (settings->values[i]))
      continue;
    json_builder_set_member_name (b, rows[i].name);
    if (rows[i].whole)
      json_builder_add_int_value (b, settings->values[i]);
    else
      json_builder_add_double_value (b,
          round (settings->values[i] * 1e6) / 1e6);
  }
  json_builder_set_member_name (b, "lm_model_file");
  json_builder_add_string_value (b, model);
  json_builder_set_member_name (b, "mimi_model_file");
  json_builder_add_string_value (b, model);
  json_builder_set_member_name (b, "build_info");
  json_builder_begin_object (b);
  json_builder_set_member_name (b, "server");
  json_builder_add_string_value (b, "gst-moshi");
  json_builder_set_member_name (b, "version");
  json_builder_add_string_value (b, version);
  json_builder_end_object (b);
  json_builder_set_member_name (b, "instance_name");
  json_builder_add_string_value (b, instance);
  json_builder_end_object (b);

  root = json_builder_get_root (b);
  text = json_to_string (root, FALSE);
  json_node_unref (root);
  g_object_unref (b);
  return text;
}
