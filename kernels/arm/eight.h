/* Eight rows beside each other on NEON, for simd/four_bits.h: what each function does is said
 * in x86/eight.h. */
#include "vec.h"

typedef V V8;
typedef struct {
  uint8x16_t l, h;
} Eight;
typedef struct {
  int8x16_t high, low;
} Four;

INLINE V8
v8_set(float x)
{
  return v_set(x);
}

INLINE V8
v8_mul(V8 a, V8 b)
{
  return v_mul(a, b);
}

INLINE V8
v8_add(V8 a, V8 b)
{
  return v_add(a, b);
}

INLINE V8
v8_fma(V8 a, V8 b, V8 c)
{
  return v_fma(a, b, c);
}

INLINE V8
v8_fnma(V8 a, V8 b, V8 c)
{
  return v_fnma(a, b, c);
}

INLINE V8
v8_halves(const uint8_t *x, bool bf16)
{
  return v_load_halves(x, 8, bf16);
}

INLINE V8
v8_bytes(const uint8_t *x)
{
  const uint16x8_t h = vmovl_u8(vld1_u8(x));
  return (V8){
      vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))), vcvtq_f32_u32(vmovl_high_u16(h))};
}

INLINE V8
v8_load(const float *x)
{
  return v_load(x);
}

INLINE void
v8_store(float *y, V8 v)
{
  v_store(y, v);
}

INLINE Eight
eight_low(const uint8_t *x)
{
  const uint8x16_t mask = vdupq_n_u8(15);
  return (Eight){vandq_u8(vld1q_u8(x), mask), vandq_u8(vld1q_u8(x + 16), mask)};
}

INLINE Eight
eight_high(const uint8_t *x)
{
  return (Eight){vshrq_n_u8(vld1q_u8(x), 4), vshrq_n_u8(vld1q_u8(x + 16), 4)};
}

INLINE Four
four_load(const int8_t *high, const int8_t *low)
{
  int32_t h, l;
  memcpy(&h, high, sizeof h);
  memcpy(&l, low, sizeof l);
  return (Four){
      vreinterpretq_s8_s32(vdupq_n_s32(h)), vreinterpretq_s8_s32(vdupq_n_s32(l))};
}

#ifdef __ARM_FEATURE_DOTPROD

/* Sums of the columns of each row. */
typedef struct {
  int32x4_t high[2], low[2];
} Dots;

INLINE Dots
dots_zero(void)
{
  const int32x4_t zero = vdupq_n_s32(0);
  return (Dots){{zero, zero}, {zero, zero}};
}

INLINE Dots
dots_add(Dots sum, Eight q, Four x)
{
  const int8x16_t l = vreinterpretq_s8_u8(q.l), h = vreinterpretq_s8_u8(q.h);
  return (Dots){{vdotq_s32(sum.high[0], l, x.high), vdotq_s32(sum.high[1], h, x.high)},
      {vdotq_s32(sum.low[0], l, x.low), vdotq_s32(sum.low[1], h, x.low)}};
}

INLINE V8
dots_sum(Dots sum)
{
  return (V8){vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(sum.high[0], 8), sum.low[0])),
      vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(sum.high[1], 8), sum.low[1]))};
}

#else

/* Sums of a column of each row and of the fourth after it, and so on, in 16 bits: up to
 * 17 of 15·128. */
typedef struct {
  int16x8_t high[4], low[4];
} Dots;

INLINE Dots
dots_zero(void)
{
  const int16x8_t zero = vdupq_n_s16(0);
  return (Dots){{zero, zero, zero, zero}, {zero, zero, zero, zero}};
}

INLINE Dots
dots_add(Dots sum, Eight q, Four x)
{
  const int8x16_t l = vreinterpretq_s8_u8(q.l), h = vreinterpretq_s8_u8(q.h);
  sum.high[0] = vmlal_s8(sum.high[0], vget_low_s8(l), vget_low_s8(x.high));
  sum.high[1] = vmlal_high_s8(sum.high[1], l, x.high);
  sum.high[2] = vmlal_s8(sum.high[2], vget_low_s8(h), vget_low_s8(x.high));
  sum.high[3] = vmlal_high_s8(sum.high[3], h, x.high);
  sum.low[0] = vmlal_s8(sum.low[0], vget_low_s8(l), vget_low_s8(x.low));
  sum.low[1] = vmlal_high_s8(sum.low[1], l, x.low);
  sum.low[2] = vmlal_s8(sum.low[2], vget_low_s8(h), vget_low_s8(x.low));
  sum.low[3] = vmlal_high_s8(sum.low[3], h, x.low);
  return sum;
}

/* The four columns of each of four rows. */
INLINE int32x4_t
four_rows(int16x8_t a, int16x8_t b)
{
  return vpaddq_s32(vpaddlq_s16(a), vpaddlq_s16(b));
}

INLINE V8
dots_sum(Dots sum)
{
  const int32x4_t l = four_rows(sum.high[0], sum.high[1]);
  const int32x4_t h = four_rows(sum.high[2], sum.high[3]);
  return (V8){
      vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(l, 8), four_rows(sum.low[0], sum.low[1]))),
      vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(h, 8), four_rows(sum.low[2], sum.low[3])))};
}

#endif
