#ifndef WEBRTC_H
#define WEBRTC_H

#include "../webrtc/peer.h"
#include "line.h"

G_BEGIN_DECLS

#ifdef HAVE_WEBRTC

/* Why there is no WebRTC here, for people, or NULL. */
const gchar *webrtc_problem (void);
/* Owns the connection and its socket from now on; the network lives longer. */
Line *webrtc_line_new (SoupWebsocketConnection * websocket, GSocket * socket,
    const PeerNetwork * network);

#else

#define webrtc_problem() \
  "This moshi-server was built without WebRTC (gstreamer-webrtc-1.0)"
#define webrtc_line_new(websocket, socket, network) NULL

#endif

G_END_DECLS

#endif
