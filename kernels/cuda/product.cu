/* Products of weight rows and a few vectors: bound by the reading of the weights.
 *
 * A warp has two rows. Its lanes take pieces of 16 bytes in turn, four of each row in
 * flight, and the x of a piece from shared memory, where it lies in the order of the
 * reading: the fours of one piece apart, those of neighbouring pieces beside each
 * other, without a bank conflict. A lane's sum goes through its pieces in order, and
 * the lanes' sums through a butterfly: the order depends on type and columns alone. */
#include "activation.cuh"
#include "kernels.cuh"
#include "norm.cuh"
#include "pieces.cuh"

namespace {

enum { WARPS = 8, THREADS = WARPS * MOSHI_WARP, ROWS = 2, SHARED_BYTES = 48 << 10 };

/* Pieces whose x are in shared memory at a time: a multiple of a warp's. */
template <int TYPE, int ITEMS>
__host__ __device__ constexpr int
most_pieces()
{
  return (SHARED_BYTES / (ITEMS * moshi_piece_columns(TYPE) * 4) - 1) / MOSHI_WARP *
         MOSHI_WARP;
}

/* One more than the pieces, so that a column of fours steps through the banks. */
__host__ __device__ inline int
pitch_of(int pieces, int most)
{
  const int some = (pieces + MOSHI_WARP - 1) / MOSHI_WARP * MOSHI_WARP;
  return (some < most ? some : most) + 1;
}

/* Four of x from column c on, normalised where the product asks for it. */
__device__ __forceinline__ float4
four_of(const MoshiCudaLinear &a, const float *x, int c, float inverse)
{
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    v[i] = c + i < a.w.cols ? x[c + i] : 0;
    if (a.norm && c + i < a.w.cols)
      v[i] = moshi_mul(moshi_mul(v[i], inverse), a.norm[c + i]);
  }
  return make_float4(v[0], v[1], v[2], v[3]);
}

/* x of pieces [first, first + n) to shared memory, [item][four of the piece][piece]. */
template <int TYPE, int ITEMS>
__device__ __forceinline__ void
stage(const MoshiCudaLinear &a, float4 *xs, int pitch, int first, int n, int item0,
    const float (&inverse)[ITEMS])
{
  constexpr int FOURS = MoshiPiece<TYPE>::N / 4;
#pragma unroll
  for (int b = 0; b < ITEMS; b++) {
    const int item = min(item0 + b, a.batch * a.steps - 1);
    const float *x = moshi_row(a.x, a.steps, item, 0);
    for (int i = threadIdx.x; i < n * FOURS; i += THREADS) {
      const int p = i / FOURS, j = i % FOURS;
      xs[(b * FOURS + j) * pitch + p] =
          four_of(a, x, MoshiPiece<TYPE>::column(first + p, j), inverse[b]);
    }
  }
}

/* sums += weights of one piece of each row · x */
template <int TYPE, int ITEMS>
__device__ __forceinline__ void
multiply(const uint4 (&bytes)[ROWS], const MoshiFactors (&factors)[ROWS],
    const float4 *x, int pitch, float (&sums)[ROWS][ITEMS])
{
  using Piece = MoshiPiece<TYPE>;
  constexpr int FOURS = Piece::N / 4, HALF = FOURS / Piece::HALVES;
  float f[ROWS][Piece::N];

#pragma unroll
  for (int r = 0; r < ROWS; r++)
    Piece::numbers(bytes[r], f[r]);
#pragma unroll
  for (int b = 0; b < ITEMS; b++) {
#pragma unroll
    for (int h = 0; h < Piece::HALVES; h++) {
      float part[ROWS], whole = 0;
#pragma unroll
      for (int r = 0; r < ROWS; r++)
        part[r] = Piece::SCALED ? 0 : sums[r][b];
#pragma unroll
      for (int j = h * HALF; j < (h + 1) * HALF; j++) {
        const float4 v = x[(b * FOURS + j) * pitch];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          part[r] = fmaf(f[r][4 * j], v.x, part[r]);
          part[r] = fmaf(f[r][4 * j + 1], v.y, part[r]);
          part[r] = fmaf(f[r][4 * j + 2], v.z, part[r]);
          part[r] = fmaf(f[r][4 * j + 3], v.w, part[r]);
        }
        if (Piece::BIASED)
          whole = moshi_add(whole, moshi_add(moshi_add(v.x, v.y), moshi_add(v.z, v.w)));
      }
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        if (Piece::SCALED)
          part[r] = fmaf(part[r], factors[r].scale[h], sums[r][b]);
        if (Piece::BIASED)
          part[r] = fmaf(whole, factors[r].bias[h], part[r]);
        sums[r][b] = part[r];
      }
    }
  }
}

/* The rows of a warp: two outputs, or the two halves of one gated output. */
struct WarpRows {
  int first, output[ROWS], row[ROWS];
  const uint8_t *data[ROWS];
};

__device__ __forceinline__ WarpRows
rows_of_warp(const MoshiCudaLinear &a)
{
  const int warp = blockIdx.y * WARPS + threadIdx.x / MOSHI_WARP;
  const size_t stride = moshi_row_stride(a.w.type, a.w.cols);
  WarpRows w;

#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    w.output[r] = a.gated ? warp : warp * ROWS + r;
    w.row[r] = min(w.output[r], a.n_out - 1) + (a.gated && r ? a.n_out : 0);
    w.data[r] = static_cast<const uint8_t *>(a.w.data) + w.row[r] * stride;
  }
  return w;
}

/* Sums of the pieces [first, first + n) that are the lane's. */
template <int TYPE, int ITEMS>
__device__ __forceinline__ void
add_pieces(const MoshiCudaLinear &a, const WarpRows &w, const float4 *xs, int pitch,
    int first, int n, float (&sums)[ROWS][ITEMS])
{
  using Piece = MoshiPiece<TYPE>;
  constexpr int FLIGHT = ITEMS == 1 ? 4 : 2;
  const int lane = threadIdx.x % MOSHI_WARP;

  for (int p0 = lane; p0 < n; p0 += FLIGHT * MOSHI_WARP) {
    uint4 bytes[FLIGHT][ROWS];
    MoshiFactors factors[FLIGHT][ROWS];
#pragma unroll
    for (int i = 0; i < FLIGHT; i++) {
      const int p = first + min(p0 + i * MOSHI_WARP, n - 1);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        bytes[i][r] = moshi_stream(w.data[r] + Piece::offset(p));
        if (Piece::SCALED)
          factors[i][r] = Piece::factors(a.w, w.row[r], w.data[r], p);
      }
    }
#pragma unroll
    for (int i = 0; i < FLIGHT; i++)
      if (p0 + i * MOSHI_WARP < n)
        multiply<TYPE, ITEMS>(
            bytes[i], factors[i], xs + p0 + i * MOSHI_WARP, pitch, sums);
  }
}

/* One lane writes one output of one item. */
template <int TYPE, int ITEMS>
__device__ __forceinline__ void
store(
    const MoshiCudaLinear &a, const WarpRows &w, int item0, float (&sums)[ROWS][ITEMS])
{
  const int lane = threadIdx.x % MOSHI_WARP;
  float mine[ROWS] = {};

#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int b = 0; b < ITEMS; b++) {
      float sum = moshi_warp_sum(sums[r][b]);
      if (TYPE == MOSHI_TYPE_I8)
        sum = moshi_mul(sum, static_cast<const float *>(a.w.scales)[w.row[r]]);
      if (lane % ITEMS == b)
        mine[r] = sum;
    }
  const int r = lane / ITEMS, item = item0 + lane % ITEMS;
  if (r >= (a.gated ? 1 : ROWS) || item >= a.batch * a.steps)
    return;
  const int n = r ? w.output[1] : w.output[0];
  if (n >= a.n_out)
    return;
  float *y = moshi_row(a.y, a.steps, item, 0);
  if (a.gated)
    y[n] = moshi_mul(moshi_activate(a.act, mine[0]), mine[1]);
  else
    y[n] = moshi_finish(a.act, r ? mine[1] : mine[0], a.bias, a.scale,
        a.residual.data ? moshi_row(a.residual, a.steps, item, 0) : nullptr, n);
}

template <int TYPE, int ITEMS>
__global__ void
__launch_bounds__(THREADS) rows_kernel(MoshiCudaLinear a)
{
  MOSHI_DYNAMIC_SHARED(float4, xs);
  constexpr int MOST = most_pieces<TYPE, ITEMS>(), N = MoshiPiece<TYPE>::N;
  const int pieces = (a.w.cols + N - 1) / N, pitch = pitch_of(pieces, MOST);
  const int item0 = blockIdx.x * ITEMS;
  const WarpRows w = rows_of_warp(a);
  float sums[ROWS][ITEMS] = {}, inverse[ITEMS] = {};

  if (a.norm)
    for (int b = 0; b < ITEMS; b++)
      inverse[b] = moshi_inverse_rms<WARPS>(
          moshi_row(a.x, a.steps, min(item0 + b, a.batch * a.steps - 1), 0), a.w.cols,
          a.eps);
  for (int first = 0; first < pieces; first += MOST) {
    const int n = min(pieces - first, MOST);
    if (first > 0)
      __syncthreads();
    stage<TYPE, ITEMS>(a, xs, pitch, first, n, item0, inverse);
    __syncthreads();
    add_pieces<TYPE, ITEMS>(a, w, xs, pitch, first, n, sums);
  }
  store<TYPE, ITEMS>(a, w, item0, sums);
}

template <int TYPE, int ITEMS>
void
launch_items(const MoshiCudaLinear &a, cudaStream_t stream)
{
  constexpr int N = MoshiPiece<TYPE>::N;
  const int pitch = pitch_of(moshi_pieces(a.w.cols, N), most_pieces<TYPE, ITEMS>());
  const int outputs = a.gated ? WARPS : WARPS * ROWS;
  const dim3 grid(
      moshi_pieces(a.batch * a.steps, ITEMS), moshi_pieces(a.n_out, outputs));

  MOSHI_LAUNCH((rows_kernel<TYPE, ITEMS>), grid, dim3(THREADS),
      (size_t)ITEMS * N * sizeof(float) * pitch, stream, a);
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
  else
    launch[a->w.type](*a, stream);
}
