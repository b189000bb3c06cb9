/* How a kernel is launched, how it begins, and how it gets its shared memory. These few
 * macros, and no <<<>>> or __shared__ elsewhere, let the same sources compile as C++
 * against the emulation in tests/cuda/emulation, where CI runs them.
 *
 *   MOSHI_LAUNCH(kernel, grid, block, shared_bytes, stream, args…)
 *     a template's instance in parentheses: MOSHI_LAUNCH((k<float, 4>), …)
 *   MOSHI_SHARED(float, tile, [32][33]);   an array of the block, in a kernel
 *   MOSHI_SHARED(float, sum, );            one value of the block
 *   MOSHI_DYNAMIC_SHARED(float, name);     the launch's shared_bytes, 16-byte aligned
 *
 * PTX, tensor cores and asynchronous copies stand behind `#if MOSHI_CUDA_DEVICE_CODE`
 * in one small function each, with a plain twin in the #else.
 *
 * Chains. From compute capability 9.0 on, a kernel of a frame may start while the one
 * before it still runs (programmatic dependent launch), and has its first weights
 * queued by the time its input is there. So, in every kernel:
 *
 * - Every thread calls moshi_grid_wait() once, whatever it does later: before any early
 *   return. Until then it writes nothing, and reads only what no kernel of a frame
 *   writes: weights, and with __ldcg() the frame's block of arguments (slots and
 *   positions), which is copied before the chain begins; L1 may have that of a frame
 *   before.
 * - moshi_grid_release() lets the next kernel start when all blocks have called it. It is
 *   the start alone that is released, so it comes first of all.
 *
 * A wait returns when the kernel before is complete, to its last thread, and what it
 * wrote is visible. Each thread of that one had waited for its own predecessor, so all
 * earlier kernels are complete, too, however many are started ahead. */
#ifndef MOSHI_CUDA_LAUNCH_H
#define MOSHI_CUDA_LAUNCH_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

/* What this thread's next launch is to the work queued before it. Only between two
 * kernels may there be an edge that lets the later one start early: behind a copy, the
 * head of a chain is launched plainly. */
enum MoshiChain { MOSHI_UNCHAINED, MOSHI_CHAIN_HEAD, MOSHI_CHAINED };
inline thread_local MoshiChain moshi_chain = MOSHI_UNCHAINED;

/* Whether the launch that asks may start early. */
inline bool
moshi_chain_next()
{
  const bool chained = moshi_chain == MOSHI_CHAINED;
  if (moshi_chain == MOSHI_CHAIN_HEAD)
    moshi_chain = MOSHI_CHAINED;
  return chained;
}

#ifdef MOSHI_CUDA_EMULATION

#define MOSHI_CUDA_DEVICE_CODE 0
#define MOSHI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                   \
  emulation::launch(#kernel, (kernel), (grid), (block), (shared_bytes), (stream),      \
      moshi_chain_next(), __VA_ARGS__)
#define MOSHI_SHARED(type, name, dims)                                                 \
  static char name##_key;                                                              \
  typedef type name##_type dims;                                                       \
  name##_type &name =                                                                  \
      *static_cast<name##_type *>(emulation::shared(&name##_key, sizeof(name##_type)))
#define MOSHI_DYNAMIC_SHARED(type, name)                                               \
  type *name = static_cast<type *>(emulation::dynamic_shared())

#else

#ifdef __CUDA_ARCH__
#define MOSHI_CUDA_DEVICE_CODE 1
#else
#define MOSHI_CUDA_DEVICE_CODE 0
#endif
#define MOSHI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                   \
  moshi_launch((kernel), (grid), (block), (shared_bytes), (stream), __VA_ARGS__)
#define MOSHI_SHARED(type, name, dims) __shared__ type name dims
#define MOSHI_DYNAMIC_SHARED(type, name)                                               \
  extern __shared__ __align__(16) unsigned char moshi_dynamic_shared[];                \
  type *name = reinterpret_cast<type *>(moshi_dynamic_shared)

/* A failure shows in cudaGetLastError(), as that of <<<>>> does. */
template <class... P, class... A>
void
moshi_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
    cudaStream_t stream, A... args)
{
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = moshi_chain_next() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}

#endif

/* ---------------------------------------------------------- on the device */

#ifdef __CUDA_ARCH__
#define MOSHI_CUDA_CHAINS (__CUDA_ARCH__ >= 900)
#else
#define MOSHI_CUDA_CHAINS 0
#endif

/* The kernels before are complete. No access to memory is moved across. */
__device__ __forceinline__ void
moshi_grid_wait()
{
#if MOSHI_CUDA_CHAINS
  asm volatile("griddepcontrol.wait;" ::: "memory");
#elif defined(MOSHI_CUDA_EMULATION)
  emulation::grid_wait();
#endif
}

/* The next kernel may start, as far as this block goes. */
__device__ __forceinline__ void
moshi_grid_release()
{
#if MOSHI_CUDA_CHAINS
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Sends for `bytes`, but no more than `most`, to L2: multiples of 16, at one of 16. Only
 * a hint: what is written later is read as it is then. */
__device__ __forceinline__ void
moshi_prefetch(const void *p, size_t bytes, size_t most)
{
  bytes = bytes < most ? bytes : most;
#if MOSHI_CUDA_CHAINS
  if (bytes > 0)
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;"
                 :
                 : "l"(__cvta_generic_to_global(p)), "r"((unsigned)bytes));
#elif defined(MOSHI_CUDA_EMULATION)
  emulation::prefetch(p, bytes);
#endif
}

/* The least number of pieces of `size` that hold n. */
__host__ __device__ inline int
moshi_pieces(int64_t n, int size)
{
  return static_cast<int>((n + size - 1) / size);
}

#endif
