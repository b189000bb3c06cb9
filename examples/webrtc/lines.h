#ifndef LINES_H
#define LINES_H

#include <gio/gio.h>

G_BEGIN_DECLS

/* Lines of text over TCP, to somebody or from the first who comes. */
typedef struct _Lines Lines;

/* Without its end; NULL when the connection is closed, or has no lines. */
typedef void (*LinesFunc) (const gchar * line, gsize size, gpointer user_data);

/* call: "host:port", or NULL: to wait at port. */
Lines *lines_new (const gchar * call, guint16 port, GError ** error);
void lines_free (Lines * lines);
void lines_read (Lines * lines, LinesFunc func, gpointer user_data);
void lines_write (Lines * lines, const gchar * line);

G_END_DECLS

#endif
