/* Products of packed weights (kernels.h: panels of 16 outputs) and windows of rows: the
 * convolutions, and what else is packed.
 *
 * The columns are cut into at most 16 segments, by their number alone. Each segment is
 * summed column by column, and the segments' sums are added in order. Of few rows, one
 * thread takes a segment and shared memory gathers them; of many, one thread goes
 * through all segments of its 4×4 outputs. Both give the same bits, so a stream's
 * result depends neither on its steps a call nor on who else is in the batch. */
#include "activation.cuh"
#include "kernels.cuh"

namespace {

enum {
  SEGMENTS = 16,
  UNIT = 16,     /* a segment is a multiple of so many columns */
  FEW_ITEMS = 4, /* rows of a block of few_kernel */
  TILE = 64,     /* rows, and outputs, of a block of many_kernel */
  SIDE = 16,     /* its threads; each has FOUR×FOUR outputs */
  FOUR = TILE / SIDE,
  THREADS = 256,
};

__host__ __device__ inline int
segment_of(int cols)
{
  return ((cols + SEGMENTS - 1) / SEGMENTS + UNIT - 1) / UNIT * UNIT;
}

/* Weight i of the panels. */
template <int TYPE>
__device__ __forceinline__ float
weight(const void *panels, size_t i)
{
  return TYPE == MOSHI_TYPE_F32
             ? __ldg(static_cast<const float *>(panels) + i)
             : moshi_brain_float(__ldg(static_cast<const uint16_t *>(panels) + i));
}

__device__ __forceinline__ void
store(const MoshiCudaLinear &a, int item, int n, float sum)
{
  float *y = moshi_row(a.y, a.steps, item, 0);
  y[n] = moshi_finish(a.act, sum, a.bias, a.scale,
      a.residual.data ? moshi_row(a.residual, a.steps, item, 0) : nullptr, n);
}

/* One panel and FEW_ITEMS rows: thread [segment][output]. */
template <int TYPE>
__global__ void
__launch_bounds__(THREADS) few_kernel(MoshiCudaLinear a)
{
  MOSHI_SHARED(float, parts, [FEW_ITEMS][SEGMENTS][MOSHI_PANEL]);
  const int output = threadIdx.x % MOSHI_PANEL, segment = threadIdx.x / MOSHI_PANEL;
  const int cols = a.w.cols, items = a.batch * a.steps;
  const int item0 = blockIdx.x * FEW_ITEMS, length = segment_of(cols);
  const int end = min((segment + 1) * length, cols);
  const size_t panel = (size_t)blockIdx.y * cols * MOSHI_PANEL + output;
  const float *x[FEW_ITEMS];
  float sums[FEW_ITEMS] = {};

#pragma unroll
  for (int i = 0; i < FEW_ITEMS; i++)
    x[i] = moshi_row(a.x, a.steps, min(item0 + i, items - 1), 0);
#pragma unroll 8
  for (int k = segment * length; k < end; k++) {
    const float w = weight<TYPE>(a.w.data, panel + (size_t)k * MOSHI_PANEL);
#pragma unroll
    for (int i = 0; i < FEW_ITEMS; i++)
      sums[i] = fmaf(x[i][k], w, sums[i]);
  }
#pragma unroll
  for (int i = 0; i < FEW_ITEMS; i++)
    parts[i][segment][output] = sums[i];
  __syncthreads();

  const int item = item0 + segment, n = blockIdx.y * MOSHI_PANEL + output;
  if (segment >= FEW_ITEMS || item >= items || n >= a.n_out)
    return;
  float sum = 0;
  for (int s = 0; s < SEGMENTS && s * length < cols; s++)
    sum = moshi_add(sum, parts[segment][s][output]);
  store(a, item, n, sum);
}

/* 64 rows by 64 outputs, UNIT columns at a time in shared memory. */
template <int TYPE>
__global__ void
__launch_bounds__(THREADS) many_kernel(MoshiCudaLinear a)
{
  MOSHI_SHARED(float, xs, [UNIT][TILE + 4]); /* 4: rows of it in other banks */
  MOSHI_SHARED(float, ws, [UNIT][TILE]);
  const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
  const int cols = a.w.cols, items = a.batch * a.steps, length = segment_of(cols);
  const int item0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  const int panels = (a.n_out + MOSHI_PANEL - 1) / MOSHI_PANEL;
  float sums[FOUR][FOUR] = {}, totals[FOUR][FOUR] = {};

  for (int k0 = 0; k0 < cols; k0 += UNIT) {
    for (int i = threadIdx.x; i < TILE * UNIT; i += THREADS) {
      const int k = i % UNIT, item = min(item0 + i / UNIT, items - 1);
      xs[k][i / UNIT] = k0 + k < cols ? moshi_row(a.x, a.steps, item, 0)[k0 + k] : 0;
    }
    for (int i = threadIdx.x; i < TILE * UNIT; i += THREADS) {
      const int n = i % MOSHI_PANEL, k = i / MOSHI_PANEL % UNIT;
      const int p = i / (MOSHI_PANEL * UNIT);
      const int panel = min(n0 / MOSHI_PANEL + p, panels - 1);
      ws[k][p * MOSHI_PANEL + n] =
          k0 + k < cols ? weight<TYPE>(a.w.data,
                              ((size_t)panel * cols + k0 + k) * MOSHI_PANEL + n)
                        : 0;
    }
    __syncthreads();
    for (int k = 0; k < UNIT && k0 + k < cols; k++)
#pragma unroll
      for (int i = 0; i < FOUR; i++)
#pragma unroll
        for (int j = 0; j < FOUR; j++)
          sums[i][j] = fmaf(xs[k][ty * FOUR + i], ws[k][tx * FOUR + j], sums[i][j]);
    __syncthreads();
    if ((k0 + UNIT) % length == 0 || k0 + UNIT >= cols)
#pragma unroll
      for (int i = 0; i < FOUR * FOUR; i++) {
        totals[i / FOUR][i % FOUR] =
            moshi_add(totals[i / FOUR][i % FOUR], sums[i / FOUR][i % FOUR]);
        sums[i / FOUR][i % FOUR] = 0;
      }
  }
#pragma unroll
  for (int i = 0; i < FOUR; i++)
#pragma unroll
    for (int j = 0; j < FOUR; j++) {
      const int item = item0 + ty * FOUR + i, n = n0 + tx * FOUR + j;
      if (item < items && n < a.n_out)
        store(a, item, n, totals[i][j]);
    }
}

template <int TYPE>
void
launch(const MoshiCudaLinear &a, cudaStream_t stream)
{
  const int items = a.batch * a.steps;
  if (items < TILE / 2)
    MOSHI_LAUNCH((few_kernel<TYPE>),
        dim3(moshi_pieces(items, FEW_ITEMS), moshi_pieces(a.n_out, MOSHI_PANEL)),
        dim3(THREADS), 0, stream, a);
  else
    MOSHI_LAUNCH((many_kernel<TYPE>),
        dim3(moshi_pieces(items, TILE), moshi_pieces(a.n_out, TILE)), dim3(THREADS), 0,
        stream, a);
}

} // namespace

void
moshi_cuda_panels(const MoshiCudaLinear *a, cudaStream_t stream)
{
  if (a->w.type == MOSHI_TYPE_F32)
    launch<MOSHI_TYPE_F32>(*a, stream);
  else
    launch<MOSHI_TYPE_BF16>(*a, stream);
}
