/* Runs a kernel's grid; runtime.cpp calls it when a launch's turn has come. */
#ifndef EMULATION_GRID_H
#define EMULATION_GRID_H

#include <cuda_runtime.h>

namespace emulation {

struct Launch {
  const char *name;
  dim3 grid, block;
  size_t shared_bytes;
  bool cooperative;
  std::function<void()> body;
};

/* Threads run in an order shuffled by the seed; 0: as they are numbered. */
void run_grid(const Launch &launch, uint32_t seed);

} // namespace emulation

#endif
