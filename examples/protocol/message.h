#ifndef MESSAGE_H
#define MESSAGE_H

#include <glib.h>

G_BEGIN_DECLS

/* Messages of /api/chat: a byte that says what it is, and the rest. One
 * WebSocket binary message is one of them. */
typedef enum
{
  MESSAGE_HANDSHAKE = 0,        /* nothing, or version and model, u32 each */
  MESSAGE_AUDIO = 1,            /* bytes of an Ogg stream */
  MESSAGE_TEXT = 2,
  MESSAGE_CONTROL = 3,          /* a byte: 0 start, 1 end of turn, 2 pause, 3 restart */
  MESSAGE_METADATA = 4,         /* JSON */
  MESSAGE_ERROR = 5,            /* text */
  MESSAGE_PING = 6,
  MESSAGE_COLOURED_TEXT = 7,    /* a byte 0..10, text */
  MESSAGE_IMAGE = 8,
  MESSAGE_CODES = 9,            /* u32 each */
  MESSAGE_RATING = 10,
  MESSAGE_KINDS
} MessageKind;

typedef struct
{
  MessageKind kind;
  guint8 argument;              /* of control, colour and rating */
  const guint8 *data;           /* in the bytes read; text is valid UTF-8 */
  gsize size;
} Message;

/* FALSE: to be ignored, as everybody does with what he does not know. */
gboolean message_read (Message * message, const guint8 * bytes, gsize size);

GBytes *message_new (MessageKind kind, gconstpointer data, gsize size);
GBytes *message_new_text (MessageKind kind, const gchar * text);
/* Protocol and model version 0, in the long form. */
GBytes *message_new_handshake (void);

G_END_DECLS

#endif
