#ifndef HALL_H
#define HALL_H

#include "conversation.h"
#include "line.h"

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

Hall *hall_new (const HallOptions * options);
void hall_free (Hall * hall);
/* The model is there. */
void hall_open (Hall * hall, const gchar * model);
gboolean hall_is_ready (Hall * hall);
/* A caller with his settings comes in; takes the line. */
void hall_call (Hall * hall, Line * line, const Settings * settings,
    const gchar * peer);
/* No new callers; who waits is sent away. func is called when the last talk has
 * ended, after seconds at the latest. */
void hall_drain (Hall * hall, guint seconds, GSourceFunc func,
    gpointer user_data);
/* Ends the talks now. */
void hall_close (Hall * hall);

G_END_DECLS

#endif
