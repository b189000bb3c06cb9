/* What the server answers, by path. Who may not call is told so before
 * anything is done for him. */
#include "endpoints.h"

#include <string.h>

#include "governor.h"
#include "log.h"
#include "metrics.h"
#include "page.h"
#include "patience.h"
#include "webrtc.h"

/* Opus has 64 kB/s at most. A message may have a megabyte. */
#define RATE (256 * 1024)
#define BURST (2 * 1024 * 1024)
#define MAX_BODY 65536          /* bytes */

/* ---- who may ---- */

/* Takes as long for every wrong token: what is compared are digests. */
static gboolean
same_token (const gchar * given, const gchar * token)
{
  gchar *a = g_compute_checksum_for_string (G_CHECKSUM_SHA256, given, -1);
  gchar *b = g_compute_checksum_for_string (G_CHECKSUM_SHA256, token, -1);
  guint i, difference = 0;

  for (i = 0; a[i] && b[i]; i++)
    difference |= a[i] ^ b[i];
  g_free (a);
  g_free (b);
  return difference == 0;
}

/* Where clients put it: a header of their own or the usual one, or, as a page
 * in a browser has to, the query. */
static gboolean
has_token (SoupServerMessage * message, GHashTable * query,
    const gchar * token)
{
  static const gchar *const names[] =
      { "token", "auth_id", "worker_auth_id" };
  SoupMessageHeaders *headers =
      soup_server_message_get_request_headers (message);
  const gchar *given = soup_message_headers_get_one (headers, "Authorization");
  guint i;

  if (given && g_ascii_strncasecmp (given, "Bearer ", 7) == 0
      && same_token (given + 7, token))
    return TRUE;
  given = soup_message_headers_get_one (headers, "kyutai-api-key");
  if (given && same_token (given, token))
    return TRUE;
  for (i = 0; query && i < G_N_ELEMENTS (names); i++) {
    given = g_hash_table_lookup (query, names[i]);
    if (given && same_token (given, token))
      return TRUE;
  }
  return FALSE;
}

static gboolean
may_call (Endpoints * self, SoupServerMessage * message, GHashTable * query)
{
  SoupMessageHeaders *headers =
      soup_server_message_get_request_headers (message);
  const gchar *origin = soup_message_headers_get_one (headers, "Origin");

  if (self->token && !has_token (message, query, self->token)) {
    metric_add (METRIC_REFUSED_TOKEN, 1);
    soup_message_headers_replace (soup_server_message_get_response_headers
        (message), "WWW-Authenticate", "Bearer");
    soup_server_message_set_status (message, SOUP_STATUS_UNAUTHORIZED, NULL);
    return FALSE;
  }
  /* Programs have no origin. */
  if (self->origins && origin
      && !g_strv_contains ((const gchar * const *) self->origins, origin)) {
    metric_add (METRIC_REFUSED_ORIGIN, 1);
    soup_server_message_set_status (message, SOUP_STATUS_FORBIDDEN, NULL);
    return FALSE;
  }
  return TRUE;
}

/* ---- calls ---- */

static void
answer_text (SoupServerMessage * message, guint status, const gchar * type,
    gchar * text)
{
  soup_server_message_set_response (message, type, SOUP_MEMORY_TAKE, text,
      strlen (text));
  soup_server_message_set_status (message, status, NULL);
}

/* What a caller wants, until he has his line. */
typedef struct
{
  Endpoints *self;
  gboolean webrtc;
  SoundFormat format;
  Settings settings;
} Upgrade;

static void
upgrade_free (gpointer upgrade, GClosure * closure)
{
  g_free (upgrade);
}

static void
on_upgraded (SoupServerMessage * message, gpointer user_data)
{
  Upgrade *upgrade = user_data;
  GSocket *socket = soup_server_message_get_socket (message);
  GIOStream *stream, *governed;
  SoupWebsocketConnection *websocket;
  Line *line;
  GUri *uri;
  gchar *peer;

  if (!socket)
    return;
  g_object_ref (socket);
  peer = g_strdup (soup_server_message_get_remote_host (message));
  uri = g_uri_ref (soup_server_message_get_uri (message));
  patience_end (message);
  stream = soup_server_message_steal_connection (message);
  governed = governor_new (stream, RATE, BURST);
  websocket = soup_websocket_connection_new (governed, uri,
      SOUP_WEBSOCKET_CONNECTION_SERVER, NULL, NULL, NULL);
  g_object_unref (governed);
  g_object_unref (stream);
  g_uri_unref (uri);
  if (upgrade->webrtc)
    line = webrtc_line_new (websocket, socket, &upgrade->self->network);
  else
    line = chat_line_new (websocket, socket, upgrade->format);
  hall_call (upgrade->self->hall, line, &upgrade->settings, peer);
  g_free (peer);
}

static Upgrade *
upgrade_new (Endpoints * self, GHashTable * query, gboolean webrtc)
{
  const gchar *format = query ? g_hash_table_lookup (query, "format") : NULL;
  Upgrade *upgrade = g_new0 (Upgrade, 1);
  const gchar *wrong;

  upgrade->self = self;
  upgrade->webrtc = webrtc;
  settings_read (&upgrade->settings, query, &wrong);
  if (wrong)
    log_event ("debug", 0, "out-of-range", "parameter", wrong, NULL);
  upgrade->format = g_strcmp0 (format, "pcm") == 0 ? SOUND_PCM : SOUND_OGG;
  return upgrade;
}

static void
answer_call (Endpoints * self, SoupServerMessage * message,
    GHashTable * query, gboolean webrtc)
{
  GList *extensions = NULL;
  GError *error = NULL;

  if (!soup_websocket_server_check_handshake (message, NULL, NULL, NULL,
          &error)) {
    soup_message_headers_replace (soup_server_message_get_response_headers
        (message), "Upgrade", "websocket");
    soup_server_message_set_response (message, "text/plain", SOUP_MEMORY_COPY,
        error->message, strlen (error->message));
    soup_server_message_set_status (message, 426, "Upgrade Required");
    g_error_free (error);
    return;
  }
  if (!soup_websocket_server_process_handshake (message, NULL, NULL, NULL,
          &extensions))
    return;
  g_signal_connect_data (message, "wrote-informational",
      G_CALLBACK (on_upgraded), upgrade_new (self, query, webrtc), upgrade_free,
      0);
}

static void
answer_chat (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  if (may_call (self, message, query))
    answer_call (self, message, query, FALSE);
}

static void
answer_webrtc (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  const gchar *problem = webrtc_problem ();

  if (!may_call (self, message, query))
    return;
  if (problem)
    answer_text (message, SOUP_STATUS_NOT_IMPLEMENTED, "text/plain",
        g_strdup_printf ("%s\n", problem));
  else
    answer_call (self, message, query, TRUE);
}

/* ---- how it is ---- */

static void
answer_health (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  answer_text (message, SOUP_STATUS_OK, "text/plain", g_strdup ("ok\n"));
}

static void
answer_ready (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  if (hall_is_ready (self->hall))
    answer_text (message, SOUP_STATUS_OK, "text/plain",
        g_strdup ("ready\n"));
  else
    answer_text (message, SOUP_STATUS_SERVICE_UNAVAILABLE, "text/plain",
        g_strdup ("loading the model, or going down\n"));
}

static void
answer_metrics (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  answer_text (message, SOUP_STATUS_OK, "text/plain; version=0.0.4",
      metrics_text (self->version, self->model, self->device));
}

static void
answer_page (Endpoints * self, SoupServerMessage * message,
    const gchar * path, GHashTable * query)
{
  page_answer (self->static_dir, message, path);
}

/* ---- the table ---- */

/* A path as it is; "/" is for all others. */
static const struct
{
  const gchar *path;
  void (*answer) (Endpoints * self, SoupServerMessage * message,
      const gchar * path, GHashTable * query);
} table[] = {
  {"/api/chat", answer_chat},
  {"/api/webrtc", answer_webrtc},
  {"/healthz", answer_health},
  {"/readyz", answer_ready},
  {"/metrics", answer_metrics},
  {"/", answer_page},
};

static void
on_request (SoupServer * server, SoupServerMessage * message,
    const char *path, GHashTable * query, gpointer user_data)
{
  Endpoints *self = user_data;
  const gchar *method = soup_server_message_get_method (message);
  guint i;

  if (strcmp (method, "GET") != 0 && strcmp (method, "HEAD") != 0) {
    soup_server_message_set_status (message, SOUP_STATUS_METHOD_NOT_ALLOWED,
        NULL);
    return;
  }
  for (i = 0; i < G_N_ELEMENTS (table); i++) {
    const gchar *rest = path + strlen (table[i].path);

    if (g_str_has_prefix (path, table[i].path)
        && (*rest == '\0' || strcmp (table[i].path, "/") == 0)) {
      table[i].answer (self, message, path, query);
      return;
    }
  }
}

/* Nothing that is to be sent to us has a body: it is not kept, and a big one is
 * not waited for. */
static void
on_request_early (SoupServer * server, SoupServerMessage * message,
    const char *path, GHashTable * query, gpointer user_data)
{
  SoupMessageHeaders *headers =
      soup_server_message_get_request_headers (message);
  GSocket *socket = soup_server_message_get_socket (message);

  soup_message_body_set_accumulate (soup_server_message_get_request_body
      (message), FALSE);
  if (socket
      && (soup_message_headers_get_encoding (headers) == SOUP_ENCODING_CHUNKED
          || soup_message_headers_get_content_length (headers) > MAX_BODY))
    g_socket_shutdown (socket, TRUE, TRUE, NULL);
}

void
endpoints_add (Endpoints * self, SoupServer * server)
{
  soup_server_add_early_handler (server, "/", on_request_early, self, NULL);
  soup_server_add_handler (server, "/", on_request, self, NULL);
}
