#ifndef HALL_H
#define HALL_H

#include "caller.h"
#include "conversation.h"

G_BEGIN_DECLS

/* All callers: who talks, who waits, who is turned away. */
typedef struct _Hall Hall;

typedef struct
{
  ModelOptions model;
  guint sessions, queue;
  guint silence;                /* s, after which a silent caller is dropped */
  guint max_seconds;            /* of a talk; 0: no limit */
  const gchar *instance, *version;
} HallOptions;

/* What a caller wants, before he is one. */
typedef struct
{
  Settings settings;
  SoundFormat format;
  gchar *peer;
} Call;

void call_free (gpointer call);

Hall *hall_new (const HallOptions * options);
void hall_free (Hall * hall);
/* The model is there. */
void hall_open (Hall * hall, const gchar * model);
gboolean hall_is_ready (Hall * hall);
/* Takes the three. */
void hall_call (Hall * hall, Call * call, SoupWebsocketConnection * websocket,
    GSocket * socket);
/* No new callers; who waits is sent away. func is called when the last talk has
 * ended, after seconds at the latest. */
void hall_drain (Hall * hall, guint seconds, GSourceFunc func,
    gpointer user_data);
/* Ends the talks now. */
void hall_close (Hall * hall);

G_END_DECLS

#endif
