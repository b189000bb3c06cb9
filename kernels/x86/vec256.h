/* 8 floats in an AVX2 register: what kernels/simd is written in. */
#ifndef MOSHI_KERNELS_X86_VEC256_H
#define MOSHI_KERNELS_X86_VEC256_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef __m256 V;
#define V_WIDTH 8
#define V_REGISTERS 16

INLINE V
v_set(float x)
{
  return _mm256_set1_ps(x);
}

INLINE V
v_load(const float *x)
{
  return _mm256_loadu_ps(x);
}

INLINE void
v_store(float *y, V v)
{
  _mm256_storeu_ps(y, v);
}

/* The first n lanes; any n. */
INLINE __m256i
v_mask(int n)
{
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
}

/* The first n floats, the rest zero; nothing beyond them is touched. */
INLINE V
v_load_some(const float *x, int n)
{
  return _mm256_maskload_ps(x, v_mask(n));
}

INLINE void
v_store_some(float *y, V v, int n)
{
  _mm256_maskstore_ps(y, v_mask(n), v);
}

/* The first n lanes of v, the rest zero. */
INLINE V
v_keep(V v, int n)
{
  return _mm256_and_ps(v, _mm256_castsi256_ps(v_mask(n)));
}

/* Eight stored halves, bf16 or f16, or the first n < 8 of them and zeros. */
INLINE V
v_load_halves(const void *x, int n, bool bf16)
{
  __m128i h;
  if (n < 8) {
    uint16_t part[8] = {0};
    memcpy(part, x, n * sizeof *part);
    h = _mm_loadu_si128((const __m128i *)part);
  } else {
    h = _mm_loadu_si128((const __m128i *)x);
  }
  return bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))
              : _mm256_cvtph_ps(h);
}

/* Eight int8, or the first n < 8 of them and zeros. */
INLINE V
v_load_bytes(const int8_t *x, int n)
{
  int64_t part = 0;
  memcpy(&part, x, n < 8 ? n : 8);
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(part)));
}

INLINE V
v_add(V a, V b)
{
  return _mm256_add_ps(a, b);
}

INLINE V
v_sub(V a, V b)
{
  return _mm256_sub_ps(a, b);
}

INLINE V
v_mul(V a, V b)
{
  return _mm256_mul_ps(a, b);
}

INLINE V
v_div(V a, V b)
{
  return _mm256_div_ps(a, b);
}

/* a·b + c, rounded once; v_fnma: c − a·b. */
INLINE V
v_fma(V a, V b, V c)
{
  return _mm256_fmadd_ps(a, b, c);
}

INLINE V
v_fnma(V a, V b, V c)
{
  return _mm256_fnmadd_ps(a, b, c);
}

/* The second operand where one is NaN. */
INLINE V
v_max(V a, V b)
{
  return _mm256_max_ps(a, b);
}

INLINE V
v_min(V a, V b)
{
  return _mm256_min_ps(a, b);
}

/* a > b ? x : y, false with NaN. */
INLINE V
v_if_greater(V a, V b, V x, V y)
{
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

INLINE V
v_neg(V x)
{
  return _mm256_xor_ps(x, v_set(-0.0f));
}

INLINE V
v_abs(V x)
{
  return _mm256_andnot_ps(v_set(-0.0f), x);
}

/* x ≥ 0 with the sign of s. */
INLINE V
v_sign(V x, V s)
{
  return _mm256_or_ps(x, _mm256_and_ps(v_set(-0.0f), s));
}

/* To nearest even. */
INLINE V
v_round(V x)
{
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE V
v_floor(V x)
{
  return _mm256_floor_ps(x);
}

/* 2^n for integral n in −126 … 127. */
INLINE V
v_power_of_two(V n)
{
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* In a fixed order. */
INLINE float
v_sum(V v)
{
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  s = _mm_add_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

/* Four sums, in an order of their own. */
INLINE void
v_sum4(const V v[4], float *sums)
{
  const V s = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  _mm_storeu_ps(
      sums, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* Of numbers. */
INLINE float
v_largest(V v)
{
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  s = _mm_max_ss(s, _mm_movehdup_ps(s));
  return _mm_cvtss_f32(s);
}

/* The first lane equal to x, or −1. */
INLINE int
v_find(V v, float x)
{
  const int found = _mm256_movemask_ps(_mm256_cmp_ps(v, v_set(x), _CMP_EQ_OQ));
  return found ? __builtin_ctz(found) : -1;
}

/* ---------------------------------------------------------------- integers */

/* 8 sums of 32 bits. */
typedef __m256i I;
/* 32 integers of 16 bits: the columns that share a scale. */
typedef struct {
  __m256i a, b;
} G;

INLINE I
i_zero(void)
{
  return _mm256_setzero_si256();
}

INLINE I
i_add(I a, I b)
{
  return _mm256_add_epi32(a, b);
}

INLINE V
v_from_i(I x)
{
  return _mm256_cvtepi32_ps(x);
}

/* Any sums of the 32 products that add up to w·x. */
INLINE I
g_dot(G w, const int16_t *x)
{
  const __m256i *at = (const __m256i *)x;
  return _mm256_add_epi32(_mm256_madd_epi16(w.a, _mm256_loadu_si256(at)),
      _mm256_madd_epi16(w.b, _mm256_loadu_si256(at + 1)));
}

INLINE __m128i
load16(const void *x)
{
  return _mm_loadu_si128((const __m128i *)x);
}

INLINE G
g_bytes(const char *x, bool with_sign)
{
  if (with_sign)
    return (G){_mm256_cvtepi8_epi16(load16(x)), _mm256_cvtepi8_epi16(load16(x + 16))};
  return (G){_mm256_cvtepu8_epi16(load16(x)), _mm256_cvtepu8_epi16(load16(x + 16))};
}

/* 8 f16, `stride` bytes apart, of which 16 can be read. */
INLINE V
v_load_f16_apart(const char *x, size_t stride)
{
  __m128i pairs[4];
  for (int i = 0; i < 4; i++)
    pairs[i] = _mm_unpacklo_epi16(
        load16(x + 2 * i * stride), load16(x + (2 * i + 1) * stride));
  return _mm256_cvtph_ps(_mm_unpacklo_epi64(
      _mm_unpacklo_epi32(pairs[0], pairs[1]), _mm_unpacklo_epi32(pairs[2], pairs[3])));
}

/* 8/per floats or halves, each `per` times: 1, 2 or 4. */
INLINE V
v_load_repeated(const char *x, bool single, bool bf16, int per)
{
  const __m256i lane =
      _mm256_srli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), per / 2);
  V all;
  if (single) {
    all = v_load_some((const float *)(const void *)x, 8 / per);
  } else {
    int bits;
    memcpy(&bits, x, sizeof bits);
    const __m128i halves = per == 1   ? load16(x)
                           : per == 2 ? _mm_loadl_epi64((const __m128i *)x)
                                      : _mm_cvtsi32_si128(bits);
    all =
        bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))
             : _mm256_cvtph_ps(halves);
  }
  return _mm256_permutevar8x32_ps(all, lane);
}

/* 8 floats, whatever the width of V. */
INLINE V
v_load_eight(const float *x)
{
  return v_load(x);
}

INLINE void
v_store_eight(float *y, V v)
{
  v_store(y, v);
}

#endif
