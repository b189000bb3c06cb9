/* Slots of a stream. The contexts of all convolutions of a slot are one row of
 * floats; one row more is never written and stays zero: a slot starts anew as a
 * copy of it. */
#include "mimi-stream.h"

#include <glib.h>

#include "error.h"

#define MAX_BATCH 65536 /* far from any overflow of sizes */

int
mimi_stream_init(MimiStream *s, MoshiModel *model, int batch, size_t state_size,
    const char *what, MoshiError *error)
{
  if (batch < 1 || batch > MAX_BATCH)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "%s: a batch of %d streams; it must be 1 to %d", what, batch, MAX_BATCH);
  s->d = moshi_model_get_device(model);
  s->model = moshi_model_ref(model);
  s->batch = batch;
  s->slots = g_try_new(int, batch);
  size_t bytes;
  bool fits =
      !__builtin_mul_overflow(((size_t)batch + 1) * sizeof(float), state_size, &bytes);
  s->active.state = fits ? s->d->ops->alloc(s->d, bytes) : NULL;
  s->active.stride = state_size;
  s->active.slots = s->slots;
  if (!s->slots || !s->active.state)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "%s: no memory on %s for %d streams; use fewer", what, s->d->description,
        batch);
  return 0;
}

void
mimi_stream_free(MimiStream *s)
{
  if (s->d)
    s->d->ops->free(s->d, s->active.state);
  g_free(s->slots);
  moshi_model_unref(s->model);
}

int
mimi_stream_select(MimiStream *s, const uint8_t *run)
{
  s->active.n = 0;
  for (int i = 0; i < s->batch; i++)
    if (!run || run[i])
      s->slots[s->active.n++] = i;
  return s->active.n;
}

static const float *
zeros(const MimiStream *s)
{
  return s->active.state + s->batch * s->active.stride;
}

void
mimi_stream_reset(MimiStream *s, int slot)
{
  s->d->ops->store(
      s->d, zeros(s), 0, s->active.state, s->active.stride, s->active.stride, &slot, 1);
}

void
mimi_stream_zero(const MimiStream *s, float *y, int rows, int width)
{
  MoshiView to = {y, (size_t)rows * width, width}, from = {(float *)zeros(s), 0, 0};
  s->d->ops->act(s->d, MOSHI_ACT_NONE, to, from, s->active.n, rows, width);
}

float *
mimi_place(float *memory, size_t *used, size_t floats)
{
  float *p = memory ? memory + *used : NULL;
  *used += (floats + 15) & ~(size_t)15;
  return p;
}
