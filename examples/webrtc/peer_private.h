#ifndef PEER_PRIVATE_H
#define PEER_PRIVATE_H

#include <gst/webrtc/webrtc.h>

#include "peer.h"

/* Of the three files that a peer is. */

struct _Peer
{
  gatomicrefcount refs;
  PeerFlags flags;
  PeerFuncs funcs;
  gpointer user_data;
  GstElement *pipeline, *webrtc;
  GstAppSrc *mouth;
  GstWebRTCDataChannel *channel;

  /* Of the main loop. */
  gboolean ended, described;    /* by the other end */
  guint candidates;
  GstClockTime spoken;          /* running time */
  gboolean open;                /* the channel is */
  GSourceFunc end_func;
  gpointer end_data;

  gint offered, heard_streams, stopping;        /* atomic */
};

/* ---- peer.c ---- */

Peer *peer_ref (Peer * peer);
void peer_unref (gpointer peer);
/* Calls func in the main loop, unless the peer has ended; takes the data. */
void peer_report (Peer * peer, void (*func) (Peer *, gpointer), gpointer data,
    GDestroyNotify free);
/* The same; the text is a constant. */
void peer_fail (Peer * peer, const gchar * text);
/* A signal of webrtcbin or of its data channel. */
void peer_listen (Peer * peer, gpointer object, const gchar * signal,
    GCallback func);

/* ---- negotiation.c ---- */

/* Before the pipeline plays, and after. */
void peer_prepare_negotiation (Peer * peer);
void peer_begin_negotiation (Peer * peer);

/* ---- channel.c ---- */

/* In READY: the one who offers makes the channel, the other one waits for it. */
void peer_prepare_channel (Peer * peer);

#endif
