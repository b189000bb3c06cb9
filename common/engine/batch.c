/* Batches that the streams of the process share.
 *
 * A batch belongs to weights that are loaded, and to what its slots must have in
 * common. It is made for as many slots as are worth stepping together, so that a
 * stream which comes later needs nothing but a place; memory that no stream has used
 * is not there yet on the CPU. Who steps it is settled in turns.c. */
#include "batch.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "turns.h"

/* More at once gains little, and makes those wait who come just after. */
#define MOST_SLOTS 16
#define LIMIT 1024
/* Weights that stay in a processor's cache are not read again for each stream, so that
 * their streams go faster beside each other than one behind the other. */
#define CACHED_BYTES ((size_t)16 << 20)

struct MoshiBatch {
  const MoshiBatchKind *kind;
  const void *weights;
  char *common;
  void *streams;
  MoshiTurns *turns;
  int n, used;       /* slots, and those of streams; like `taken` of the table's lock */
  bool *taken;       /* [n] */
  uint8_t *restart;  /* [n]: before the slot's next step */
  uint8_t *starting; /* [n], of the step */
  MoshiBatch *next;
};

static GMutex table_lock;
static MoshiBatch *table;

/* MoshiTurnStep */
static int
step(void *ctx, const uint8_t *run, int variant, MoshiError *error)
{
  MoshiBatch *b = ctx;
  bool any = false;
  for (int i = 0; i < b->n; i++) {
    b->starting[i] = run[i] && b->restart[i];
    any |= b->starting[i];
    if (b->starting[i])
      b->restart[i] = 0;
  }
  if (any)
    b->kind->reset(b->streams, b->starting);
  return b->kind->step(b->streams, run, variant, error);
}

static void
batch_free(MoshiBatch *b)
{
  moshi_turns_free(b->turns);
  if (b->streams)
    b->kind->close(b->streams);
  g_free(b->common);
  g_free(b->taken);
  g_free(b->restart);
  g_free(b->starting);
  g_free(b);
}

/* $MOSHI_BATCH, else as many as are worth it. */
static int
most_slots(const MoshiBatchKind *kind, const MoshiModel *model, const char *common)
{
  const char *wanted = g_getenv("MOSHI_BATCH");
  bool cpu = !strcmp(moshi_model_get_device(model)->ops->name, "cpu");
  if (!common)
    return 1;
  if (wanted && *wanted)
    return CLAMP(atoi(wanted), 1, LIMIT);
  return cpu && moshi_model_bytes(model, kind->part) <= CACHED_BYTES ? 1 : MOST_SLOTS;
}

/* Opens streams for b->n slots. More than one are not to take most of what is free on a
 * card: others are to come. */
static bool
open_streams(MoshiBatch *b, MoshiModel *model, const void *options, MoshiError *error)
{
  MoshiDevice *d = moshi_model_get_device(model);
  const uint64_t before = d->ops->available ? d->ops->available(d) : 0;
  b->streams = b->kind->open(model, b->n, options, error);
  if (!b->streams || b->n == 1 || !before || d->ops->available(d) >= before / 2)
    return b->streams;
  b->kind->close(b->streams);
  b->streams = NULL;
  error->status = MOSHI_ERROR_MEMORY;
  return false;
}

/* For as many slots as there is memory for. */
static MoshiBatch *
batch_new(const MoshiBatchKind *kind, MoshiModel *model, const char *common,
    const void *options, MoshiError *error)
{
  MoshiBatch *b = g_new0(MoshiBatch, 1);
  MoshiError own = {0};
  b->kind = kind;
  b->common = g_strdup(common);
  for (b->n = most_slots(kind, model, common); b->n > 0; b->n /= 2) {
    if (open_streams(b, model, options, &own) || own.status != MOSHI_ERROR_MEMORY)
      break;
  }
  if (!b->streams) {
    if (error)
      *error = own;
    batch_free(b);
    return NULL;
  }
  b->taken = g_new0(bool, b->n);
  b->restart = g_new0(uint8_t, b->n);
  b->starting = g_new0(uint8_t, b->n);
  b->turns = moshi_turns_new(b->n, step, b);
  return b;
}

/* A batch with a free place, under the lock. */
static MoshiBatch *
find(const MoshiBatchKind *kind, const void *weights, const char *common)
{
  for (MoshiBatch *b = table; b && common; b = b->next)
    if (b->kind == kind && b->weights == weights && b->used < b->n &&
        !g_strcmp0(b->common, common))
      return b;
  return NULL;
}

static MoshiSlot *
enter(MoshiBatch *b)
{
  MoshiSlot *slot = g_new0(MoshiSlot, 1);
  slot->batch = b;
  while (b->taken[slot->number])
    slot->number++;
  b->taken[slot->number] = true;
  b->restart[slot->number] = 1;
  b->used++;
  moshi_turns_cancel(b->turns, slot->number, false);
  return slot;
}

MoshiSlot *
moshi_slot_new(const MoshiBatchKind *kind, MoshiModel *model, const void *weights,
    const char *common, const void *options, MoshiError *error)
{
  MoshiSlot *slot = NULL;
  g_mutex_lock(&table_lock);
  MoshiBatch *b = find(kind, weights, common);
  if (!b) {
    b = batch_new(kind, model, common, options, error);
    if (b) {
      b->weights = weights;
      b->next = table;
      table = b;
    }
  } else if (kind->admit && kind->admit(b->streams, error)) {
    b = NULL;
  }
  if (b)
    slot = enter(b);
  g_mutex_unlock(&table_lock);
  return slot;
}

void
moshi_slot_free(MoshiSlot *slot)
{
  if (!slot)
    return;
  MoshiBatch *b = slot->batch;
  g_mutex_lock(&table_lock);
  b->taken[slot->number] = false;
  bool last = --b->used == 0;
  if (last) {
    MoshiBatch **link = &table;
    while (*link != b)
      link = &(*link)->next;
    *link = b->next;
  }
  g_mutex_unlock(&table_lock);
  if (last)
    batch_free(b);
  g_free(slot);
}

void *
moshi_slot_streams(const MoshiSlot *slot)
{
  return slot->batch->streams;
}

int
moshi_slot_take_turn(MoshiSlot *slot, int variant, MoshiError *error)
{
  return moshi_turns_take(
      slot->batch->turns, slot->number, variant, &slot->turn, error);
}

void
moshi_slot_reset(MoshiSlot *slot)
{
  slot->batch->restart[slot->number] = 1;
}

void
moshi_slot_cancel(MoshiSlot *slot, int cancelled)
{
  moshi_turns_cancel(slot->batch->turns, slot->number, cancelled);
}

void
moshi_slot_turn(const MoshiSlot *slot, MoshiTurn *turn)
{
  *turn = slot->turn;
}
