/* What holds of every checkpoint that is accepted, whatever its format. */
#ifndef MOSHI_TESTS_FUZZ_CHECKPOINT_H
#define MOSHI_TESTS_FUZZ_CHECKPOINT_H

#include "files/checkpoint.h"
#include "fuzz.h"

/* Opens the bytes: NULL, with an error that says why, or a checkpoint that lies wholly
 * inside of them. */
static inline MoshiCheckpoint *
fuzz_checkpoint(const uint8_t *data, size_t size)
{
  MoshiError error = {0};
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(data, size, "fuzz", &error);
  if (!c) {
    FUZZ_EXPECT(error.status < 0 && error.message[0]);
    return NULL;
  }
  const MoshiTensor *t;
  size_t total = 0;
  for (size_t i = 0; (t = moshi_checkpoint_nth(c, i)); i++) {
    const uint8_t *begin = t->data;
    FUZZ_EXPECT(begin >= data && begin + t->bytes <= data + size);
    FUZZ_EXPECT(moshi_checkpoint_find(c, t->name) == t);
    FUZZ_EXPECT(t->n_dims <= MOSHI_MAX_DIMS);
    total += t->bytes;
  }
  FUZZ_EXPECT(total == moshi_checkpoint_bytes(c) && total <= size);
  FUZZ_EXPECT(!moshi_checkpoint_unused(c, NULL));
  return c;
}

#endif
