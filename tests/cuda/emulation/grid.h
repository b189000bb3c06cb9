/* A kernel's grid; runtime.cpp runs it when its turn has come. */
#ifndef EMULATION_GRID_H
#define EMULATION_GRID_H

#include <cuda_runtime.h>

#include <memory>

namespace emulation {

struct Launch {
  const char *name;
  dim3 grid, block;
  size_t shared_bytes;
  bool early; /* it may begin before the kernel before it is complete */
  std::function<void()> body;
};

struct BlockRun;

class Grid {
public:
  /* Threads run in an order shuffled by the seed; 0: as they are numbered. */
  Grid(const Launch &launch, uint32_t seed);
  ~Grid();
  /* One of the blocks, to where its threads wait for the kernels before. */
  void begin();
  void run();

private:
  const Launch &launch;
  const uint32_t seed;
  std::unique_ptr<BlockRun> early; /* that has begun */

  size_t blocks() const;
};

} // namespace emulation

#endif
