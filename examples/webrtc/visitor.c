/* visitor: a conversation with moshi-server by WebRTC, without a browser.
 *
 *   visitor ws://localhost:8998/api/webrtc --in question.wav --out reply.wav
 *
 * says what is in one file, at the speed of speech and then silence, writes
 * what it hears into the other, and prints the words, and the lag of
 * the server. It ends after --seconds, by Ctrl-C, or when the server
 * hangs up.
 */
#include <gst/app/gstappsrc.h>
#include <glib-unix.h>
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdio.h>
#include <string.h>

#include "peer.h"
#include "tap.h"

#define CAPS "audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=24000"
#define MICROPHONE "concat name=all ! appsink name=sink sync=true " \
  "filesrc location=\"%s\" ! wavparse ! audioconvert ! audioresample ! " CAPS \
  " ! audiobuffersplit output-buffer-duration=1/50 ! all. " \
  "audiotestsrc wave=silence samplesperbuffer=480 ! " CAPS " ! all."
#define RECORDER "appsrc name=source format=time caps=" CAPS " ! wavenc ! " \
  "filesink location=\"%s\""

typedef struct
{
  GMainLoop *loop;
  SoupWebsocketConnection *websocket;
  PeerNetwork network;
  Peer *peer;
  GstElement *microphone, *recorder;
  GstElement *source;           /* of the recorder */
  GstClockTime heard;
  int status;
} Visitor;

static void
leave (Visitor * self, int status, const gchar * text)
{
  if (text)
    g_printerr ("visitor: %s\n", text);
  self->status = status;
  g_main_loop_quit (self->loop);
}

/* ---- the peer ---- */

static void
on_signal (const Signal * signal, gpointer user_data)
{
  Visitor *self = user_data;
  gchar *json = signal_write (signal);

  soup_websocket_connection_send_text (self->websocket, json);
  g_free (json);
}

static void
on_open (gpointer user_data)
{
  Visitor *self = user_data;

  g_print ("connected\n");
  gst_element_set_state (self->microphone, GST_STATE_PLAYING);
}

static void
on_sound (GBytes * samples, gpointer user_data)
{
  Visitor *self = user_data;
  GstBuffer *buffer = gst_buffer_new_wrapped_bytes (samples);

  GST_BUFFER_PTS (buffer) = self->heard;
  self->heard += gst_util_uint64_scale (g_bytes_get_size (samples) / 2,
      GST_SECOND, VOICE_RATE);
  gst_app_src_push_buffer (GST_APP_SRC (self->source), buffer);
}

/* {"text": " word"} or {"lag": milliseconds} */
static void
on_text (const gchar * text, gpointer user_data)
{
  JsonNode *node = json_from_string (text, NULL);
  JsonObject *object = node ? json_node_get_object (node) : NULL;

  if (object && json_object_has_member (object, "text"))
    g_print ("word%s\n", json_object_get_string_member (object, "text"));
  else if (object && json_object_has_member (object, "lag"))
    g_print ("lag %" G_GINT64_FORMAT " ms\n",
        json_object_get_int_member (object, "lag"));
  g_clear_pointer (&node, json_node_unref);
}

static void
on_bytes (GBytes * bytes, gpointer user_data)
{
}

static void
on_failed (const gchar * text, gpointer user_data)
{
  leave (user_data, 1, text);
}

static gboolean
on_ended (gpointer user_data)
{
  g_main_loop_quit (user_data);
  return G_SOURCE_REMOVE;
}

/* ---- the microphone ---- */

static void
on_block (GBytes * samples, gpointer user_data)
{
  Visitor *self = user_data;

  if (samples && self->peer)
    peer_speak (self->peer, samples);
}

static void
make_pipelines (Visitor * self, const gchar * in, const gchar * out)
{
  GstElement *sink;

  self->microphone = pipeline_make (MICROPHONE, in);
  sink = gst_bin_get_by_name (GST_BIN (self->microphone), "sink");
  tap (sink, on_block, self, NULL);
  gst_object_unref (sink);
  self->recorder = pipeline_make (RECORDER, out);
  self->source = gst_bin_get_by_name (GST_BIN (self->recorder), "source");
  gst_element_set_state (self->recorder, GST_STATE_PLAYING);
}

/* ---- the server ---- */

static void
on_message (SoupWebsocketConnection * websocket, gint type, GBytes * bytes,
    Visitor * self)
{
  static const PeerFuncs funcs =
      { on_signal, on_open, on_sound, on_text, on_bytes, on_failed };
  gsize size;
  const gchar *json = g_bytes_get_data (bytes, &size);
  Signal signal;

  if (!signal_read (&signal, json, size)) {
    g_print ("server %.*s\n", (int) size, json);
    return;
  }
  if (!self->peer)
    self->peer = peer_new (PEER_SOUND, &self->network, &funcs, self);
  if (!peer_signal (self->peer, &signal))
    leave (self, 1, "this signal does not fit");
  signal_clear (&signal);
}

static void
on_closed (SoupWebsocketConnection * websocket, Visitor * self)
{
  g_print ("closed %d %s\n", soup_websocket_connection_get_close_code
      (websocket), soup_websocket_connection_get_close_data (websocket));
  leave (self, self->status, NULL);
}

static void
on_connected (GObject * session, GAsyncResult * result, gpointer user_data)
{
  Visitor *self = user_data;
  GError *error = NULL;

  self->websocket = soup_session_websocket_connect_finish (SOUP_SESSION
      (session), result, &error);
  if (!self->websocket) {
    leave (self, 1, error->message);
    g_error_free (error);
    return;
  }
  g_signal_connect (self->websocket, "message", G_CALLBACK (on_message), self);
  g_signal_connect (self->websocket, "closed", G_CALLBACK (on_closed), self);
}

static gboolean
on_time (gpointer user_data)
{
  leave (user_data, 0, NULL);
  return G_SOURCE_REMOVE;
}

static void
visit (Visitor * self, const gchar * url, int seconds)
{
  SoupSession *session = soup_session_new ();
  SoupMessage *message = soup_message_new ("GET", url);

  soup_session_websocket_connect_async (session, message, NULL, NULL,
      G_PRIORITY_DEFAULT, NULL, on_connected, self);
  g_timeout_add_seconds (seconds, on_time, self);
  g_unix_signal_add (SIGINT, on_time, self);
  g_main_loop_run (self->loop);

  gst_element_set_state (self->microphone, GST_STATE_NULL);
  if (self->peer) {
    peer_end (g_steal_pointer (&self->peer), on_ended, self->loop);
    g_main_loop_run (self->loop);
  }
  if (self->websocket)
    g_signal_handlers_disconnect_by_data (self->websocket, self);
  g_clear_object (&self->websocket);
  g_object_unref (message);
  g_object_unref (session);
}

int
main (int argc, char **argv)
{
  Visitor self = { NULL };
  gchar *in = NULL, *out = NULL, *address = NULL;
  gint seconds = 10;
  const GOptionEntry entries[] = {
    {"in", 0, 0, G_OPTION_ARG_FILENAME, &in, "What to say (WAV)", "FILE"},
    {"out", 0, 0, G_OPTION_ARG_FILENAME, &out, "What is heard (WAV)", "FILE"},
    {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "How long (10)", "N"},
    {"ice-address", 0, 0, G_OPTION_ARG_STRING, &address,
        "This machine's address (all)", "ADDRESS"},
    {NULL}
  };
  GOptionContext *context = g_option_context_new ("URL - visit moshi-server");
  GError *error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc != 2
      || !in || !out) {
    g_printerr ("visitor: %s\n", error ? error->message :
        "a URL, --in and --out are wanted; see --help");
    return 2;
  }
  g_option_context_free (context);
  self.network.address = address;
  self.loop = g_main_loop_new (NULL, FALSE);
  make_pipelines (&self, in, out);
  visit (&self, argv[1], seconds);
  pipeline_finish (self.recorder, self.source);
  gst_object_unref (self.source);
  gst_object_unref (self.recorder);
  gst_object_unref (self.microphone);
  g_main_loop_unref (self.loop);
  return self.status;
}
