/* The options of the command line. A configuration file has the same, under
 * their long names, in the group [server]; they count as given before all
 * others.
 */
#include "options.h"

#include <gst/gst.h>
#include <string.h>

#define GROUP "server"
#define MAX_SESSIONS 1000

static gboolean
check_range (const gchar * name, gint value, gint min, gint max,
    GError ** error)
{
  if (value >= min && value <= max)
    return TRUE;
  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
      "--%s is %d: it may be %d to %d", name, value, min, max);
  return FALSE;
}

/* scheme://host:port; webrtcbin says nothing when it is something else. */
static gboolean
check_uri (const gchar * name, const gchar * value, const gchar * scheme,
    GError ** error)
{
  GUri *uri = value ? g_uri_parse (value, G_URI_FLAGS_NONE, NULL) : NULL;
  gboolean good = !value || (uri && g_uri_get_host (uri)
      && *g_uri_get_host (uri) && g_uri_get_port (uri) > 0
      && g_str_has_prefix (g_uri_get_scheme (uri), scheme));

  if (uri)
    g_uri_unref (uri);
  if (!good)
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        "--%s: %s://host:port is wanted", name, scheme);
  return good;
}

static gboolean
check (Options * options, GError ** error)
{
  if (!options->tls_cert != !options->tls_key) {
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        "--tls-cert and --tls-key belong together");
    return FALSE;
  }
  if (options->token && options->token_file) {
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        "Either --token or --token-file");
    return FALSE;
  }
  if (options->token_file) {
    if (!g_file_get_contents (options->token_file, &options->token, NULL,
            error))
      return FALSE;
    g_strstrip (options->token);
  }
  if (options->token && !*options->token) {
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
        "The token is empty");
    return FALSE;
  }
  return check_uri ("stun-server", options->stun, "stun", error)
      && check_uri ("turn-server", options->turn, "turn", error)
      && check_range ("port", options->port, 0, 65535, error)
      && check_range ("sessions", options->sessions, 1, MAX_SESSIONS, error)
      && check_range ("queue", options->queue, 0, MAX_SESSIONS, error)
      && check_range ("silence", options->silence, 0, G_MAXINT, error)
      && check_range ("max-seconds", options->max_seconds, 0, G_MAXINT, error)
      && check_range ("drain", options->drain, 0, G_MAXINT, error);
}

/* ---- the file ---- */

/* --config FILE or --config=FILE; the last one. */
static const gchar *
find_config (int argc, char **argv)
{
  const gchar *name = NULL;
  int i;

  for (i = 1; i < argc; i++)
    if (g_str_has_prefix (argv[i], "--config="))
      name = argv[i] + strlen ("--config=");
    else if (strcmp (argv[i], "--config") == 0 && i + 1 < argc)
      name = argv[++i];
  return name;
}

static gboolean
add_config (GPtrArray * arguments, const gchar * name, GError ** error)
{
  GKeyFile *file = g_key_file_new ();
  gchar **keys = NULL;
  guint i;

  if (g_key_file_load_from_file (file, name, G_KEY_FILE_NONE, error))
    keys = g_key_file_get_keys (file, GROUP, NULL, error);
  for (i = 0; keys && keys[i]; i++) {
    gchar *value = g_key_file_get_string (file, GROUP, keys[i], NULL);

    if (g_strcmp0 (value, "true") == 0)
      g_ptr_array_add (arguments, g_strdup_printf ("--%s", keys[i]));
    else if (value && strcmp (value, "false") != 0)
      g_ptr_array_add (arguments, g_strdup_printf ("--%s=%s", keys[i], value));
    g_free (value);
  }
  if (!keys && error && *error)
    g_prefix_error (error, "%s: ", name);
  g_key_file_free (file);
  g_strfreev (keys);
  return keys != NULL;
}

/* ---- all ---- */

static gboolean
parse (Options * o, gchar *** arguments, GError ** error)
{
  gchar *config = NULL;
  const GOptionEntry entries[] = {
    {"model", 'm', 0, G_OPTION_ARG_STRING, &o->model,
        "Directory, file, or a repository in the hub's cache", "MODEL"},
    {"device", 0, 0, G_OPTION_ARG_STRING, &o->device, "As moshilm's property",
        "DEVICE"},
    {"threads", 0, 0, G_OPTION_ARG_STRING, &o->threads,
        "Threads to compute with (default: the cores)", "N"},
    {"context", 0, 0, G_OPTION_ARG_STRING, &o->context,
        "Frames that the model remembers (default: all it can)", "N"},
    {"quantization", 0, 0, G_OPTION_ARG_STRING, &o->quantization,
        "As moshilm's property", "Q"},
    {"host", 0, 0, G_OPTION_ARG_STRING, &o->host,
        "Address to listen at (default 127.0.0.1; 0.0.0.0: all)", "ADDRESS"},
    {"port", 'p', 0, G_OPTION_ARG_INT, &o->port,
        "Port to listen at (default 8998; 0: a free one)", "PORT"},
    {"sessions", 0, 0, G_OPTION_ARG_INT, &o->sessions,
        "Talks at once (default 1)", "N"},
    {"queue", 0, 0, G_OPTION_ARG_INT, &o->queue,
        "Callers who may wait for one (default 8)", "N"},
    {"token", 0, 0, G_OPTION_ARG_STRING, &o->token,
        "What a caller has to know", "TOKEN"},
    {"token-file", 0, 0, G_OPTION_ARG_FILENAME, &o->token_file,
        "The same, in a file", "FILE"},
    {"origin", 0, 0, G_OPTION_ARG_STRING, &o->origins,
        "Pages that may call, such as https://example.org (default: all)",
        "ORIGIN,…"},
    {"tls", 0, 0, G_OPTION_ARG_NONE, &o->tls,
        "HTTPS; without a certificate, with one made for it", NULL},
    {"tls-cert", 0, 0, G_OPTION_ARG_FILENAME, &o->tls_cert,
        "Certificate (PEM)", "FILE"},
    {"tls-key", 0, 0, G_OPTION_ARG_FILENAME, &o->tls_key,
        "Its private key (PEM)", "FILE"},
    {"static", 0, 0, G_OPTION_ARG_FILENAME, &o->static_dir,
        "Directory of the web page (none: no page)", "DIR"},
    {"stun-server", 0, 0, G_OPTION_ARG_STRING, &o->stun,
        "For WebRTC: stun://host:port", "URI"},
    {"turn-server", 0, 0, G_OPTION_ARG_STRING, &o->turn,
        "For WebRTC: turn://user:password@host:port", "URI"},
    {"ice-address", 0, 0, G_OPTION_ARG_STRING, &o->ice_address,
        "For WebRTC: this machine's address to be reached at (default: all)",
        "ADDRESS"},
    {"instance", 0, 0, G_OPTION_ARG_STRING, &o->instance,
        "Name of this server (default: the machine's)", "NAME"},
    {"silence", 0, 0, G_OPTION_ARG_INT, &o->silence,
        "Drop who sends nothing for so long (default 60; 0: never)", "SECONDS"},
    {"max-seconds", 0, 0, G_OPTION_ARG_INT, &o->max_seconds,
        "End of every talk (default 0: none)", "SECONDS"},
    {"drain", 0, 0, G_OPTION_ARG_INT, &o->drain,
        "After SIGTERM, time for talks to finish (default 30)", "SECONDS"},
    {"config", 0, 0, G_OPTION_ARG_FILENAME, &config,
        "Key file with these options in its group [" GROUP "]", "FILE"},
    {"verbose", 'v', 0, G_OPTION_ARG_NONE, &o->verbose, "Log more", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "Say which this is",
        NULL},
    {NULL}
  };
  GOptionContext *context =
      g_option_context_new ("- talk with Moshi over the network");
  gboolean parsed;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  parsed = g_option_context_parse_strv (context, arguments, error);
  if (parsed && (*arguments)[0] && (*arguments)[1]) {
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
        "What is \"%s\"? See --help", (*arguments)[1]);
    parsed = FALSE;
  }
  g_option_context_free (context);
  g_free (config);
  return parsed;
}

gboolean
options_read (Options * options, int argc, char **argv, GError ** error)
{
  GPtrArray *arguments = g_ptr_array_new ();
  const gchar *config = find_config (argc, argv);
  gboolean read = TRUE;
  gchar **all;
  int i;

  memset (options, 0, sizeof *options);
  options->host = g_strdup ("127.0.0.1");
  options->port = 8998;
  options->sessions = 1;
  options->queue = 8;
  options->silence = 60;
  options->drain = 30;

  g_ptr_array_add (arguments, g_strdup (argv[0]));
  if (config)
    read = add_config (arguments, config, error);
  for (i = 1; i < argc; i++)
    g_ptr_array_add (arguments, g_strdup (argv[i]));
  g_ptr_array_add (arguments, NULL);
  all = (gchar **) g_ptr_array_free (arguments, FALSE);
  read = read && parse (options, &all, error) && check (options, error);
  g_strfreev (all);

  if (!options->instance)
    options->instance = g_strdup (g_get_host_name ());
  return read;
}

void
options_clear (Options * options)
{
  g_free (options->model);
  g_free (options->device);
  g_free (options->threads);
  g_free (options->context);
  g_free (options->quantization);
  g_free (options->host);
  g_free (options->token);
  g_free (options->token_file);
  g_free (options->origins);
  g_free (options->tls_cert);
  g_free (options->tls_key);
  g_free (options->static_dir);
  g_free (options->instance);
  g_free (options->stun);
  g_free (options->turn);
  g_free (options->ice_address);
}
