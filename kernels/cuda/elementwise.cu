/* Operations that read each of their operands about once. */
#include "activation.cuh"
#include "kernels.cuh"
#include "norm.cuh"

namespace {

enum { WARPS = 8, BLOCK = WARPS * MOSHI_WARP };

/* A thread an element of n. */
__device__ __forceinline__ size_t
element(void)
{
  return (size_t)blockIdx.x * BLOCK + threadIdx.x;
}

/* There is nothing to do before the input is there. */
__device__ __forceinline__ void
begin(void)
{
  moshi_grid_release();
  moshi_grid_wait();
}

dim3
grid_of(size_t n)
{
  return dim3(moshi_pieces((int64_t)n, BLOCK));
}

/* ------------------------------------------------------------------- norms */

/* A block a row. */
__global__ void
__launch_bounds__(BLOCK) norm_kernel(MoshiCudaNorm a)
{
  const float *x = a.x + (size_t)blockIdx.x * a.dim;
  float *y = a.y + (size_t)blockIdx.x * a.dim;

  begin();
  if (a.rms) {
    const float inverse = moshi_inverse_rms<WARPS>(x, a.dim, a.eps);
    for (int i = threadIdx.x; i < a.dim; i += BLOCK)
      y[i] = moshi_mul(moshi_mul(x[i], inverse), a.weight[i]);
    return;
  }
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < a.dim; i += BLOCK)
    sum += x[i];
  const float mean = moshi_block_sum<WARPS>(sum) / a.dim;
  for (int i = threadIdx.x; i < a.dim; i += BLOCK)
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  const float inverse = 1 / sqrtf(moshi_block_sum<WARPS>(squares) / a.dim + a.eps);
  for (int i = threadIdx.x; i < a.dim; i += BLOCK)
    y[i] = moshi_add(
        moshi_mul(moshi_mul(moshi_add(x[i], -mean), inverse), a.weight[i]), a.bias[i]);
}

/* A block a row. */
__global__ void
__launch_bounds__(BLOCK) softmax_kernel(MoshiCudaSoftmax a)
{
  const float *x = a.x + (size_t)blockIdx.x * a.size;
  float *y = a.y + (size_t)blockIdx.x * a.size;
  float most = -INFINITY, sum = 0;

  begin();
  for (int i = threadIdx.x; i < a.size; i += BLOCK)
    most = fmaxf(most, x[i]);
  most = moshi_block_max<WARPS>(most);
  for (int i = threadIdx.x; i < a.size; i += BLOCK)
    sum += y[i] = expf(x[i] - most);
  sum = moshi_block_sum<WARPS>(sum);
  for (int i = threadIdx.x; i < a.size; i += BLOCK)
    y[i] /= sum;
}

/* ------------------------------------------------------------- elementwise */

__global__ void
__launch_bounds__(BLOCK) act_kernel(MoshiCudaAct a)
{
  const size_t i = element(), row = i / a.width, n = i % a.width;
  begin();
  if (row >= (size_t)a.batch * a.steps)
    return;
  *moshi_row(a.y, a.steps, row, n) =
      moshi_activate(a.act, *moshi_row(a.x, a.steps, row, n));
}

__global__ void
__launch_bounds__(BLOCK) gate_kernel(MoshiCudaGate a)
{
  const size_t i = element();
  begin();
  if (i >= (size_t)a.n * a.hidden)
    return;
  const float *u = a.u + i / a.hidden * 2 * a.hidden + i % a.hidden;
  a.y[i] = moshi_mul(moshi_activate(a.act, u[0]), u[a.hidden]);
}

__global__ void
__launch_bounds__(BLOCK) add_kernel(MoshiCudaAdd a)
{
  const size_t i = element(), row = i / a.dim, c = i % a.dim;
  begin();
  if (row >= (size_t)a.n)
    return;
  const float x = a.x[row * a.x_stride + c];
  a.y[i] = moshi_add(a.y[i], a.s ? moshi_mul(a.s[c], x) : x);
}

__global__ void
__launch_bounds__(BLOCK) guide_kernel(MoshiCudaGuide a)
{
  const size_t i = element();
  begin();
  if (i < a.n)
    a.y[i] = moshi_add(a.b[i], moshi_mul(a.coef, moshi_add(a.a[i], -a.b[i])));
}

__global__ void
__launch_bounds__(BLOCK) copy_kernel(MoshiCudaCopy a)
{
  const size_t i = element();
  begin();
  if (i < a.bytes)
    static_cast<char *>(a.to)[i] = static_cast<const char *>(a.from)[i];
}

/* ---------------------------------------------------------- states, tables */

__global__ void
__launch_bounds__(BLOCK) move_kernel(MoshiCudaMove a)
{
  const size_t i = element(), row = i / a.width, c = i % a.width;
  begin();
  if (row >= (size_t)a.n)
    return;
  const size_t slot = a.slots[row];
  a.y[(a.store ? slot : row) * a.y_stride + c] =
      a.x[(a.store ? row : slot) * a.x_stride + c];
}

__global__ void
__launch_bounds__(BLOCK) embed_kernel(MoshiCudaEmbed a)
{
  const size_t i = element(), row = i / a.table.cols;
  begin();
  if (row >= (size_t)a.n)
    return;
  const int c = (int)(i % a.table.cols);
  const int32_t token = a.tokens[row * a.token_stride];
  float *y = a.y + row * a.y_stride + c;
  if (token >= 0 && token < a.table.rows)
    *y = moshi_add(*y, moshi_weight_at(a.table, token, c));
}

/* A block a vector: the lowest entry of the least score, no NaN before a number, then
 * the residual without it. */
__global__ void
__launch_bounds__(BLOCK) quantize_kernel(MoshiCudaQuantize a)
{
  const float *scores = a.scores + (size_t)blockIdx.x * a.entries;
  float *residual = a.residual + (size_t)blockIdx.x * a.dim;
  unsigned long long best = 0;

  begin();
  for (int i = threadIdx.x; i < a.entries; i += BLOCK) {
    const float score = moshi_add(scores[i], -a.half_norms[i]);
    const unsigned long long rank = moshi_ranked(moshi_order(score), i);
    best = rank > best ? rank : best;
  }
  const int code = moshi_ranked_index(moshi_block_largest<WARPS>(best));
  const float *row = a.rows + code * moshi_row_stride(MOSHI_TYPE_F32, a.dim) / 4;
  for (int i = threadIdx.x; i < a.dim; i += BLOCK)
    residual[i] = moshi_add(residual[i], -row[i]);
  if (threadIdx.x == 0)
    a.codes[blockIdx.x * a.code_stride] = code;
}

/* A thread an edit; those of no row (negative) only fill up. */
__global__ void
__launch_bounds__(BLOCK) edit_kernel(MoshiCudaEdit a)
{
  const size_t i = element();
  begin();
  if (i >= (size_t)a.n || a.edits[i].row < 0)
    return;
  const MoshiEdit e = a.edits[i];
  float *x = a.logits + (size_t)e.row * a.size + e.token;
  *x = moshi_add(*x >= 0 ? *x / e.penalty : moshi_mul(*x, e.penalty), e.bonus);
}

} // namespace

#define LAUNCHER(name, Type, grid)                                                     \
  void moshi_cuda_##name(const Type *a, cudaStream_t stream)                           \
  {                                                                                    \
    MOSHI_LAUNCH(name##_kernel, grid, dim3(BLOCK), 0, stream, *a);                     \
  }
LAUNCHER(norm, MoshiCudaNorm, dim3(a->n))
LAUNCHER(softmax, MoshiCudaSoftmax, dim3(a->n))
LAUNCHER(act, MoshiCudaAct, grid_of((size_t)a->batch * a->steps * a->width))
LAUNCHER(gate, MoshiCudaGate, grid_of((size_t)a->n * a->hidden))
LAUNCHER(add, MoshiCudaAdd, grid_of((size_t)a->n * a->dim))
LAUNCHER(guide, MoshiCudaGuide, grid_of(a->n))
LAUNCHER(copy, MoshiCudaCopy, grid_of(a->bytes))
LAUNCHER(move, MoshiCudaMove, grid_of((size_t)a->n * a->width))
LAUNCHER(embed, MoshiCudaEmbed, grid_of((size_t)a->n * a->table.cols))
LAUNCHER(quantize, MoshiCudaQuantize, dim3(a->n))
LAUNCHER(edit, MoshiCudaEdit, grid_of(a->n))

bool
moshi_cuda_can_chain(void)
{
  cudaFuncAttributes attributes = {};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, copy_kernel);
  if (error != cudaSuccess)
    cudaGetLastError();
  return error == cudaSuccess && attributes.ptxVersion >= 90;
}
