/* Every row of the table by its formula: the oracle of the tests, and what runs
 * on a CPU no tier was written for. Sums are taken in double, so that a tier is
 * measured against the true value and not against another rounding of it. */
#include "reference.h"

#include <math.h>
#include <string.h>

#include "four_bits.h"

/* ------------------------------------------------------------ activations */

static float
elu(float x)
{
  return x > 0 ? x : expm1f(x);
}

static float
gelu(float x)
{
  return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
}

static float
sigmoid(float x)
{
  return 1 / (1 + expf(-x));
}

static float
apply(MoshiAct act, float x)
{
  switch (act) {
  case MOSHI_ACT_ELU:
    return elu(x);
  case MOSHI_ACT_GELU:
    return gelu(x);
  case MOSHI_ACT_SILU:
    return x / (1 + expf(-x));
  case MOSHI_ACT_RELU:
    return x > 0 ? x : 0;
  case MOSHI_ACT_SIGMOID:
    return sigmoid(x);
  case MOSHI_ACT_TANH:
    return tanhf(x);
  default:
    return x;
  }
}

#define ACT(name, act)                                                                 \
  static void act_##name(float *y, const float *x, size_t n)                           \
  {                                                                                    \
    for (size_t i = 0; i < n; i++)                                                     \
      y[i] = apply(act, x[i]);                                                         \
  }
ACT(none, MOSHI_ACT_NONE)
ACT(elu, MOSHI_ACT_ELU)
ACT(gelu, MOSHI_ACT_GELU)
ACT(silu, MOSHI_ACT_SILU)
ACT(relu, MOSHI_ACT_RELU)
ACT(sigmoid, MOSHI_ACT_SIGMOID)
ACT(tanh, MOSHI_ACT_TANH)

static void
mul(float *y, const float *x, const float *g, size_t n)
{
  for (size_t i = 0; i < n; i++)
    y[i] = x[i] * g[i];
}

static void
add(float *y, const float *x, const float *s, size_t n)
{
  for (size_t i = 0; i < n; i++)
    y[i] += s ? s[i] * x[i] : x[i];
}

/* --------------------------------------------------------------- products */

static float
panel_weight(const MoshiGemm *g, size_t i)
{
  return g->type == MOSHI_TYPE_F32
             ? ((const float *)g->panels)[i]
             : moshi_bf16_to_f32(((const uint16_t *)g->panels)[i]);
}

static void
gemm_row(const MoshiGemm *g, int item, int step, int panel)
{
  const float *x = g->in + item * g->in_batch + step * g->in_step;
  const size_t w = (size_t)panel * MOSHI_PANEL * g->n_in;
  const float *residual =
      g->residual ? g->residual + item * g->residual_batch + step * g->residual_step
                  : NULL;
  float *out = g->out + item * g->out_batch + step * g->out_step;
  const int first = panel * MOSHI_PANEL;
  double sum[MOSHI_PANEL] = {0};

  for (int k = 0; k < g->n_in; k++)
    for (int j = 0; j < MOSHI_PANEL; j++)
      sum[j] += (double)x[k] * panel_weight(g, w + (size_t)k * MOSHI_PANEL + j);
  for (int j = 0; j < MOSHI_PANEL && first + j < g->n_out; j++) {
    const int n = first + j;
    float y = apply(g->act, (float)(sum[j] + (g->bias ? g->bias[n] : 0)));
    if (g->scale)
      y *= g->scale[n];
    out[n] = residual ? residual[n] + y : y;
  }
}

static void
gemm(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  for (int r = r0; r < r1; r++)
    for (int p = p0; p < p1; p++)
      gemm_row(g, r / g->steps, r % g->steps, p);
}

/* ------------------------------------------------------------ stored rows */

static float
f32_at(const void *w, size_t i)
{
  float x;
  memcpy(&x, (const char *)w + 4 * i, 4);
  return x;
}

static uint16_t
u16_at(const void *w, size_t i)
{
  uint16_t x;
  memcpy(&x, (const char *)w + 2 * i, 2);
  return x;
}

static float
float_at(MoshiType type, const void *w, size_t i)
{
  return type == MOSHI_TYPE_F32   ? f32_at(w, i)
         : type == MOSHI_TYPE_F16 ? moshi_f16_to_f32(u16_at(w, i))
                                  : moshi_bf16_to_f32(u16_at(w, i));
}

static float
q8_0_at(const uint8_t *row, int c)
{
  const uint8_t *block = row + c / 32 * 34;
  return float_at(MOSHI_TYPE_F16, block, 0) * (int8_t)block[2 + c % 32];
}

/* The low halves of 16 bytes, then the high ones. */
static float
q4_0_at(const uint8_t *row, int c)
{
  const uint8_t *block = row + c / 32 * 18, byte = block[2 + c % 16];
  const int q = c % 32 < 16 ? byte & 15 : byte >> 4;
  return float_at(MOSHI_TYPE_F16, block, 0) * (q - 8);
}

/* The low halves of 32 bytes, then the high ones. Of the twelve bytes of scales and
 * minima the first eight hold the first four's six bits, and above them the upper
 * two of the last four's. */
static float
q4_k_at(const uint8_t *row, int c)
{
  const uint8_t *block = row + c / 256 * 144, *s = block + 4;
  const int j = c % 256 / 32;
  const uint8_t byte = block[16 + j / 2 * 32 + c % 32];
  const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
  const float d = float_at(MOSHI_TYPE_F16, block, 0);
  const float dmin = float_at(MOSHI_TYPE_F16, block, 1);
  return d * scale * (j % 2 ? byte >> 4 : byte & 15) - dmin * min;
}

static float
mlx_at(const MoshiRows *w, int row, int c)
{
  const uint8_t *data =
      (const uint8_t *)w->data + row * moshi_rows_bytes(w->type, w->cols);
  const size_t at = (size_t)row * (w->cols / w->group) + c / w->group;
  const int q = w->type == MOSHI_TYPE_MLX8 ? data[c]
                : c % 2                    ? data[c / 2] >> 4
                                           : data[c / 2] & 15;
  return fmaf(float_at(w->scale_type, w->scales, at), q,
      float_at(w->scale_type, w->biases, at));
}

static float
weight_at(const MoshiRows *w, int row, int c)
{
  const uint8_t *data =
      (const uint8_t *)w->data + row * moshi_rows_bytes(w->type, w->cols);
  switch (w->type) {
  case MOSHI_TYPE_I8:
    return (int8_t)data[c] * f32_at(w->scales, row);
  case MOSHI_TYPE_Q8_0:
    return q8_0_at(data, c);
  case MOSHI_TYPE_Q4_0:
    return q4_0_at(data, c);
  case MOSHI_TYPE_Q4_K:
    return q4_k_at(data, c);
  case MOSHI_TYPE_MLX4:
  case MOSHI_TYPE_MLX8:
    return mlx_at(w, row, c);
  default:
    return float_at(w->type, data, c);
  }
}

static void
matvec(float *y, size_t y_step, const MoshiRows *w, const float *x, size_t x_step,
    int r0, int r1, int batch)
{
  for (int i = 0; i < batch; i++)
    for (int r = r0; r < r1; r++) {
      double sum = 0;
      for (int c = 0; c < w->cols; c++)
        sum += (double)weight_at(w, r, c) * x[i * x_step + c];
      y[i * y_step + (r - r0)] = (float)sum;
    }
}

/* See four_bits.h. */
static float
panel_weight_at(const MoshiRows *w, int row, int c)
{
  const MoshiType stored = w->type == MOSHI_TYPE_MLX4 ? w->scale_type : MOSHI_TYPE_F16;
  const size_t bytes = four_bits_bytes(w->type, stored),
               scales = four_bits_scales(w->type, stored);
  const int r = row % FOUR_BITS_ROWS, g = c % 256 / 32;
  const uint8_t *panel = (const uint8_t *)w->data +
                         (size_t)(row / FOUR_BITS_ROWS) * (w->cols / 32) * bytes;
  const uint8_t *chunk = panel + c / 256 * 8 * bytes, *group = panel + c / 32 * bytes;
  const uint8_t *columns = chunk + four_bits_at(w->type, stored, g);
  const uint8_t byte = columns[(c % 32 / 8 * FOUR_BITS_ROWS + r) * 4 + c % 4];
  const int q = c % 8 < 4 ? byte & 15 : byte >> 4;

  if (w->type == MOSHI_TYPE_Q4_K)
    return float_at(stored, chunk, r) * chunk[FOUR_BITS_SCALES + g * 8 + r] * q -
           float_at(stored, chunk, 8 + r) * chunk[FOUR_BITS_OFFSETS + g * 8 + r];
  const float scale = float_at(stored, group, r);
  return w->type == MOSHI_TYPE_Q4_0
             ? scale * (q - 8)
             : fmaf(scale, q, float_at(stored, group + scales + FOUR_BITS_Q, r));
}

static void
matvec_panels(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch)
{
  for (int i = 0; i < batch; i++)
    for (int r = r0; r < r1; r++) {
      double sum = 0;
      for (int c = 0; c < w->cols; c++)
        sum += (double)panel_weight_at(w, r, c) * x[i * x_step + c];
      y[i * y_step + (r - r0)] = (float)sum;
    }
}

static void
widen(float *y, const MoshiRows *w, int row, int col, int n)
{
  for (int i = 0; i < n; i++)
    y[i] = weight_at(w, row, col + i);
}

/* ------------------------------------------------------------------ norms */

static void
rms_norm(float *y, const float *x, const float *alpha, int n, float eps)
{
  double squares = 0;
  for (int i = 0; i < n; i++)
    squares += (double)x[i] * x[i];
  const float inverse = (float)(1 / sqrt(squares / n + eps));
  for (int i = 0; i < n; i++)
    y[i] = x[i] * inverse * alpha[i];
}

static void
layer_norm(float *y, const float *x, const float *w, const float *b, int n, float eps)
{
  double sum = 0, squares = 0;
  for (int i = 0; i < n; i++)
    sum += x[i];
  const double mean = sum / n;
  for (int i = 0; i < n; i++)
    squares += (x[i] - mean) * (x[i] - mean);
  const double inverse = 1 / sqrt(squares / n + eps);
  for (int i = 0; i < n; i++)
    y[i] = (float)((x[i] - mean) * inverse) * w[i] + b[i];
}

/* -------------------------------------------------------------- attention */

static void
rope(float *x, const float *cos, const float *sin, int n)
{
  for (int i = 0; i < n; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

static void
rope_halves(float *a, float *b, const float *cos, const float *sin, int n)
{
  for (int i = 0; i < n; i++) {
    const float u = a[i], v = b[i];
    a[i] = u * cos[i] - v * sin[i];
    b[i] = u * sin[i] + v * cos[i];
  }
}

/* Element i of the j-th key (or value). */
static float
kept(const MoshiAttention *a, MoshiKv kv, const void *ring, const float *scales, int j,
    int i)
{
  const size_t entry = (a->first + j) % a->capacity, at = entry * a->stride + i;
  if (kv == MOSHI_KV_I8)
    return scales[entry] * ((const int8_t *)ring)[at];
  if (kv == MOSHI_KV_BF16)
    return moshi_bf16_to_f32(((const uint16_t *)ring)[at]);
  return ((const float *)ring)[at];
}

static float
score(const MoshiAttention *a, MoshiKv kv, int j)
{
  double sum = 0;
  for (int i = 0; i < a->d; i++)
    sum += (double)a->q[i] * kept(a, kv, a->k, a->k_scales, j, i);
  return (float)sum * a->scale;
}

/* Scores are computed anew for each use, so that nothing needs to be kept. */
static void
attention(const MoshiAttention *a, MoshiKv kv)
{
  double sums[MOSHI_MAX_HEAD_DIM], total = 0;
  float top = -INFINITY;

  for (int j = 0; j < a->count; j++)
    top = fmaxf(top, score(a, kv, j));
  memset(sums, 0, sizeof sums);
  for (int j = 0; j < a->count; j++) {
    const double p = exp((double)score(a, kv, j) - top);
    total += p;
    for (int i = 0; i < a->d; i++)
      sums[i] += p * kept(a, kv, a->v, a->v_scales, j, i);
  }
  for (int i = 0; i < a->d; i++)
    a->out[i] = (float)(sums[i] / total);
}

#define ATTENTION(name, kv)                                                            \
  static void attention_##name(const MoshiAttention *a)                                \
  {                                                                                    \
    attention(a, kv);                                                                  \
  }
ATTENTION(f32, MOSHI_KV_F32)
ATTENTION(bf16, MOSHI_KV_BF16)
ATTENTION(i8, MOSHI_KV_I8)

/* ------------------------------------------------------------- reductions */

static int
argmin(const float *x, int n)
{
  int best = 0;
  for (int i = 1; i < n; i++)
    if (x[i] < x[best] || (isnan(x[best]) && !isnan(x[i])))
      best = i;
  return best;
}

static int
argmax(const float *x, int n)
{
  int best = 0;
  for (int i = 1; i < n; i++)
    if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))
      best = i;
  return best;
}

static float
softmax_exp(float *p, const float *x, int n, float inv_temperature)
{
  const float top = x[argmax(x, n)];
  double sum = 0;
  for (int i = 0; i < n; i++) {
    p[i] = expf((x[i] - top) * inv_temperature);
    sum += p[i];
  }
  return (float)sum;
}

const MoshiKernels moshi_kernels_reference = {
    .name = "c",
    .gemm = gemm,
    .matvec = {matvec, matvec, matvec, matvec, matvec, matvec, matvec, matvec, matvec},
    .matvec_panels = {[MOSHI_TYPE_Q4_0] = matvec_panels,
        [MOSHI_TYPE_Q4_K] = matvec_panels,
        [MOSHI_TYPE_MLX4] = matvec_panels},
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .act = {act_none, act_elu, act_gelu, act_silu, act_relu, act_sigmoid, act_tanh},
    .mul = mul,
    .add = add,
    .rope = rope,
    .rope_halves = rope_halves,
    .attention = {attention_f32, attention_bf16, attention_i8},
    .argmin = argmin,
    .argmax = argmax,
    .softmax_exp = softmax_exp,
    .widen = {widen, widen, widen, widen, widen, widen, widen, widen, widen},
    .encode_q4_k = moshi_encode_q4_k,
};
