/* The files of the web page. */
#include "page.h"

#include <string.h>

#define MAX_FILE (64 << 20)     /* bytes */
#define NO_PAGE \
  "moshi-server: a conversation is at /api/chat (WebSocket).\n"

static const struct
{
  const gchar *suffix, *type;
} types[] = {
  {".html", "text/html; charset=utf-8"},
  {".js", "text/javascript; charset=utf-8"},
  {".mjs", "text/javascript; charset=utf-8"},
  {".css", "text/css; charset=utf-8"},
  {".json", "application/json"},
  {".map", "application/json"},
  {".webmanifest", "application/manifest+json"},
  {".txt", "text/plain; charset=utf-8"},
  {".svg", "image/svg+xml"},
  {".png", "image/png"},
  {".jpg", "image/jpeg"},
  {".webp", "image/webp"},
  {".ico", "image/x-icon"},
  {".wasm", "application/wasm"},
  {".woff2", "font/woff2"},
  {".wav", "audio/wav"},
  {".ogg", "audio/ogg"},
};

static const gchar *
type_of (const gchar * name)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_str_has_suffix (name, types[i].suffix))
      return types[i].type;
  return "application/octet-stream";
}

/* No part begins with a dot, which keeps ".." out as well. */
static gboolean
is_sane (const gchar * path)
{
  return path[0] == '/' && strstr (path, "/.") == NULL
      && strchr (path, '\\') == NULL && strlen (path) < 1000;
}

/* Also through symbolic links. */
static gboolean
is_inside (const gchar * directory, const gchar * name)
{
  gchar *root = realpath (directory, NULL), *file = realpath (name, NULL);
  gboolean inside = root && file && g_str_has_prefix (file, root)
      && (file[strlen (root)] == '/' || strcmp (root, "/") == 0);

  free (root);
  free (file);
  return inside;
}

static gboolean
answer_file (SoupServerMessage * message, const gchar * name)
{
  SoupMessageHeaders *headers =
      soup_server_message_get_response_headers (message);
  GMappedFile *file = g_mapped_file_new (name, FALSE, NULL);
  GBytes *bytes;

  if (!file)
    return FALSE;
  bytes = g_mapped_file_get_bytes (file);
  g_mapped_file_unref (file);
  if (g_bytes_get_size (bytes) > MAX_FILE) {
    g_bytes_unref (bytes);
    return FALSE;
  }
  soup_message_headers_replace (headers, "Cache-Control", "no-cache");
  soup_message_headers_replace (headers, "X-Content-Type-Options", "nosniff");
  soup_message_headers_replace (headers, "Content-Type", type_of (name));
  soup_message_body_append_bytes (soup_server_message_get_response_body
      (message), bytes);
  soup_server_message_set_status (message, SOUP_STATUS_OK, NULL);
  g_bytes_unref (bytes);
  return TRUE;
}

void
page_answer (const gchar * directory, SoupServerMessage * message,
    const gchar * path)
{
  gchar *name;

  if (!directory && strcmp (path, "/") == 0) {
    soup_server_message_set_response (message, "text/plain",
        SOUP_MEMORY_STATIC, NO_PAGE, strlen (NO_PAGE));
    soup_server_message_set_status (message, SOUP_STATUS_OK, NULL);
    return;
  }
  soup_server_message_set_status (message, SOUP_STATUS_NOT_FOUND, NULL);
  if (!directory || !is_sane (path))
    return;
  name = g_build_filename (directory, path,
      g_str_has_suffix (path, "/") ? "index.html" : NULL, NULL);
  if (g_file_test (name, G_FILE_TEST_IS_REGULAR)
      && is_inside (directory, name))
    answer_file (message, name);
  g_free (name);
}
