/* A GGUF file that is accepted must lie wholly inside of its bytes, its rows be
 * whole blocks, and its tensors apart. */
#include <string.h>

#include "files/checkpoint.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  /* Other beginnings are another target's. */
  if (size < 4 || memcmp(data, "GGUF", 4) != 0)
    return 0;
  MoshiError error = {0};
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(data, size, "fuzz", &error);
  if (!c) {
    FUZZ_EXPECT(error.status < 0 && error.message[0]);
    return 0;
  }
  const MoshiTensor *t;
  size_t total = 0;
  for (size_t i = 0; (t = moshi_checkpoint_nth(c, i)); i++) {
    const uint8_t *begin = t->data;
    FUZZ_EXPECT(begin >= data && begin + t->bytes <= data + size);
    FUZZ_EXPECT(moshi_checkpoint_find(c, t->name) == t);
    FUZZ_EXPECT(t->n_dims <= 4);
    FUZZ_EXPECT(
        !t->n_dims || t->dims[t->n_dims - 1] % moshi_dtype_block(t->dtype) == 0);
    total += t->bytes;
  }
  FUZZ_EXPECT(total == moshi_checkpoint_bytes(c) && total <= size);
  FUZZ_EXPECT(!moshi_checkpoint_unused(c, NULL));
  const char *value = moshi_checkpoint_metadata(c, "general.architecture");
  FUZZ_EXPECT(!value || strlen(value) < size);
  moshi_checkpoint_unref(c);
  return 0;
}
