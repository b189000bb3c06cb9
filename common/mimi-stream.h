/* What an encoder and a decoder have in common: slots, those that run, and the
 * contexts of their convolutions. */
#ifndef MOSHI_MIMI_STREAM_H
#define MOSHI_MIMI_STREAM_H

#include "engine/model.h"
#include "nn/conv.h"

typedef struct {
  MoshiModel *model; /* a reference */
  MoshiDevice *d;
  int batch;
  int *slots;            /* [batch], of the running slots */
  MoshiConvSlots active; /* what a step works on */
} MimiStream;

int mimi_stream_init(MimiStream *s, MoshiModel *model, int batch, size_t state_size,
    const char *what, MoshiError *error);
void mimi_stream_free(MimiStream *s);
/* The slots of a run mask (NULL: all); returns their number. */
int mimi_stream_select(MimiStream *s, const uint8_t *run);
/* Forgets the inputs of one slot. */
void mimi_stream_reset(MimiStream *s, int slot);
/* y [n][rows][width] = 0. */
void mimi_stream_zero(const MimiStream *s, float *y, int rows, int width);

/* Takes `floats`, aligned, of memory that is still being measured when it is NULL. */
float *mimi_place(float *memory, size_t *used, size_t floats);

#endif
