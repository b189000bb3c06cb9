/* An emulation of CUDA for tests: what the back end uses of the runtime, on the CPU.
 *
 * The threads of a block are fibers that run in a shuffled order, blocks follow each
 * other, device memory is heap memory, a stream's work waits until somebody
 * synchronises. So a missing barrier, a read past the end (under ASan), and a host
 * that does not wait all show. It is no simulator: nothing follows about speed, and
 * memory is sequentially consistent. */
#ifndef EMULATION_CUDA_RUNTIME_H
#define EMULATION_CUDA_RUNTIME_H

#define MOSHI_CUDA_EMULATION 1

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulation/types.h"

#include "emulation/api.h"

#include "emulation/kernel.h"

#endif
