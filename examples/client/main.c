/* moshi-client: a conversation with a server that speaks Kyutai's protocol: ours,
 * and Kyutai's in Python and in Rust.
 *
 *   moshi-client ws://localhost:8998
 *   moshi-client https://example.org --in question.wav --out reply.wav
 *
 * Nothing is sent before the server's handshake: who does is heard late, and
 * stays late. What the network holds up is skipped when it is there.
 */
#include <glib-unix.h>
#include <libsoup/soup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../devices.h"
#include "../protocol/message.h"
#include "../protocol/oggopus.h"
#include "sound.h"
#include "transcript.h"

#define DEFAULT_PATH "/api/chat"
#define MAX_MESSAGE (1 << 20)   /* bytes */
#define CONNECT_TIME 30         /* s until the connection stands */
#define PAUSE (3 * OPUS_CLOCK)  /* of reply without a word: it is over */
#define NO_ANSWER 30            /* s without a message */
#define TICK 100                /* ms */

static gchar *in, *out, *transcript_name, *token;
static gboolean insecure, verbose;
static gint tail = 10;

typedef struct
{
  GMainLoop *loop;
  SoupWebsocketConnection *websocket;
  Sound *sound;
  Transcript *transcript;
  OggOpusReader reader;
  OggOpusWriter writer;
  gint64 heard;                 /* length of the reply, in OPUS_CLOCK */
  gint64 asked, last_word;      /* then; -1: not yet */
  gint64 last_message;          /* monotonic time */
  gboolean started, finishing, in_line;
  int status;
} Client;

static void
say (Client * client, const gchar * text)
{
  g_printerr ("%s%s\n", client->in_line ? "\n" : "", text);
  client->in_line = FALSE;
}

static void
finish (Client * client)
{
  if (client->finishing)
    return;
  client->finishing = TRUE;
  if (client->websocket
      && soup_websocket_connection_get_state (client->websocket) ==
      SOUP_WEBSOCKET_STATE_OPEN)
    soup_websocket_connection_close (client->websocket,
        SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
  sound_finish (client->sound);
}

static void
fail (Client * client, const gchar * text)
{
  say (client, text);
  client->status = 1;
  finish (client);
}

/* ---- from here to there ---- */

/* Left out when the network does not take it: old sound is no use. */
static void
on_packet (GBytes * opus, gpointer user_data)
{
  Client *client = user_data;
  GIOStream *stream;
  GByteArray *bytes;
  GBytes *message;
  gsize size;
  const guint8 *data = g_bytes_get_data (opus, &size);

  if (client->finishing
      || soup_websocket_connection_get_state (client->websocket) !=
      SOUP_WEBSOCKET_STATE_OPEN)
    return;
  stream = soup_websocket_connection_get_io_stream (client->websocket);
  if (!g_pollable_output_stream_is_writable (G_POLLABLE_OUTPUT_STREAM
          (g_io_stream_get_output_stream (stream))))
    return;
  bytes = g_byte_array_new ();
  ogg_opus_writer_push (&client->writer, data, size, bytes);
  message = message_new (MESSAGE_AUDIO, bytes->data, bytes->len);
  data = g_bytes_get_data (message, &size);
  soup_websocket_connection_send_binary (client->websocket, data, size);
  g_bytes_unref (message);
  g_byte_array_unref (bytes);
}

static void
on_asked (gpointer user_data)
{
  Client *client = user_data;

  client->asked = client->heard;
}

static void
on_sound_failed (const gchar * message, gpointer user_data)
{
  fail (user_data, message);
}

static void
on_written (gpointer user_data)
{
  Client *client = user_data;

  g_main_loop_quit (client->loop);
}

/* ---- from there to here ---- */

static void
on_reply (const guint8 * data, gsize size, guint samples, gpointer user_data)
{
  Client *client = user_data;

  client->heard += samples;
  sound_push (client->sound, data, size, gst_util_uint64_scale (samples,
          GST_SECOND, OPUS_CLOCK));
}

static void
show_text (Client * client, const Message * message)
{
  client->last_word = client->heard;
  client->in_line = TRUE;
  g_print ("%.*s", (int) message->size, (const char *) message->data);
  fflush (stdout);
  if (client->transcript)
    transcript_add (client->transcript, (const gchar *) message->data,
        message->size, client->heard / (gdouble) OPUS_CLOCK);
}

static void
show_metadata (Client * client, const Message * message)
{
  gchar *json = g_strndup ((const gchar *) message->data, message->size);
  const gchar *key = "\"queue_position\":";
  const gchar *place = strstr (json, key);

  if (place) {
    gchar *text = g_strdup_printf ("Waiting, place %d in the queue",
        atoi (place + strlen (key)));

    say (client, text);
    g_free (text);
  } else if (verbose)
    say (client, json);
  g_free (json);
}

static void
on_handshake (Client * client)
{
  if (client->started)
    return;
  client->started = TRUE;
  if (!in)
    say (client, "Moshi listens. Ctrl-C ends it.");
  sound_start (client->sound);
}

static void
on_message (SoupWebsocketConnection * websocket, gint type, GBytes * bytes,
    Client * client)
{
  Message message;
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);
  gchar *text;

  client->last_message = g_get_monotonic_time ();
  if (client->finishing || type != SOUP_WEBSOCKET_DATA_BINARY
      || !message_read (&message, data, size))
    return;
  switch (message.kind) {
    case MESSAGE_HANDSHAKE:
      on_handshake (client);
      break;
    case MESSAGE_AUDIO:
      if (client->started)
        ogg_opus_reader_push (&client->reader, message.data, message.size,
            on_reply, client);
      break;
    case MESSAGE_TEXT:
    case MESSAGE_COLOURED_TEXT:
      show_text (client, &message);
      break;
    case MESSAGE_METADATA:
      show_metadata (client, &message);
      break;
    case MESSAGE_ERROR:
      text = g_strndup ((const gchar *) message.data, message.size);
      fail (client, text);
      g_free (text);
      break;
    default:
      break;
  }
}

static void
on_closed (SoupWebsocketConnection * websocket, Client * client)
{
  if (!client->finishing && !client->started)
    fail (client, "The server has closed the connection");
  else if (!client->finishing && client->asked < 0)
    say (client, "The server has closed the connection");
  finish (client);
}

static void
on_connected (GObject * session, GAsyncResult * result, gpointer user_data)
{
  Client *client = user_data;
  GError *error = NULL;

  client->websocket =
      soup_session_websocket_connect_finish (SOUP_SESSION (session), result,
      &error);
  if (error) {
    fail (client, error->message);
    g_error_free (error);
    return;
  }
  soup_websocket_connection_set_max_incoming_payload_size (client->websocket,
      MAX_MESSAGE);
  g_signal_connect (client->websocket, "message", G_CALLBACK (on_message),
      client);
  g_signal_connect (client->websocket, "closed", G_CALLBACK (on_closed),
      client);
  if (client->finishing)
    soup_websocket_connection_close (client->websocket,
        SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
}

/* ---- where to ---- */

/* "host:8998", "http://…" and "ws://…" are all the same. */
static gchar *
full_uri (const gchar * given, GError ** error)
{
  const gchar *rest = strstr (given, "://");
  gboolean secure = g_str_has_prefix (given, "https://")
      || g_str_has_prefix (given, "wss://");
  gchar *text, *full;
  GUri *uri;

  rest = rest ? rest + 3 : given;
  text = g_strconcat (secure ? "wss://" : "ws://", rest, NULL);
  uri = g_uri_parse (text, SOUP_HTTP_URI_FLAGS, error);
  g_free (text);
  if (!uri)
    return NULL;
  if (g_uri_get_path (uri)[0] == '\0' || strcmp (g_uri_get_path (uri),
          "/") == 0) {
    GUri *chat = soup_uri_copy (uri, SOUP_URI_PATH, DEFAULT_PATH,
        SOUP_URI_NONE);

    g_uri_unref (uri);
    uri = chat;
  }
  full = g_uri_to_string (uri);
  g_uri_unref (uri);
  return full;
}

static gboolean
on_certificate (SoupMessage * message, GTlsCertificate * certificate,
    GTlsCertificateFlags errors, gpointer user_data)
{
  return insecure;
}

static void
connect_to (Client * client, SoupSession * session, const gchar * uri)
{
  SoupMessage *message = soup_message_new ("GET", uri);
  gchar *authorization;

  g_signal_connect (message, "accept-certificate",
      G_CALLBACK (on_certificate), NULL);
  if (token) {
    authorization = g_strconcat ("Bearer ", token, NULL);
    soup_message_headers_replace (soup_message_get_request_headers (message),
        "Authorization", authorization);
    g_free (authorization);
  }
  soup_session_websocket_connect_async (session, message, NULL, NULL,
      G_PRIORITY_DEFAULT, NULL, on_connected, client);
  g_object_unref (message);
}

/* ---- main ---- */

/* After a question from a file: when the reply is over, or none has come. Its own
 * time counts, for a server may be slow. */
static gboolean
is_over (Client * client)
{
  gint64 since = client->heard - client->asked;

  return since > tail * (gint64) OPUS_CLOCK || (since > PAUSE
      && client->last_word >= 0 && client->last_word > client->asked - PAUSE
      && client->heard - client->last_word > PAUSE);
}

static gboolean
on_tick (gpointer user_data)
{
  Client *client = user_data;

  if (client->asked < 0 || client->finishing)
    return G_SOURCE_CONTINUE;
  if (is_over (client))
    finish (client);
  else if (g_get_monotonic_time () - client->last_message >
      NO_ANSWER * G_USEC_PER_SEC)
    fail (client, "The server does not answer");
  return G_SOURCE_CONTINUE;
}

static gboolean
on_interrupt (gpointer user_data)
{
  Client *client = user_data;

  if (client->finishing)
    g_main_loop_quit (client->loop);
  finish (client);
  return G_SOURCE_CONTINUE;
}

static void
show_lag (Client * client)
{
  gdouble skipped, missed;
  gchar *text;

  sound_get_lag (client->sound, &skipped, &missed);
  if (!verbose && skipped < 0.5 && missed < 0.5)
    return;
  text = g_strdup_printf ("Of the reply, %.2f s were skipped to catch up, "
      "and %.2f s came too late", skipped, missed);
  say (client, text);
  g_free (text);
}

static void
converse (Client * client, const gchar * uri)
{
  SoupSession *session = soup_session_new_with_options ("timeout",
      CONNECT_TIME, NULL);

  client->loop = g_main_loop_new (NULL, FALSE);
  connect_to (client, session, uri);
  g_timeout_add (TICK, on_tick, client);
  g_unix_signal_add (SIGINT, on_interrupt, client);
  g_unix_signal_add (SIGTERM, on_interrupt, client);
  g_main_loop_run (client->loop);

  if (client->in_line)
    g_print ("\n");
  client->in_line = FALSE;
  if (!out)
    show_lag (client);
  if (client->websocket) {
    g_signal_handlers_disconnect_by_data (client->websocket, client);
    g_object_unref (client->websocket);
  }
  g_object_unref (session);
  g_main_loop_unref (client->loop);
}

static const GOptionEntry options[] = {
  {"in", 0, 0, G_OPTION_ARG_FILENAME, &in,
      "A question from a file instead of the microphone", "FILE"},
  {"out", 0, 0, G_OPTION_ARG_FILENAME, &out,
      "The reply into a WAV file instead of the loudspeaker", "FILE"},
  {"transcript", 0, 0, G_OPTION_ARG_FILENAME, &transcript_name,
      "What Moshi says, with times; WebVTT if it ends in .vtt", "FILE"},
  {"tail", 0, 0, G_OPTION_ARG_INT, &tail,
      "After a question from a file, listen so long for words (default 10)",
      "SECONDS"},
  {"token", 0, 0, G_OPTION_ARG_STRING, &token, "What the server asks for",
      "TOKEN"},
  {"insecure", 'k', 0, G_OPTION_ARG_NONE, &insecure,
      "Accept any certificate, as of a server that made its own", NULL},
  {"verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose,
      "Show the server's settings, and what was skipped", NULL},
  {NULL}
};

int
main (int argc, char **argv)
{
  static const SoundFuncs funcs =
      { on_packet, on_asked, on_sound_failed, on_written };
  Client client = {.asked = -1,.last_word = -1 };
  GOptionContext *context =
      g_option_context_new ("URL - talk with Moshi on a server");
  GError *error = NULL;
  gchar *uri = NULL;

  g_option_context_add_main_entries (context, options, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (g_option_context_parse (context, &argc, &argv, &error) && argc == 2)
    uri = full_uri (argv[1], &error);
  g_option_context_free (context);
  if (!uri) {
    g_printerr ("moshi-client: %s\n", error ? error->message :
        "one URL is wanted, such as ws://localhost:8998; --help says more");
    return 2;
  }
  if (!in && !out && !sound_devices_work ())
    return 1;
  ogg_opus_reader_init (&client.reader);
  ogg_opus_writer_init (&client.writer);
  client.sound = sound_new (in, out, &funcs, &client, &error);
  if (!error && transcript_name)
    client.transcript = transcript_open (transcript_name, &error);
  if (error) {
    g_printerr ("moshi-client: %s\n", error->message);
    return 1;
  }
  converse (&client, uri);

  if (client.transcript)
    transcript_close (client.transcript);
  sound_free (client.sound);
  ogg_opus_reader_clear (&client.reader);
  ogg_opus_writer_clear (&client.writer);
  g_free (uri);
  return client.status;
}
