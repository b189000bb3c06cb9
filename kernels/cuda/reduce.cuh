/* Sums and maxima over the threads of a warp and of a block, in a fixed order. */
#ifndef MOSHI_CUDA_REDUCE_CUH
#define MOSHI_CUDA_REDUCE_CUH

#include "layout.cuh"

enum { MOSHI_WARP = 32 };

/* Every lane gets the sum. */
__device__ __forceinline__ float
moshi_warp_sum(float x)
{
  for (int d = MOSHI_WARP / 2; d > 0; d /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, d);
  return x;
}

/* NaN is passed over, as fmaxf does. */
__device__ __forceinline__ float
moshi_warp_max(float x)
{
  for (int d = MOSHI_WARP / 2; d > 0; d /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
  return x;
}

/* Every thread of a block of WARPS warps gets the sum. */
template <int WARPS>
__device__ __forceinline__ float
moshi_block_sum(float x)
{
  MOSHI_SHARED(float, parts, [WARPS]);
  x = moshi_warp_sum(x);
  __syncthreads(); /* the last call's parts have been read */
  if (threadIdx.x % MOSHI_WARP == 0)
    parts[threadIdx.x / MOSHI_WARP] = x;
  __syncthreads();
  float sum = parts[0];
  for (int i = 1; i < WARPS; i++)
    sum += parts[i];
  return sum;
}

template <int WARPS>
__device__ __forceinline__ float
moshi_block_max(float x)
{
  MOSHI_SHARED(float, parts, [WARPS]);
  x = moshi_warp_max(x);
  __syncthreads();
  if (threadIdx.x % MOSHI_WARP == 0)
    parts[threadIdx.x / MOSHI_WARP] = x;
  __syncthreads();
  float most = parts[0];
  for (int i = 1; i < WARPS; i++)
    most = fmaxf(most, parts[i]);
  return most;
}

/* A key that orders as x does: NaN below everything, −0 as 0, and of equals the lower
 * index above. */
__device__ __forceinline__ uint32_t
moshi_order(float x)
{
  const uint32_t bits = __float_as_uint(x + 0.0f);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return 0;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ unsigned long long
moshi_ranked(uint32_t order, int index)
{
  return (unsigned long long)order << 32 | ~(uint32_t)index;
}

__device__ __forceinline__ int
moshi_ranked_index(unsigned long long key)
{
  return (int)~(uint32_t)key;
}

/* The block's largest of 64-bit keys. */
template <int WARPS>
__device__ __forceinline__ unsigned long long
moshi_block_largest(unsigned long long key)
{
  MOSHI_SHARED(unsigned long long, parts, [WARPS]);
  for (int d = MOSHI_WARP / 2; d > 0; d /= 2) {
    const unsigned long long other = __shfl_xor_sync(0xffffffffu, key, d);
    key = other > key ? other : key;
  }
  __syncthreads();
  if (threadIdx.x % MOSHI_WARP == 0)
    parts[threadIdx.x / MOSHI_WARP] = key;
  __syncthreads();
  key = parts[0];
  for (int i = 1; i < WARPS; i++)
    key = parts[i] > key ? parts[i] : key;
  return key;
}

#endif
