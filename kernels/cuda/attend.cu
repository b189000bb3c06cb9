/* Attention over the rings of keys and values. The call's keys are turned, and keys and
 * values written: of several steps by a kernel of its own, as every query may look at
 * all of them; of one step by the block that needs them. Every query is cut into splits
 * of some hundred keys, so that one stream with a long past keeps all of the card busy,
 * and a last kernel puts the splits together. A split's keys are counted from the
 * query's first, so the order of summation depends on the stream's own position alone.
 *
 * Grids cover the whole context: positions are read on the device, and blocks beyond
 * a stream's keys leave at once. A recorded step serves all positions. */
#include "kernels.cuh"
#include "layout.cuh"
#include "reduce.cuh"

#include <cfloat>
#include <cmath>

namespace {

enum {
  WARPS = 4,
  THREADS = WARPS * MOSHI_WARP,
  LEAST_SPLIT = 128, /* keys */
  MOST_SPLIT = 8192, /* whose scores are in shared memory */
  MANY_SPLITS = 32,
  KEYS = 4,         /* of a warp at a time */
  SCRATCH_HEAD = 4, /* floats before a split's sums: largest score, sum of weights */
  PREFETCH_BYTES = 16 << 10, /* of a block's keys, while it waits for its query */
  MAX_LANES = MOSHI_MAX_HEAD_DIM / MOSHI_WARP,
};

/* What a query attends to. `cross` has keys of f32 without rings. */
struct Query {
  const float *q;    /* of the head */
  const float *turn; /* or NULL */
  const char *keys, *values;
  const float *key_scales, *value_scales;
  int d, capacity, first, count, concat_pairs;
};

__host__ __device__ inline int
split_of(int context)
{
  const int even = context / MANY_SPLITS + 1;
  return even <= LEAST_SPLIT  ? LEAST_SPLIT
         : even >= MOST_SPLIT ? MOST_SPLIT
                              : (even + 31) / 32 * 32;
}

__host__ __device__ inline int
splits_of(int context)
{
  return (context + split_of(context) - 1) / split_of(context);
}

__host__ __device__ inline size_t
kv_size(int kv)
{
  return kv == MOSHI_KV_F32 ? 4 : kv == MOSHI_KV_BF16 ? 2 : 1;
}

__host__ __device__ inline size_t
aligned(size_t bytes)
{
  return (bytes + MOSHI_ALIGNMENT - 1) & ~(MOSHI_ALIGNMENT - 1);
}

__device__ __forceinline__ int64_t
position_of(const MoshiCudaAttend &a, int item)
{
  return __ldcg(reinterpret_cast<const long long *>(a.positions) + item);
}

/* The ring of one slot's keys or values of one head (device.h). */
__device__ __forceinline__ char *
ring(const MoshiCudaAttend &a, int item, int head, bool values, float **scales)
{
  const size_t rows = aligned(a.context * a.head_dim * kv_size(a.kv));
  const size_t bytes =
      rows + (a.kv == MOSHI_KV_I8 ? aligned(a.context * sizeof(float)) : 0);
  char *p = a.cache + __ldcg(a.slots + item) * a.slot_stride +
            (size_t)((values ? a.n_kv_heads : 0) + head) * bytes;
  *scales = reinterpret_cast<float *>(p + rows);
  return p;
}

/* Element i of a head after its rotation: one rounding an operation, as in the
 * reference, so that rings hold the same bits on every device. */
__device__ __forceinline__ float
turned(const float *x, const float *turn, int d, int concat_pairs, int i)
{
  const int half = d / 2;
  if (!turn || i >= 2 * half)
    return x[i];
  const bool second = concat_pairs ? i >= half : i % 2;
  const int pair = concat_pairs ? i % half : i / 2;
  const int at = concat_pairs ? pair : 2 * pair;
  const float a = x[at], b = x[at + (concat_pairs ? half : 1)];
  const float cos = turn[pair], sin = turn[half + pair];
  return second ? moshi_add(moshi_mul(a, sin), moshi_mul(b, cos))
                : moshi_add(moshi_mul(a, cos), -moshi_mul(b, sin));
}

/* ------------------------------------------------------- keys and values */

/* As moshi_kv_store, a row of d a warp; lane i has elements i, i + 32, … */
__device__ __forceinline__ void
keep(int kv, char *row, float *scale, const float (&x)[MAX_LANES], int d)
{
  const int lane = threadIdx.x % MOSHI_WARP;
  float most = 0;

  if (kv == MOSHI_KV_I8) {
#pragma unroll
    for (int i = 0; i < MAX_LANES; i++)
      if (i * MOSHI_WARP + lane < d)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    most = moshi_warp_max(most);
  }
  const bool some = most >= 127 * FLT_MIN;
  const float inverse = some ? 127 / most : 0;
  if (kv == MOSHI_KV_I8 && lane == 0)
    *scale = some ? most / 127 : 0;
#pragma unroll
  for (int i = 0; i < MAX_LANES; i++) {
    const int at = i * MOSHI_WARP + lane;
    if (at >= d)
      continue;
    const float q = moshi_mul(x[i], inverse);
    if (kv == MOSHI_KV_F32)
      reinterpret_cast<float *>(row)[at] = x[i];
    else if (kv == MOSHI_KV_BF16)
      reinterpret_cast<uint16_t *>(row)[at] = moshi_round_brain(x[i]);
    else
      row[at] = (char)__float2int_rn(q < 127 ? q > -127 ? q : -127 : 127);
  }
}

/* The key (or value) of a row of the call and one of its heads, by one warp. */
__device__ __forceinline__ void
keep_row(const MoshiCudaAttend &a, int at, int head, bool values)
{
  const int lane = threadIdx.x % MOSHI_WARP, d = a.head_dim;
  const int item = at / a.steps, step = at % a.steps;
  const size_t width = (size_t)(a.n_heads + 2 * a.n_kv_heads) * d;
  const float *from =
      a.qkv + at * width + (size_t)(a.n_heads + (values ? a.n_kv_heads : 0) + head) * d;
  const float *turn = a.turn && !values ? a.turn + (size_t)at * d : nullptr;
  const int64_t entry = (a.positions[item] + step) % a.context;
  float *scales, x[MAX_LANES];
  char *rows = ring(a, item, head, values, &scales);

#pragma unroll
  for (int i = 0; i < MAX_LANES; i++)
    if (i * MOSHI_WARP + lane < d)
      x[i] = turned(from, turn, d, a.concat_pairs, i * MOSHI_WARP + lane);
  keep(a.kv, rows + entry * d * kv_size(a.kv), scales + entry, x, d);
}

/* Calls of several steps: warp [row of the call][keys, values][head] */
__global__ void
__launch_bounds__(THREADS) keep_kernel(MoshiCudaAttend a)
{
  const int row = blockIdx.x * WARPS + threadIdx.x / MOSHI_WARP;
  const int at = row / (2 * a.n_kv_heads);
  moshi_grid_release();
  moshi_grid_wait();
  if (at < a.batch * a.steps)
    keep_row(a, at, row % a.n_kv_heads, row / a.n_kv_heads % 2);
}

/* ---------------------------------------------------------------- queries */

/* Elements e … e+3 of a row; those beyond d are 0. WHOLE: d is a multiple of four. */
template <int KV, bool WHOLE>
__device__ __forceinline__ float4
four_of(const char *row, int e, int d)
{
  float v[4];
  if (WHOLE && KV == MOSHI_KV_F32)
    return *reinterpret_cast<const float4 *>(row + 4 * e);
  if (WHOLE && KV == MOSHI_KV_BF16) {
    const uint2 w = *reinterpret_cast<const uint2 *>(row + 2 * e);
    return make_float4(__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
        __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u));
  }
  if (WHOLE) {
    const char4 w = *reinterpret_cast<const char4 *>(row + e);
    return make_float4(
        (signed char)w.x, (signed char)w.y, (signed char)w.z, (signed char)w.w);
  }
  for (int i = 0; i < 4; i++)
    v[i] = e + i >= d           ? 0
           : KV == MOSHI_KV_F32 ? reinterpret_cast<const float *>(row)[e + i]
           : KV == MOSHI_KV_BF16
               ? moshi_brain_float(reinterpret_cast<const uint16_t *>(row)[e + i])
               : (float)reinterpret_cast<const signed char *>(row)[e + i];
  return make_float4(v[0], v[1], v[2], v[3]);
}

__device__ __forceinline__ int
entry_of(const Query &a, int j)
{
  const int entry = a.first + j;
  return entry < a.capacity ? entry : entry - a.capacity;
}

/* scores[j] of keys [begin, begin + n): a warp four keys at a time, a lane fours of
 * elements. */
template <int KV, bool WHOLE>
__device__ __forceinline__ void
score(const Query &a, const float *q, float *scores, int begin, int n)
{
  const int warp = threadIdx.x / MOSHI_WARP, lane = threadIdx.x % MOSHI_WARP;
  const size_t bytes = a.d * kv_size(KV);
  const float scale = 1 / sqrtf((float)a.d);

  for (int j0 = warp * KEYS; j0 < n; j0 += WARPS * KEYS) {
    float sums[KEYS] = {};
    int entry[KEYS];
#pragma unroll
    for (int k = 0; k < KEYS; k++)
      entry[k] = entry_of(a, begin + min(j0 + k, n - 1));
    for (int e = lane * 4; e < a.d; e += MOSHI_WARP * 4) {
      const float4 x = *reinterpret_cast<const float4 *>(q + e);
#pragma unroll
      for (int k = 0; k < KEYS; k++) {
        const float4 y = four_of<KV, WHOLE>(a.keys + entry[k] * bytes, e, a.d);
        sums[k] = fmaf(x.x, y.x, sums[k]);
        sums[k] = fmaf(x.y, y.y, sums[k]);
        sums[k] = fmaf(x.z, y.z, sums[k]);
        sums[k] = fmaf(x.w, y.w, sums[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < KEYS; k++) {
      float sum = moshi_warp_sum(sums[k]);
      if (KV == MOSHI_KV_I8)
        sum = moshi_mul(sum, a.key_scales[entry[k]]);
      if (lane == k && j0 + k < n)
        scores[j0 + k] = moshi_mul(sum, scale);
    }
  }
}

/* Σ weights[j]·v_j, warp after warp a key; sums in shared memory [warp][d rounded up]. */
template <int KV, bool WHOLE>
__device__ __forceinline__ void
gather(const Query &a, const float *weights, float *parts, int pitch, int begin, int n)
{
  const int warp = threadIdx.x / MOSHI_WARP, lane = threadIdx.x % MOSHI_WARP;
  const size_t bytes = a.d * kv_size(KV);

  for (int e = lane * 4; e < a.d; e += MOSHI_WARP * 4) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (int j = warp; j < n; j += WARPS) {
      const int entry = entry_of(a, begin + j);
      const float4 v = four_of<KV, WHOLE>(a.values + entry * bytes, e, a.d);
      const float p =
          KV == MOSHI_KV_I8 ? moshi_mul(weights[j], a.value_scales[entry]) : weights[j];
      sum.x = fmaf(p, v.x, sum.x);
      sum.y = fmaf(p, v.y, sum.y);
      sum.z = fmaf(p, v.z, sum.z);
      sum.w = fmaf(p, v.w, sum.w);
    }
    *reinterpret_cast<float4 *>(parts + warp * pitch + e) = sum;
  }
}

/* Keys [begin, begin + n) of one query, n ≥ 1. out: the largest score, the sum of the
 * weights and from SCRATCH_HEAD on the weighted sum of values; `alone`: the mean of
 * the values itself. Shared memory: q, scores, parts of the sum. */
template <int KV, bool WHOLE>
__device__ __forceinline__ void
attend_split(
    const Query &a, float *shared, int begin, int n, int split, bool alone, float *out)
{
  const int pitch = (a.d + 3) / 4 * 4;
  float *q = shared, *scores = q + pitch, *parts = scores + (split + 3) / 4 * 4;
  float most = -INFINITY, total = 0;

  for (int i = threadIdx.x; i < pitch; i += THREADS)
    q[i] = i < a.d ? turned(a.q, a.turn, a.d, a.concat_pairs, i) : 0;
  __syncthreads();
  score<KV, WHOLE>(a, q, scores, begin, n);
  __syncthreads();
  for (int j = threadIdx.x; j < n; j += THREADS)
    most = fmaxf(most, scores[j]);
  most = moshi_block_max<WARPS>(most);
  for (int j = threadIdx.x; j < n; j += THREADS) {
    scores[j] = expf(scores[j] - most);
    total += scores[j];
  }
  total = moshi_block_sum<WARPS>(total); /* and all weights are there */
  gather<KV, WHOLE>(a, scores, parts, pitch, begin, n);
  __syncthreads();
  if (!alone && threadIdx.x == 0) {
    out[0] = most;
    out[1] = total;
  }
  for (int i = threadIdx.x; i < a.d; i += THREADS) {
    float sum = parts[i];
    for (int w = 1; w < WARPS; w++)
      sum = moshi_add(sum, parts[w * pitch + i]);
    out[alone ? i : SCRATCH_HEAD + i] = alone ? sum / total : sum;
  }
}

size_t
shared_bytes(int d, int split)
{
  return ((size_t)(d + 3) / 4 * 4 * (1 + WARPS) + (split + 3) / 4 * 4) * sizeof(float);
}

__device__ __forceinline__ int
keys_of(const MoshiCudaAttend &a, int item, int step, int64_t *first)
{
  const int64_t position = position_of(a, item), last = position + a.steps - 1;
  *first = last + 1 > a.context ? last + 1 - a.context : 0;
  return (int)(position + step - *first + 1);
}

/* Floats of a split in scratch: [row of the call][head][split] */
__host__ __device__ inline size_t
split_floats(int d)
{
  return SCRATCH_HEAD + (d + 3) / 4 * 4;
}

/* The first of n keys from an entry of the ring on, into L2; behind its end are none. */
template <int KV>
__device__ __forceinline__ void
prefetch_keys(const char *keys, int d, int entry, int n, int context)
{
  const size_t row = d * kv_size(KV), begin = entry * row & ~(size_t)15;
  const size_t end = min(entry + n, context) * row & ~(size_t)15;
  if (begin < end)
    moshi_prefetch(keys + begin, end - begin, PREFETCH_BYTES);
}

/* Block [row of the call][head][split] */
template <int KV, bool WHOLE>
__global__ void
__launch_bounds__(THREADS) attend_kernel(MoshiCudaAttend a)
{
  MOSHI_DYNAMIC_SHARED(float, shared);
  const int row = blockIdx.x, head = blockIdx.y, item = row / a.steps, d = a.head_dim;
  const int split = split_of(a.context), splits = splits_of(a.context);
  const int begin = blockIdx.z * split, kv_head = head / (a.n_heads / a.n_kv_heads);
  int64_t first;
  moshi_grid_release();
  const int count = keys_of(a, item, row % a.steps, &first);
  float *key_scales, *value_scales;
  const char *keys = ring(a, item, kv_head, false, &key_scales);
  const char *values = ring(a, item, kv_head, true, &value_scales);
  if (threadIdx.x == 0 && begin < count)
    prefetch_keys<KV>(keys, d, (int)((first + begin) % a.context),
        min(split, count - begin), a.context);
  moshi_grid_wait();
  if (begin >= count)
    return;
  /* The one block that looks at the newest key writes it before its first barrier.
   * Queries that share a head of keys all write the same bytes. */
  if (a.steps == 1 && count - begin <= split && threadIdx.x < 2 * MOSHI_WARP)
    keep_row(a, row, kv_head, threadIdx.x >= MOSHI_WARP);
  const size_t width = (size_t)(a.n_heads + 2 * a.n_kv_heads) * d;
  const Query query = {a.qkv + row * width + (size_t)head * d,
      a.turn ? a.turn + (size_t)row * d : nullptr, keys, values, key_scales,
      value_scales, d, a.context, (int)(first % a.context), count, a.concat_pairs};
  const size_t at = (size_t)row * a.n_heads + head;
  const bool alone = splits == 1;

  attend_split<KV, WHOLE>(query, shared, begin, min(split, count - begin), split, alone,
      alone ? a.out + at * d
            : a.scratch + (at * splits + blockIdx.z) * split_floats(d));
}

/* Block [row of the call][head]: the splits' sums by exp(their largest − the largest). */
__global__ void
__launch_bounds__(THREADS) combine_kernel(MoshiCudaAttend a)
{
  const int row = blockIdx.x, head = blockIdx.y, d = a.head_dim;
  const int splits = splits_of(a.context), split = split_of(a.context);
  const size_t at = (size_t)row * a.n_heads + head, size = split_floats(d);
  const float *parts = a.scratch + at * splits * size;
  int64_t first;
  moshi_grid_release();
  moshi_grid_wait();
  const int count = keys_of(a, row / a.steps, row % a.steps, &first);
  const int n = (count + split - 1) / split;
  float most = -INFINITY, total = 0;

  for (int s = 0; s < n; s++)
    most = fmaxf(most, parts[s * size]);
  for (int s = 0; s < n; s++)
    total = fmaf(parts[s * size + 1], expf(parts[s * size] - most), total);
  for (int i = threadIdx.x; i < d; i += THREADS) {
    float sum = 0;
    for (int s = 0; s < n; s++)
      sum = fmaf(parts[s * size + SCRATCH_HEAD + i], expf(parts[s * size] - most), sum);
    a.out[at * d + i] = sum / total;
  }
}

/* Block [item][head]: all keys in one split. */
template <bool WHOLE>
__global__ void
__launch_bounds__(THREADS) cross_kernel(MoshiCudaCross a)
{
  MOSHI_DYNAMIC_SHARED(float, shared);
  const int item = blockIdx.x, head = blockIdx.y, d = a.head_dim;
  const size_t at = (size_t)item * a.n_heads + head, size = (size_t)a.length * d;
  moshi_grid_release();
  moshi_grid_wait();
  const float *keys = a.kv + a.slots[item] * a.slot_stride + head * size;
  const Query query = {a.q + at * d, nullptr, reinterpret_cast<const char *>(keys),
      reinterpret_cast<const char *>(keys + a.n_heads * size), nullptr, nullptr, d,
      a.length, 0, a.length, 0};

  attend_split<MOSHI_KV_F32, WHOLE>(
      query, shared, 0, a.length, a.length, true, a.out + at * d);
}

} // namespace

size_t
moshi_cuda_attend_scratch(const MoshiCudaAttend *a)
{
  const int splits = splits_of(a->context);
  const size_t heads = (size_t)a->batch * a->steps * a->n_heads;
  return splits == 1 ? 0 : heads * splits * split_floats(a->head_dim) * sizeof(float);
}

void
moshi_cuda_attend(const MoshiCudaAttend *a, cudaStream_t stream)
{
  static void (*const kernels[MOSHI_N_KVS][2])(MoshiCudaAttend) = {
      {attend_kernel<MOSHI_KV_F32, false>, attend_kernel<MOSHI_KV_F32, true>},
      {attend_kernel<MOSHI_KV_BF16, false>, attend_kernel<MOSHI_KV_BF16, true>},
      {attend_kernel<MOSHI_KV_I8, false>, attend_kernel<MOSHI_KV_I8, true>},
  };
  const int rows = a->batch * a->steps, splits = splits_of(a->context);

  if (a->steps > 1)
    MOSHI_LAUNCH(keep_kernel,
        dim3(moshi_pieces((int64_t)rows * 2 * a->n_kv_heads, WARPS)), dim3(THREADS), 0,
        stream, *a);
  MOSHI_LAUNCH(kernels[a->kv][a->head_dim % 4 == 0], dim3(rows, a->n_heads, splits),
      dim3(THREADS), shared_bytes(a->head_dim, split_of(a->context)), stream, *a);
  if (splits > 1)
    MOSHI_LAUNCH(combine_kernel, dim3(rows, a->n_heads), dim3(THREADS), 0, stream, *a);
}

void
moshi_cuda_cross(const MoshiCudaCross *a, cudaStream_t stream)
{
  const dim3 grid(a->batch, a->n_heads);
  const size_t shared = shared_bytes(a->head_dim, a->length);
  /* A multiple of four keeps rows at multiples of 16 bytes only where slots are. */
  if (a->head_dim % 4 == 0 && a->slot_stride % 4 == 0)
    MOSHI_LAUNCH((cross_kernel<true>), grid, dim3(THREADS), shared, stream, *a);
  else
    MOSHI_LAUNCH((cross_kernel<false>), grid, dim3(THREADS), shared, stream, *a);
}
