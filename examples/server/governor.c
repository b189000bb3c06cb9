/* A token bucket between a connection and the WebSocket that reads from it. It
 * pays for bytes, and for frames, of which small ones cost more than their
 * bytes: every ping is answered, and the answers wait in a list that is walked
 * through for each.
 */
#include "governor.h"

#define FRAME_COST 512          /* bytes */

/* ---- the input ---- */

#define TYPE_GOVERNED_INPUT (governed_input_get_type ())
G_DECLARE_FINAL_TYPE (GovernedInput, governed_input, SERVER, GOVERNED_INPUT,
    GFilterInputStream)

struct _GovernedInput
{
  GFilterInputStream parent;
  guint rate, burst;
  gdouble tokens;
  gint64 filled;                /* monotonic time */
  gboolean flooded;

  guint8 header[14];            /* of a frame, as far as it has come */
  guint have;
  guint64 left;                 /* bytes of its payload to come */
};

static void governed_input_pollable_init (GPollableInputStreamInterface * i);

G_DEFINE_TYPE_WITH_CODE (GovernedInput, governed_input,
    G_TYPE_FILTER_INPUT_STREAM,
    G_IMPLEMENT_INTERFACE (G_TYPE_POLLABLE_INPUT_STREAM,
        governed_input_pollable_init));

static GInputStream *
base_of (gpointer self)
{
  return g_filter_input_stream_get_base_stream (G_FILTER_INPUT_STREAM (self));
}

static void
refill (GovernedInput * self)
{
  gint64 now = g_get_monotonic_time ();

  self->tokens += (now - self->filled) / 1e6 * self->rate;
  self->tokens = MIN (self->tokens, self->burst);
  self->filled = now;
}

/* RFC 6455, 5.2: flags and opcode, mask and length, long length, mask. */
static guint
header_size (const guint8 * header, guint have)
{
  guint length, size = 2;

  if (have < size)
    return size;
  length = header[1] & 127;
  if (length >= 126)
    size += length == 126 ? 2 : 8;
  if (header[1] & 128)
    size += 4;
  return size;
}

static guint64
payload_size (const guint8 * header)
{
  guint i, n = header[1] & 127;
  guint64 size = 0;

  if (n < 126)
    return n;
  for (i = 0; i < (n == 126 ? 2 : 8); i++)
    size = size << 8 | header[2 + i];
  return size;
}

/* Frames that begin in these bytes. */
static guint
count_frames (GovernedInput * self, const guint8 * data, gsize size)
{
  guint frames = 0;

  while (size > 0) {
    gsize n = MIN (size, self->left);

    data += n;
    size -= n;
    self->left -= n;
    if (size == 0)
      break;
    self->header[self->have++] = *data++;
    size--;
    if (self->have < header_size (self->header, self->have))
      continue;
    self->left = payload_size (self->header);
    self->have = 0;
    frames++;
  }
  return frames;
}

static gssize
governed_input_read_nonblocking (GPollableInputStream * pollable,
    void *buffer, gsize count, GError ** error)
{
  GovernedInput *self = SERVER_GOVERNED_INPUT (pollable);
  gssize n;

  refill (self);
  if (self->tokens <= 0) {
    self->flooded = TRUE;
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED,
        "the caller sends too much");
    return -1;
  }
  n = g_pollable_input_stream_read_nonblocking (G_POLLABLE_INPUT_STREAM
      (base_of (self)), buffer, count, NULL, error);
  if (n > 0)
    self->tokens -= n + FRAME_COST * count_frames (self, buffer, n);
  return n;
}

static gboolean
governed_input_is_readable (GPollableInputStream * pollable)
{
  return
      g_pollable_input_stream_is_readable (G_POLLABLE_INPUT_STREAM (base_of
          (pollable)));
}

static GSource *
governed_input_create_source (GPollableInputStream * pollable,
    GCancellable * cancellable)
{
  GSource *base =
      g_pollable_input_stream_create_source (G_POLLABLE_INPUT_STREAM (base_of
          (pollable)), NULL);
  GSource *source = g_pollable_source_new_full (pollable, base, cancellable);

  g_source_unref (base);
  return source;
}

static void
governed_input_pollable_init (GPollableInputStreamInterface * i)
{
  i->read_nonblocking = governed_input_read_nonblocking;
  i->is_readable = governed_input_is_readable;
  i->create_source = governed_input_create_source;
}

static void
governed_input_class_init (GovernedInputClass * klass)
{
}

static void
governed_input_init (GovernedInput * self)
{
}

/* ---- the stream ---- */

struct _Governor
{
  GIOStream parent;
  GIOStream *base;
  GovernedInput *input;
};

G_DEFINE_TYPE (Governor, governor, G_TYPE_IO_STREAM);

static GInputStream *
governor_get_input_stream (GIOStream * stream)
{
  return G_INPUT_STREAM (SERVER_GOVERNOR (stream)->input);
}

static GOutputStream *
governor_get_output_stream (GIOStream * stream)
{
  return g_io_stream_get_output_stream (SERVER_GOVERNOR (stream)->base);
}

static gboolean
governor_close (GIOStream * stream, GCancellable * cancellable,
    GError ** error)
{
  return g_io_stream_close (SERVER_GOVERNOR (stream)->base, cancellable, error);
}

static void
on_base_closed (GObject * base, GAsyncResult * result, gpointer user_data)
{
  GTask *task = user_data;
  GError *error = NULL;

  if (g_io_stream_close_finish (G_IO_STREAM (base), result, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
  g_object_unref (task);
}

static void
governor_close_async (GIOStream * stream, int priority,
    GCancellable * cancellable, GAsyncReadyCallback callback,
    gpointer user_data)
{
  GTask *task = g_task_new (stream, cancellable, callback, user_data);

  g_io_stream_close_async (SERVER_GOVERNOR (stream)->base, priority, cancellable,
      on_base_closed, task);
}

static gboolean
governor_close_finish (GIOStream * stream, GAsyncResult * result,
    GError ** error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

static void
governor_finalize (GObject * object)
{
  Governor *self = SERVER_GOVERNOR (object);

  G_OBJECT_CLASS (governor_parent_class)->finalize (object);
  g_object_unref (self->input);
  g_object_unref (self->base);
}

static void
governor_class_init (GovernorClass * klass)
{
  GIOStreamClass *stream = G_IO_STREAM_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = governor_finalize;
  stream->get_input_stream = governor_get_input_stream;
  stream->get_output_stream = governor_get_output_stream;
  stream->close_fn = governor_close;
  stream->close_async = governor_close_async;
  stream->close_finish = governor_close_finish;
}

static void
governor_init (Governor * self)
{
}

GIOStream *
governor_new (GIOStream * base, guint rate, guint burst)
{
  Governor *self = g_object_new (TYPE_GOVERNOR, NULL);

  self->base = g_object_ref (base);
  self->input = g_object_new (TYPE_GOVERNED_INPUT,
      "base-stream", g_io_stream_get_input_stream (base),
      "close-base-stream", FALSE, NULL);
  self->input->rate = rate;
  self->input->burst = burst;
  self->input->tokens = burst;
  self->input->filled = g_get_monotonic_time ();
  return G_IO_STREAM (self);
}

gboolean
governor_flooded (Governor * governor)
{
  return governor->input->flooded;
}
