#ifndef GOVERNOR_H
#define GOVERNOR_H

#include <gio/gio.h>

G_BEGIN_DECLS

/* A connection from which no more than a certain rate is read: its input fails
 * when the other side sends more. A WebSocket reads whatever comes for as long
 * as it comes, in fragments or control frames that nobody else ever sees; with
 * this below it one caller takes neither the main loop nor the memory. */
#define TYPE_GOVERNOR (governor_get_type ())
G_DECLARE_FINAL_TYPE (Governor, governor, SERVER, GOVERNOR, GIOStream)

/* Bytes a second, and how many may come at once. */
GIOStream *governor_new (GIOStream * base, guint rate, guint burst);
gboolean governor_flooded (Governor * governor);

G_END_DECLS

#endif
