/* Cooperative groups, as far as they are used. */
#ifndef EMULATION_COOPERATIVE_GROUPS_H
#define EMULATION_COOPERATIVE_GROUPS_H

#include <cuda_runtime.h>

namespace cooperative_groups {

struct grid_group {
  void sync() const
  {
    emulation::grid_barrier();
  }
};
inline grid_group
this_grid()
{
  return {};
}

struct thread_block {
  void sync() const
  {
    emulation::block_barrier();
  }
};
inline thread_block
this_thread_block()
{
  return {};
}

} // namespace cooperative_groups

#endif
