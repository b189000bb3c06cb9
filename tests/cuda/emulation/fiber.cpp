/* Stacks and the switch between them: what a call preserves, pushed and popped. */
#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WITH_ASAN 1
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void emulation_switch(void **save, void *to);

#if defined(__x86_64__)
asm(R"(
.text
.hidden emulation_switch
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, .-emulation_switch
)");
/* Registers, then the address to return to, on a stack as after a call. */
enum { SAVED_WORDS = 8, ENTRY_WORD = 6 };
#elif defined(__aarch64__)
asm(R"(
.text
.hidden emulation_switch
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulation_switch, .-emulation_switch
)");
enum { SAVED_WORDS = 20, ENTRY_WORD = 11 };
#else
#error "the emulation of CUDA knows x86-64 and aarch64"
#endif

namespace emulation {

static void *scheduler_sp;
#ifdef WITH_ASAN
static void *scheduler_fake;
static const void *scheduler_stack;
static size_t scheduler_size;

/* The stack of the thread that runs the scheduler. */
static void
find_scheduler_stack()
{
  static thread_local void *stack;
  static thread_local size_t size;
  if (!stack) {
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &size);
    pthread_attr_destroy(&attributes);
  }
  scheduler_stack = stack;
  scheduler_size = size;
}
#endif

void
fiber_start(Fiber *f, void (*entry)())
{
  if (!f->stack) {
    void *p = mmap(nullptr, stack_size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
      fprintf(stderr, "emulation of CUDA: no memory for a stack\n");
      abort();
    }
    f->stack = static_cast<char *>(p);
  }
#ifdef WITH_ASAN
  /* The last fiber's frames never returned. */
  __asan_unpoison_memory_region(f->stack, stack_size);
#endif
  /* Stacks lie in steps of a power of two; their tops must not share a cache's set. */
  const size_t colour = reinterpret_cast<uintptr_t>(f->stack) / stack_size % 61 * 64;
  void **top = reinterpret_cast<void **>(f->stack + stack_size - colour);
  void **frame = top - SAVED_WORDS;
  memset(frame, 0, SAVED_WORDS * sizeof *frame);
  frame[ENTRY_WORD] = reinterpret_cast<void *>(entry);
  f->sp = frame;
  f->fake = nullptr;
}

void
fiber_resume(Fiber *f)
{
#ifdef WITH_ASAN
  find_scheduler_stack();
  __sanitizer_start_switch_fiber(&scheduler_fake, f->stack, stack_size);
#endif
  emulation_switch(&scheduler_sp, f->sp);
#ifdef WITH_ASAN
  __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
}

void
fiber_entered()
{
#ifdef WITH_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void
fiber_switch(Fiber *from, Fiber *to)
{
#ifdef WITH_ASAN
  __sanitizer_start_switch_fiber(&from->fake, to->stack, stack_size);
#endif
  emulation_switch(&from->sp, to->sp);
#ifdef WITH_ASAN
  __sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
#endif
}

void
fiber_leave(Fiber *f, [[maybe_unused]] bool done)
{
#ifdef WITH_ASAN
  __sanitizer_start_switch_fiber(
      done ? nullptr : &f->fake, scheduler_stack, scheduler_size);
#endif
  emulation_switch(&f->sp, scheduler_sp);
#ifdef WITH_ASAN
  __sanitizer_finish_switch_fiber(f->fake, nullptr, nullptr);
#endif
}

} // namespace emulation
