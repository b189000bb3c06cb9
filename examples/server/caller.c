/* Libsoup's WebSocket keeps what it cannot send, without bound. So it is given
 * a message only when the socket takes more; what does not leave waits here, and
 * a caller who has not taken anything for a while, or has too much waiting, is
 * slow.
 */
#include "caller.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "governor.h"
#include "metrics.h"

#define MAX_MESSAGE (1 << 20)   /* bytes */
#define PING_INTERVAL 10        /* s */
/* Of a caller whose machine has vanished nothing is acknowledged. */
#define VANISHED 20000          /* ms */
/* The kernel holds sound for about ten seconds, and so do we. */
#define SOCKET_BUFFER 16384
#define MAX_QUEUED 65536        /* bytes */
#define MAX_BLOCKED (10 * G_USEC_PER_SEC)
#define MAX_BYE 121             /* bytes of reason in a closing frame of ours */

struct _Caller
{
  SoupWebsocketConnection *websocket;
  GSocket *socket;
  SoupWebsocketDataType type;
  CallerFuncs funcs;
  gpointer user_data;

  GQueue queue;                 /* of GBytes */
  gsize queued;                 /* bytes */
  GSource *writable;            /* while there is a queue */
  gint64 taken;                 /* when the network took the last message */
  gboolean closing;
};

static GPollableOutputStream *
output_of (Caller * self)
{
  GIOStream *stream =
      soup_websocket_connection_get_io_stream (self->websocket);

  return G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (stream));
}

static gboolean
is_open (Caller * self)
{
  return !self->closing
      && soup_websocket_connection_get_state (self->websocket) ==
      SOUP_WEBSOCKET_STATE_OPEN;
}

static void
drop_queue (Caller * self)
{
  g_queue_clear_full (&self->queue, (GDestroyNotify) g_bytes_unref);
  self->queued = 0;
  if (self->writable) {
    g_source_destroy (self->writable);
    g_clear_pointer (&self->writable, g_source_unref);
  }
}

/* ---- receiving ---- */

static void
on_message (SoupWebsocketConnection * websocket, gint type, GBytes * bytes,
    Caller * self)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  metric_add (METRIC_BYTES_IN, size);
  if (is_open (self) && ((SoupWebsocketDataType) type != self->type
          || !self->funcs.message (data, size, self->user_data)))
    metric_add (METRIC_BAD_INPUT, 1);
}

static void
on_closed (SoupWebsocketConnection * websocket, Caller * self)
{
  drop_queue (self);
  g_signal_handlers_disconnect_by_data (websocket, self);
  self->funcs.gone (self->user_data);
  g_object_unref (self->websocket);
  g_object_unref (self->socket);
  g_free (self);
}

Caller *
caller_new (SoupWebsocketConnection * websocket, GSocket * socket,
    SoupWebsocketDataType type, const CallerFuncs * funcs, gpointer user_data)
{
  Caller *self = g_new0 (Caller, 1);

  self->websocket = websocket;
  self->socket = socket;
  self->type = type;
  self->funcs = *funcs;
  self->user_data = user_data;
  self->taken = g_get_monotonic_time ();
  g_queue_init (&self->queue);

  g_socket_set_option (socket, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER, NULL);
  g_socket_set_option (socket, IPPROTO_TCP, TCP_NODELAY, TRUE, NULL);
#ifdef TCP_USER_TIMEOUT
  g_socket_set_option (socket, IPPROTO_TCP, TCP_USER_TIMEOUT, VANISHED, NULL);
#endif
  soup_websocket_connection_set_max_incoming_payload_size (websocket,
      MAX_MESSAGE);
  soup_websocket_connection_set_keepalive_interval (websocket, PING_INTERVAL);
  g_signal_connect (websocket, "message", G_CALLBACK (on_message), self);
  g_signal_connect (websocket, "closed", G_CALLBACK (on_closed), self);
  return self;
}

/* ---- sending ---- */

static void
hand_over (Caller * self, GBytes * message)
{
  self->taken = g_get_monotonic_time ();
  metric_add (METRIC_BYTES_OUT, g_bytes_get_size (message));
  soup_websocket_connection_send_message (self->websocket, self->type,
      message);
}

static gboolean
on_writable (GObject * stream, gpointer user_data)
{
  Caller *self = user_data;
  GBytes *message;

  while (is_open (self)
      && g_pollable_output_stream_is_writable (output_of (self))
      && (message = g_queue_pop_head (&self->queue))) {
    self->queued -= g_bytes_get_size (message);
    hand_over (self, message);
    g_bytes_unref (message);
  }
  if (is_open (self) && !g_queue_is_empty (&self->queue))
    return G_SOURCE_CONTINUE;
  g_clear_pointer (&self->writable, g_source_unref);
  return G_SOURCE_REMOVE;
}

void
caller_send (Caller * self, GBytes * message)
{
  if (!is_open (self)) {
    g_bytes_unref (message);
    return;
  }
  if (g_queue_is_empty (&self->queue)
      && g_pollable_output_stream_is_writable (output_of (self))) {
    hand_over (self, message);
    g_bytes_unref (message);
    return;
  }
  g_queue_push_tail (&self->queue, message);
  self->queued += g_bytes_get_size (message);
  if (!self->writable) {
    self->writable =
        g_pollable_output_stream_create_source (output_of (self), NULL);
    /* After the WebSocket, which may have the rest of a message. */
    g_source_set_priority (self->writable, G_PRIORITY_DEFAULT + 10);
    g_source_set_callback (self->writable, G_SOURCE_FUNC (on_writable), self,
        NULL);
    g_source_attach (self->writable, NULL);
  }
}

/* A closing handshake with a code that libsoup does not know. The other end's
 * half of it ends the connection. */
static void
close_as (Caller * self, gushort code, const gchar * reason)
{
  guint8 frame[4 + MAX_BYE] = { 0x88, 2 + strlen (reason), code >> 8, code };
  gssize size = 4 + strlen (reason);

  memcpy (frame + 4, reason, strlen (reason));
  self->closing = TRUE;
  if (g_pollable_output_stream_write_nonblocking (output_of (self), frame,
          size, NULL, NULL) != size)
    caller_cut (self);
}

void
caller_bye (Caller * self, gushort code, GBytes * message,
    const gchar * reason)
{
  gboolean open = is_open (self);

  if (open && !g_queue_is_empty (&self->queue)) {
    caller_cut (self);
    open = FALSE;
  }
  if (open && message)
    hand_over (self, message);
  g_clear_pointer (&message, g_bytes_unref);
  if (!open || !is_open (self))
    return;
  if (code == TRY_AGAIN_LATER)
    close_as (self, code, reason ? reason : "");
  else {
    self->closing = TRUE;
    soup_websocket_connection_close (self->websocket, code, reason);
  }
}

/* The WebSocket sees the end of its input, and says that it is closed. */
void
caller_cut (Caller * self)
{
  self->closing = TRUE;
  drop_queue (self);
  g_socket_shutdown (self->socket, TRUE, TRUE, NULL);
}

gboolean
caller_is_slow (Caller * self)
{
  return self->queued > MAX_QUEUED || (self->queued > 0
      && g_get_monotonic_time () - self->taken > MAX_BLOCKED);
}

gboolean
caller_has_flooded (Caller * self)
{
  GIOStream *stream =
      soup_websocket_connection_get_io_stream (self->websocket);

  return SERVER_IS_GOVERNOR (stream)
      && governor_flooded (SERVER_GOVERNOR (stream));
}
