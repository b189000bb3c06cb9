/* tokens: a phone call in 11 bytes a frame.
 *
 *   tokens --listen 7000                    one end
 *   tokens --call 192.0.2.7:7000            the other
 *   tokens … --in mine.wav --out theirs.wav
 *
 * Each end sends what Mimi makes of its microphone, or of a file, 12.5 frames a
 * second, as binary messages of a WebRTC data channel; a text before them says
 * the format, another one after them the end. There is no model between the
 * two, and no codec but Mimi.
 *
 * How the two find each other is up to an application. Here it is a TCP
 * connection with a signal a line; who closes it hangs up.
 */
#include <gst/app/gstappsrc.h>

#include "lines.h"
#include "peer.h"
#include "tap.h"

#define FRAME (80 * GST_MSECOND)
#define GOODBYE 500             /* ms */
#define HEAR_FILE "filesrc location=\"%s\" ! wavparse"
#define HEAR_LIVE "autoaudiosrc ! queue"
/* A file at the speed of speech, too. */
#define ENCODE " ! audioconvert ! audioresample ! mimienc ! " \
  "audio/x-mimi,stream-format=packed ! appsink name=frames sync=true"
#define DECODE "appsrc name=frames format=time ! mimidec plc=true ! audioconvert"
#define PLAY_FILE " ! audio/x-raw,format=S16LE ! wavenc ! filesink location=\"%s\""
#define PLAY_LIVE " ! audioresample ! autoaudiosink sync=false"

typedef struct
{
  GMainLoop *loop;
  Lines *lines;                 /* with signals */
  PeerFlags role;
  PeerNetwork network;
  Peer *peer;
  GstElement *microphone, *encoder;     /* the latter is an appsink */
  GstElement *speaker, *decoder;        /* an appsrc */
  guint64 sent, sent_bytes, heard, heard_bytes; /* frames */
  gboolean told_format, got_format, said_all, heard_all;
  int status;
} Call;

static gchar *in, *out;

static void
leave (Call * self, const gchar * problem)
{
  if (problem)
    g_printerr ("tokens: %s\n", problem);
  self->status |= problem != NULL;
  g_main_loop_quit (self->loop);
}

/* ---- frames ---- */

static gboolean
on_over (gpointer user_data)
{
  leave (user_data, NULL);
  return G_SOURCE_REMOVE;
}

/* When both have said all. The last message needs a moment to arrive. */
static void
note_end (Call * self, gboolean * end)
{
  *end = TRUE;
  if (self->said_all && self->heard_all)
    g_timeout_add (GOODBYE, on_over, self);
}

static void
send_format (Call * self)
{
  GstPad *pad = gst_element_get_static_pad (self->encoder, "sink");
  GstCaps *caps = gst_pad_get_current_caps (pad);
  gchar *text = gst_caps_to_string (caps);

  self->told_format = peer_send_text (self->peer, text);
  g_free (text);
  gst_caps_unref (caps);
  gst_object_unref (pad);
}

static void
on_frame (GBytes * frame, gpointer user_data)
{
  Call *self = user_data;

  if (!frame) {
    peer_send_text (self->peer, "bye");
    note_end (self, &self->said_all);
    return;
  }
  if (!self->told_format)
    send_format (self);
  if (peer_send (self->peer, frame)) {
    self->sent++;
    self->sent_bytes += g_bytes_get_size (frame);
  }
}

/* "audio/x-mimi, codebooks=8, …", and later the end */
static void
on_text (const gchar * text, gpointer user_data)
{
  Call *self = user_data;
  GstCaps *caps;

  if (self->got_format) {
    note_end (self, &self->heard_all);
    return;
  }
  self->got_format = TRUE;
  caps = gst_caps_from_string (text);
  if (caps)
    gst_app_src_set_caps (GST_APP_SRC (self->decoder), caps);
  else
    leave (self, "the other end does not say what it sends");
  g_clear_pointer (&caps, gst_caps_unref);
}

static void
on_bytes (GBytes * frame, gpointer user_data)
{
  Call *self = user_data;
  GstBuffer *buffer = gst_buffer_new_wrapped_bytes (frame);

  GST_BUFFER_PTS (buffer) = self->heard * FRAME;
  GST_BUFFER_DURATION (buffer) = FRAME;
  self->heard++;
  self->heard_bytes += g_bytes_get_size (frame);
  gst_app_src_push_buffer (GST_APP_SRC (self->decoder), buffer);
}

/* ---- the peer, and signals for it ---- */

static void
on_signal (const Signal * signal, gpointer user_data)
{
  Call *self = user_data;
  gchar *json = signal_write (signal);

  lines_write (self->lines, json);
  g_free (json);
}

static void
on_open (gpointer user_data)
{
  Call *self = user_data;

  gst_element_set_state (self->speaker, GST_STATE_PLAYING);
  gst_element_set_state (self->microphone, GST_STATE_PLAYING);
}

static gboolean
is_over (Call * self)
{
  return self->said_all && self->heard_all;
}

static void
on_failed (const gchar * text, gpointer user_data)
{
  leave (user_data, is_over (user_data) ? NULL : text);
}

/* NULL: the other end has closed the connection. */
static void
on_line (const gchar * line, gsize size, gpointer user_data)
{
  Call *self = user_data;
  Signal signal;

  if (!line)
    leave (self, is_over (self) ? NULL : "the other end has hung up");
  else if (!signal_read (&signal, line, size))
    leave (self, "the other end says what is no signal");
  else {
    if (!peer_signal (self->peer, &signal))
      leave (self, "the other end says what does not fit");
    signal_clear (&signal);
  }
}

static gboolean
on_ended (gpointer loop)
{
  g_main_loop_quit (loop);
  return G_SOURCE_REMOVE;
}

static void
talk (Call * self)
{
  static const PeerFuncs funcs =
      { on_signal, on_open, NULL, on_text, on_bytes, on_failed };

  self->peer = peer_new (self->role, &self->network, &funcs, self);
  lines_read (self->lines, on_line, self);
  g_main_loop_run (self->loop);
  gst_element_set_state (self->microphone, GST_STATE_NULL);
  peer_end (self->peer, on_ended, self->loop);
  g_main_loop_run (self->loop);
}

/* ---- the beginning ---- */

static void
make_pipelines (Call * self)
{
  self->microphone = pipeline_make (in ? HEAR_FILE ENCODE : HEAR_LIVE ENCODE,
      in);
  self->encoder = gst_bin_get_by_name (GST_BIN (self->microphone), "frames");
  tap (self->encoder, on_frame, self, NULL);
  self->speaker = pipeline_make (out ? DECODE PLAY_FILE : DECODE PLAY_LIVE,
      out);
  self->decoder = gst_bin_get_by_name (GST_BIN (self->speaker), "frames");
}

int
main (int argc, char **argv)
{
  Call self = { NULL };
  gint listen = 0;
  gchar *call = NULL, *address = NULL;
  const GOptionEntry entries[] = {
    {"listen", 0, 0, G_OPTION_ARG_INT, &listen, "Wait for a call", "PORT"},
    {"call", 0, 0, G_OPTION_ARG_STRING, &call, "Call", "HOST:PORT"},
    {"in", 0, 0, G_OPTION_ARG_FILENAME, &in, "WAV for a microphone", "FILE"},
    {"out", 0, 0, G_OPTION_ARG_FILENAME, &out, "WAV for a speaker", "FILE"},
    {"ice-address", 0, 0, G_OPTION_ARG_STRING, &address,
        "This machine's address (all)", "ADDRESS"},
    {NULL}
  };
  GOptionContext *context = g_option_context_new ("- a phone call in tokens");
  GError *error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error)
      || !call == !listen || peer_missing ()) {
    g_printerr ("tokens: %s\n", error ? error->message : peer_missing () ?
        peer_missing () : "--listen or --call; see --help");
    return 2;
  }
  g_option_context_free (context);
  self.role = call ? PEER_OFFERS : 0;
  self.network.address = address;
  self.loop = g_main_loop_new (NULL, FALSE);
  make_pipelines (&self);
  self.lines = lines_new (call, listen, &error);
  if (!self.lines) {
    g_printerr ("tokens: %s\n", error->message);
    return 1;
  }
  talk (&self);
  lines_free (self.lines);
  pipeline_finish (self.speaker, self.decoder);
  g_print ("sent %" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT
      " bytes; heard %" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT
      " bytes\n", self.sent, self.sent_bytes, self.heard, self.heard_bytes);
  return self.status;
}
