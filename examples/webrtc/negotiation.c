/* Offer, answer and candidates: how two peers agree on a connection. */
#include "peer_private.h"

#include "description.h"

#define MAX_CANDIDATES 64

static void
signal_free (gpointer user_data)
{
  signal_clear (user_data);
  g_free (user_data);
}

static void
give_signal (Peer * self, gpointer signal)
{
  self->funcs.signal (signal, self->user_data);
}

static void
report_signal (Peer * self, SignalKind kind, gchar * text, guint line)
{
  Signal *signal = g_new (Signal, 1);

  *signal = (Signal) {
  kind, text, line};
  peer_report (self, give_signal, signal, signal_free);
}

static void
on_described (GstPromise * promise, gpointer user_data)
{
  Peer *self = user_data;
  const GstStructure *reply = gst_promise_get_reply (promise);
  gboolean offers = self->flags & PEER_OFFERS;
  GstWebRTCSessionDescription *description = NULL;

  if (reply)
    gst_structure_get (reply, offers ? "offer" : "answer",
        GST_TYPE_WEBRTC_SESSION_DESCRIPTION, &description, NULL);
  if (g_atomic_int_get (&self->stopping))
    g_clear_pointer (&description, gst_webrtc_session_description_free);
  else if (description) {
    g_signal_emit_by_name (self->webrtc, "set-local-description", description,
        NULL);
    report_signal (self, offers ? SIGNAL_OFFER : SIGNAL_ANSWER,
        gst_sdp_message_as_text (description->sdp), 0);
    gst_webrtc_session_description_free (description);
  } else
    peer_fail (self, "There is no description of the connection");
  gst_promise_unref (promise);
}

static void
describe (Peer * self)
{
  GstPromise *promise;

  if (g_atomic_int_get (&self->stopping))
    return;
  promise = gst_promise_new_with_change_func (on_described, peer_ref (self),
      peer_unref);
  g_signal_emit_by_name (self->webrtc,
      self->flags & PEER_OFFERS ? "create-offer" : "create-answer", NULL,
      promise);
}

/* It knows what it will send. */
static void
on_negotiation_needed (GstElement * webrtc, gpointer user_data)
{
  Peer *self = user_data;

  if (g_atomic_int_add (&self->offered, 1) == 0)
    describe (self);
}

/* The other end's description is in, or not. */
static void
on_remote_set (GstPromise * promise, gpointer user_data)
{
  Peer *self = user_data;
  const GstStructure *reply = gst_promise_get_reply (promise);

  if (gst_promise_wait (promise) != GST_PROMISE_RESULT_REPLIED
      || (reply && gst_structure_has_field (reply, "error")))
    peer_fail (self, "The description does not fit");
  else if (!(self->flags & PEER_OFFERS))
    describe (self);
  gst_promise_unref (promise);
}

static gboolean
set_remote (Peer * self, const gchar * sdp)
{
  gboolean offers = self->flags & PEER_OFFERS;
  GstWebRTCSessionDescription *description =
      description_read (offers ? GST_WEBRTC_SDP_TYPE_ANSWER :
      GST_WEBRTC_SDP_TYPE_OFFER, sdp, self->flags & PEER_SOUND ? 2 : 1);

  if (!description)
    return FALSE;
  self->described = TRUE;
  g_signal_emit_by_name (self->webrtc, "set-remote-description", description,
      gst_promise_new_with_change_func (on_remote_set, peer_ref (self),
          peer_unref));
  gst_webrtc_session_description_free (description);
  return TRUE;
}

gboolean
peer_signal (Peer * self, const Signal * signal)
{
  SignalKind wanted =
      self->flags & PEER_OFFERS ? SIGNAL_ANSWER : SIGNAL_OFFER;

  if (self->ended)
    return TRUE;
  if (signal->kind == SIGNAL_CANDIDATE) {
    if (self->candidates++ >= MAX_CANDIDATES)
      return FALSE;
    g_signal_emit_by_name (self->webrtc, "add-ice-candidate", signal->line,
        signal->text);
    return TRUE;
  }
  return signal->kind == wanted && !self->described
      && set_remote (self, signal->text);
}

static void
on_candidate (GstElement * webrtc, guint line, gchar * candidate,
    gpointer user_data)
{
  report_signal (user_data, SIGNAL_CANDIDATE, g_strdup (candidate), line);
}

static void
on_connection_state (GstElement * webrtc, GParamSpec * spec,
    gpointer user_data)
{
  GstWebRTCPeerConnectionState state;

  g_object_get (webrtc, "connection-state", &state, NULL);
  if (state == GST_WEBRTC_PEER_CONNECTION_STATE_FAILED)
    peer_fail (user_data, "There is no way to the other end");
}

void
peer_prepare_negotiation (Peer * self)
{
  peer_listen (self, self->webrtc, "on-ice-candidate",
      G_CALLBACK (on_candidate));
  peer_listen (self, self->webrtc, "notify::connection-state",
      G_CALLBACK (on_connection_state));
  if (self->flags == (PEER_OFFERS | PEER_SOUND))
    peer_listen (self, self->webrtc, "on-negotiation-needed",
        G_CALLBACK (on_negotiation_needed));
}

void
peer_begin_negotiation (Peer * self)
{
  static const guint8 silence[2 * VOICE_RATE / 50];

  /* Webrtcbin offers the sound that it has seen. */
  if (self->mouth)
    voice_push (self->mouth, &self->spoken,
        gst_buffer_new_memdup (silence, sizeof silence));
  else if (self->flags & PEER_OFFERS)
    describe (self);
}
