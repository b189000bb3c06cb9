/* AVX-512 on a machine with AVX2: SIMDe's emulation under the native names, and
 * what its version 0.7.4 lacks. Forced into kernels/x86/avx512.c by -include, for
 * the kernel check alone. What is put together here is put together from the AVX2
 * instruction of the same kind, or is a plain loop over the lanes. */
#include <string.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

/* What inlines well does so slowly when every instruction is a function. */
#define INLINE static inline
#define EMULATED static inline __attribute__((always_inline, unused))

typedef union {
  __m512 ps;
  __m512i si;
  __m256 half[2];
  __m256i half_si[2];
  float f32[16];
  uint32_t u32[16];
  uint16_t u16[32];
  uint8_t u8[64];
} Emulated512;

/* ------------------------------------------------------------- masked memory */

EMULATED __m512
emulated_maskz_loadu_ps(__mmask16 mask, const void *x)
{
  Emulated512 r = {.u32 = {0}};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1)
      memcpy(&r.f32[i], (const float *)x + i, 4);
  return r.ps;
}
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, x) emulated_maskz_loadu_ps(mask, x)

EMULATED void
emulated_mask_storeu_ps(void *y, __mmask16 mask, __m512 v)
{
  const Emulated512 r = {.ps = v};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1)
      memcpy((float *)y + i, &r.f32[i], 4);
}
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(y, mask, v) emulated_mask_storeu_ps(y, mask, v)

EMULATED __m256i
emulated_256_maskz_loadu_epi16(__mmask16 mask, const void *x)
{
  Emulated512 r = {.u32 = {0}};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1)
      memcpy(&r.u16[i], (const uint16_t *)x + i, 2);
  return r.half_si[0];
}
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(mask, x) emulated_256_maskz_loadu_epi16(mask, x)

EMULATED __m128i
emulated_128_maskz_loadu_epi16(__mmask8 mask, const void *x)
{
  return _mm256_castsi256_si128(emulated_256_maskz_loadu_epi16(mask, x));
}
#undef _mm_maskz_loadu_epi16
#define _mm_maskz_loadu_epi16(mask, x) emulated_128_maskz_loadu_epi16(mask, x)

EMULATED __m256
emulated_256_maskz_loadu_ps(__mmask8 mask, const void *x)
{
  return (Emulated512){.ps = emulated_maskz_loadu_ps(mask, x)}.half[0];
}
#undef _mm256_maskz_loadu_ps
#define _mm256_maskz_loadu_ps(mask, x) emulated_256_maskz_loadu_ps(mask, x)

EMULATED __m256i
emulated_256_maskz_loadu_epi8(__mmask32 mask, const void *x)
{
  Emulated512 r = {.u32 = {0}};
  for (int i = 0; i < 32; i++)
    if (mask >> i & 1)
      r.u8[i] = ((const uint8_t *)x)[i];
  return r.half_si[0];
}
#undef _mm256_maskz_loadu_epi8
#define _mm256_maskz_loadu_epi8(mask, x) emulated_256_maskz_loadu_epi8(mask, x)

EMULATED __m128i
emulated_128_maskz_loadu_epi8(__mmask16 mask, const void *x)
{
  Emulated512 r = {.u32 = {0}};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1)
      r.u8[i] = ((const uint8_t *)x)[i];
  return _mm256_castsi256_si128(r.half_si[0]);
}
#undef _mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi8(mask, x) emulated_128_maskz_loadu_epi8(mask, x)

/* --------------------------------------------------------------- conversions */

EMULATED __m512
emulated_cvtph_ps(__m256i h)
{
  return (Emulated512){.half = {_mm256_cvtph_ps(_mm256_castsi256_si128(h)),
                           _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))}}
      .ps;
}
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(h) emulated_cvtph_ps(h)

EMULATED __m512i
emulated_cvtepu16_epi32(__m256i h)
{
  return (Emulated512){.half_si = {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(h)),
                           _mm256_cvtepu16_epi32(_mm256_extracti128_si256(h, 1))}}
      .si;
}
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(h) emulated_cvtepu16_epi32(h)

EMULATED __m512i
emulated_cvtepi8_epi32(__m128i b)
{
  return (Emulated512){
      .half_si = {_mm256_cvtepi8_epi32(b), _mm256_cvtepi8_epi32(_mm_srli_si128(b, 8))}}
      .si;
}
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(b) emulated_cvtepi8_epi32(b)

EMULATED __m512i
emulated_cvtepu8_epi16(__m256i b)
{
  return (Emulated512){.half_si = {_mm256_cvtepu8_epi16(_mm256_castsi256_si128(b)),
                           _mm256_cvtepu8_epi16(_mm256_extracti128_si256(b, 1))}}
      .si;
}
#undef _mm512_cvtepu8_epi16
#define _mm512_cvtepu8_epi16(b) emulated_cvtepu8_epi16(b)

EMULATED __m512
emulated_cvtepi32_ps(__m512i v)
{
  const Emulated512 r = {.si = v};
  return (Emulated512){
      .half = {_mm256_cvtepi32_ps(r.half_si[0]), _mm256_cvtepi32_ps(r.half_si[1])}}
      .ps;
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(v) emulated_cvtepi32_ps(v)

EMULATED __m512i
emulated_cvtps_epi32(__m512 v)
{
  const Emulated512 r = {.ps = v};
  return (Emulated512){
      .half_si = {_mm256_cvtps_epi32(r.half[0]), _mm256_cvtps_epi32(r.half[1])}}
      .si;
}
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(v) emulated_cvtps_epi32(v)

/* ---------------------------------------------------------------- reductions */

EMULATED int
emulated_reduce_add_epi32(__m512i v)
{
  const Emulated512 r = {.si = v};
  uint32_t sum = 0;
  for (int i = 0; i < 16; i++)
    sum += r.u32[i];
  return (int)sum;
}
#undef _mm512_reduce_add_epi32
#define _mm512_reduce_add_epi32(v) emulated_reduce_add_epi32(v)

EMULATED int
emulated_reduce_max_epi32(__m512i v)
{
  const Emulated512 r = {.si = v};
  int largest = (int)r.u32[0];
  for (int i = 1; i < 16; i++)
    largest = (int)r.u32[i] > largest ? (int)r.u32[i] : largest;
  return largest;
}
#undef _mm512_reduce_max_epi32
#define _mm512_reduce_max_epi32(v) emulated_reduce_max_epi32(v)

/* SIMDe's macro shifts the last operand of the expression that it is given. */
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(v, mode) simde_mm512_roundscale_ps(v, (mode))

/* SIMDe gives this name to the masked form. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
