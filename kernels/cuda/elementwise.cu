/* Operations that read each of their operands about once. */
#include "kernels.cuh"

enum { BLOCK = 256 };

__device__ static float
activate(int act, float x)
{
  switch (act) {
  case MOSHI_ACT_ELU:
    return x > 0 ? x : expm1f(x);
  case MOSHI_ACT_GELU:
    return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
  case MOSHI_ACT_SILU:
    return x / (1 + expf(-x));
  case MOSHI_ACT_RELU:
    return x > 0 ? x : 0;
  case MOSHI_ACT_SIGMOID:
    return 1 / (1 + expf(-x));
  case MOSHI_ACT_TANH:
    return tanhf(x);
  default:
    return x;
  }
}

__global__ void
gate_kernel(MoshiCudaGate a)
{
  const size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= (size_t)a.n * a.hidden)
    return;
  const float *u = a.u + i / a.hidden * 2 * a.hidden + i % a.hidden;
  a.y[i] = activate(a.act, u[0]) * u[a.hidden];
}

void
moshi_cuda_gate(const MoshiCudaGate *a, cudaStream_t stream)
{
  MOSHI_LAUNCH(
      gate_kernel, moshi_pieces((int64_t)a->n * a->hidden, BLOCK), BLOCK, 0, stream, *a);
}
