/* What the files of the AVX2 tier share: functions on 8 floats. Each works lane
 * by lane, so that a value's result does not depend on its neighbours. */
#ifndef MOSHI_KERNELS_AVX2_H
#define MOSHI_KERNELS_AVX2_H

#include <immintrin.h>

#include <stdbool.h>

#include "../kernels.h"

#define INLINE static inline __attribute__((always_inline))

void moshi_avx2_gemm(const MoshiGemm *g, int r0, int r1, int p0, int p1);
void moshi_avx2_attention(const MoshiAttention *a);
void moshi_avx2_matvec_f32(float *y, size_t y_step, const void *w, const float *x,
    size_t x_step, int r0, int r1, int cols, int batch);
void moshi_avx2_matvec_f16(float *y, size_t y_step, const void *w, const float *x,
    size_t x_step, int r0, int r1, int cols, int batch);
void moshi_avx2_matvec_bf16(float *y, size_t y_step, const void *w, const float *x,
    size_t x_step, int r0, int r1, int cols, int batch);

/* ----------------------------------------------------------------- memory */

/* The first n lanes; n may be beyond 0 … 8. */
INLINE __m256i
lanes(int n)
{
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
}

INLINE __m256
load(const float *x)
{
  return _mm256_loadu_ps(x);
}

INLINE void
store(float *y, __m256 v)
{
  _mm256_storeu_ps(y, v);
}

/* In a fixed order. */
INLINE float
sum_lanes(__m256 v)
{
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

INLINE float
max_lanes(__m256 v)
{
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  s = _mm_max_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

/* -------------------------------------------------------------- functions */

INLINE __m256
set1(float x)
{
  return _mm256_set1_ps(x);
}

/* Splits x = n·ln 2 + r, |r| ≤ ln 2 / 2, and returns e^r − 1; *n is integral.
 * The polynomial is a minimax fit of (e^r − 1 − r)/r², good to 2^-31 of r. */
INLINE __m256
reduce_exp(__m256 x, __m256 *n)
{
  const __m256 whole = _mm256_round_ps(_mm256_mul_ps(x, set1(0x1.715476p+0f)),
      _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(whole, set1(0x1.62e400p-1f), x); /* ln 2, high part */
  r = _mm256_fnmadd_ps(whole, set1(0x1.7f7d1cp-20f), r);
  __m256 q = set1(0x1.a1a18cp-13f);
  q = _mm256_fmadd_ps(q, r, set1(0x1.6d748cp-10f));
  q = _mm256_fmadd_ps(q, r, set1(0x1.111090p-7f));
  q = _mm256_fmadd_ps(q, r, set1(0x1.5554aep-5f));
  q = _mm256_fmadd_ps(q, r, set1(0x1.555556p-3f));
  q = _mm256_fmadd_ps(q, r, set1(0.5f));
  *n = whole;
  return _mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r);
}

/* 2^n for integral n in −126 … 127. */
INLINE __m256
power_of_two(__m256 n)
{
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* x held in [low,high]; NaN stays (max and min return their second operand). */
INLINE __m256
clamp(__m256 x, float low, float high)
{
  return _mm256_min_ps(set1(high), _mm256_max_ps(set1(low), x));
}

/* e^x, 1 ulp; 2^n in two factors reaches the denormals and infinity. */
INLINE __m256
exp_ps(__m256 x)
{
  __m256 n;
  const __m256 m = reduce_exp(clamp(x, -104, 89), &n);
  const __m256 half = _mm256_floor_ps(_mm256_mul_ps(n, set1(0.5f)));
  const __m256 p = _mm256_add_ps(m, set1(1));
  return _mm256_mul_ps(
      _mm256_mul_ps(p, power_of_two(half)), power_of_two(_mm256_sub_ps(n, half)));
}

/* e^x − 1 for x ≤ 0, 2 ulp: 2^n·(e^r − 1) + (2^n − 1), which for n = 0 is exact
 * about 0. */
INLINE __m256
expm1_negative(__m256 x)
{
  __m256 n;
  const __m256 m = reduce_exp(clamp(x, -40, 0), &n);
  const __m256 scale = power_of_two(n);
  return _mm256_fmadd_ps(m, scale, _mm256_sub_ps(scale, set1(1)));
}

/* erf(x), 2 ulp: x·P(x²) near 0, else 1 − e^Q(|x|), Q a fit of ln erfc. */
INLINE __m256
erf_ps(__m256 x)
{
  const __m256 sign = set1(-0.0f);
  const __m256 a = _mm256_andnot_ps(sign, x), s = _mm256_mul_ps(x, x);
  __m256 p = set1(0x1.5f0bacp-14f);
  p = _mm256_fmadd_ps(p, s, set1(-0x1.aae7e0p-11f));
  p = _mm256_fmadd_ps(p, s, set1(0x1.54daaap-8f));
  p = _mm256_fmadd_ps(p, s, set1(-0x1.b81076p-6f));
  p = _mm256_fmadd_ps(p, s, set1(0x1.ce2e20p-4f));
  p = _mm256_fmadd_ps(p, s, set1(-0x1.812744p-2f));
  p = _mm256_fmadd_ps(p, s, set1(0x1.20dd76p+0f));
  const __m256 inner = _mm256_mul_ps(x, p);

  const __m256 t = _mm256_min_ps(set1(4.05f), a);
  __m256 q = set1(-0x1.63095cp-16f);
  q = _mm256_fmadd_ps(q, t, set1(0x1.c85bf2p-12f));
  q = _mm256_fmadd_ps(q, t, set1(-0x1.1196d2p-8f));
  q = _mm256_fmadd_ps(q, t, set1(0x1.9bb50cp-6f));
  q = _mm256_fmadd_ps(q, t, set1(-0x1.bb926cp-4f));
  q = _mm256_fmadd_ps(q, t, set1(-0x1.444470p-1f));
  q = _mm256_fmadd_ps(q, t, set1(-0x1.212846p+0f));
  q = _mm256_fmadd_ps(q, t, set1(0x1.70d550p-13f));
  const __m256 outer =
      _mm256_xor_ps(_mm256_and_ps(sign, x), _mm256_sub_ps(set1(0), expm1_negative(q)));
  return _mm256_blendv_ps(inner, outer, _mm256_cmp_ps(a, set1(0.92f), _CMP_GT_OQ));
}

INLINE __m256
sigmoid_ps(__m256 x)
{
  const __m256 e = exp_ps(_mm256_xor_ps(x, set1(-0.0f)));
  return _mm256_div_ps(set1(1), _mm256_add_ps(set1(1), e));
}

/* −m/(m + 2) with m = e^(−2|x|) − 1, and the sign of x. */
INLINE __m256
tanh_ps(__m256 x)
{
  const __m256 sign = set1(-0.0f), a = _mm256_or_ps(sign, x);
  const __m256 m = expm1_negative(_mm256_add_ps(a, a));
  const __m256 y = _mm256_div_ps(m, _mm256_add_ps(m, set1(2)));
  return _mm256_xor_ps(_mm256_and_ps(sign, x), _mm256_xor_ps(y, sign));
}

INLINE __m256
apply(MoshiAct act, __m256 x)
{
  switch (act) {
  case MOSHI_ACT_ELU:
    return _mm256_blendv_ps(
        expm1_negative(x), x, _mm256_cmp_ps(x, set1(0), _CMP_GT_OQ));
  case MOSHI_ACT_GELU:
    return _mm256_mul_ps(_mm256_mul_ps(set1(0.5f), x),
        _mm256_add_ps(set1(1), erf_ps(_mm256_mul_ps(x, set1(0x1.6a09e6p-1f)))));
  case MOSHI_ACT_SILU: {
    const __m256 e = exp_ps(_mm256_xor_ps(x, set1(-0.0f)));
    return _mm256_div_ps(x, _mm256_add_ps(set1(1), e));
  }
  case MOSHI_ACT_RELU: /* NaN is not > 0 */
    return _mm256_and_ps(x, _mm256_cmp_ps(x, set1(0), _CMP_GT_OQ));
  case MOSHI_ACT_SIGMOID:
    return sigmoid_ps(x);
  case MOSHI_ACT_TANH:
    return tanh_ps(x);
  default:
    return x;
  }
}

#endif
