/* The messages of /api/chat as bytes. */
#include "message.h"

#include <string.h>

#define HANDSHAKE_PAYLOAD 8

static gboolean
is_text (const guint8 * data, gsize size)
{
  return g_utf8_validate_len ((const gchar *) data, size, NULL);
}

/* The byte that some kinds have in front. */
static gboolean
take_argument (Message * message)
{
  if (message->size == 0)
    return FALSE;
  message->argument = message->data[0];
  message->data++;
  message->size--;
  return TRUE;
}

gboolean
message_read (Message * message, const guint8 * bytes, gsize size)
{
  if (size == 0 || bytes[0] >= MESSAGE_KINDS)
    return FALSE;
  message->kind = bytes[0];
  message->argument = 0;
  message->data = bytes + 1;
  message->size = size - 1;

  switch (message->kind) {
    case MESSAGE_TEXT:
    case MESSAGE_METADATA:
    case MESSAGE_ERROR:
      return is_text (message->data, message->size);
    case MESSAGE_COLOURED_TEXT:
      return take_argument (message)
          && is_text (message->data, message->size);
    case MESSAGE_CONTROL:
    case MESSAGE_RATING:
      return take_argument (message);
    case MESSAGE_CODES:
      return message->size % sizeof (guint32) == 0;
    default:
      return TRUE;
  }
}

GBytes *
message_new (MessageKind kind, gconstpointer data, gsize size)
{
  guint8 *bytes = g_malloc (size + 1);

  bytes[0] = kind;
  if (size > 0)
    memcpy (bytes + 1, data, size);
  return g_bytes_new_take (bytes, size + 1);
}

GBytes *
message_new_text (MessageKind kind, const gchar * text)
{
  return message_new (kind, text, strlen (text));
}

GBytes *
message_new_handshake (void)
{
  static const guint8 versions[HANDSHAKE_PAYLOAD];

  return message_new (MESSAGE_HANDSHAKE, versions, sizeof versions);
}
