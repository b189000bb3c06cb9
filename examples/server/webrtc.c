/* The line of /api/webrtc: signalling as JSON on the WebSocket, sound and words
 * on a WebRTC connection, which is made when there is a model for the visitor.
 * The WebSocket stays: who closes it, hangs up.
 */
#include "webrtc.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "metrics.h"

#define CONNECT_WITHIN 20       /* s */
#define LAG_INTERVAL (250 * G_TIME_SPAN_MILLISECOND)
#define MAX_EARLY 64            /* messages before the channel is open */
/* Nobody has to say anything on the data channel. */
#define MAX_MESSAGES 1000

typedef struct
{
  Line line;
  const PeerNetwork *network;
  Peer *peer;
  guint timeout;                /* until the connection is made */
  gboolean open;                /* the data channel is */
  GQueue early;                 /* of JSON */
  guint messages;               /* that came on it */
  gint64 told_lag;              /* monotonic time */

  gboolean ending;              /* the peer is */
  GSourceFunc free_func;        /* to be called when it has */
  gpointer free_data;
} Visitor;

const gchar *
webrtc_problem (void)
{
  static gchar *problem;
  const gchar *missing = peer_missing ();

  g_clear_pointer (&problem, g_free);
  if (missing)
    problem = g_strdup_printf ("WebRTC needs GStreamer's element %s, which is "
        "not installed: docs/webrtc.md names the packages", missing);
  return problem;
}

/* ---- JSON ---- */

static JsonBuilder *
json_begin (const gchar * name, const gchar * value)
{
  JsonBuilder *b = json_builder_new ();

  json_builder_begin_object (b);
  json_builder_set_member_name (b, name);
  json_builder_add_string_value (b, value);
  return b;
}

/* Takes the builder. */
static gchar *
json_end (JsonBuilder * b)
{
  JsonNode *root;
  gchar *json;

  json_builder_end_object (b);
  root = json_builder_get_root (b);
  json = json_to_string (root, FALSE);
  json_node_unref (root);
  g_object_unref (b);
  return json;
}

static void
add_string (JsonBuilder * b, const gchar * name, const gchar * value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_string_value (b, value);
}

/* As browsers want it: "stun:host:port". The addresses were checked with the
 * options. */
static void
add_server (JsonBuilder * b, const gchar * address)
{
  GUri *uri = g_uri_parse (address, G_URI_FLAGS_HAS_PASSWORD, NULL);
  gchar *urls = g_strdup_printf ("%s:%s:%d%s%s", g_uri_get_scheme (uri),
      g_uri_get_host (uri), g_uri_get_port (uri),
      g_uri_get_query (uri) ? "?" : "",
      g_uri_get_query (uri) ? g_uri_get_query (uri) : "");

  json_builder_begin_object (b);
  add_string (b, "urls", urls);
  if (g_uri_get_user (uri))
    add_string (b, "username", g_uri_get_user (uri));
  if (g_uri_get_password (uri))
    add_string (b, "credential", g_uri_get_password (uri));
  json_builder_end_object (b);
  g_free (urls);
  g_uri_unref (uri);
}

/* ---- the WebRTC connection ---- */

/* Takes the text. */
static void
say (Visitor * self, gchar * json)
{
  caller_send (self->line.caller, g_bytes_new_take (json, strlen (json)));
}

static void
break_line (Visitor * self, const gchar * text)
{
  self->line.funcs.broken (text, self->line.user_data);
}

static void
on_signal (const Signal * signal, gpointer user_data)
{
  say (user_data, signal_write (signal));
}

/* What cannot be sent now, nobody waits for. */
static void
tell (Visitor * self, gchar * json)
{
  if (self->open)
    peer_send_text (self->peer, json);
  else if (g_queue_get_length (&self->early) < MAX_EARLY) {
    g_queue_push_tail (&self->early, json);
    return;
  }
  g_free (json);
}

static void
on_open (gpointer user_data)
{
  Visitor *self = user_data;
  gchar *json;

  g_clear_handle_id (&self->timeout, g_source_remove);
  self->open = TRUE;
  while ((json = g_queue_pop_head (&self->early)))
    tell (self, json);
}

static void
on_sound (GBytes * samples, gpointer user_data)
{
  Visitor *self = user_data;
  gsize size;
  const guint8 *data = g_bytes_get_data (samples, &size);

  self->line.heard = g_get_monotonic_time ();
  self->line.funcs.heard (data, size, gst_util_uint64_scale (size / 2,
          GST_SECOND, VOICE_RATE), self->line.user_data);
}

static void
note_message (Visitor * self)
{
  if (++self->messages > MAX_MESSAGES)
    break_line (self, "Too many messages on the data channel");
}

static void
on_text (const gchar * text, gpointer user_data)
{
  note_message (user_data);
}

static void
on_bytes (GBytes * bytes, gpointer user_data)
{
  note_message (user_data);
}

static void
on_failed (const gchar * text, gpointer user_data)
{
  break_line (user_data, text);
}

static gboolean
on_timeout (gpointer user_data)
{
  Visitor *self = user_data;

  self->timeout = 0;
  break_line (self, "The WebRTC connection does not come about");
  return G_SOURCE_REMOVE;
}

static gboolean
on_peer_ended (gpointer user_data)
{
  Visitor *self = user_data;

  self->ending = FALSE;
  if (self->free_func) {
    self->free_func (self->free_data);
    g_free (self);
  }
  return G_SOURCE_REMOVE;
}

static void
end_peer (Visitor * self)
{
  g_clear_handle_id (&self->timeout, g_source_remove);
  self->open = FALSE;
  self->ending |= self->peer != NULL;
  if (self->peer)
    peer_end (g_steal_pointer (&self->peer), on_peer_ended, self);
}

/* ---- signals of the visitor ---- */

static gboolean
on_message (const guint8 * data, gsize size, gpointer user_data)
{
  Visitor *self = user_data;
  Signal signal;
  gboolean fits;

  if (!self->peer || !signal_read (&signal, (const gchar *) data, size))
    return FALSE;
  fits = peer_signal (self->peer, &signal);
  if (!fits && signal.kind == SIGNAL_ANSWER)
    break_line (self, "This answer does not fit");
  signal_clear (&signal);
  return fits;
}

/* ---- what is said to him ---- */

static void
webrtc_place (Line * line, guint place, guint length, const gchar * instance)
{
  JsonBuilder *b = json_begin ("type", "queue");

  json_builder_set_member_name (b, "queue_position");
  json_builder_add_int_value (b, place);
  json_builder_set_member_name (b, "queue_length");
  json_builder_add_int_value (b, length);
  add_string (b, "instance_name", instance);
  say ((Visitor *) line, json_end (b));
}

static void
webrtc_begin (Line * line, const gchar * metadata)
{
  static const PeerFuncs funcs =
      { on_signal, on_open, on_sound, on_text, on_bytes, on_failed };
  Visitor *self = (Visitor *) line;
  JsonBuilder *b = json_begin ("type", "ready");

  json_builder_set_member_name (b, "settings");
  json_builder_add_value (b, json_from_string (metadata, NULL));
  json_builder_set_member_name (b, "ice_servers");
  json_builder_begin_array (b);
  if (self->network->stun)
    add_server (b, self->network->stun);
  if (self->network->turn)
    add_server (b, self->network->turn);
  json_builder_end_array (b);
  say (self, json_end (b));
  self->timeout = g_timeout_add_seconds (CONNECT_WITHIN, on_timeout, self);
  self->peer = peer_new (PEER_OFFERS | PEER_SOUND, self->network, &funcs, self);
}

static void
webrtc_speak (Line * line, GBytes * sound, GstClockTimeDiff lag)
{
  Visitor *self = (Visitor *) line;
  gint64 now = g_get_monotonic_time ();

  if (!self->peer)
    return;
  peer_speak (self->peer, sound);
  if (now - self->told_lag < LAG_INTERVAL)
    return;
  self->told_lag = now;
  tell (self, g_strdup_printf ("{\"lag\":%" G_GINT64_FORMAT "}",
          lag / (gint64) GST_MSECOND));
}

static void
webrtc_word (Line * line, const gchar * text)
{
  Visitor *self = (Visitor *) line;

  if (self->peer)
    tell (self, json_end (json_begin ("text", text)));
}

static void
webrtc_bye (Line * line, gushort code, const gchar * text)
{
  gchar *json = NULL;

  if (text) {
    JsonBuilder *b = json_begin ("type", "error");

    add_string (b, "message", text);
    json = json_end (b);
  }
  caller_bye (line->caller, code,
      json ? g_bytes_new_take (json, strlen (json)) : NULL, text);
  end_peer ((Visitor *) line);
}

static void
webrtc_free (Line * line, GSourceFunc func, gpointer user_data)
{
  Visitor *self = (Visitor *) line;

  end_peer (self);
  g_queue_clear_full (&self->early, g_free);
  if (self->ending) {
    self->free_func = func;
    self->free_data = user_data;
  } else {
    g_free (self);
    func (user_data);
  }
}

Line *
webrtc_line_new (SoupWebsocketConnection * websocket, GSocket * socket,
    const PeerNetwork * network)
{
  static const LineClass class = { "webrtc", webrtc_place, webrtc_begin,
    webrtc_speak, webrtc_word, webrtc_bye, webrtc_free
  };
  static const CallerFuncs funcs = { on_message, line_gone };
  Visitor *self = g_new0 (Visitor, 1);

  self->line.class = &class;
  self->line.format = SOUND_PCM;
  self->network = network;
  g_queue_init (&self->early);
  self->line.heard = g_get_monotonic_time ();
  self->line.caller = caller_new (websocket, socket,
      SOUP_WEBSOCKET_DATA_TEXT, &funcs, self);
  return &self->line;
}
