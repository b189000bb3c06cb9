#ifndef PEER_H
#define PEER_H

#include <gst/gst.h>

#include "signalling.h"
#include "voice.h"

G_BEGIN_DECLS

/* One end of a WebRTC connection: sound both ways, or none, and a data channel.
 * Everything is called in the main loop, and nothing waits in it. */
typedef struct _Peer Peer;

/* Strings may be NULL. */
typedef struct
{
  const gchar *stun;            /* stun://host:port */
  const gchar *turn;            /* turn://user:password@host:port */
  const gchar *address;         /* of this machine, to be reached at; NULL: all */
} PeerNetwork;

typedef struct
{
  /* For the other end, on whatever way there is before the two are connected. */
  void (*signal) (const Signal * signal, gpointer user_data);
  /* The data channel is open. */
  void (*open) (gpointer user_data);
  /* S16LE of VOICE_RATE, as what peer_speak() takes. */
  void (*sound) (GBytes * samples, gpointer user_data);
  /* Messages of the data channel. */
  void (*text) (const gchar * text, gpointer user_data);
  void (*bytes) (GBytes * bytes, gpointer user_data);
  /* The last call; the text is a constant. */
  void (*failed) (const gchar * text, gpointer user_data);
} PeerFuncs;

typedef enum
{
  PEER_OFFERS = 1,              /* else it answers */
  PEER_SOUND = 2
} PeerFlags;

/* What is missing here for peers: the name of an element, or NULL. */
const gchar *peer_missing (void);

Peer *peer_new (PeerFlags flags, const PeerNetwork * network,
    const PeerFuncs * funcs, gpointer user_data);
/* What the other end's func gave. FALSE: it does not fit. */
gboolean peer_signal (Peer * peer, const Signal * signal);
void peer_speak (Peer * peer, GBytes * samples);
/* A message that is not empty. FALSE: it was not sent, since the channel is not
 * open, or the other end does not take what waits there. */
gboolean peer_send_text (Peer * peer, const gchar * text);
gboolean peer_send (Peer * peer, GBytes * bytes);
/* Gives the peer up; no func is called any more, but this one, when nothing of
 * it is left. */
void peer_end (Peer * peer, GSourceFunc func, gpointer user_data);

G_END_DECLS

#endif
