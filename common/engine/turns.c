/* Turns at a batch that several threads share.
 *
 * A thread that comes with a frame and finds the batch idle leads: it steps every
 * member whose frame is there, its own among them, and wakes their threads. Whoever
 * comes meanwhile waits, and the first of those leads the next step. So there is no
 * thread but the callers', nobody waits for a frame that has not come, and no frame
 * waits for more than the step that is being made, and those of older frames of
 * another variant. */
#include "turns.h"

#include <glib.h>

#include "../error.h"

typedef enum { AWAY, WAITING, IN_STEP, DONE } MemberState;

typedef struct {
  MemberState state;
  bool cancelled;
  int variant;
  uint64_t number; /* of the frame, in the order of coming */
  int64_t came;
  GCond changed;
  MoshiTurn turn;
  int status;
  MoshiError error;
} Member;

struct MoshiTurns {
  GMutex lock; /* of all that follows, but run */
  int n;
  Member *members;
  bool stepping;
  uint64_t frames;
  uint8_t *run; /* [n], of the leader */
  MoshiTurnStep step;
  void *ctx;
};

MoshiTurns *
moshi_turns_new(int members, MoshiTurnStep step, void *ctx)
{
  MoshiTurns *t = g_new0(MoshiTurns, 1);
  g_mutex_init(&t->lock);
  t->step = step;
  t->ctx = ctx;
  t->n = members;
  t->members = g_try_new0(Member, members);
  t->run = g_try_new0(uint8_t, members);
  if (!t->members || !t->run) {
    t->n = 0;
    g_clear_pointer(&t, moshi_turns_free);
    return NULL;
  }
  for (int i = 0; i < members; i++)
    g_cond_init(&t->members[i].changed);
  return t;
}

void
moshi_turns_free(MoshiTurns *t)
{
  if (!t)
    return;
  for (int i = 0; i < t->n; i++)
    g_cond_clear(&t->members[i].changed);
  g_mutex_clear(&t->lock);
  g_free(t->members);
  g_free(t->run);
  g_free(t);
}

/* The member that waits for longest, NULL when none does. */
static Member *
oldest(MoshiTurns *t)
{
  Member *first = NULL;
  for (int i = 0; i < t->n; i++) {
    Member *m = &t->members[i];
    if (m->state == WAITING && (!first || m->number < first->number))
      first = m;
  }
  return first;
}

/* Takes everybody who can be in the step; returns how many. */
static int
gather(MoshiTurns *t, int variant, int64_t now)
{
  int n = 0;
  for (int i = 0; i < t->n; i++) {
    Member *m = &t->members[i];
    t->run[i] = m->state == WAITING && m->variant == variant;
    if (!t->run[i])
      continue;
    m->state = IN_STEP;
    m->turn.waited_us = now - m->came;
    n++;
  }
  return n;
}

static void
hand_out(MoshiTurns *t, const Member *leader, MoshiTurn turn, int status,
    const MoshiError *error)
{
  for (int i = 0; i < t->n; i++) {
    Member *m = &t->members[i];
    if (!t->run[i])
      continue;
    m->state = DONE;
    m->turn.batch = turn.batch;
    m->turn.step_us = turn.step_us;
    m->status = status;
    if (status)
      m->error = *error;
    if (m != leader)
      g_cond_signal(&m->changed);
  }
}

/* Makes the step of the frame that waits for longest; while it is made, without the
 * lock. */
static void
lead(MoshiTurns *t, const Member *leader)
{
  MoshiError error = {0};
  int variant = oldest(t)->variant;
  int64_t began = g_get_monotonic_time();
  MoshiTurn turn = {.batch = gather(t, variant, began)};
  t->stepping = true;
  g_mutex_unlock(&t->lock);
  int status = t->step(t->ctx, t->run, variant, &error);
  g_mutex_lock(&t->lock);
  turn.step_us = g_get_monotonic_time() - began;
  hand_out(t, leader, turn, status, &error);
  t->stepping = false;
}

/* The batch is idle: somebody else may lead. */
static void
pass_on(MoshiTurns *t)
{
  Member *next = t->stepping ? NULL : oldest(t);
  if (next)
    g_cond_signal(&next->changed);
}

int
moshi_turns_take(
    MoshiTurns *t, int member, int variant, MoshiTurn *turn, MoshiError *error)
{
  Member *m = &t->members[member];
  g_mutex_lock(&t->lock);
  m->state = WAITING;
  m->variant = variant;
  m->number = t->frames++;
  m->came = g_get_monotonic_time();
  while (m->state != DONE && !(m->state == WAITING && m->cancelled)) {
    if (m->state == WAITING && !t->stepping)
      lead(t, m);
    else
      g_cond_wait(&m->changed, &t->lock);
  }
  int status = m->state == DONE ? m->status : MOSHI_ERROR_CANCELLED;
  if (m->state != DONE)
    moshi_fail(error, status, "the stream was told to stop");
  else if (status && error)
    *error = m->error;
  *turn = m->turn;
  m->state = AWAY;
  pass_on(t);
  g_mutex_unlock(&t->lock);
  return status;
}

void
moshi_turns_cancel(MoshiTurns *t, int member, bool cancelled)
{
  Member *m = &t->members[member];
  g_mutex_lock(&t->lock);
  m->cancelled = cancelled;
  g_cond_signal(&m->changed);
  g_mutex_unlock(&t->lock);
}

bool
moshi_turns_has_come(MoshiTurns *t, int member)
{
  g_mutex_lock(&t->lock);
  bool come = t->members[member].state != AWAY;
  g_mutex_unlock(&t->lock);
  return come;
}
