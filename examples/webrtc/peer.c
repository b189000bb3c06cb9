/* A WebRTC connection: webrtcbin, with Opus before and behind it (voice.c).
 *
 * Webrtcbin and the streaming threads have threads of their own; what they
 * report is handed to the main loop.
 */
#include "peer_private.h"

#include <gio/gio.h>

/* Packets that are in order go through the jitter buffer at once; this is how
 * long it waits, in ms, for one that is missing before the decoder conceals it.
 * Two packets: enough for what overtakes another, and half of the time that a
 * frame of the model lasts, so that a loss costs no more than it has to. */
#define PATIENCE 40
#define MAX_STREAMS 4           /* senders that a peer may have */

void
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

Peer *
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
void
peer_report (Peer * self, void (*func) (Peer *, gpointer), gpointer data,
    GDestroyNotify free)
{
  Report *report = g_new0 (Report, 1);

  *report = (Report) {
  peer_ref (self), func, data, free};
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, on_report, report,
      report_free);
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

void
peer_fail (Peer * self, const gchar * text)
{
  peer_report (self, give_failure, (gpointer) text, keep);
}

void
peer_listen (Peer * self, gpointer object, const gchar * signal, GCallback func)
{
  g_signal_connect_data (object, signal, func, peer_ref (self),
      peer_unref_closure, 0);
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
  Peer *self = user_data;
  GstElement *sink;
  GstPad *input;

  if (GST_PAD_DIRECTION (pad) != GST_PAD_SRC)
    return;
  if (g_atomic_int_add (&self->heard_streams, 1) == 0)
    sink = voice_in_new (on_sound, peer_ref (self), peer_unref);
  else {
    sink = gst_element_factory_make ("fakesink", NULL);
    g_object_set (sink, "async", FALSE, "sync", FALSE, NULL);
  }
  gst_bin_add (GST_BIN (self->pipeline), sink);
  input = gst_element_get_static_pad (sink, "sink");
  gst_pad_link (pad, input);
  gst_object_unref (input);
  gst_element_sync_state_with_parent (sink);
}

void
peer_speak (Peer * self, GBytes * samples)
{
  if (!self->ended && self->mouth)
    voice_push (self->mouth, &self->spoken,
        gst_buffer_new_wrapped_bytes (samples));
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
    peer_fail (user_data, "The connection has failed");
  gst_message_unref (message);
  return GST_BUS_DROP;
}

static void
add_mouth (Peer * self)
{
  GstElement *bin = voice_out_new (&self->mouth);

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

Peer *
peer_new (PeerFlags flags, const PeerNetwork * network,
    const PeerFuncs * funcs, gpointer user_data)
{
  Peer *self = g_new0 (Peer, 1);

  g_atomic_ref_count_init (&self->refs);
  self->flags = flags;
  self->funcs = *funcs;
  self->user_data = user_data;
  add_elements (self);
  set_network (self, network);
  peer_listen (self, self->webrtc, "pad-added", G_CALLBACK (on_stream));
  peer_prepare_negotiation (self);
  gst_element_set_state (self->pipeline, GST_STATE_READY);
  peer_prepare_channel (self);
  gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
  peer_begin_negotiation (self);
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
