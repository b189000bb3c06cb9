/* Sampling as cpu_sample.c does, with its very tokens: a block a row. Of equal logits,
 * seed and counter both draw the same token, because all that decides is either
 * integers or operations that round once (random.h). */
#include "../../common/device/random.h"
#include "kernels.cuh"
#include "reduce.cuh"

namespace {

enum { WARPS = 8, THREADS = WARPS * MOSHI_WARP, BINS = 256 };

__device__ int
largest_of(const float *x, int n)
{
  unsigned long long best = 0;
  for (int i = threadIdx.x; i < n; i += THREADS) {
    const unsigned long long rank = moshi_ranked(moshi_order(x[i]), i);
    best = rank > best ? rank : best;
  }
  return moshi_ranked_index(moshi_block_largest<WARPS>(best));
}

/* The k-th largest (1 ≤ k ≤ n), a byte at a time, by counting. *ties: how many of the
 * values equal to it belong to the k; *equals: how many there are. */
__device__ uint32_t
kth_largest(const float *x, int n, int k, int *ties, int *equals)
{
  MOSHI_SHARED(int, counts, [BINS]);
  MOSHI_SHARED(int, found, [3]); /* byte, what is left of k, its count */
  uint32_t prefix = 0, mask = 0;

  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < BINS; i += THREADS)
      counts[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS) {
      const uint32_t u = moshi_order(x[i]);
      if ((u & mask) == prefix)
        atomicAdd(&counts[u >> shift & 255], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int byte = BINS - 1, left = k;
      while (counts[byte] < left)
        left -= counts[byte--];
      found[0] = byte;
      found[1] = left;
      found[2] = counts[byte];
    }
    __syncthreads();
    k = found[1];
    prefix |= (uint32_t)found[0] << shift;
    mask |= (uint32_t)255 << shift;
  }
  *ties = k;
  *equals = found[2];
  return prefix;
}

/* The index behind the first `ties` values equal to `least`. */
__device__ int
end_of_ties(const float *x, int n, uint32_t least, int ties)
{
  MOSHI_SHARED(int, before, [THREADS]);
  MOSHI_SHARED(int, end, );
  const int part = (n + THREADS - 1) / THREADS;
  const int first = threadIdx.x * part, last = min(first + part, n);
  int mine = 0;

  for (int i = first; i < last; i++)
    mine += moshi_order(x[i]) == least;
  before[threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int t = 0, sum = 0; t < THREADS; t++) {
      const int count = before[t];
      before[t] = sum;
      sum += count;
    }
  __syncthreads();
  int seen = before[threadIdx.x];
  for (int i = first; i < last; i++)
    if (moshi_order(x[i]) == least && ++seen == ties)
      end = i + 1;
  __syncthreads();
  return end;
}

__device__ int
draw(const float *logits, int n, int best, const MoshiDraw &how)
{
  const bool all = how.top_k <= 0 || how.top_k >= n;
  const float inverse = 1 / how.temperature, top = logits[best];
  int ties = 0, equals = 0, end = n;
  const uint32_t least = all ? 0 : kth_largest(logits, n, how.top_k, &ties, &equals);
  unsigned long long winner = moshi_ranked(0, best);

  if (ties < equals)
    end = end_of_ties(logits, n, least, ties);
  for (int i = threadIdx.x; i < n; i += THREADS) {
    const uint32_t u = moshi_order(logits[i]);
    if (u < least || u == 0 || (!all && u == least && i >= end))
      continue;
    const float p = moshi_random_exp(moshi_mul(moshi_add(logits[i], -top), inverse));
    if (p == 0)
      continue;
    const float weight = p / moshi_random_exponential(how.seed, how.counter, i);
    /* 0 is less than any: a weight of 0 still wins over none */
    const unsigned long long rank = moshi_ranked(__float_as_uint(weight) + 1, i);
    winner = rank > winner ? rank : winner;
  }
  return moshi_ranked_index(moshi_block_largest<WARPS>(winner));
}

__global__ void
__launch_bounds__(THREADS) sample_kernel(MoshiCudaSample a)
{
  const float *row = a.logits + (size_t)blockIdx.x * a.size;
  moshi_grid_release();
  moshi_grid_wait();
  const MoshiDraw how = a.draws[blockIdx.x];
  int token = largest_of(row, a.size);

  if (how.temperature > 0 && fabsf(row[token]) < INFINITY)
    token = draw(row, a.size, token, how);
  if (threadIdx.x == 0)
    a.tokens[blockIdx.x * a.token_stride] = token;
}

} // namespace

void
moshi_cuda_sample(const MoshiCudaSample *a, cudaStream_t stream)
{
  MOSHI_LAUNCH(sample_kernel, dim3(a->n), dim3(THREADS), 0, stream, *a);
}
