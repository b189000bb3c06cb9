/* The RMS of a row, summed in one order by the norm and by products that take their
 * input through it. */
#ifndef MOSHI_CUDA_NORM_CUH
#define MOSHI_CUDA_NORM_CUH

#include "layout.cuh"
#include "reduce.cuh"

/* 1/sqrt(mean(x²) + eps), for every thread of a block of WARPS warps. */
template <int WARPS>
__device__ __forceinline__ float
moshi_inverse_rms(const float *x, int n, float eps)
{
  float squares = 0;
  for (int i = threadIdx.x; i < n; i += WARPS * MOSHI_WARP)
    squares = fmaf(x[i], x[i], squares);
  return 1 / sqrtf(moshi_block_sum<WARPS>(squares) / n + eps);
}

#endif
