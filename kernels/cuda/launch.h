/* How a kernel is launched and how it gets its shared memory. These few macros, and
 * no <<<>>> or __shared__ elsewhere, let the same sources compile as C++ against the
 * emulation in tests/cuda/emulation, where CI runs them.
 *
 *   MOSHI_LAUNCH(kernel, grid, block, shared_bytes, stream, args…)
 *     a template's instance in parentheses: MOSHI_LAUNCH((k<float, 4>), …)
 *   MOSHI_LAUNCH_COOPERATIVE(…): the same for a kernel that synchronises its grid
 *   MOSHI_SHARED(float, tile, [32][33]);   an array of the block, in a kernel
 *   MOSHI_SHARED(float, sum, );            one value of the block
 *   MOSHI_DYNAMIC_SHARED(float, name);     the launch's shared_bytes, 16-byte aligned
 *
 * PTX, tensor cores and asynchronous copies stand behind `#if MOSHI_CUDA_DEVICE_CODE`
 * in one small function each, with a plain twin in the #else.
 */
#ifndef MOSHI_CUDA_LAUNCH_H
#define MOSHI_CUDA_LAUNCH_H

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#ifdef MOSHI_CUDA_EMULATION

#define MOSHI_CUDA_DEVICE_CODE 0
#define MOSHI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                   \
  emulation::launch(#kernel, (kernel), (grid), (block), (shared_bytes), (stream),      \
      false, __VA_ARGS__)
#define MOSHI_LAUNCH_COOPERATIVE(kernel, grid, block, shared_bytes, stream, ...)       \
  emulation::launch(                                                                   \
      #kernel, (kernel), (grid), (block), (shared_bytes), (stream), true, __VA_ARGS__)
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
  (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define MOSHI_LAUNCH_COOPERATIVE(kernel, grid, block, shared_bytes, stream, ...)       \
  moshi_launch_cooperative(                                                            \
      (kernel), (grid), (block), (shared_bytes), (stream), __VA_ARGS__)
#define MOSHI_SHARED(type, name, dims) __shared__ type name dims
#define MOSHI_DYNAMIC_SHARED(type, name)                                               \
  extern __shared__ __align__(16) unsigned char moshi_dynamic_shared[];                \
  type *name = reinterpret_cast<type *>(moshi_dynamic_shared)

/* A failure shows in cudaGetLastError(), as that of a plain launch does. */
template <class... P, class... A>
void
moshi_launch_cooperative(void (*kernel)(P...), dim3 grid, dim3 block,
    size_t shared_bytes, cudaStream_t stream, A... args)
{
  auto launch = [&](P... values) {
    void *pointers[] = {&values...};
    cudaLaunchCooperativeKernel(
        reinterpret_cast<void *>(kernel), grid, block, pointers, shared_bytes, stream);
  };
  launch(static_cast<P>(args)...);
}

#endif

/* The least number of pieces of `size` that hold n. */
__host__ __device__ inline int
moshi_pieces(int64_t n, int size)
{
  return static_cast<int>((n + size - 1) / size);
}

#endif
