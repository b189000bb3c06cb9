/* A switch from one stack to another, told to AddressSanitizer. */
#ifndef EMULATION_FIBER_H
#define EMULATION_FIBER_H

#include <cstddef>

namespace emulation {

struct Fiber {
  void *sp;
  char *stack;
  void *fake; /* AddressSanitizer's */
};

constexpr size_t stack_size = 128 * 1024;

/* Prepares f to run entry() on its stack at the next switch to it. */
void fiber_start(Fiber *f, void (*entry)());
/* From the scheduler into f, until it goes back. */
void fiber_resume(Fiber *f);
/* From one fiber to another. */
void fiber_switch(Fiber *from, Fiber *to);
/* From f back into the scheduler; for good when it is done. */
void fiber_leave(Fiber *f, bool done);
/* First thing that a fiber does. */
void fiber_entered();

} // namespace emulation

#endif
