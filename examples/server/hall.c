/* Callers come in through hall_call(). A free session is theirs at once, else
 * they wait in the order in which they came, and are told their place; when
 * that is full too, they hear so and are let go.
 *
 * A session is free again when its pipeline has gone, not before: what a talk
 * needs is never there twice.
 */
#include "hall.h"

#include <string.h>

#include "log.h"
#include "metrics.h"

/* Sound may arrive this much ahead of its time, after a hole in the network. */
#define AHEAD (10 * GST_SECOND)
#define PATIENCE (5 * G_USEC_PER_SEC)   /* for the other end's goodbye */

typedef enum
{
  WAITING,
  BEGINNING,
  TALKING,
  ENDED                         /* until the connection is closed */
} State;

typedef struct
{
  Hall *hall;
  guint64 id;
  State state;
  Line *line;
  Settings settings;
  Conversation *conversation;
  gint64 began, ended;          /* monotonic time */
  GstClockTime heard;
} Session;

struct _Hall
{
  HallOptions options;
  gchar *model;
  GList *sessions;              /* of Session, all connections */
  guint lines;                  /* of them, and of those that still end */
  GQueue waiting;               /* of Session */
  guint talking;                /* sessions that are not free */
  guint64 last_id;
  gboolean ready, draining;
  guint tick;
  gint64 deadline;              /* of draining */
  GSourceFunc drained;
  gpointer drained_data;
};

static void hall_fill (Hall * hall);

static void
update_gauges (Hall * self)
{
  metric_set (METRIC_SESSIONS, self->talking);
  metric_set (METRIC_QUEUE, g_queue_get_length (&self->waiting));
  metric_set (METRIC_READY, hall_is_ready (self));
}

static gboolean
on_drained (gpointer user_data)
{
  Hall *self = user_data;

  self->drained (self->drained_data);
  return G_SOURCE_REMOVE;
}

static void
note_change (Hall * self)
{
  update_gauges (self);
  if (self->draining && self->drained && self->talking == 0
      && (self->lines == 0
          || g_get_monotonic_time () > self->deadline)) {
    g_idle_add (on_drained, self);
    self->deadline = G_MAXINT64;
  }
}

/* --------------------------------------------------------- the queue */

static void
tell_places (Hall * self)
{
  guint length = g_queue_get_length (&self->waiting), place = 1;
  GList *l;

  for (l = self->waiting.head; l; l = l->next, place++) {
    Session *session = l->data;

    line_place (session->line, place, length, self->options.instance);
  }
}

/* --------------------------------------------------------- one session */

static void
log_end (Session * self, const gchar * reason)
{
  gchar *lasted = g_strdup_printf ("%.2f",
      self->began ? (g_get_monotonic_time () - self->began) / 1e6 : 0.0);
  gchar *frames = g_strdup_printf ("%" G_GUINT64_FORMAT, self->conversation ?
      conversation_get_frames (self->conversation) : 0);

  log_event ("info", self->id, "end", "reason", reason, "seconds", lasted,
      "frames", frames, NULL);
  g_free (lasted);
  g_free (frames);
}

static gboolean
on_conversation_ended (gpointer user_data)
{
  Hall *hall = user_data;

  hall->talking--;
  note_change (hall);
  hall_fill (hall);
  return G_SOURCE_REMOVE;
}

/* The first reason counts. */
static void
session_end (Session * self, Metric metric, const gchar * reason)
{
  if (self->state == ENDED)
    return;
  metric_add (metric, 1);
  log_end (self, reason);
  if (g_queue_remove (&self->hall->waiting, self))
    tell_places (self->hall);
  self->state = ENDED;
  self->ended = g_get_monotonic_time ();
  if (self->conversation)
    conversation_end (g_steal_pointer (&self->conversation),
        on_conversation_ended, self->hall);
  update_gauges (self->hall);
}

/* ---- what the model says ---- */

static void
check_slow (Session * self)
{
  if (self->state != ENDED && caller_is_slow (self->line->caller)) {
    session_end (self, METRIC_ENDED_SLOW, "slow");
    caller_cut (self->line->caller);
  }
}

static void
on_ready (const Settings * effective, gpointer user_data)
{
  Session *self = user_data;
  const HallOptions *options = &self->hall->options;
  gchar *metadata = settings_metadata (effective, self->hall->model,
      options->instance, options->version);

  self->settings = *effective;
  self->state = TALKING;
  self->began = g_get_monotonic_time ();
  metric_add (METRIC_TALKS, 1);
  log_event ("info", self->id, "talk", "settings", metadata, NULL);
  line_begin (self->line, metadata);
  check_slow (self);
  g_free (metadata);
}

static gboolean
is_over (Session * self)
{
  gdouble steps = self->settings.values[SETTING_MAX_STEPS];
  guint seconds = self->hall->options.max_seconds;

  return conversation_get_frames (self->conversation) >= steps || (seconds
      && g_get_monotonic_time () - self->began >
      seconds * G_USEC_PER_SEC);
}

static void
on_sound (GBytes * data, gpointer user_data)
{
  Session *self = user_data;

  if (self->state != TALKING)
    return;
  line_speak (self->line, data, conversation_get_lag (self->conversation));
  check_slow (self);
  if (self->state == TALKING && is_over (self)) {
    session_end (self, METRIC_ENDED_LIMIT, "limit");
    line_bye (self->line, SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
  }
}

/* Words come without spaces; clients put together what they get. */
static void
on_word (GBytes * word, gpointer user_data)
{
  Session *self = user_data;
  gsize size;
  const gchar *text = g_bytes_get_data (word, &size);
  gchar *spaced = g_strdup_printf (" %.*s", (int) size, text);

  if (self->state == TALKING) {
    line_word (self->line, spaced);
    check_slow (self);
  }
  g_free (spaced);
}

static void
on_failed (const gchar * message, gpointer user_data)
{
  Session *self = user_data;

  log_event ("error", self->id, "failed", "message", message, NULL);
  session_end (self, METRIC_ENDED_ERROR, "error");
  line_bye (self->line, SOUP_WEBSOCKET_CLOSE_SERVER_ERROR,
      "The server has an error");
}

/* ---- what the caller says ---- */

static void
on_heard (const guint8 * data, gsize size, GstClockTime duration,
    gpointer user_data)
{
  Session *self = user_data;
  GstClockTime elapsed;

  /* What is said before the handshake, nobody listens to. */
  if (self->state != TALKING)
    return;
  elapsed = (g_get_monotonic_time () - self->began) * GST_USECOND;
  self->heard += duration;
  if (self->heard > elapsed + AHEAD) {
    session_end (self, METRIC_ENDED_FLOOD, "flood");
    line_bye (self->line, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION,
        "Sound comes faster than time");
    return;
  }
  conversation_push (self->conversation, data, size, duration);
}

static void
on_broken (const gchar * text, gpointer user_data)
{
  Session *self = user_data;

  session_end (self, METRIC_ENDED_BROKEN, "broken");
  line_bye (self->line, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION, text);
}

static gboolean
on_line_freed (gpointer user_data)
{
  Hall *hall = user_data;

  hall->lines--;
  note_change (hall);
  return G_SOURCE_REMOVE;
}

static void
on_gone (gpointer user_data)
{
  Session *self = user_data;
  Hall *hall = self->hall;

  if (caller_has_flooded (self->line->caller))
    session_end (self, METRIC_ENDED_FLOOD, "flood");
  else
    session_end (self, METRIC_ENDED_CALLER, "caller");
  hall->sessions = g_list_remove (hall->sessions, self);
  line_free (self->line, on_line_freed, hall);
  g_free (self);
}

static void
session_begin (Session * self)
{
  static const ConversationFuncs funcs =
      { on_ready, on_sound, on_word, on_failed };

  self->state = BEGINNING;
  self->hall->talking++;
  self->conversation = conversation_new (&self->hall->options.model,
      &self->settings, self->line->format, &funcs, self);
}

static void
session_refuse (Session * self, Metric metric, const gchar * reason,
    const gchar * text)
{
  metric_add (metric, 1);
  log_event ("info", self->id, "refused", "reason", reason, NULL);
  g_queue_remove (&self->hall->waiting, self);
  self->state = ENDED;
  self->ended = g_get_monotonic_time ();
  line_bye (self->line, TRY_AGAIN_LATER, text);
}

/* ------------------------------------------------------------ the hall */

static void
hall_fill (Hall * self)
{
  Session *session;
  gboolean moved = FALSE;

  while (self->ready && self->talking < self->options.sessions
      && (session = g_queue_pop_head (&self->waiting))) {
    session_begin (session);
    moved = TRUE;
  }
  if (moved)
    tell_places (self);
  update_gauges (self);
}

/* While the model is loaded, those wait who will have a session then. */
static gboolean
has_room (Hall * self)
{
  guint room = self->options.queue;

  if (self->talking < self->options.sessions)
    room += self->options.sessions - self->talking;
  return g_queue_get_length (&self->waiting) < room;
}

void
hall_call (Hall * self, Line * line, const Settings * settings,
    const gchar * peer)
{
  static const LineFuncs funcs = { on_heard, on_broken, on_gone };
  Session *session = g_new0 (Session, 1);

  session->hall = self;
  session->id = ++self->last_id;
  session->line = line;
  session->settings = *settings;
  line->funcs = funcs;
  line->user_data = session;
  self->sessions = g_list_prepend (self->sessions, session);
  self->lines++;
  metric_add (METRIC_CALLS, 1);
  log_event ("info", session->id, "call", "peer", peer, "by",
      line->class->name, NULL);

  if (self->draining)
    session_refuse (session, METRIC_REFUSED_DRAINING, "draining",
        "The server is going down: try again later");
  else if (!has_room (self))
    session_refuse (session, METRIC_REFUSED_FULL, "full",
        "The server is full: try again later");
  else {
    session->state = WAITING;
    g_queue_push_tail (&self->waiting, session);
    hall_fill (self);
    if (session->state == WAITING)
      tell_places (self);
  }
}

static void
check_session (Session * self, gint64 now)
{
  guint silence = self->hall->options.silence;

  check_slow (self);
  if (self->state == ENDED) {
    if (now - self->ended > PATIENCE)
      caller_cut (self->line->caller);
  } else if (self->state == TALKING && silence
      && now - MAX (self->line->heard, self->began) >
      silence * G_USEC_PER_SEC) {
    session_end (self, METRIC_ENDED_SILENT, "silent");
    line_bye (self->line, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION,
        "Nothing was heard for a long time");
  }
}

static gboolean
on_tick (gpointer user_data)
{
  Hall *self = user_data;
  gint64 now = g_get_monotonic_time ();
  GList *l, *next;

  for (l = self->sessions; l; l = next) {
    next = l->next;
    check_session (l->data, now);
  }
  if (self->draining && now > self->deadline)
    hall_close (self);
  note_change (self);
  return G_SOURCE_CONTINUE;
}

Hall *
hall_new (const HallOptions * options)
{
  Hall *self = g_new0 (Hall, 1);

  self->options = *options;
  g_queue_init (&self->waiting);
  self->tick = g_timeout_add (1000, on_tick, self);
  metric_set (METRIC_SESSIONS_LIMIT, options->sessions);
  metric_set (METRIC_QUEUE_LIMIT, options->queue);
  return self;
}

void
hall_free (Hall * self)
{
  g_source_remove (self->tick);
  g_list_free (self->sessions);
  g_queue_clear (&self->waiting);
  g_free (self->model);
  g_free (self);
}

void
hall_open (Hall * self, const gchar * model)
{
  self->model = g_strdup (model);
  self->ready = TRUE;
  hall_fill (self);
}

gboolean
hall_is_ready (Hall * self)
{
  return self->ready && !self->draining;
}

void
hall_drain (Hall * self, guint seconds, GSourceFunc func, gpointer user_data)
{
  Session *session;

  self->draining = TRUE;
  self->deadline = g_get_monotonic_time () + seconds * G_USEC_PER_SEC;
  self->drained = func;
  self->drained_data = user_data;
  while ((session = g_queue_peek_head (&self->waiting)))
    session_refuse (session, METRIC_REFUSED_DRAINING, "draining",
        "The server is going down: try again later");
  note_change (self);
}

void
hall_close (Hall * self)
{
  GList *l, *next;

  for (l = self->sessions; l; l = next) {
    Session *session = l->data;

    next = l->next;
    if (session->state == ENDED)
      continue;
    session_end (session, METRIC_ENDED_DRAINING, "draining");
    line_bye (session->line, SOUP_WEBSOCKET_CLOSE_GOING_AWAY,
        "The server is going down");
  }
}
