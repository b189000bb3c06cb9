#ifndef LOG_H
#define LOG_H

#include <glib.h>

G_BEGIN_DECLS

/* A line on standard error: time, level, session (0: none), event, and pairs of
 * strings, key and value, up to NULL:
 *   2026-01-31T12:00:00.000Z info session=7 event=talk peer=127.0.0.1 */
void log_event (const gchar * level, guint64 session, const gchar * event,
    ...) G_GNUC_NULL_TERMINATED;
void log_set_verbose (gboolean verbose);

G_END_DECLS

#endif
