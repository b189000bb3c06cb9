/* Long work in pieces on several threads: see crew.h. Not for frames: threads are made
 * for each run, and a piece takes milliseconds. */
#include "crew.h"

#include <glib.h>
#include <stdbool.h>

#include "../device/cores.h"
#include "../error.h"

#define MAX_THREADS 64

typedef struct {
  const MoshiCrew *crew;
  gsize next; /* atomic: piece to take */
  gint stop;  /* atomic: one has failed */
  GMutex lock;
  MoshiError *error; /* of the first one; under the lock */
} Run;

static void
stop(Run *r, const MoshiError *error)
{
  g_mutex_lock(&r->lock);
  if (!g_atomic_int_get(&r->stop))
    *r->error = *error;
  g_atomic_int_set(&r->stop, TRUE);
  g_mutex_unlock(&r->lock);
}

/* Does the next piece; false when there is none left. */
static bool
do_next(Run *r, void *scratch)
{
  size_t i = g_atomic_pointer_add(&r->next, 1);
  if (i >= r->crew->n || g_atomic_int_get(&r->stop))
    return false;
  MoshiError error = {0};
  if (r->crew->piece(r->crew->ctx, i, scratch, &error))
    stop(r, &error);
  return true;
}

static gpointer
run_thread(gpointer data)
{
  Run *r = data;
  void *scratch = g_try_malloc(r->crew->scratch);
  /* Without memory for this one, the others do it all. */
  while ((scratch || !r->crew->scratch) && do_next(r, scratch))
    ;
  g_free(scratch);
  return NULL;
}

static void
tell(Run *r, double done)
{
  const MoshiCrew *crew = r->crew;
  MoshiError error = {0};
  if (crew->progress && crew->progress(crew->cookie, MIN(done, 1.0))) {
    moshi_fail(&error, MOSHI_ERROR_CANCELLED, "loading was cancelled");
    stop(r, &error);
  }
}

int
moshi_crew_run(const MoshiCrew *crew, MoshiError *error)
{
  Run r = {.crew = crew, .error = error};
  int wanted = crew->threads ? crew->threads : moshi_cores();
  int n = MIN((size_t)CLAMP(wanted, 1, MAX_THREADS), MAX(crew->n, 1)) - 1;
  GThread *threads[MAX_THREADS];
  void *scratch = g_try_malloc(crew->scratch);
  if (!scratch && crew->scratch)
    return moshi_fail(error, MOSHI_ERROR_MEMORY, "no memory to load weights");
  g_mutex_init(&r.lock);
  for (int i = 0; i < n; i++)
    threads[i] = g_thread_try_new("moshi-load", run_thread, &r, NULL);
  while (do_next(&r, scratch))
    tell(&r, (double)(gsize)g_atomic_pointer_get(&r.next) / crew->n);
  for (int i = 0; i < n; i++)
    if (threads[i])
      g_thread_join(threads[i]);
  /* The others may have done the last pieces. */
  if (!r.stop)
    tell(&r, 1);
  g_mutex_clear(&r.lock);
  g_free(scratch);
  return r.stop ? error->status : 0;
}
