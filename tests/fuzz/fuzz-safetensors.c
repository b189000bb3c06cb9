/* A checkpoint that is accepted must lie wholly inside of its bytes. */
#include "fuzz-checkpoint.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  moshi_checkpoint_unref(fuzz_checkpoint(data, size));
  return 0;
}
