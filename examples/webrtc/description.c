/* Webrtcbin trusts the descriptions that it is given. They come from strangers:
 * so they are looked through before it sees them. */
#include "description.h"

#include <string.h>

#define MAX_ATTRIBUTES 256      /* of a medium */
#define MAX_FORMATS 64

/* What a medium, or the session for all media, has to say: RFC 8839 for ICE,
 * RFC 8122 and RFC 8842 for DTLS. */
static const struct
{
  const gchar *name;
  guint min, max;               /* length */
} wanted[] = {
  {"ice-ufrag", 4, 256},
  {"ice-pwd", 22, 256},
  {"fingerprint", 8, 256},
  {"setup", 6, 7},
};

static gboolean
has_wanted (const GstSDPMessage * sdp, const GstSDPMedia * media)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (wanted); i++) {
    const gchar *value =
        gst_sdp_media_get_attribute_val (media, wanted[i].name);

    if (!value)
      value = gst_sdp_message_get_attribute_val (sdp, wanted[i].name);
    if (!value || strlen (value) < wanted[i].min
        || strlen (value) > wanted[i].max)
      return FALSE;
  }
  return TRUE;
}

/* Sound comes first, data last. */
static gboolean
is_good_media (const GstSDPMessage * sdp, guint index, gboolean is_last)
{
  const GstSDPMedia *media = gst_sdp_message_get_media (sdp, index);

  return g_strcmp0 (gst_sdp_media_get_media (media),
      is_last ? "application" : "audio") == 0
      && g_strcmp0 (gst_sdp_media_get_proto (media),
      is_last ? "UDP/DTLS/SCTP" : "UDP/TLS/RTP/SAVPF") == 0
      && (gst_sdp_media_get_port (media) != 0
      || gst_sdp_media_get_attribute_val (media, "bundle-only"))
      && gst_sdp_media_get_attribute_val (media, "mid")
      && gst_sdp_media_attributes_len (media) <= MAX_ATTRIBUTES
      && gst_sdp_media_formats_len (media) >= 1
      && gst_sdp_media_formats_len (media) <= MAX_FORMATS
      && has_wanted (sdp, media);
}

GstWebRTCSessionDescription *
description_read (GstWebRTCSDPType type, const gchar * sdp, guint media)
{
  GstSDPMessage *message;
  gboolean good;
  guint i;

  if (!*sdp)
    return NULL;
  gst_sdp_message_new (&message);
  good = gst_sdp_message_parse_buffer ((const guint8 *) sdp, strlen (sdp),
      message) == GST_SDP_OK && gst_sdp_message_medias_len (message) == media
      && gst_sdp_message_attributes_len (message) <= MAX_ATTRIBUTES;
  for (i = 0; good && i < media; i++)
    good = is_good_media (message, i, i + 1 == media);
  if (good)
    return gst_webrtc_session_description_new (type, message);
  gst_sdp_message_free (message);
  return NULL;
}
