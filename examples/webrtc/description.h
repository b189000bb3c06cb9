#ifndef DESCRIPTION_H
#define DESCRIPTION_H

#include <gst/webrtc/webrtc.h>

G_BEGIN_DECLS

/* The SDP of another end, or NULL where it does not have what a connection
 * needs: as many media as expected, each alive, with ICE and DTLS. */
GstWebRTCSessionDescription *description_read (GstWebRTCSDPType type,
    const gchar * sdp, guint media);

G_END_DECLS

#endif
