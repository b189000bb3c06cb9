/* What two ends of the token link have to find each other. */
#include "lines.h"

#include <string.h>

#define MAX_LINE 65536
#define DEFAULT_PORT 7000

struct _Lines
{
  GSocketConnection *connection;
  GCancellable *cancellable;
  LinesFunc func;
  gpointer user_data;
  GString *text;                /* that has come */
  gchar buffer[1024];
};

static GSocketConnection *
wait_at (guint16 port, GError ** error)
{
  GSocketListener *listener = g_socket_listener_new ();
  GSocketConnection *connection = NULL;

  if (g_socket_listener_add_inet_port (listener, port, NULL, error)) {
    g_print ("Waiting at port %d\n", port);
    connection = g_socket_listener_accept (listener, NULL, NULL, error);
  }
  g_object_unref (listener);
  return connection;
}

static GSocketConnection *
connect_to (const gchar * call, GError ** error)
{
  GSocketClient *client = g_socket_client_new ();
  GSocketConnection *connection = g_socket_client_connect_to_host (client,
      call, DEFAULT_PORT, NULL, error);

  g_object_unref (client);
  return connection;
}

Lines *
lines_new (const gchar * call, guint16 port, GError ** error)
{
  GSocketConnection *connection =
      call ? connect_to (call, error) : wait_at (port, error);
  Lines *self;

  if (!connection)
    return NULL;
  self = g_new0 (Lines, 1);
  self->connection = connection;
  self->cancellable = g_cancellable_new ();
  self->text = g_string_new (NULL);
  return self;
}

static void read_more (Lines * self);

static void
on_read (GObject * stream, GAsyncResult * result, gpointer user_data)
{
  Lines *self = user_data;
  GError *error = NULL;
  gssize n =
      g_input_stream_read_finish (G_INPUT_STREAM (stream), result, &error);
  gboolean freed = g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  gchar *end;

  g_clear_error (&error);
  if (freed)
    return;
  if (n <= 0 || self->text->len + n > MAX_LINE) {
    self->func (NULL, 0, self->user_data);
    return;
  }
  g_string_append_len (self->text, self->buffer, n);
  while ((end = memchr (self->text->str, '\n', self->text->len))) {
    gsize size = end - self->text->str;

    self->func (self->text->str, size, self->user_data);
    g_string_erase (self->text, 0, size + 1);
  }
  read_more (self);
}

static void
read_more (Lines * self)
{
  g_input_stream_read_async (g_io_stream_get_input_stream (G_IO_STREAM
          (self->connection)), self->buffer, sizeof self->buffer,
      G_PRIORITY_DEFAULT, self->cancellable, on_read, self);
}

void
lines_read (Lines * self, LinesFunc func, gpointer user_data)
{
  self->func = func;
  self->user_data = user_data;
  read_more (self);
}

void
lines_write (Lines * self, const gchar * line)
{
  GOutputStream *output =
      g_io_stream_get_output_stream (G_IO_STREAM (self->connection));

  g_output_stream_write_all (output, line, strlen (line), NULL, NULL, NULL);
  g_output_stream_write_all (output, "\n", 1, NULL, NULL, NULL);
}

/* What is being read has the buffer for its own: wait for that. */
void
lines_free (Lines * self)
{
  g_cancellable_cancel (self->cancellable);
  while (g_input_stream_has_pending (g_io_stream_get_input_stream (G_IO_STREAM
              (self->connection))))
    g_main_context_iteration (NULL, TRUE);
  g_object_unref (self->connection);
  g_object_unref (self->cancellable);
  g_string_free (self->text, TRUE);
  g_free (self);
}
