#ifndef CALLER_H
#define CALLER_H

#include <libsoup/soup.h>

#include "../protocol/message.h"

G_BEGIN_DECLS

/* The connection of one caller. What goes to him waits in a queue of bounded
 * length, and a WebSocket gets it when the network takes it. */
typedef struct _Caller Caller;

typedef struct
{
  void (*message) (const Message * message, gpointer user_data);
  /* The last call; the caller is freed after it. */
  void (*gone) (gpointer user_data);
} CallerFuncs;

/* Both are owned by the caller from now on. */
Caller *caller_new (SoupWebsocketConnection * websocket, GSocket * socket,
    const CallerFuncs * funcs, gpointer user_data);
/* Takes the message. FALSE: the caller does not read. */
gboolean caller_send (Caller * caller, GBytes * message);
#define TRY_AGAIN_LATER 1013    /* RFC 6455's registry of close codes */

/* An error message, if there is a text (a constant, up to 121 bytes), and a
 * closing handshake. */
void caller_bye (Caller * caller, gushort code, const gchar * text);
/* Without one. */
void caller_cut (Caller * caller);

gint64 caller_get_last_heard (Caller * caller); /* monotonic time */
gboolean caller_is_slow (Caller * caller);
gboolean caller_has_flooded (Caller * caller);

G_END_DECLS

#endif
