/* What happened, one line each, for eyes and for machines (logfmt). */
#include "log.h"

#include <string.h>

static gboolean verbose;

void
log_set_verbose (gboolean value)
{
  verbose = value;
}

/* Values may come from a caller: no line of his making gets into the log. */
static void
append (GString * line, const gchar * key, const gchar * value)
{
  g_string_append_printf (line, " %s=", key);
  if (value && *value && strpbrk (value, " \"=\\") == NULL
      && g_str_is_ascii (value) && strpbrk (value, "\n\r\t\x1b") == NULL)
    g_string_append (line, value);
  else {
    gchar *escaped = g_strescape (value ? value : "", NULL);

    g_string_append_printf (line, "\"%.300s\"", escaped);
    g_free (escaped);
  }
}

void
log_event (const gchar * level, guint64 session, const gchar * event, ...)
{
  GDateTime *now;
  GString *line;
  const gchar *key;
  gchar *stamp;
  va_list args;

  if (!verbose && strcmp (level, "debug") == 0)
    return;
  now = g_date_time_new_now_utc ();
  stamp = g_date_time_format (now, "%Y-%m-%dT%H:%M:%S");
  line = g_string_new (NULL);
  g_string_append_printf (line, "%s.%03dZ %s", stamp,
      g_date_time_get_microsecond (now) / 1000, level);
  if (session)
    g_string_append_printf (line, " session=%" G_GUINT64_FORMAT, session);
  append (line, "event", event);
  va_start (args, event);
  while ((key = va_arg (args, const gchar *)))
    append (line, key, va_arg (args, const gchar *));
  va_end (args);
  g_printerr ("%s\n", line->str);
  g_string_free (line, TRUE);
  g_free (stamp);
  g_date_time_unref (now);
}
