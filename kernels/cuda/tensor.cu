/* Products of weight rows and many vectors, on tensor cores.
 *
 * A first kernel lays x out as the tensor cores take it (tensor.cuh), through the norm
 * before the product where there is one. In the second, a block has 128 rows and a tile
 * of 16, 32 or 64 items, each of its warps 32 rows and half of the items. Stages of
 * columns, weights and x, are copied to shared memory some stages ahead. Where a
 * matrix has few rows, its columns are split between blocks, and the last that is done
 * adds their sums in order.
 *
 * Of a stage or a step of it, whatever has scales of its own, the tensor cores' sum
 * becomes f32 and is added to the output's. The splits, and so the order of an output's
 * sums, depend on the matrix alone: an item's bits are the same in each batch. */
#include <cfloat>
#include <cmath>

#include "tensor.cuh"

namespace {

enum {
  MT = 2, /* tiles of 16 rows of a warp; of a gated product, its two halves */
  ROW_WARPS = 4,
  ITEM_WARPS = 2,
  WARPS = ROW_WARPS * ITEM_WARPS,
  THREADS = WARPS * MOSHI_WARP,
  ROWS = ROW_WARPS * MT * 16,
  SUM_PITCH = ROWS + 4, /* of an item's sums in shared memory: lanes differ in banks */
  SHARED_BYTES = 72 << 10, /* of a block, so that multiprocessors have two */
  MOST_AHEAD = 4,
  BLOCKS = 128,  /* fewer blocks of rows split their columns */
  LEAST_PART = 8 /* stages of a split */
};

/* How a product is cut, and where its scratch is. */
struct Plan {
  int items, tile, tiles, row_blocks; /* tiles of items */
  int stages, part, splits;           /* part: stages of a split; stages: even */
  int x_bytes;                        /* of a stage and tile */
  uint8_t *x;                         /* [tile][stage] */
  float *sums;                        /* [block][split] of splits */
  int *arrived;                       /* splits of a block that are done */
};

/* ------------------------------------------------------------------- x first */

/* A block an item, and zeros for those that fill up the last tile. */
template <int TYPE>
__global__ void
__launch_bounds__(THREADS) lay_kernel(MoshiCudaLinear a, Plan plan)
{
  using Tensor = MoshiTensor<TYPE>;
  const int item = blockIdx.x, end = plan.stages * Tensor::STAGE, cols = a.w.cols;
  const bool there = item < plan.items;

  moshi_grid_release();
  moshi_grid_wait();
  const float *x = moshi_row(a.x, a.steps, there ? item : 0, 0);
  const float *norm = there ? a.norm : nullptr;
  const float inverse = norm ? moshi_inverse_rms<WARPS>(x, cols, a.eps) : 0;
  const uintptr_t bits =
      reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(norm);
  const MoshiInput input = {x, norm,
      norm && a.normed ? a.normed + (size_t)item * cols : nullptr, inverse,
      there ? cols : 0, bits % 16 == 0};
  uint8_t *to = plan.x + (size_t)(item / plan.tile) * plan.stages * plan.x_bytes;

  if (item == 0)
    for (int i = threadIdx.x; i < plan.tiles * plan.row_blocks; i += THREADS)
      plan.arrived[i] = 0;
  for (int c = 4 * threadIdx.x; c < end; c += 4 * THREADS) {
    float v[4];
    input.four(c, v);
    Tensor::put(to + (size_t)(c / Tensor::STAGE) * plan.x_bytes, plan.tile,
        item % plan.tile, c, v);
  }
}

/* --------------------------------------------------------------- the product */

/* Row i of the block's in the matrix. */
__device__ __forceinline__ int
row_of(const MoshiCudaLinear &a, int i)
{
  const int half = i / 16 % MT;
  const int output = a.gated ? (blockIdx.y * ROW_WARPS + i / (16 * MT)) * 16 + i % 16
                             : blockIdx.y * ROWS + i;
  return min(output, a.n_out - 1) + (a.gated ? half * a.n_out : 0);
}

template <int TYPE, int ITEMS> struct Block {
  using Tensor = MoshiTensor<TYPE>;
  using Piece = MoshiPiece<TYPE>;
  static constexpr int NT = ITEMS / ITEM_WARPS / 8; /* tiles of 8 items of a warp */
  static constexpr int W_BYTES = ROWS * Tensor::PITCH;
  static constexpr int X_BYTES = Tensor::x_bytes(ITEMS), BYTES = W_BYTES + X_BYTES;
  static constexpr int FIT = SHARED_BYTES / BYTES;
  static constexpr int AHEAD = FIT < MOST_AHEAD ? FIT : MOST_AHEAD;
  /* Steps that the tensor cores add up by themselves, and their sums in a stage. */
  static constexpr bool BY_STEP = Piece::SCALED || Tensor::PARTS > 1;
  static constexpr int EACH = BY_STEP ? 1 : Tensor::STEPS, SUMS = Tensor::STEPS / EACH;
  static_assert(ITEMS * SUM_PITCH * (int)sizeof(float) <= AHEAD * BYTES, "sums fit");
  static_assert(AHEAD >= 2, "a stage is computed while the next is copied");

  /* A thread copies the same unit of 16 bytes of some rows. */
  static constexpr int UNITS = 2 * Tensor::W / 16, COPIES = ROWS * UNITS / THREADS;

  float sums[MT][NT][4];
  const uint8_t *from[COPIES], *of_x;
  /* Scales and biases of a stage, and of the next: of rows g and g + 8 of tile t / 2 for
   * step t % 2, which the four lanes of a g have for each other. */
  float2 factors[2], next[2];
  int factor_rows[2], pieces;
  int row_warp, item_warp, lane;

  __device__ __forceinline__ Block(const MoshiCudaLinear &a, const Plan &plan) : sums{}
  {
    const size_t stride = moshi_row_stride(TYPE, a.w.cols);
    pieces = moshi_pieces(a.w.cols, Piece::N);
    for (int i = 0; i < COPIES; i++)
      from[i] = static_cast<const uint8_t *>(a.w.data) +
                row_of(a, (threadIdx.x + i * THREADS) / UNITS) * stride;
    of_x = plan.x + (size_t)blockIdx.x * plan.stages * X_BYTES;
    lane = threadIdx.x % MOSHI_WARP;
    row_warp = threadIdx.x / MOSHI_WARP % ROW_WARPS;
    item_warp = threadIdx.x / MOSHI_WARP / ROW_WARPS;
    for (int r = 0; r < 2; r++)
      factor_rows[r] =
          row_of(a, (row_warp * MT + lane % 4 / 2) * 16 + lane / 4 + r * 8);
  }

  /* Queue the copies of a stage's weights, and of its x. */
  __device__ __forceinline__ void copy_weights(int stage, uint8_t *to) const
  {
    const int p = stage * UNITS + threadIdx.x % UNITS;
    const size_t offset = Piece::offset(p);
    to += threadIdx.x / UNITS * Tensor::PITCH + threadIdx.x % UNITS * 16;
#pragma unroll
    for (int i = 0; i < COPIES; i++)
      moshi_copy_async(
          to + i * (THREADS / UNITS) * Tensor::PITCH, from[i] + offset, p < pieces);
  }

  __device__ __forceinline__ void copy_x(int stage, uint8_t *to) const
  {
    const uint8_t *x = of_x + (size_t)stage * X_BYTES + threadIdx.x * 16;
    to += W_BYTES + threadIdx.x * 16;
#pragma unroll
    for (int i = 0; i < X_BYTES; i += THREADS * 16)
      if (i + (int)threadIdx.x * 16 < X_BYTES)
        moshi_copy_async(to + i, x + i, true);
  }

  __device__ __forceinline__ void load_factors(const MoshiCudaLinear &a, int stage)
  {
    const size_t stride = moshi_row_stride(TYPE, a.w.cols);
    if (Piece::SCALED)
#pragma unroll
      for (int r = 0; r < 2; r++)
        next[r] = Tensor::factors(a.w, factor_rows[r],
            static_cast<const uint8_t *>(a.w.data) + factor_rows[r] * stride,
            stage * Tensor::STAGE + lane % 2 * Tensor::K);
  }

  /* Takes up the factors that were loaded. */
  __device__ __forceinline__ void turn_factors(void)
  {
    factors[0] = next[0];
    factors[1] = next[1];
  }

  /* sums += the products of a stage */
  __device__ __forceinline__ void multiply(const uint8_t *shared)
  {
    const uint8_t *x = shared + W_BYTES;
    const uint8_t *rows = shared + (row_warp * MT * 16 + lane / 4) * Tensor::PITCH;

#pragma unroll
    for (int s = 0; s < SUMS; s++) {
      uint32_t w[EACH][MT][Tensor::PARTS][4];
      float scale[MT][2], bias[MT][2];
#pragma unroll
      for (int e = 0; e < EACH; e++)
#pragma unroll
        for (int m = 0; m < MT; m++)
          Tensor::load(rows + m * 16 * Tensor::PITCH, s * EACH + e, w[e][m]);
      spread_factors(s, scale, bias);
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const int eight = item_warp * NT + n;
        uint2 b[EACH][Tensor::PLANES];
#pragma unroll
        for (int e = 0; e < EACH; e++)
#pragma unroll
          for (int p = 0; p < Tensor::PLANES; p++)
            b[e][p] = reinterpret_cast<const uint2 *>(
                x +
                Tensor::fragment(ITEMS, s * EACH + e, eight))[p * MOSHI_WARP + lane];
        if constexpr (Tensor::FLOATS)
          add_floats(w, b, n);
        else
          add_integers(w, b, x + Tensor::fragment(ITEMS, Tensor::STEPS, 0), s, eight,
              scale, bias, n);
      }
    }
  }

  /* to: [ITEMS][SUM_PITCH]; row g of a tile of 16 rows is in d[0] and d[1]. */
  __device__ __forceinline__ void put(float *to) const
  {
    const int row = row_warp * MT * 16 + lane / 4;
    const int item = item_warp * NT * 8 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          to[(item + n * 8 + i % 2) * SUM_PITCH + row + m * 16 + i / 2 * 8] =
              sums[m][n][i];
  }

private:
  __device__ __forceinline__ void spread_factors(
      int s, float (&scale)[MT][2], float (&bias)[MT][2]) const
  {
    if (Piece::SCALED)
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int source = lane / 4 * 4 + m * 2 + s;
          scale[m][r] = __shfl_sync(0xffffffffu, factors[r].x, source);
          if (Piece::BIASED)
            bias[m][r] = __shfl_sync(0xffffffffu, factors[r].y, source);
        }
  }

  /* Smallest products first. */
  __device__ __forceinline__ void add_floats(
      const uint32_t (&w)[EACH][MT][Tensor::PARTS][4],
      const uint2 (&b)[EACH][Tensor::PLANES], int n)
  {
#pragma unroll
    for (int m = 0; m < MT; m++) {
      float d[4] = {};
#pragma unroll
      for (int e = 0; e < EACH; e++)
#pragma unroll
        for (int both = Tensor::PLANES - 1; both >= 0; both--)
#pragma unroll
          for (int p = 0; p < Tensor::PARTS && p <= both; p++)
            moshi_mma_brain(d, w[e][m][p], b[e][both - p]);
#pragma unroll
      for (int i = 0; i < 4; i++)
        sums[m][n][i] = moshi_add(sums[m][n][i], d[i]);
    }
  }

  /* Sums of bytes, below 2^22, begin at MOSHI_WHOLE_BITS, so that they are floats of
   * MOSHI_WHOLE and the sum. */
  __device__ __forceinline__ void add_integers(
      const uint32_t (&w)[EACH][MT][Tensor::PARTS][4],
      const uint2 (&b)[EACH][Tensor::PLANES], const uint8_t *factors_of_x, int s,
      int eight, const float (&scale)[MT][2], const float (&bias)[MT][2], int n)
  {
    const float *own = reinterpret_cast<const float *>(factors_of_x) + eight * 8;
    const float2 x_scale = reinterpret_cast<const float2 *>(own)[lane % 4];
    const float2 x_sum =
        reinterpret_cast<const float2 *>(own + (1 + s) * ITEMS)[lane % 4];

#pragma unroll
    for (int m = 0; m < MT; m++) {
      int d[2][4];
#pragma unroll
      for (int p = 0; p < 2; p++) {
#pragma unroll
        for (int i = 0; i < 4; i++)
          d[p][i] = MOSHI_WHOLE_BITS;
#pragma unroll
        for (int e = 0; e < EACH; e++)
          moshi_mma_bytes<Tensor::SIGNED>(d[p], w[e][m][0], b[e][p]);
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float high = moshi_add(__uint_as_float(d[0][i]), -MOSHI_WHOLE);
        const float low = moshi_add(__uint_as_float(d[1][i]), -MOSHI_WHOLE);
        const float dot = fmaf(high, 256, low), of_x = i % 2 ? x_scale.y : x_scale.x;
        float &sum = sums[m][n][i];
        if (Piece::SCALED)
          sum = fmaf(moshi_mul(dot, of_x), scale[m][i / 2], sum);
        else
          sum = fmaf(dot, of_x, sum);
        if (Piece::BIASED)
          sum = fmaf(i % 2 ? x_sum.y : x_sum.x, bias[m][i / 2], sum);
      }
    }
  }
};

/* Adds up the splits' sums, in order, in the last block of them that comes here; false
 * in the others. sums: [ITEMS][SUM_PITCH] */
template <int ITEMS>
__device__ __forceinline__ bool
gather(const Plan &plan, float *sums)
{
  MOSHI_SHARED(int, last, );
  constexpr int SIZE = ITEMS * ROWS;
  const int block = blockIdx.y * gridDim.x + blockIdx.x;
  float *all = plan.sums + (size_t)block * plan.splits * SIZE;

  for (int i = threadIdx.x; i < SIZE; i += THREADS)
    all[blockIdx.z * SIZE + i] = sums[i / ROWS * SUM_PITCH + i % ROWS];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0)
    last = atomicAdd(&plan.arrived[block], 1) == plan.splits - 1;
  __syncthreads();
  if (!last)
    return false;
  __threadfence();
  for (int i = threadIdx.x; i < SIZE; i += THREADS) {
    float sum = all[i];
    for (int s = 1; s < plan.splits; s++)
      sum = moshi_add(sum, all[s * SIZE + i]);
    sums[i / ROWS * SUM_PITCH + i % ROWS] = sum;
  }
  __syncthreads();
  return true;
}

/* y of the block's outputs and items, which have consecutive threads. */
template <int ITEMS>
__device__ __forceinline__ void
store(const MoshiCudaLinear &a, const Plan &plan, const float *sums)
{
  const int outputs = a.gated ? ROWS / MT : ROWS, output0 = blockIdx.y * outputs;
  const float *scales =
      a.w.type == MOSHI_TYPE_I8 ? static_cast<const float *>(a.w.scales) : nullptr;

  for (int i = threadIdx.x; i < outputs * ITEMS; i += THREADS) {
    const int r = i % outputs, output = output0 + r;
    const int item = blockIdx.x * ITEMS + i / outputs;
    if (output >= a.n_out || item >= plan.items)
      continue;
    const float *own = sums + i / outputs * SUM_PITCH;
    float *y = moshi_row(a.y, a.steps, item, output);
    if (!a.gated) {
      *y = moshi_finish(a.act, scales ? moshi_mul(own[r], scales[output]) : own[r],
          a.bias, a.scale,
          a.residual.data ? moshi_row(a.residual, a.steps, item, 0) : nullptr, output);
      continue;
    }
    float sum = own[r / 16 * 16 * MT + r % 16],
          value = own[r / 16 * 16 * MT + r % 16 + 16];
    if (scales) {
      sum = moshi_mul(sum, scales[output]);
      value = moshi_mul(value, scales[output + a.n_out]);
    }
    *y = moshi_mul(moshi_activate(a.act, sum), value);
  }
}

template <int TYPE, int ITEMS>
__global__ void
__launch_bounds__(THREADS, 2) product_kernel(MoshiCudaLinear a, Plan plan)
{
  MOSHI_DYNAMIC_SHARED(uint8_t, shared);
  using B = Block<TYPE, ITEMS>;
  const int first = blockIdx.z * plan.part, end = min(first + plan.part, plan.stages);
  B block(a, plan);

  /* The first weights are on their way while x is laid out. */
  block.load_factors(a, first);
  for (int i = 0; i < B::AHEAD - 1 && first + i < end; i++)
    block.copy_weights(first + i, shared + i * B::BYTES);
  moshi_grid_release();
  moshi_grid_wait();
  for (int i = 0; i < B::AHEAD - 1; i++) {
    if (first + i < end)
      block.copy_x(first + i, shared + i * B::BYTES);
    moshi_copies_commit();
  }
  for (int s = first, at = 0; s < end; s++, at = at + 1 < B::AHEAD ? at + 1 : 0) {
    moshi_copies_wait<B::AHEAD - 2>();
    __syncthreads(); /* all have this stage, and are done with the last one */
    if (const int later = s + B::AHEAD - 1; later < end) {
      uint8_t *to = shared + (at ? at - 1 : B::AHEAD - 1) * B::BYTES;
      block.copy_weights(later, to);
      block.copy_x(later, to);
    }
    moshi_copies_commit();
    block.turn_factors();
    block.load_factors(a, s + 1);
    block.multiply(shared + at * B::BYTES);
  }
  __syncthreads();
  float *sums = reinterpret_cast<float *>(shared);
  block.put(sums);
  __syncthreads();
  if (plan.splits == 1 || gather<ITEMS>(plan, sums))
    store<ITEMS>(a, plan, sums);
}

/* ---------------------------------------------------------------- launching */

template <int TYPE, int ITEMS>
void
launch_tiles(const MoshiCudaLinear &a, const Plan &plan, cudaStream_t stream)
{
  using B = Block<TYPE, ITEMS>;
  const int shared = B::AHEAD * B::BYTES;
  const auto kernel = product_kernel<TYPE, ITEMS>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  MOSHI_LAUNCH((product_kernel<TYPE, ITEMS>),
      dim3(plan.tiles, plan.row_blocks, plan.splits), dim3(THREADS), shared, stream, a,
      plan);
}

template <int TYPE>
void
launch(const MoshiCudaLinear &a, const Plan &plan, cudaStream_t stream)
{
  MOSHI_LAUNCH((lay_kernel<TYPE>), dim3(plan.tiles * plan.tile), dim3(THREADS), 0,
      stream, a, plan);
  if (plan.tile == 16)
    launch_tiles<TYPE, 16>(a, plan, stream);
  else if (plan.tile == 32)
    launch_tiles<TYPE, 32>(a, plan, stream);
  else
    launch_tiles<TYPE, 64>(a, plan, stream);
}

/* By type: how wide a stage is, what it has of x, and the kernels. */
#define OF_TYPE(type)                                                                  \
  {                                                                                    \
    MoshiTensor<type>::STAGE, MoshiTensor<type>::x_bytes, launch<type>                 \
  }
const struct {
  int columns;
  int (*x_bytes)(int items);
  void (*launch)(const MoshiCudaLinear &a, const Plan &plan, cudaStream_t stream);
} types[MOSHI_N_TYPES] = {
    OF_TYPE(MOSHI_TYPE_F32),
    OF_TYPE(MOSHI_TYPE_F16),
    OF_TYPE(MOSHI_TYPE_BF16),
    OF_TYPE(MOSHI_TYPE_I8),
    OF_TYPE(MOSHI_TYPE_Q8_0),
    OF_TYPE(MOSHI_TYPE_Q4_0),
    OF_TYPE(MOSHI_TYPE_Q4_K),
    OF_TYPE(MOSHI_TYPE_MLX4),
    OF_TYPE(MOSHI_TYPE_MLX8),
};

/* Returns the bytes of scratch. */
size_t
make_plan(const MoshiCudaLinear &a, Plan *p)
{
  const int columns = types[a.w.type].columns;
  *p = {};
  p->items = a.batch * a.steps;
  p->tile = p->items <= 16 ? 16 : p->items <= 32 ? 32 : 64;
  p->tiles = moshi_pieces(p->items, p->tile);
  p->row_blocks = moshi_pieces(a.gated ? 2 * (int64_t)a.n_out : a.n_out, ROWS);
  p->stages = 2 * moshi_pieces(a.w.cols, 2 * columns);
  const int wanted = moshi_pieces(BLOCKS, p->row_blocks);
  const int part = moshi_pieces(p->stages, wanted);
  p->part = part > LEAST_PART ? part : LEAST_PART;
  p->splits = moshi_pieces(p->stages, p->part);
  p->x_bytes = types[a.w.type].x_bytes(p->tile);

  const size_t blocks = (size_t)p->tiles * p->row_blocks;
  const size_t x = (size_t)p->tiles * p->stages * p->x_bytes;
  const size_t sums =
      p->splits > 1 ? blocks * p->splits * ROWS * p->tile * sizeof(float) : 0;
  char *scratch = reinterpret_cast<char *>(a.scratch);
  p->x = reinterpret_cast<uint8_t *>(scratch);
  p->sums = reinterpret_cast<float *>(scratch + x);
  p->arrived = reinterpret_cast<int *>(scratch + x + sums);
  return x + sums + blocks * sizeof(int);
}

} // namespace

size_t
moshi_cuda_tensor_scratch(const MoshiCudaLinear *a)
{
  Plan plan;
  return make_plan(*a, &plan);
}

void
moshi_cuda_tensor(const MoshiCudaLinear *a, cudaStream_t stream)
{
  Plan plan;
  make_plan(*a, &plan);
  types[a->w.type].launch(*a, plan, stream);
}
