/* Eight rows beside each other on AVX2, for simd/four_bits.h; with VNNI, as wide. */

/* A float of each row. */
typedef __m256 V8;
/* Four bytes of each row; and two planes of x, the same four columns for every row. */
typedef __m256i Eight;
typedef struct {
  __m256i high, low;
} Four;
/* Sums of products with both planes: with VNNI in 32 bits; else of every other pair of
 * columns in 16, of up to 17 products of 15·128. */
typedef struct {
  __m256i high, low;
} Dots;

INLINE V8
v8_set(float x)
{
  return _mm256_set1_ps(x);
}

INLINE V8
v8_mul(V8 a, V8 b)
{
  return _mm256_mul_ps(a, b);
}

INLINE V8
v8_add(V8 a, V8 b)
{
  return _mm256_add_ps(a, b);
}

/* a·b + c; v8_fnma: c − a·b */
INLINE V8
v8_fma(V8 a, V8 b, V8 c)
{
  return _mm256_fmadd_ps(a, b, c);
}

INLINE V8
v8_fnma(V8 a, V8 b, V8 c)
{
  return _mm256_fnmadd_ps(a, b, c);
}

/* Of f16 or bf16. */
INLINE V8
v8_halves(const uint8_t *x, bool bf16)
{
  const __m128i h = _mm_loadu_si128((const __m128i *)x);
  return bf16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))
              : _mm256_cvtph_ps(h);
}

INLINE V8
v8_bytes(const uint8_t *x)
{
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)x)));
}

INLINE V8
v8_load(const float *x)
{
  return _mm256_loadu_ps(x);
}

INLINE void
v8_store(float *y, V8 v)
{
  _mm256_storeu_ps(y, v);
}

INLINE Eight
eight_low(const uint8_t *x)
{
  return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)x), _mm256_set1_epi8(15));
}

INLINE Eight
eight_high(const uint8_t *x)
{
  const __m256i q = _mm256_loadu_si256((const __m256i *)x);
  return _mm256_and_si256(_mm256_srli_epi16(q, 4), _mm256_set1_epi8(15));
}

INLINE Four
four_load(const int8_t *high, const int8_t *low)
{
  int32_t h, l;
  memcpy(&h, high, sizeof h);
  memcpy(&l, low, sizeof l);
  return (Four){_mm256_set1_epi32(h), _mm256_set1_epi32(l)};
}

INLINE Dots
dots_zero(void)
{
  return (Dots){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

#ifdef EIGHT_VNNI

INLINE Dots
dots_add(Dots sum, Eight q, Four x)
{
  return (Dots){
      _mm256_dpbusd_epi32(sum.high, q, x.high), _mm256_dpbusd_epi32(sum.low, q, x.low)};
}

/* 256·high + low of each row. */
INLINE V8
dots_sum(Dots sum)
{
  return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(sum.high, 8), sum.low));
}

#else

/* One after the other: gcc 12 would add products up among themselves first, all of them,
 * and run out of registers. */
INLINE Dots
dots_add(Dots sum, Eight q, Four x)
{
  sum.high = _mm256_add_epi16(sum.high, _mm256_maddubs_epi16(q, x.high));
  sum.low = _mm256_add_epi16(sum.low, _mm256_maddubs_epi16(q, x.low));
  __asm__("" : "+x"(sum.high), "+x"(sum.low));
  return sum;
}

INLINE V8
dots_sum(Dots sum)
{
  return _mm256_cvtepi32_ps(
      _mm256_add_epi32(_mm256_madd_epi16(sum.high, _mm256_set1_epi16(256)),
          _mm256_madd_epi16(sum.low, _mm256_set1_epi16(1))));
}

#endif
