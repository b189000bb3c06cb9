/* The activations of kernels.h, and what else follows the sum of a product. */
#ifndef MOSHI_CUDA_ACTIVATION_CUH
#define MOSHI_CUDA_ACTIVATION_CUH

#include "layout.cuh"

__device__ inline float
moshi_activate(int act, float x)
{
  switch (act) {
  case MOSHI_ACT_ELU:
    return x > 0 ? x : expm1f(x);
  case MOSHI_ACT_GELU:
    return moshi_mul(moshi_mul(0.5f, x), moshi_add(1, erff(x * 0.70710678118654752f)));
  case MOSHI_ACT_SILU:
    return x / moshi_add(1, expf(-x));
  case MOSHI_ACT_RELU:
    return x > 0 ? x : 0;
  case MOSHI_ACT_SIGMOID:
    return 1 / moshi_add(1, expf(-x));
  case MOSHI_ACT_TANH:
    return tanhf(x);
  default:
    return x;
  }
}

/* Element n of row `row` of a view, rows counted item after item. */
__device__ __forceinline__ float *
moshi_row(const MoshiView &v, int steps, size_t row, size_t n)
{
  return v.data + row / steps * v.batch_stride + row % steps * v.step_stride + n;
}

/* residual + scale·act(sum + bias), as MoshiLinearOp has it. */
__device__ inline float
moshi_finish(int act, float sum, const float *bias, const float *scale,
    const float *residual, int n)
{
  float y = moshi_activate(act, bias ? moshi_add(sum, bias[n]) : sum);
  if (scale)
    y = moshi_mul(y, scale[n]);
  return residual ? moshi_add(residual[n], y) : y;
}

#endif
