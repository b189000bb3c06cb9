#ifndef SETTINGS_H
#define SETTINGS_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* What a caller asks for in the query of /api/chat. */
typedef enum
{
  SETTING_TEXT_TEMPERATURE,
  SETTING_TEXT_TOPK,
  SETTING_AUDIO_TEMPERATURE,
  SETTING_AUDIO_TOPK,
  SETTING_PAD_MULT,
  SETTING_REPETITION_PENALTY,
  SETTING_REPETITION_PENALTY_CONTEXT,
  SETTING_TEXT_SEED,
  SETTING_AUDIO_SEED,
  SETTING_MAX_STEPS,
  N_SETTINGS
} Setting;

typedef struct
{
  gdouble values[N_SETTINGS];   /* NaN: not asked for */
} Settings;

/* A value that is no number, or out of its range, counts as not given; wrong
 * gets its name, or NULL. query may be NULL. */
void settings_read (Settings * settings, GHashTable * query,
    const gchar ** wrong);
/* Gives them to moshilm, and replaces them by what counts. */
void settings_apply (Settings * settings, GstElement * moshi);
/* As JSON, with the names of the backend in Rust. */
gchar *settings_metadata (const Settings * settings, const gchar * model,
    const gchar * instance, const gchar * version);

G_END_DECLS

#endif
