#ifndef CALLER_H
#define CALLER_H

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* The connection of one caller. What goes to him waits in a queue of bounded
 * length, and a WebSocket gets it when the network takes it. */
typedef struct _Caller Caller;

typedef struct
{
  /* FALSE: it is none of the protocol's. */
  gboolean (*message) (const guint8 * data, gsize size, gpointer user_data);
  /* The last call; the caller is freed after it. */
  void (*gone) (gpointer user_data);
} CallerFuncs;

/* Both are owned by the caller from now on. All messages are of one type. */
Caller *caller_new (SoupWebsocketConnection * websocket, GSocket * socket,
    SoupWebsocketDataType type, const CallerFuncs * funcs, gpointer user_data);
/* Takes the message. */
void caller_send (Caller * caller, GBytes * message);
#define TRY_AGAIN_LATER 1013    /* RFC 6455's registry of close codes */

/* A last message, or NULL, and a closing handshake with a reason (a constant, up
 * to 121 bytes), or NULL. Takes the message. */
void caller_bye (Caller * caller, gushort code, GBytes * message,
    const gchar * reason);
/* Without one. */
void caller_cut (Caller * caller);

/* He does not read. */
gboolean caller_is_slow (Caller * caller);
gboolean caller_has_flooded (Caller * caller);

G_END_DECLS

#endif
