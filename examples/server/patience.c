/* Libsoup waits for a request for ever, and for who takes the answer. Here each
 * socket has a clock, which is set anew with every step of a request. */
#include "patience.h"

#include "metrics.h"

#define ASKING 10               /* s until the request has been read */
#define ANSWERING 60            /* s until the answer has been taken */
#define IDLE 30                 /* s until another request begins */
#define CLOCK "moshi-clock"

typedef struct
{
  GSocket *socket;              /* whose data this is */
  guint timer;
  gboolean idle, over;
} Clock;

static gboolean
on_late (gpointer user_data)
{
  Clock *clock = user_data;

  clock->timer = 0;
  if (!clock->idle)
    metric_add (METRIC_SLOW_REQUESTS, 1);
  g_socket_shutdown (clock->socket, TRUE, TRUE, NULL);
  return G_SOURCE_REMOVE;
}

static void
clock_stop (Clock * clock)
{
  if (clock->timer)
    g_source_remove (clock->timer);
  clock->timer = 0;
}

static void
clock_free (gpointer data)
{
  clock_stop (data);
  g_free (data);
}

static Clock *
clock_of (SoupServerMessage * message)
{
  GSocket *socket = soup_server_message_get_socket (message);
  Clock *clock = socket ? g_object_get_data (G_OBJECT (socket), CLOCK) : NULL;

  if (socket && !clock) {
    clock = g_new0 (Clock, 1);
    clock->socket = socket;
    g_object_set_data_full (G_OBJECT (socket), CLOCK, clock, clock_free);
  }
  return clock;
}

static void
set_clock (SoupServerMessage * message, guint seconds)
{
  Clock *clock = clock_of (message);

  if (!clock || clock->over)
    return;
  clock_stop (clock);
  clock->idle = seconds == IDLE;
  clock->timer = g_timeout_add_seconds (seconds, on_late, clock);
}

static void
on_started (SoupServer * server, SoupServerMessage * message)
{
  set_clock (message, ASKING);
}

static void
on_read (SoupServer * server, SoupServerMessage * message)
{
  set_clock (message, ANSWERING);
}

static void
on_finished (SoupServer * server, SoupServerMessage * message)
{
  set_clock (message, IDLE);
}

void
patience_end (SoupServerMessage * message)
{
  Clock *clock = clock_of (message);

  if (!clock)
    return;
  clock_stop (clock);
  clock->over = TRUE;
}

void
patience_add (SoupServer * server)
{
  g_signal_connect (server, "request-started", G_CALLBACK (on_started), NULL);
  g_signal_connect (server, "request-read", G_CALLBACK (on_read), NULL);
  g_signal_connect (server, "request-finished", G_CALLBACK (on_finished), NULL);
}
