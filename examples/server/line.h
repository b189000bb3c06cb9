#ifndef LINE_H
#define LINE_H

#include "caller.h"
#include "conversation.h"

G_BEGIN_DECLS

/* How a caller is spoken with, between the hall and his connection. There are
 * two kinds: chat.c, webrtc.c. */
typedef struct _Line Line;

typedef struct
{
  /* Sound in the line's format. */
  void (*heard) (const guint8 * data, gsize size, GstClockTime duration,
      gpointer user_data);
  /* The line cannot go on; the text is a constant, for the caller. */
  void (*broken) (const gchar * text, gpointer user_data);
  /* The last call, after which caller is no more. */
  void (*gone) (gpointer user_data);
} LineFuncs;

typedef struct
{
  const gchar *name;
  /* The place in the queue. */
  void (*place) (Line * line, guint place, guint length,
      const gchar * instance);
  /* The caller is heard from now on; metadata is JSON. */
  void (*begin) (Line * line, const gchar * metadata);
  /* lag: what was heard before it was spoken, and is not yet answered. */
  void (*speak) (Line * line, GBytes * sound, GstClockTimeDiff lag);
  void (*word) (Line * line, const gchar * text);
  /* Nothing more is said but this; the text, or NULL, is a constant of up to
   * 121 bytes. */
  void (*bye) (Line * line, gushort code, const gchar * text);
  /* func is called when nothing of it is left. */
  void (*free) (Line * line, GSourceFunc func, gpointer user_data);
} LineClass;

struct _Line
{
  const LineClass *class;
  SoundFormat format;
  Caller *caller;
  gint64 heard;                 /* monotonic time of the last sign of life */
  LineFuncs funcs;
  gpointer user_data;
};

/* What a line has to do of CallerFuncs.gone. */
static inline void
line_gone (gpointer user_data)
{
  Line *line = user_data;

  line->funcs.gone (line->user_data);
}

#define line_place(line, ...) ((line)->class->place ((line), __VA_ARGS__))
#define line_begin(line, metadata) ((line)->class->begin ((line), (metadata)))
#define line_speak(line, ...) ((line)->class->speak ((line), __VA_ARGS__))
#define line_word(line, text) ((line)->class->word ((line), (text)))
#define line_bye(line, ...) ((line)->class->bye ((line), __VA_ARGS__))
#define line_free(line, ...) ((line)->class->free ((line), __VA_ARGS__))

/* Both own the connection and its socket from now on. */
Line *chat_line_new (SoupWebsocketConnection * websocket, GSocket * socket,
    SoundFormat format);

G_END_DECLS

#endif
