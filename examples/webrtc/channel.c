/* The data channel of a peer. */
#include "peer_private.h"

#include <string.h>

#define MAX_WAITING (64 * 1024) /* bytes */

static void
give_open (Peer * self, gpointer unused)
{
  if (!self->open) {
    self->open = TRUE;
    self->funcs.open (self->user_data);
  }
}

static void
on_channel_open (GstWebRTCDataChannel * channel, gpointer user_data)
{
  peer_report (user_data, give_open, NULL, NULL);
}

static void
give_text (Peer * self, gpointer text)
{
  self->funcs.text (text, self->user_data);
}

static void
give_bytes (Peer * self, gpointer bytes)
{
  self->funcs.bytes (bytes, self->user_data);
}

/* An empty message is none for either of them. */
static void
on_channel_text (GstWebRTCDataChannel * channel, const gchar * text,
    gpointer user_data)
{
  peer_report (user_data, give_text, g_strdup (text ? text : ""), g_free);
}

static void
on_channel_bytes (GstWebRTCDataChannel * channel, GBytes * bytes,
    gpointer user_data)
{
  peer_report (user_data, give_bytes, bytes ? g_bytes_ref (bytes) :
      g_bytes_new (NULL, 0), (GDestroyNotify) g_bytes_unref);
}

static void
take_channel (Peer * self, GstWebRTCDataChannel * channel)
{
  GstWebRTCDataChannelState state;

  self->channel = g_object_ref (channel);
  peer_listen (self, channel, "on-open", G_CALLBACK (on_channel_open));
  peer_listen (self, channel, "on-message-string",
      G_CALLBACK (on_channel_text));
  peer_listen (self, channel, "on-message-data", G_CALLBACK (on_channel_bytes));
  g_object_get (channel, "ready-state", &state, NULL);
  if (state == GST_WEBRTC_DATA_CHANNEL_STATE_OPEN)
    on_channel_open (channel, self);
}

/* The one who offers makes the channel, and nobody wants another one. */
static void
on_data_channel (GstElement * webrtc, GstWebRTCDataChannel * channel,
    gpointer user_data)
{
  Peer *self = user_data;

  if (!self->channel)
    take_channel (self, channel);
}

static gboolean
may_send (Peer * self)
{
  guint64 waiting;

  if (self->ended || !self->open)
    return FALSE;
  g_object_get (self->channel, "buffered-amount", &waiting, NULL);
  return waiting <= MAX_WAITING;
}

gboolean
peer_send_text (Peer * self, const gchar * text)
{
  return may_send (self)
      && gst_webrtc_data_channel_send_string_full (self->channel, text, NULL);
}

gboolean
peer_send (Peer * self, GBytes * bytes)
{
  return may_send (self)
      && gst_webrtc_data_channel_send_data_full (self->channel, bytes, NULL);
}

void
peer_prepare_channel (Peer * self)
{
  GstWebRTCDataChannel *channel;

  peer_listen (self, self->webrtc, "on-data-channel",
      G_CALLBACK (on_data_channel));
  if (!(self->flags & PEER_OFFERS))
    return;
  g_signal_emit_by_name (self->webrtc, "create-data-channel", "moshi", NULL,
      &channel);
  take_channel (self, channel);
  g_object_unref (channel);
}
