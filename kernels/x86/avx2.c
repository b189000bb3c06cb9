/* The AVX2 tier's norms, elementwise kernels and reductions, and its table. */
#include "avx2.h"
#include "../tiers.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------ elementwise */

INLINE void
act(MoshiAct which, float *y, const float *x, size_t n)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    store(y + i, apply(which, load(x + i)));
  if (i < n) {
    const __m256i mask = lanes((int)(n - i));
    _mm256_maskstore_ps(y + i, mask, apply(which, _mm256_maskload_ps(x + i, mask)));
  }
}

#define ACT(name, which)                                                               \
  static void act_##name(float *y, const float *x, size_t n)                           \
  {                                                                                    \
    act(which, y, x, n);                                                               \
  }
ACT(elu, MOSHI_ACT_ELU)
ACT(gelu, MOSHI_ACT_GELU)
ACT(silu, MOSHI_ACT_SILU)
ACT(relu, MOSHI_ACT_RELU)
ACT(sigmoid, MOSHI_ACT_SIGMOID)
ACT(tanh, MOSHI_ACT_TANH)

static void
act_none(float *y, const float *x, size_t n)
{
  if (y != x)
    memcpy(y, x, n * sizeof *y);
}

static void
mul(float *y, const float *x, const float *g, size_t n)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    store(y + i, _mm256_mul_ps(load(x + i), load(g + i)));
  for (; i < n; i++)
    y[i] = x[i] * g[i];
}

static void
add(float *y, const float *x, const float *s, size_t n)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    store(y + i, s ? _mm256_fmadd_ps(load(s + i), load(x + i), load(y + i))
                   : _mm256_add_ps(load(y + i), load(x + i)));
  for (; i < n; i++)
    y[i] = s ? fmaf(s[i], x[i], y[i]) : y[i] + x[i];
}

/* Four pairs: x·cos with the pairs' other halves, times sin, subtracted from
 * the first and added to the second. */
static void
rope(float *x, const float *cos, const float *sin, int n)
{
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  int i = 0;

  for (; i + 4 <= n; i += 4) {
    const __m256 v = load(x + 2 * i), swapped = _mm256_permute_ps(v, 0xb1);
    const __m256 c =
        _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos + i)), twice);
    const __m256 s =
        _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin + i)), twice);
    store(x + 2 * i, _mm256_fmaddsub_ps(v, c, _mm256_mul_ps(swapped, s)));
  }
  for (; i < n; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = fmaf(a, cos[i], -(b * sin[i]));
    x[2 * i + 1] = fmaf(b, cos[i], a * sin[i]);
  }
}

static void
rope_halves(float *a, float *b, const float *cos, const float *sin, int n)
{
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 u = load(a + i), v = load(b + i), c = load(cos + i), s = load(sin + i);
    store(a + i, _mm256_fmsub_ps(u, c, _mm256_mul_ps(v, s)));
    store(b + i, _mm256_fmadd_ps(v, c, _mm256_mul_ps(u, s)));
  }
  for (; i < n; i++) {
    const float u = a[i], v = b[i];
    a[i] = fmaf(u, cos[i], -(v * sin[i]));
    b[i] = fmaf(v, cos[i], u * sin[i]);
  }
}

/* ------------------------------------------------------------------ norms */

/* 8 elements from i on, zero beyond n. */
INLINE __m256
load_within(const float *x, int i, int n)
{
  return i + 8 <= n ? load(x + i) : _mm256_maskload_ps(x + i, lanes(n - i));
}

/* Σ(x − mean)², in four chains. */
static float
squares(const float *x, int n, float mean)
{
  __m256 sum[4] = {{0}};
  for (int i = 0; i < n; i += 32)
    for (int j = 0; j < 4 && i + 8 * j < n; j++) {
      __m256 d = _mm256_sub_ps(load_within(x, i + 8 * j, n), set1(mean));
      d = _mm256_and_ps(d, _mm256_castsi256_ps(lanes(n - i - 8 * j)));
      sum[j] = _mm256_fmadd_ps(d, d, sum[j]);
    }
  return sum_lanes(
      _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

static float
sum_of(const float *x, int n)
{
  __m256 sum[4] = {{0}};
  for (int i = 0; i < n; i += 32)
    for (int j = 0; j < 4 && i + 8 * j < n; j++)
      sum[j] = _mm256_add_ps(sum[j], load_within(x, i + 8 * j, n));
  return sum_lanes(
      _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

static void
rms_norm(float *y, const float *x, const float *alpha, int n, float eps)
{
  const float inverse = 1 / sqrtf(squares(x, n, 0) / n + eps);
  int i = 0;
  for (; i + 8 <= n; i += 8)
    store(y + i,
        _mm256_mul_ps(_mm256_mul_ps(load(x + i), set1(inverse)), load(alpha + i)));
  for (; i < n; i++)
    y[i] = x[i] * inverse * alpha[i];
}

static void
layer_norm(float *y, const float *x, const float *w, const float *b, int n, float eps)
{
  const float mean = sum_of(x, n) / n;
  const float inverse = 1 / sqrtf(squares(x, n, mean) / n + eps);
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 d = _mm256_sub_ps(load(x + i), set1(mean));
    store(y + i,
        _mm256_fmadd_ps(_mm256_mul_ps(d, set1(inverse)), load(w + i), load(b + i)));
  }
  for (; i < n; i++)
    y[i] = fmaf((x[i] - mean) * inverse, w[i], b[i]);
}

/* ------------------------------------------------------------- reductions */

/* The largest of x·sign, NaNs aside (max returns its second operand), or −inf. */
INLINE float
largest(const float *x, int n, __m256 sign)
{
  __m256 top = set1(-INFINITY);
  int i = 0;
  for (; i + 8 <= n; i += 8)
    top = _mm256_max_ps(_mm256_xor_ps(load(x + i), sign), top);
  if (i < n) {
    const __m256i mask = lanes(n - i);
    const __m256 v = _mm256_xor_ps(_mm256_maskload_ps(x + i, mask), sign);
    top = _mm256_max_ps(
        _mm256_blendv_ps(set1(-INFINITY), v, _mm256_castsi256_ps(mask)), top);
  }
  return max_lanes(top);
}

/* The first that equals value; 0 where none does. */
INLINE int
first_equal(const float *x, int n, float value)
{
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const int found =
        _mm256_movemask_ps(_mm256_cmp_ps(load(x + i), set1(value), _CMP_EQ_OQ));
    if (found)
      return i + __builtin_ctz(found);
  }
  for (; i < n; i++)
    if (x[i] == value)
      return i;
  return 0;
}

static int
argmin(const float *x, int n)
{
  return first_equal(x, n, -largest(x, n, set1(-0.0f)));
}

static int
argmax(const float *x, int n)
{
  return first_equal(x, n, largest(x, n, set1(0)));
}

static float
softmax_exp(float *p, const float *x, int n, float inv_temperature)
{
  const __m256 top = set1(largest(x, n, set1(0)));
  __m256 sum = _mm256_setzero_ps();

  for (int i = 0; i < n; i += 8) {
    const __m256i mask = lanes(n - i);
    const __m256 d = _mm256_sub_ps(_mm256_maskload_ps(x + i, mask), top);
    __m256 e = exp_ps(_mm256_mul_ps(d, set1(inv_temperature)));
    e = _mm256_and_ps(e, _mm256_castsi256_ps(mask));
    _mm256_maskstore_ps(p + i, mask, e);
    sum = _mm256_add_ps(sum, e);
  }
  return sum_lanes(sum);
}

/* --------------------------------------------------------------- widening */

static void
widen_f32(float *y, const void *x, size_t n)
{
  memcpy(y, x, n * sizeof *y);
}

INLINE __m256
widen_halves(bool bf16, __m128i h)
{
  return bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))
              : _mm256_cvtph_ps(h);
}

INLINE void
widen(bool bf16, float *y, const uint16_t *x, size_t n)
{
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    store(y + i, widen_halves(bf16, _mm_loadu_si128((const __m128i *)(x + i))));
  if (i < n) {
    uint16_t part[8] = {0};
    memcpy(part, x + i, (n - i) * sizeof *part);
    _mm256_maskstore_ps(y + i, lanes((int)(n - i)),
        widen_halves(bf16, _mm_loadu_si128((const __m128i *)part)));
  }
}

static void
widen_f16(float *y, const void *x, size_t n)
{
  widen(false, y, x, n);
}

static void
widen_bf16(float *y, const void *x, size_t n)
{
  widen(true, y, x, n);
}

void
moshi_avx2_init(MoshiKernels *k)
{
  *k = (MoshiKernels){
      .name = "avx2",
      .gemm = moshi_avx2_gemm,
      .matvec = {moshi_avx2_matvec_f32, moshi_avx2_matvec_f16, moshi_avx2_matvec_bf16},
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .act = {act_none, act_elu, act_gelu, act_silu, act_relu, act_sigmoid, act_tanh},
      .mul = mul,
      .add = add,
      .rope = rope,
      .rope_halves = rope_halves,
      .attention = moshi_avx2_attention,
      .argmin = argmin,
      .argmax = argmax,
      .softmax_exp = softmax_exp,
      .widen = {widen_f32, widen_f16, widen_bf16},
  };
}
