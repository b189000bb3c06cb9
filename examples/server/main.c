/* moshi-server: Moshi talks with everybody who calls.
 *
 *   moshi-server --model kyutai/moshika-pytorch-bf16 --sessions 4
 *
 * A conversation is a WebSocket at /api/chat, in the protocol of Kyutai's own
 * servers, and a pipeline behind it:
 *
 *   endpoints.c     requests by path, who may call
 *   hall.c          who talks, who waits; what becomes of a caller
 *   caller.c        his connection          conversation.c  his pipeline
 *   chat.c          his line in that protocol
 *   webrtc.c        his line by WebRTC, at /api/webrtc
 *
 * One thread, with a main loop, has all connections. What computes or waits is
 * in the threads of the pipelines.
 */
#include <glib-unix.h>
#include <gst/gst.h>
#include <stdio.h>
#include <string.h>

#include "certificate.h"
#include "endpoints.h"
#include "log.h"
#include "metrics.h"
#include "options.h"
#include "patience.h"

typedef struct
{
  Options options;
  GMainLoop *loop;
  SoupServer *soup;
  Hall *hall;
  ModelKeeper *keeper;
  Endpoints endpoints;
  gboolean stopping;
  int status;
} Server;

static void
on_loaded (const gchar * error, gpointer user_data)
{
  Server *server = user_data;

  if (error) {
    log_event ("error", 0, "load", "message", error, NULL);
    server->status = 1;
    g_main_loop_quit (server->loop);
    return;
  }
  server->endpoints.model = model_keeper_get_model (server->keeper);
  log_event ("info", 0, "ready", "model", server->endpoints.model, NULL);
  hall_open (server->hall, server->endpoints.model);
}

/* ---- the end ---- */

static gboolean
on_drained (gpointer user_data)
{
  Server *server = user_data;

  g_main_loop_quit (server->loop);
  return G_SOURCE_REMOVE;
}

/* The first lets talks finish, the second does not. */
static gboolean
on_terminate (gpointer user_data)
{
  Server *server = user_data;

  if (server->stopping)
    hall_close (server->hall);
  else {
    log_event ("info", 0, "draining", NULL);
    hall_drain (server->hall, server->options.drain, on_drained, server);
  }
  server->stopping = TRUE;
  return G_SOURCE_CONTINUE;
}

static gboolean
on_interrupt (gpointer user_data)
{
  on_terminate (user_data);
  return on_terminate (user_data);
}

/* ---- the beginning ---- */

static GInetAddress *
address_of (const gchar * host)
{
  if (strcmp (host, "localhost") == 0)
    return g_inet_address_new_loopback (G_SOCKET_FAMILY_IPV4);
  return g_inet_address_new_from_string (host);
}

static gboolean
listen_at (Server * server, GError ** error)
{
  Options *options = &server->options;
  GInetAddress *inet = address_of (options->host);
  GSocketAddress *address;
  gboolean tls = options->tls || options->tls_cert, listening;
  GTlsCertificate *certificate;

  if (!inet) {
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        "--host %s: an address is wanted, such as 127.0.0.1", options->host);
    return FALSE;
  }
  if (tls) {
    certificate = certificate_load (options->tls_cert, options->tls_key,
        options->host, error);
    if (!certificate) {
      g_object_unref (inet);
      return FALSE;
    }
    soup_server_set_tls_certificate (server->soup, certificate);
    g_object_unref (certificate);
  }
  address = g_inet_socket_address_new (inet, options->port);
  listening = soup_server_listen (server->soup, address,
      tls ? SOUP_SERVER_LISTEN_HTTPS : 0, error);
  g_object_unref (address);
  g_object_unref (inet);
  return listening;
}

static void
say_where (Server * server)
{
  GSList *uris = soup_server_get_uris (server->soup), *l;

  for (l = uris; l; l = l->next) {
    gchar *uri = g_uri_to_string (l->data);

    g_print ("Listening at %s\n", uri);
    log_event ("info", 0, "listening", "uri", uri, NULL);
    g_free (uri);
  }
  fflush (stdout);
  g_slist_free_full (uris, (GDestroyNotify) g_uri_unref);
}

/* The page of the repository, or as it is installed. */
static gchar *
find_page (const Options * options)
{
  const gchar *data = g_getenv ("MOSHI_DATA_PATH");
  gchar *directory;

  if (options->static_dir)
    return strcmp (options->static_dir, "none") == 0 ? NULL :
        g_strdup (options->static_dir);
  directory = data ? g_build_filename (data, "server", "web", NULL) : NULL;
  if (directory && g_file_test (directory, G_FILE_TEST_IS_DIR))
    return directory;
  g_free (directory);
  return g_file_test (WEB_DIR, G_FILE_TEST_IS_DIR) ? g_strdup (WEB_DIR) : NULL;
}

static void
serve (Server * server)
{
  Options *o = &server->options;
  ModelOptions model = { o->model, o->device, o->threads, o->context,
    o->quantization
  };
  HallOptions options = { model, o->sessions, o->queue, o->silence,
    o->max_seconds, o->instance, VERSION
  };
  gchar *page = find_page (o);
  gchar **origins = o->origins ? g_strsplit (o->origins, ",", -1) : NULL;

  server->hall = hall_new (&options);
  server->endpoints = (Endpoints) {
  server->hall, o->token, origins, page, VERSION, "",
        o->device ? o->device : "auto",
    {o->stun, o->turn, o->ice_address}
  };
  endpoints_add (&server->endpoints, server->soup);
  patience_add (server->soup);
  say_where (server);
  server->keeper = model_keeper_new (&model, on_loaded, server);
  g_unix_signal_add (SIGTERM, on_terminate, server);
  g_unix_signal_add (SIGINT, on_interrupt, server);
  g_main_loop_run (server->loop);

  soup_server_disconnect (server->soup);
  hall_free (server->hall);
  model_keeper_free (server->keeper);
  g_strfreev (origins);
  g_free (page);
}

int
main (int argc, char **argv)
{
  Server server = { {NULL} };
  GError *error = NULL;

  if (!options_read (&server.options, argc, argv, &error)) {
    g_printerr ("moshi-server: %s\n", error->message);
    g_error_free (error);
    options_clear (&server.options);
    return 2;
  }
  if (server.options.version) {
    g_print ("moshi-server %s\n", VERSION);
    options_clear (&server.options);
    return 0;
  }
  log_set_verbose (server.options.verbose);
  server.loop = g_main_loop_new (NULL, FALSE);
  server.soup = soup_server_new ("server-header", "moshi-server", NULL);
  if (listen_at (&server, &error))
    serve (&server);
  else {
    g_printerr ("moshi-server: %s\n", error->message);
    g_error_free (error);
    server.status = 1;
  }
  g_object_unref (server.soup);
  g_main_loop_unref (server.loop);
  options_clear (&server.options);
  return server.status;
}
