/* Products of weight rows and a few vectors: bound by the reading of the weights.
 *
 * A warp has two rows, or four that share a reading of x where that is the bound. Its
 * lanes take pieces of 16 bytes in turn, several of each row in flight, and the x of a
 * piece from shared memory (operand.cuh). A lane's sum goes
 * through its pieces in order, and the lanes' sums through a butterfly: the order
 * depends on type and columns alone. */
#include <cfloat>
#include <cmath>

#include "operand.cuh"

namespace {

enum {
  WARPS = 8,
  THREADS = WARPS * MOSHI_WARP,
  SHARED_BYTES = 48 << 10,
  PREFETCH_BYTES =
      2 << 10, /* of a row behind the first pieces, while x is waited for */
};

/* Rows of a warp. */
__host__ __device__ constexpr int
rows_for(int items)
{
  return items < 8 ? 2 : 4;
}

template <int TYPE> using Operand = typename MoshiOperandOf<TYPE>::Operand;

/* Pieces whose x are in shared memory at a time: a multiple of a warp's. */
template <int TYPE, int ITEMS>
__host__ __device__ constexpr int
most_pieces()
{
  return (SHARED_BYTES / (ITEMS * Operand<TYPE>::UNITS * (int)sizeof(uint4)) - 1) /
         MOSHI_WARP * MOSHI_WARP;
}

/* One more than the pieces: odd. */
__host__ __device__ inline int
pitch_of(int pieces, int most)
{
  const int some = (pieces + MOSHI_WARP - 1) / MOSHI_WARP * MOSHI_WARP;
  return (some < most ? some : most) + 1;
}

/* The rows of a warp: so many outputs, or half as many that are gated. */
template <int ROWS> struct WarpRows {
  int output[ROWS], row[ROWS];
  const uint8_t *data[ROWS];

  __device__ __forceinline__ explicit WarpRows(const MoshiCudaLinear &a)
  {
    const int warp = blockIdx.y * WARPS + threadIdx.x / MOSHI_WARP;
    const size_t stride = moshi_row_stride(a.w.type, a.w.cols);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      output[r] = a.gated ? warp * (ROWS / 2) + r % (ROWS / 2) : warp * ROWS + r;
      row[r] = min(output[r], a.n_out - 1) + (a.gated && r >= ROWS / 2 ? a.n_out : 0);
      data[r] = static_cast<const uint8_t *>(a.w.data) + row[r] * stride;
    }
  }
};

/* Pieces of each row that a lane has in flight. */
template <int TYPE, int ITEMS> struct Flight {
  using Piece = MoshiPiece<TYPE>;
  static constexpr int ROWS = rows_for(ITEMS);
  static constexpr int PIECES = ITEMS == 1 ? 4 : 2, STEP = PIECES * MOSHI_WARP;
  uint4 bytes[PIECES][ROWS];
  typename Piece::Bits factors[PIECES][ROWS];

  /* Pieces p, p + 32, … below end; the last one again where there are none. */
  __device__ __forceinline__ void load(
      const MoshiCudaLinear &a, const WarpRows<ROWS> &w, int p, int end)
  {
#pragma unroll
    for (int i = 0; i < PIECES; i++)
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const int at = min(p + i * MOSHI_WARP, end - 1);
        bytes[i][r] = moshi_stream(w.data[r] + Piece::offset(at));
        if (Piece::SCALED)
          factors[i][r] = Piece::bits(a.w, w.row[r], w.data[r], at);
      }
  }

  /* What follows the first pieces, into L2: a lane a row. */
  __device__ static __forceinline__ void prefetch(
      const MoshiCudaLinear &a, const WarpRows<ROWS> &w)
  {
    const size_t begin = Piece::offset(STEP), end = moshi_row_stride(TYPE, a.w.cols);
    const int lane = threadIdx.x % MOSHI_WARP;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
      if (lane == r && begin < end)
        moshi_prefetch(w.data[r] + begin, end - begin, PREFETCH_BYTES);
  }

  /* The same ones; xs is the first one's. */
  __device__ __forceinline__ void multiply(int scale_type, const uint4 *xs, int pitch,
      int p, int end, float (&sums)[ROWS][ITEMS])
  {
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
      const int at = p + i * MOSHI_WARP;
      if (at >= end)
        continue;
      MoshiFactors f[ROWS];
      if (Piece::SCALED)
#pragma unroll
        for (int r = 0; r < ROWS; r++)
          f[r] = Piece::factors(scale_type, factors[i][r], at);
      Operand<TYPE>::multiply(bytes[i], f, xs + i * MOSHI_WARP, pitch, sums);
    }
  }
};

/* One lane writes one output of one item. */
template <int TYPE, int ROWS, int ITEMS>
__device__ __forceinline__ void
store(const MoshiCudaLinear &a, const WarpRows<ROWS> &w, int item0,
    float (&sums)[ROWS][ITEMS])
{
  const int lane = threadIdx.x % MOSHI_WARP, item = item0 + lane % ITEMS;
  float mine = 0, value = 0;
  int n = a.n_out;

#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int b = 0; b < ITEMS; b++) {
      const bool second = a.gated && r >= ROWS / 2;
      float sum = moshi_warp_sum(sums[r][b]);
      if (TYPE == MOSHI_TYPE_I8)
        sum = moshi_mul(sum, static_cast<const float *>(a.w.scales)[w.row[r]]);
      if (lane != (second ? r - ROWS / 2 : r) * ITEMS + b)
        continue;
      (second ? value : mine) = sum;
      n = w.output[r];
    }
  if (n >= a.n_out || item >= a.batch * a.steps)
    return;
  float *y = moshi_row(a.y, a.steps, item, 0);
  if (a.gated)
    y[n] = moshi_mul(moshi_activate(a.act, mine), value);
  else
    y[n] = moshi_finish(a.act, mine, a.bias, a.scale,
        a.residual.data ? moshi_row(a.residual, a.steps, item, 0) : nullptr, n);
}

/* Of each row, one block writes what the norm would have. */
__device__ __forceinline__ MoshiInput
input_of(const MoshiCudaLinear &a, int item, float inverse)
{
  const float *x = moshi_row(a.x, a.steps, item, 0);
  const uintptr_t bits =
      reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(a.norm);
  float *normed =
      a.normed && blockIdx.y == 0 ? a.normed + (size_t)item * a.w.cols : nullptr;
  return MoshiInput{x, a.norm, normed, inverse, a.w.cols, bits % 16 == 0};
}

template <int TYPE, int ITEMS>
__global__ void
__launch_bounds__(THREADS) rows_kernel(MoshiCudaLinear a)
{
  MOSHI_DYNAMIC_SHARED(uint4, xs);
  constexpr int MOST = most_pieces<TYPE, ITEMS>(), N = MoshiPiece<TYPE>::N;
  const int pieces = (a.w.cols + N - 1) / N, pitch = pitch_of(pieces, MOST);
  const int item0 = blockIdx.x * ITEMS, items = a.batch * a.steps;
  constexpr int ROWS = rows_for(ITEMS);
  const WarpRows<ROWS> w(a);
  Flight<TYPE, ITEMS> flight;
  float sums[ROWS][ITEMS] = {}, inverse[ITEMS] = {};

  moshi_grid_release();
  for (int first = 0; first < pieces; first += MOST) {
    const int end = min(first + MOST, pieces);
    int p = first + threadIdx.x % MOSHI_WARP;
    /* The first weights are on their way while x is made ready. */
    flight.load(a, w, p, end);
    if (first > 0) {
      __syncthreads();
    } else {
      flight.prefetch(a, w);
      moshi_grid_wait();
    }
#pragma unroll
    for (int b = 0; b < ITEMS; b++) {
      const int item = min(item0 + b, items - 1);
      if (a.norm && first == 0)
        inverse[b] =
            moshi_inverse_rms<WARPS>(moshi_row(a.x, a.steps, item, 0), a.w.cols, a.eps);
      Operand<TYPE>::template stage<THREADS>(input_of(a, item, inverse[b]),
          xs + b * Operand<TYPE>::UNITS * pitch, pitch, first, end - first);
    }
    __syncthreads();
    for (int q = first;;) {
      flight.multiply(a.w.scale_type, xs + p - first, pitch, p, end, sums);
      q += Flight<TYPE, ITEMS>::STEP;
      p += Flight<TYPE, ITEMS>::STEP;
      if (q >= end)
        break;
      flight.load(a, w, p, end);
    }
  }
  store<TYPE>(a, w, item0, sums);
}

template <int TYPE, int ITEMS>
void
launch_items(const MoshiCudaLinear &a, cudaStream_t stream)
{
  constexpr int N = MoshiPiece<TYPE>::N;
  const int pitch = pitch_of(moshi_pieces(a.w.cols, N), most_pieces<TYPE, ITEMS>());
  const int outputs = WARPS * rows_for(ITEMS) / (a.gated ? 2 : 1);
  const dim3 grid(
      moshi_pieces(a.batch * a.steps, ITEMS), moshi_pieces(a.n_out, outputs));

  MOSHI_LAUNCH((rows_kernel<TYPE, ITEMS>), grid, dim3(THREADS),
      (size_t)ITEMS * Operand<TYPE>::UNITS * sizeof(uint4) * pitch, stream, a);
}

/* Items that share a reading of the weights; beyond eight it is the tiles of one block
 * of rows, scheduled beside each other, that share it in L2. */
template <int TYPE>
void
launch_rows(const MoshiCudaLinear &a, cudaStream_t stream)
{
  const int items = a.batch * a.steps;
  if (items == 1)
    launch_items<TYPE, 1>(a, stream);
  else if (items == 2)
    launch_items<TYPE, 2>(a, stream);
  else if (items <= 4)
    launch_items<TYPE, 4>(a, stream);
  else
    launch_items<TYPE, 8>(a, stream);
}

} // namespace

size_t
moshi_cuda_linear_scratch(const MoshiCudaLinear *a)
{
  enum { FEW = 8 }; /* one tile of rows_kernel, and half of one of tensor.cu */
  return a->packed || a->batch * a->steps <= FEW ? 0 : moshi_cuda_tensor_scratch(a);
}

void
moshi_cuda_linear(const MoshiCudaLinear *a, cudaStream_t stream)
{
  static void (*const launch[MOSHI_N_TYPES])(const MoshiCudaLinear &, cudaStream_t) = {
      launch_rows<MOSHI_TYPE_F32>,
      launch_rows<MOSHI_TYPE_F16>,
      launch_rows<MOSHI_TYPE_BF16>,
      launch_rows<MOSHI_TYPE_I8>,
      launch_rows<MOSHI_TYPE_Q8_0>,
      launch_rows<MOSHI_TYPE_Q4_0>,
      launch_rows<MOSHI_TYPE_Q4_K>,
      launch_rows<MOSHI_TYPE_MLX4>,
      launch_rows<MOSHI_TYPE_MLX8>,
  };
  if (a->packed)
    moshi_cuda_panels(a, stream);
  else if (a->scratch)
    moshi_cuda_tensor(a, stream);
  else
    launch[a->w.type](*a, stream);
}
