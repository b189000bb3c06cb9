/* The line of /api/chat: messages of Kyutai's protocol, in which sound is Opus
 * in Ogg, or plain samples. */
#include "line.h"

#include "../protocol/message.h"
#include "../protocol/oggopus.h"
#include "metrics.h"

#define SAMPLE_RATE 24000

typedef struct
{
  Line line;
  OggOpusReader reader;
  OggOpusWriter writer;
} Chat;

/* ---- what the caller says ---- */

static void
on_packet (const guint8 * data, gsize size, guint samples, gpointer user_data)
{
  Line *line = user_data;

  line->funcs.heard (data, size, gst_util_uint64_scale (samples, GST_SECOND,
          OPUS_CLOCK), line->user_data);
}

static void
hear (Chat * self, const guint8 * data, gsize size)
{
  Line *line = &self->line;
  guint64 bad = self->reader.bad;
  gsize whole = size & ~(gsize) 1;

  if (line->format == SOUND_OGG) {
    ogg_opus_reader_push (&self->reader, data, size, on_packet, self);
    metric_add (METRIC_BAD_INPUT, self->reader.bad - bad);
  } else if (whole > 0)
    line->funcs.heard (data, whole, gst_util_uint64_scale (whole / 2,
            GST_SECOND, SAMPLE_RATE), line->user_data);
}

static gboolean
on_message (const guint8 * data, gsize size, gpointer user_data)
{
  Chat *self = user_data;
  Message message;

  self->line.heard = g_get_monotonic_time ();
  if (!message_read (&message, data, size))
    return FALSE;
  if (message.kind == MESSAGE_AUDIO)
    hear (self, message.data, message.size);
  return TRUE;
}

/* ---- what is said to him ---- */

static void
chat_place (Line * line, guint place, guint length, const gchar * instance)
{
  gchar *text = g_strdup_printf ("{\"queue_position\":%u,"
      "\"queue_length\":%u,\"instance_name\":\"%s\"}", place, length,
      instance);

  caller_send (line->caller, message_new_text (MESSAGE_METADATA, text));
  g_free (text);
}

static void
chat_begin (Line * line, const gchar * metadata)
{
  caller_send (line->caller, message_new_text (MESSAGE_METADATA, metadata));
  caller_send (line->caller, message_new_handshake ());
}

static void
chat_speak (Line * line, GBytes * sound, GstClockTimeDiff lag)
{
  Chat *self = (Chat *) line;
  GByteArray *bytes = g_byte_array_new ();
  gsize size;
  const guint8 *data = g_bytes_get_data (sound, &size);

  if (line->format == SOUND_PCM)
    g_byte_array_append (bytes, data, size);
  else
    ogg_opus_writer_push (&self->writer, data, size, bytes);
  caller_send (line->caller, message_new (MESSAGE_AUDIO, bytes->data,
          bytes->len));
  g_byte_array_unref (bytes);
}

static void
chat_word (Line * line, const gchar * text)
{
  caller_send (line->caller, message_new_text (MESSAGE_TEXT, text));
}

static void
chat_bye (Line * line, gushort code, const gchar * text)
{
  caller_bye (line->caller, code,
      text ? message_new_text (MESSAGE_ERROR, text) : NULL, text);
}

static void
chat_free (Line * line, GSourceFunc func, gpointer user_data)
{
  Chat *self = (Chat *) line;

  ogg_opus_reader_clear (&self->reader);
  ogg_opus_writer_clear (&self->writer);
  g_free (self);
  func (user_data);
}

Line *
chat_line_new (SoupWebsocketConnection * websocket, GSocket * socket,
    SoundFormat format)
{
  static const LineClass class = { "chat", chat_place, chat_begin, chat_speak,
    chat_word, chat_bye, chat_free
  };
  static const CallerFuncs funcs = { on_message, line_gone };
  Chat *self = g_new0 (Chat, 1);

  self->line.class = &class;
  self->line.format = format;
  self->line.heard = g_get_monotonic_time ();
  ogg_opus_reader_init (&self->reader);
  ogg_opus_writer_init (&self->writer);
  self->line.caller = caller_new (websocket, socket,
      SOUP_WEBSOCKET_DATA_BINARY, &funcs, self);
  return &self->line;
}
