/* The kernels of the CUDA back end as one more tier of the kernel check: the same
 * data, the same tolerances, the same demand that an output does not depend on what
 * is computed beside it. Each call copies its operands to the device and back. */
#include "../../kernels/check.h"
#include "../../kernels/cuda/kernels.cuh"
#include "../../kernels/cuda/layout.cuh"
#include "../../kernels/reference.h"
#include "memory.cuh"

/* ---------------------------------------------------------------- products */

/* A matrix as the device keeps it. */
static MoshiRows
upload(Memory &m, const MoshiRows *w)
{
  const MoshiCudaLayout l = moshi_cuda_layout(w);
  std::vector<char> numbers(w->rows * l.stride), scales(l.scales_bytes);

  moshi_cuda_lay(w, 0, w->rows, numbers.data(), scales.data());
  if (w->scales)
    memcpy(scales.data(), w->scales, l.scales_bytes);
  char *memory = static_cast<char *>(m.bytes(l.bytes));
  MUST(cudaMemcpy(memory, numbers.data(), numbers.size(), cudaMemcpyHostToDevice));
  if (l.scales_bytes)
    MUST(cudaMemcpy(
        memory + l.scales, scales.data(), scales.size(), cudaMemcpyHostToDevice));
  if (l.biases_bytes)
    MUST(cudaMemcpy(
        memory + l.biases, w->biases, l.biases_bytes, cudaMemcpyHostToDevice));
  return moshi_cuda_rows(w, memory);
}

/* Whether products of any batch are those of tensor cores. */
static bool tensor;

static void
matvec(float *y, size_t y_step, const MoshiRows *w, const float *x, size_t x_step,
    int r0, int r1, int batch)
{
  Memory m;
  const MoshiRows rows = upload(m, w);
  MoshiCudaLinear a = {};

  a.w = moshi_cuda_part(&rows, r0, r1 - r0);
  a.x = {m.in(const_cast<float *>(x), x_step * (batch - 1) + w->cols), x_step, 0};
  a.y = {m.back(y, y_step * (batch - 1) + r1 - r0), y_step, 0};
  a.batch = batch;
  a.steps = 1;
  a.n_out = r1 - r0;
  if (tensor)
    a.scratch = static_cast<float *>(m.bytes(moshi_cuda_tensor_scratch(&a)));
  moshi_cuda_linear(&a, nullptr);
  m.finish();
}

/* Steps [t0, t1) of an item, or whole items if these are all. */
static void
gemm_part(const MoshiGemm *g, int item, int items, int t0, int t1, int p0, int p1)
{
  const int n0 = p0 * MOSHI_PANEL, steps = t1 - t0;
  const int n = (p1 * MOSHI_PANEL < g->n_out ? p1 * MOSHI_PANEL : g->n_out) - n0;
  const size_t panel = moshi_rows_bytes(g->type, g->n_in) * MOSHI_PANEL;
  const size_t in = item * g->in_batch + t0 * g->in_step;
  const size_t out = item * g->out_batch + t0 * g->out_step + n0;
  const size_t residual = item * g->residual_batch + t0 * g->residual_step + n0;
  Memory m;
  MoshiCudaLinear a = {};

  a.w.type = g->type;
  a.w.rows = n;
  a.w.cols = g->n_in;
  a.w.data = m.in(static_cast<const char *>(g->panels) + p0 * panel, (p1 - p0) * panel);
  a.x = {m.in(const_cast<float *>(g->in) + in,
             (items - 1) * g->in_batch + (steps - 1) * g->in_step + g->n_in),
      g->in_batch, g->in_step};
  a.y = {
      m.back(g->out + out, (items - 1) * g->out_batch + (steps - 1) * g->out_step + n),
      g->out_batch, g->out_step};
  if (g->residual)
    a.residual = {
        m.in(const_cast<float *>(g->residual) + residual,
            (items - 1) * g->residual_batch + (steps - 1) * g->residual_step + n),
        g->residual_batch, g->residual_step};
  a.bias = m.in(g->bias ? g->bias + n0 : nullptr, n);
  a.scale = m.in(g->scale ? g->scale + n0 : nullptr, n);
  a.packed = 1;
  a.batch = items;
  a.steps = steps;
  a.n_out = n;
  a.act = g->act;
  moshi_cuda_linear(&a, nullptr);
  m.finish();
}

static void
gemm(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  if (r0 == 0 && r1 == g->batch * g->steps) {
    gemm_part(g, 0, g->batch, 0, g->steps, p0, p1);
    return;
  }
  for (int r = r0; r < r1;) {
    const int item = r / g->steps, t0 = r % g->steps;
    const int t1 = t0 + r1 - r < g->steps ? t0 + r1 - r : g->steps;
    gemm_part(g, item, 1, t0, t1, p0, p1);
    r += t1 - t0;
  }
}

/* ------------------------------------------------------------------- norms */

static void
norm(
    float *y, const float *x, const float *w, const float *b, int n, float eps, int rms)
{
  Memory m;
  MoshiCudaNorm a = {};

  a.y = m.back(y, n);
  a.x = x == y ? a.y : m.in(x, n);
  a.weight = m.in(w, n);
  a.bias = m.in(b, n);
  a.n = 1;
  a.dim = n;
  a.rms = rms;
  a.eps = eps;
  moshi_cuda_norm(&a, nullptr);
  m.finish();
}

static void
rms_norm(float *y, const float *x, const float *alpha, int n, float eps)
{
  norm(y, x, alpha, nullptr, n, eps, 1);
}

static void
layer_norm(float *y, const float *x, const float *w, const float *b, int n, float eps)
{
  norm(y, x, w, b, n, eps, 0);
}

/* ------------------------------------------------------------- elementwise */

template <MoshiAct ACT>
static void
act(float *y, const float *x, size_t n)
{
  Memory m;
  MoshiCudaAct a = {};

  a.y = {m.back(y, n), n, n};
  a.x = x == y ? a.y : MoshiView{m.in(const_cast<float *>(x), n), n, n};
  a.act = ACT;
  a.batch = a.steps = 1;
  a.width = (int)n;
  moshi_cuda_act(&a, nullptr);
  m.finish();
}

static void
add(float *y, const float *x, const float *s, size_t n)
{
  Memory m;
  MoshiCudaAdd a = {};

  a.y = m.back(y, n);
  a.x = m.in(x, n);
  a.s = m.in(s, n);
  a.x_stride = n;
  a.n = 1;
  a.dim = (int)n;
  moshi_cuda_add(&a, nullptr);
  m.finish();
}

/* A whole row of a table is added to nothing, and a part of it returned. */
static void
widen(float *y, const MoshiRows *w, int row, int col, int n)
{
  Memory m;
  std::vector<float> whole(w->cols, -0.0f);
  const int32_t token = row;
  MoshiCudaEmbed a = {};

  a.table = upload(m, w);
  a.y = m.back(whole.data(), whole.size());
  a.y_stride = whole.size();
  a.tokens = m.in(&token, 1);
  a.token_stride = 1;
  a.n = 1;
  moshi_cuda_embed(&a, nullptr);
  m.finish();
  memcpy(y, whole.data() + col, n * sizeof *y);
}

/* A token without a temperature. */
static int
argmax(const float *x, int n)
{
  Memory m;
  const MoshiDraw draw = {};
  int32_t token = -1;
  MoshiCudaSample a = {};

  a.logits = m.in(x, n);
  a.draws = m.in(&draw, 1);
  a.tokens = m.back(&token, 1);
  a.n = 1;
  a.size = n;
  moshi_cuda_sample(&a, nullptr);
  m.finish();
  return token;
}

int
main(int argc, char **argv)
{
  MoshiKernels k = moshi_kernels_reference;
  void (*const acts[MOSHI_N_ACTS])(float *, const float *, size_t) = {
      act<MOSHI_ACT_NONE>, act<MOSHI_ACT_ELU>, act<MOSHI_ACT_GELU>, act<MOSHI_ACT_SILU>,
      act<MOSHI_ACT_RELU>, act<MOSHI_ACT_SIGMOID>, act<MOSHI_ACT_TANH>};

  if (!have_card())
    return NO_CARD;
  k.name = "cuda";
  k.gemm = gemm;
  k.rms_norm = rms_norm;
  k.layer_norm = layer_norm;
  k.add = add;
  k.argmax = argmax;
  for (int i = 0; i < MOSHI_N_TYPES; i++) {
    k.matvec[i] = matvec;
    k.widen[i] = widen;
  }
  for (int i = 0; i < MOSHI_N_ACTS; i++)
    k.act[i] = acts[i];
  int failed = moshi_check_tier(&k, argc - 1, argv + 1);
  k = moshi_kernels_reference;
  k.name = "cuda-tensor";
  for (int i = 0; i < MOSHI_N_TYPES; i++)
    k.matvec[i] = matvec;
  tensor = true;
  failed |= moshi_check_tier(&k, argc - 1, argv + 1);
  return failed;
}
