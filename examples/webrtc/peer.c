/* A WebRTC connection: webrtcbin, with Opus before and behind it.
 *
 *   sound in   webrtcbin ! rtpopusdepay ! opusdec ! appsink
 *   sound out  appsrc ! opusenc ! rtpopuspay ! webrtcbin
 *
 * Webrtcbin and the streaming threads have threads of their own; what they
 * report is handed to the main loop.
 */
#include "peer.h"

#include <gio/gio.h>
#include <gst/app/gstappsrc.h>
#include <string.h>

#include "description.h"
#include "tap.h"

#define STRING_(x) #x
#define STRING(x) STRING_ (x)

/* Packets that are in order go through the jitter buffer at once; this is how
 * long it waits, in ms, for one that is missing before the decoder conceals it.
 * Two packets: enough for what overtakes another, and half of the time that a
 * frame of the model lasts, so that a loss costs no more than it has to. */
#define PATIENCE 40
#define RAW "audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=" \
  STRING (PEER_RATE)
/* Packets of 20 ms, so that one lost is little. */
#define MOUTH "appsrc name=mouth caps=" RAW " is-live=true format=time " \
  "max-bytes=0 max-buffers=0 max-time=1000000000 leaky-type=downstream " \
  "! opusenc audio-type=voice bitrate=32000 frame-size=20 ! rtpopuspay pt=96 " \
  "! application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000," \
  "encoding-params=(string)2,payload=96"
#define EARS "rtpopusdepay name=depay ! opusdec plc=true max-errors=-1 " \
  "! audioconvert ! audioresample ! " RAW \
  " ! appsink name=ears sync=false async=false max-buffers=100 drop=true"

#define MAX_CANDIDATES 64
#define MAX_STREAMS 4           /* senders that a peer may have */
#define MAX_WAITING (64 * 1024) /* bytes, on the data channel */
#define MAX_HOLE (500 * GST_MSECOND)
#define BYTES_A_SECOND (2 * PEER_RATE)

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

static void
peer_unref (gpointer user_data)
{
  Peer *self = user_data;

  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  g_clear_object (&self->webrtc);
  g_free (self);
}

static void
peer_unref_closure (gpointer user_data, GClosure * closure)
{
  peer_unref (user_data);
}

static Peer *
peer_ref (Peer * self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

const gchar *
peer_missing (void)
{
  static const gchar *const names[] = { "webrtcbin", "nicesrc", "dtlssrtpdec",
    "srtpenc", "sctpenc", "rtpbin", "opusenc", "rtpopuspay"
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElementFactory *factory = gst_element_factory_find (names[i]);

    if (!factory)
      return names[i];
    gst_object_unref (factory);
  }
  return NULL;
}

/* ---- from other threads to the main loop ---- */

typedef struct
{
  Peer *self;
  void (*func) (Peer * self, gpointer data);
  gpointer data;
  GDestroyNotify free;
} Report;

static gboolean
on_report (gpointer user_data)
{
  Report *report = user_data;

  if (!report->self->ended)
    report->func (report->self, report->data);
  return G_SOURCE_REMOVE;
}

static void
report_free (gpointer user_data)
{
  Report *report = user_data;

  if (report->data)
    report->free (report->data);
  peer_unref (report->self);
  g_free (report);
}

/* Takes the data. */
static void
report (Peer * self, void (*func) (Peer *, gpointer), gpointer data,
    GDestroyNotify free)
{
  Report *report = g_new0 (Report, 1);

  *report = (Report) {
  peer_ref (self), func, data, free};
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, on_report, report,
      report_free);
}

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
  report (self, give_signal, signal, signal_free);
}

static void
give_failure (Peer * self, gpointer text)
{
  self->funcs.failed (text, self->user_data);
}

static void
keep (gpointer constant)
{
}

static void
report_failure (Peer * self, const gchar * text)
{
  report (self, give_failure, (gpointer) text, keep);
}

/* ------------------------------------------------------- descriptions */

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
    report_failure (self, "There is no description of the connection");
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
    report_failure (self, "The description does not fit");
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
    report_failure (user_data, "There is no way to the other end");
}

/* ------------------------------------------------- the data channel */

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
  report (user_data, give_open, NULL, NULL);
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
  report (user_data, give_text, g_strdup (text ? text : ""), g_free);
}

static void
on_channel_bytes (GstWebRTCDataChannel * channel, GBytes * bytes,
    gpointer user_data)
{
  report (user_data, give_bytes, bytes ? g_bytes_ref (bytes) :
      g_bytes_new (NULL, 0), (GDestroyNotify) g_bytes_unref);
}

static void
listen_to (Peer * self, gpointer object, const gchar * signal, GCallback func)
{
  g_signal_connect_data (object, signal, func, peer_ref (self),
      peer_unref_closure, 0);
}

static void
take_channel (Peer * self, GstWebRTCDataChannel * channel)
{
  GstWebRTCDataChannelState state;

  self->channel = g_object_ref (channel);
  listen_to (self, channel, "on-open", G_CALLBACK (on_channel_open));
  listen_to (self, channel, "on-message-string",
      G_CALLBACK (on_channel_text));
  listen_to (self, channel, "on-message-data", G_CALLBACK (on_channel_bytes));
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

/* --------------------------------------------------------------- sound */

static void
on_sound (GBytes * samples, gpointer user_data)
{
  Peer *self = user_data;

  if (samples && !self->ended)
    self->funcs.sound (samples, self->user_data);
}

/* A stream of the other end: the first is heard. */
static void
on_stream (GstElement * webrtc, GstPad * pad, gpointer user_data)
{
  static const gchar *const branches[] = { EARS, "fakesink async=false" };
  Peer *self = user_data;
  gboolean first = g_atomic_int_add (&self->heard_streams, 1) == 0;
  GstElement *bin, *sink;
  GstPad *input;

  if (GST_PAD_DIRECTION (pad) != GST_PAD_SRC)
    return;
  bin = gst_parse_bin_from_description (branches[!first], TRUE, NULL);
  sink = gst_bin_get_by_name (GST_BIN (bin), "ears");
  if (sink) {
    tap (sink, on_sound, peer_ref (self), peer_unref);
    gst_object_unref (sink);
  }
  gst_bin_add (GST_BIN (self->pipeline), bin);
  input = gst_element_get_static_pad (bin, "sink");
  gst_pad_link (pad, input);
  gst_object_unref (input);
  gst_element_sync_state_with_parent (bin);
}

/* The stream's time goes on without holes, as samples do; only after a long
 * silence it is set anew. */
static void
push_sound (Peer * self, GstBuffer * buffer)
{
  GstClockTime now = gst_element_get_current_running_time (self->pipeline);

  if (GST_CLOCK_TIME_IS_VALID (now) && now > self->spoken + MAX_HOLE)
    self->spoken = now;
  GST_BUFFER_PTS (buffer) = self->spoken;
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale (gst_buffer_get_size
      (buffer), GST_SECOND, BYTES_A_SECOND);
  self->spoken += GST_BUFFER_DURATION (buffer);
  gst_app_src_push_buffer (self->mouth, buffer);
}

void
peer_speak (Peer * self, GBytes * samples)
{
  if (!self->ended && self->mouth)
    push_sound (self, gst_buffer_new_wrapped_bytes (samples));
}

/* -------------------------------------------------- beginning and end */

static void
set_network (Peer * self, const PeerNetwork * network)
{
  GstElement *rtpbin = gst_bin_get_by_name (GST_BIN (self->webrtc), "rtpbin");
  GObject *ice;
  gboolean added;

  g_object_set (rtpbin, "max-streams", MAX_STREAMS, NULL);
  gst_object_unref (rtpbin);
  if (network->stun)
    g_object_set (self->webrtc, "stun-server", network->stun, NULL);
  if (network->turn)
    g_object_set (self->webrtc, "turn-server", network->turn, NULL);
  if (network->address) {
    g_object_get (self->webrtc, "ice-agent", &ice, NULL);
    g_signal_emit_by_name (ice, "add-local-ip-address", network->address,
        &added);
    g_object_unref (ice);
  }
}

static GstBusSyncReply
on_bus (GstBus * bus, GstMessage * message, gpointer user_data)
{
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    report_failure (user_data, "The connection has failed");
  gst_message_unref (message);
  return GST_BUS_DROP;
}

static void
add_mouth (Peer * self)
{
  GstElement *bin = gst_parse_bin_from_description (MOUTH, TRUE, NULL);

  self->mouth = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (bin), "mouth"));
  gst_bin_add (GST_BIN (self->pipeline), bin);
  gst_element_link (bin, self->webrtc);
}

static void
add_elements (Peer * self)
{
  GstBus *bus;

  self->pipeline = gst_pipeline_new (NULL);
  self->webrtc = gst_object_ref_sink (gst_element_factory_make ("webrtcbin",
          NULL));
  gst_util_set_object_arg (G_OBJECT (self->webrtc), "bundle-policy",
      "max-bundle");
  g_object_set (self->webrtc, "latency", PATIENCE, NULL);
  gst_bin_add (GST_BIN (self->pipeline), self->webrtc);
  if (self->flags & PEER_SOUND)
    add_mouth (self);
  bus = gst_element_get_bus (self->pipeline);
  gst_bus_set_sync_handler (bus, on_bus, peer_ref (self), peer_unref);
  gst_object_unref (bus);
}

static void
offer_channel (Peer * self)
{
  GstWebRTCDataChannel *channel;

  g_signal_emit_by_name (self->webrtc, "create-data-channel", "moshi", NULL,
      &channel);
  take_channel (self, channel);
  g_object_unref (channel);
}

Peer *
peer_new (PeerFlags flags, const PeerNetwork * network,
    const PeerFuncs * funcs, gpointer user_data)
{
  static const guint8 silence[BYTES_A_SECOND / 50];
  Peer *self = g_new0 (Peer, 1);

  g_atomic_ref_count_init (&self->refs);
  self->flags = flags;
  self->funcs = *funcs;
  self->user_data = user_data;
  add_elements (self);
  set_network (self, network);
  listen_to (self, self->webrtc, "on-ice-candidate",
      G_CALLBACK (on_candidate));
  listen_to (self, self->webrtc, "on-data-channel",
      G_CALLBACK (on_data_channel));
  listen_to (self, self->webrtc, "pad-added", G_CALLBACK (on_stream));
  listen_to (self, self->webrtc, "notify::connection-state",
      G_CALLBACK (on_connection_state));

  gst_element_set_state (self->pipeline, GST_STATE_READY);
  if (flags & PEER_OFFERS)
    offer_channel (self);
  if (flags == (PEER_OFFERS | PEER_SOUND))
    listen_to (self, self->webrtc, "on-negotiation-needed",
        G_CALLBACK (on_negotiation_needed));
  gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
  /* It offers the sound that it has seen. */
  if (self->mouth)
    push_sound (self, gst_buffer_new_memdup (silence, sizeof silence));
  else if (flags & PEER_OFFERS)
    describe (self);
  return self;
}

static gboolean
on_ended (gpointer user_data)
{
  Peer *self = user_data;

  self->end_func (self->end_data);
  peer_unref (self);
  return G_SOURCE_REMOVE;
}

/* Webrtcbin does one thing after the other, in a thread. What it still has to do
 * when it is stopped would be lost, with all that belongs to it. */
static void
wait_for_webrtcbin (Peer * self)
{
  GstPromise *promise = gst_promise_new ();

  g_signal_emit_by_name (self->webrtc, "get-stats", NULL, promise);
  gst_promise_wait (promise);
  gst_promise_unref (promise);
}

static void
end (GTask * task, gpointer source, gpointer user_data,
    GCancellable * cancellable)
{
  Peer *self = user_data;

  /* Twice: the second time for what was begun by the first. */
  wait_for_webrtcbin (self);
  wait_for_webrtcbin (self);
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  /* What waits for an answer of webrtcbin may still keep both. */
  g_signal_handlers_disconnect_by_data (self->webrtc, self);
  if (self->channel)
    g_signal_handlers_disconnect_by_data (self->channel, self);
  g_clear_object (&self->channel);
  g_clear_object (&self->mouth);
  g_clear_object (&self->pipeline);
  g_main_context_invoke (NULL, on_ended, self);
}

void
peer_end (Peer * self, GSourceFunc func, gpointer user_data)
{
  GTask *task = g_task_new (NULL, NULL, NULL, NULL);

  self->ended = TRUE;
  g_atomic_int_set (&self->stopping, TRUE);
  self->end_func = func;
  self->end_data = user_data;
  g_task_set_task_data (task, self, NULL);
  g_task_run_in_thread (task, end);
  g_object_unref (task);
}
