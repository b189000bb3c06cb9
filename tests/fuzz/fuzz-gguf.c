/* A GGUF file that is accepted must lie wholly inside of its bytes, its rows be
 * whole blocks, and its tensors apart. */
#include <string.h>

#include "fuzz-checkpoint.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  /* Other beginnings are another target's. */
  if (size < 4 || memcmp(data, "GGUF", 4) != 0)
    return 0;
  MoshiCheckpoint *c = fuzz_checkpoint(data, size);
  if (!c)
    return 0;
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(c, i)); i++) {
    FUZZ_EXPECT(t->n_dims <= 4);
    FUZZ_EXPECT(
        !t->n_dims || t->dims[t->n_dims - 1] % moshi_dtype_block(t->dtype) == 0);
  }
  const char *value = moshi_checkpoint_metadata(c, "general.architecture");
  FUZZ_EXPECT(!value || strlen(value) < size);
  moshi_checkpoint_unref(c);
  return 0;
}
