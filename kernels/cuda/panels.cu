/* Products of packed weights (kernels.h: panels of 16 outputs) and windows of rows: the
 * convolutions, and what else is packed.
 *
 * The columns are cut into at most 16 segments, by their number alone. Each segment is
 * summed column by column, and the segments' sums are added in order. Of few rows, one
 * thread takes a segment and shared memory gathers them; of many, one thread goes
 * through all segments of its 2×2 or 4×4 outputs. Both give the same bits, so a stream's
 * result depends neither on its steps a call nor on who else is in the batch. */
#include "activation.cuh"
#include "kernels.cuh"

namespace {

enum {
  SEGMENTS = 16,
  UNIT = 16,       /* a segment is a multiple of so many columns */
  FEW_ITEMS = 4,   /* rows of a block of few_kernel */
  FEW_TILES = 256, /* of 64×64: fewer leave parts of a card idle */
  SIDE = 16,       /* threads of a side of a block of many_kernel */
  THREADS = 256,
  PREFETCH_BYTES = 16 << 10, /* of a block's weights, while it waits for x */
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

/* The beginning of n panels from one on, of which the last may be beyond. */
template <int TYPE>
__device__ __forceinline__ void
prefetch_panels(const MoshiCudaLinear &a, int panel, int n)
{
  const size_t column = MOSHI_PANEL * (TYPE == MOSHI_TYPE_F32 ? 4 : 2);
  const size_t bytes = a.w.cols * column;
  const int i = threadIdx.x, mine = panel + i;
  if (i < n && mine * MOSHI_PANEL < a.n_out)
    moshi_prefetch(
        static_cast<const char *>(a.w.data) + mine * bytes, bytes, PREFETCH_BYTES / n);
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

  moshi_grid_release();
  prefetch_panels<TYPE>(a, blockIdx.y, 1);
  moshi_grid_wait();
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

/* UNIT columns of a block's operands on their way to shared memory. */
template <int TYPE, int TILE> struct Columns {
  static constexpr int EACH = TILE * UNIT / THREADS;
  float x[EACH], w[EACH];

  __device__ __forceinline__ void load(
      const MoshiCudaLinear &a, int item0, int n0, int k0)
  {
    const int items = a.batch * a.steps, cols = a.w.cols;
    const int panels = (a.n_out + MOSHI_PANEL - 1) / MOSHI_PANEL;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      const int i = threadIdx.x + e * THREADS, item = min(item0 + i / UNIT, items - 1);
      const int k = k0 + i % UNIT;
      x[e] = k < cols ? *moshi_row(a.x, a.steps, item, k) : 0;
    }
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      const int i = threadIdx.x + e * THREADS, n = i % MOSHI_PANEL;
      const int k = k0 + i / MOSHI_PANEL % UNIT;
      const int panel = min(n0 / MOSHI_PANEL + i / (MOSHI_PANEL * UNIT), panels - 1);
      w[e] = k < cols
                 ? weight<TYPE>(a.w.data, ((size_t)panel * cols + k) * MOSHI_PANEL + n)
                 : 0;
    }
  }

  __device__ __forceinline__ void store(
      float (&xs)[UNIT][TILE + 4], float (&ws)[UNIT][TILE]) const
  {
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      const int i = threadIdx.x + e * THREADS;
      xs[i % UNIT][i / UNIT] = x[e];
      ws[i / MOSHI_PANEL % UNIT]
        [i / (MOSHI_PANEL * UNIT) * MOSHI_PANEL + i % MOSHI_PANEL] = w[e];
    }
  }
};

/* TILE rows by TILE outputs; while UNIT columns are multiplied the next are loaded. */
template <int TYPE, int TILE>
__global__ void
__launch_bounds__(THREADS) many_kernel(MoshiCudaLinear a)
{
  MOSHI_SHARED(float, xs, [UNIT][TILE + 4]); /* 4: rows of it in other banks */
  MOSHI_SHARED(float, ws, [UNIT][TILE]);
  constexpr int EACH = TILE / SIDE;
  const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
  const int cols = a.w.cols, items = a.batch * a.steps, length = segment_of(cols);
  const int item0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  Columns<TYPE, TILE> next;
  float sums[EACH][EACH] = {}, totals[EACH][EACH] = {};

  moshi_grid_release();
  prefetch_panels<TYPE>(a, n0 / MOSHI_PANEL, TILE / MOSHI_PANEL);
  moshi_grid_wait();
  next.load(a, item0, n0, 0);
  for (int k0 = 0; k0 < cols; k0 += UNIT) {
    next.store(xs, ws);
    __syncthreads();
    next.load(a, item0, n0, k0 + UNIT);
#pragma unroll
    for (int k = 0; k < UNIT; k++) /* zeros behind the last column */
#pragma unroll
      for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++)
          sums[i][j] = fmaf(xs[k][ty * EACH + i], ws[k][tx * EACH + j], sums[i][j]);
    __syncthreads();
    if ((k0 + UNIT) % length == 0 || k0 + UNIT >= cols)
#pragma unroll
      for (int i = 0; i < EACH * EACH; i++) {
        totals[i / EACH][i % EACH] =
            moshi_add(totals[i / EACH][i % EACH], sums[i / EACH][i % EACH]);
        sums[i / EACH][i % EACH] = 0;
      }
  }
#pragma unroll
  for (int i = 0; i < EACH; i++)
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      const int item = item0 + ty * EACH + i, n = n0 + tx * EACH + j;
      if (item < items && n < a.n_out)
        store(a, item, n, totals[i][j]);
    }
}

template <int TYPE, int TILE>
void
launch_many(const MoshiCudaLinear &a, cudaStream_t stream)
{
  MOSHI_LAUNCH((many_kernel<TYPE, TILE>),
      dim3(moshi_pieces(a.batch * a.steps, TILE), moshi_pieces(a.n_out, TILE)),
      dim3(THREADS), 0, stream, a);
}

template <int TYPE>
void
launch(const MoshiCudaLinear &a, cudaStream_t stream)
{
  const int items = a.batch * a.steps;
  if (items < 32)
    MOSHI_LAUNCH((few_kernel<TYPE>),
        dim3(moshi_pieces(items, FEW_ITEMS), moshi_pieces(a.n_out, MOSHI_PANEL)),
        dim3(THREADS), 0, stream, a);
  else if ((int64_t)moshi_pieces(items, 64) * moshi_pieces(a.n_out, 64) < FEW_TILES)
    launch_many<TYPE, 32>(a, stream);
  else
    launch_many<TYPE, 64>(a, stream);
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
