/* Batches that the streams of the process share: see batch.c. */
#ifndef MOSHI_ENGINE_BATCH_H
#define MOSHI_ENGINE_BATCH_H

#include "model.h"

/* What a batch is a batch of. */
typedef struct {
  unsigned part; /* MOSHI_PART_*, whose weights it reads */
  /* Streams for `slots` slots, and memory for what goes in and comes out. */
  void *(*open)(MoshiModel *model, int slots, const void *options, MoshiError *error);
  void (*close)(void *streams);
  /* Whether there is memory for one slot more; may be NULL. */
  int (*admit)(void *streams, MoshiError *error);
  void (*reset)(void *streams, const uint8_t *slots);
  int (*step)(void *streams, const uint8_t *run, int variant, MoshiError *error);
} MoshiBatchKind;

typedef struct MoshiBatch MoshiBatch;

struct MoshiSlot {
  MoshiBatch *batch;
  int number;
  MoshiTurn turn;
};

/* A slot in a batch of the model's weights, with a free place and the same `common`;
 * a new batch where there is none. common: what slots must agree in to be stepped
 * together, NULL: with nobody. weights: as the engine shares them. */
MoshiSlot *moshi_slot_new(const MoshiBatchKind *kind, MoshiModel *model,
    const void *weights, const char *common, const void *options, MoshiError *error);
/* What the kind's open has returned. */
void *moshi_slot_streams(const MoshiSlot *slot);
/* The slot's input is in its place: returns when it has been in a step. */
int moshi_slot_take_turn(MoshiSlot *slot, int variant, MoshiError *error);

#endif
