/* 16 floats in an AVX-512 register. Each function does as its twin in vec256.h
 * says; parts of a vector are masks here. */
#ifndef MOSHI_KERNELS_X86_VEC512_H
#define MOSHI_KERNELS_X86_VEC512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif

typedef __m512 V;
#define V_WIDTH 16
#define V_REGISTERS 32

INLINE V
v_set(float x)
{
  return _mm512_set1_ps(x);
}

INLINE V
v_load(const float *x)
{
  return _mm512_loadu_ps(x);
}

INLINE void
v_store(float *y, V v)
{
  _mm512_storeu_ps(y, v);
}

INLINE __mmask16
v_mask(int n)
{
  const __m512i index =
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(n), index);
}

INLINE V
v_load_some(const float *x, int n)
{
  return _mm512_maskz_loadu_ps(v_mask(n), x);
}

INLINE void
v_store_some(float *y, V v, int n)
{
  _mm512_mask_storeu_ps(y, v_mask(n), v);
}

INLINE V
v_keep(V v, int n)
{
  return _mm512_maskz_mov_ps(v_mask(n), v);
}

INLINE V
v_load_halves(const void *x, int n, bool bf16)
{
  const __m256i h = n < 16 ? _mm256_maskz_loadu_epi16(v_mask(n), x)
                           : _mm256_loadu_si256((const __m256i *)x);
  return bf16 ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))
              : _mm512_cvtph_ps(h);
}

INLINE V
v_load_bytes(const int8_t *x, int n)
{
  const __m128i b =
      n < 16 ? _mm_maskz_loadu_epi8(v_mask(n), x) : _mm_loadu_si128((const __m128i *)x);
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b));
}

INLINE V
v_add(V a, V b)
{
  return _mm512_add_ps(a, b);
}

INLINE V
v_sub(V a, V b)
{
  return _mm512_sub_ps(a, b);
}

INLINE V
v_mul(V a, V b)
{
  return _mm512_mul_ps(a, b);
}

INLINE V
v_div(V a, V b)
{
  return _mm512_div_ps(a, b);
}

INLINE V
v_fma(V a, V b, V c)
{
  return _mm512_fmadd_ps(a, b, c);
}

INLINE V
v_fnma(V a, V b, V c)
{
  return _mm512_fnmadd_ps(a, b, c);
}

INLINE V
v_max(V a, V b)
{
  return _mm512_max_ps(a, b);
}

INLINE V
v_min(V a, V b)
{
  return _mm512_min_ps(a, b);
}

INLINE V
v_if_greater(V a, V b, V x, V y)
{
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}

INLINE V
v_neg(V x)
{
  return _mm512_xor_ps(x, v_set(-0.0f));
}

INLINE V
v_abs(V x)
{
  return _mm512_andnot_ps(v_set(-0.0f), x);
}

INLINE V
v_sign(V x, V s)
{
  return _mm512_or_ps(x, _mm512_and_ps(v_set(-0.0f), s));
}

INLINE V
v_round(V x)
{
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE V
v_floor(V x)
{
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

INLINE V
v_power_of_two(V n)
{
  const __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}

/* The two halves of v. */
INLINE __m256
v_low(V v)
{
  return _mm512_castps512_ps256(v);
}

INLINE __m256
v_high(V v)
{
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

INLINE float
v_sum(V v)
{
  const __m256 half = _mm256_add_ps(v_low(v), v_high(v));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

INLINE void
v_sum4(const V v[4], float *sums)
{
  const V a = v_add(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const V b = v_add(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
  const V s = v_add(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)),
      _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
  const __m256 half = _mm256_add_ps(v_low(s), v_high(s));
  _mm_storeu_ps(
      sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

INLINE float
v_largest(V v)
{
  const __m256 half = _mm256_max_ps(v_low(v), v_high(v));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  s = _mm_max_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

INLINE int
v_find(V v, float x)
{
  const int found = _mm512_cmp_ps_mask(v, v_set(x), _CMP_EQ_OQ);
  return found ? __builtin_ctz(found) : -1;
}

#endif
