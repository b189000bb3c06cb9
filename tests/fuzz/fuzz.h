/* What every fuzz target defines. */
#ifndef MOSHI_TESTS_FUZZ_H
#define MOSHI_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run when a promise is broken, also without assertions. */
#define FUZZ_EXPECT(condition)                                                         \
  do {                                                                                 \
    if (!(condition))                                                                  \
      __builtin_trap();                                                                \
  } while (0)

#endif
