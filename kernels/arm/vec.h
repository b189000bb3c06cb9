/* 8 floats in two NEON registers: what kernels/simd is written in. Each function
 * does as its twin in x86/vec256.h says. */
#ifndef MOSHI_KERNELS_ARM_VEC_H
#define MOSHI_KERNELS_ARM_VEC_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef struct {
  float32x4_t l, h;
} V;
#define V_WIDTH 8
#define V_REGISTERS 16

INLINE V
v_set(float x)
{
  return (V){vdupq_n_f32(x), vdupq_n_f32(x)};
}

INLINE V
v_load(const float *x)
{
  return (V){vld1q_f32(x), vld1q_f32(x + 4)};
}

INLINE void
v_store(float *y, V v)
{
  vst1q_f32(y, v.l);
  vst1q_f32(y + 4, v.h);
}

INLINE V
v_load_some(const float *x, int n)
{
  float part[8] = {0};
  memcpy(part, x, (n < 8 ? n : 8) * sizeof *part);
  return v_load(part);
}

INLINE void
v_store_some(float *y, V v, int n)
{
  float part[8];
  v_store(part, v);
  memcpy(y, part, (n < 8 ? n : 8) * sizeof *part);
}

INLINE V
v_keep(V v, int n)
{
  static const int32_t index[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const int32x4_t limit = vdupq_n_s32(n);
  const uint32x4_t l = vcltq_s32(vld1q_s32(index), limit);
  const uint32x4_t h = vcltq_s32(vld1q_s32(index + 4), limit);
  return (V){vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v.l), l)),
      vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v.h), h))};
}

INLINE V
v_load_halves(const void *x, int n, bool bf16)
{
  uint16x8_t h;
  if (n < 8) {
    uint16_t part[8] = {0};
    memcpy(part, x, n * sizeof *part);
    h = vld1q_u16(part);
  } else {
    h = vreinterpretq_u16_u8(vld1q_u8(x));
  }
  if (bf16)
    return (V){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)),
        vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(h), 16))};
  const float16x8_t f = vreinterpretq_f16_u16(h);
  return (V){vcvt_f32_f16(vget_low_f16(f)), vcvt_f32_f16(vget_high_f16(f))};
}

INLINE V
v_load_bytes(const int8_t *x, int n)
{
  int8_t part[8] = {0};
  memcpy(part, x, n < 8 ? n : 8);
  const int16x8_t h = vmovl_s8(vld1_s8(part));
  return (V){vcvtq_f32_s32(vmovl_s16(vget_low_s16(h))),
      vcvtq_f32_s32(vmovl_s16(vget_high_s16(h)))};
}

INLINE V
v_add(V a, V b)
{
  return (V){vaddq_f32(a.l, b.l), vaddq_f32(a.h, b.h)};
}

INLINE V
v_sub(V a, V b)
{
  return (V){vsubq_f32(a.l, b.l), vsubq_f32(a.h, b.h)};
}

INLINE V
v_mul(V a, V b)
{
  return (V){vmulq_f32(a.l, b.l), vmulq_f32(a.h, b.h)};
}

INLINE V
v_div(V a, V b)
{
  return (V){vdivq_f32(a.l, b.l), vdivq_f32(a.h, b.h)};
}

INLINE V
v_fma(V a, V b, V c)
{
  return (V){vfmaq_f32(c.l, a.l, b.l), vfmaq_f32(c.h, a.h, b.h)};
}

INLINE V
v_fnma(V a, V b, V c)
{
  return (V){vfmsq_f32(c.l, a.l, b.l), vfmsq_f32(c.h, a.h, b.h)};
}

INLINE V
v_if_greater(V a, V b, V x, V y)
{
  return (V){vbslq_f32(vcgtq_f32(a.l, b.l), x.l, y.l),
      vbslq_f32(vcgtq_f32(a.h, b.h), x.h, y.h)};
}

INLINE V
v_max(V a, V b)
{
  return v_if_greater(a, b, a, b);
}

INLINE V
v_min(V a, V b)
{
  return v_if_greater(b, a, a, b);
}

INLINE V
v_neg(V x)
{
  return (V){vnegq_f32(x.l), vnegq_f32(x.h)};
}

INLINE V
v_abs(V x)
{
  return (V){vabsq_f32(x.l), vabsq_f32(x.h)};
}

INLINE V
v_sign(V x, V s)
{
  const uint32x4_t sign = vdupq_n_u32(0x80000000u);
  return (V){vbslq_f32(sign, s.l, x.l), vbslq_f32(sign, s.h, x.h)};
}

INLINE V
v_round(V x)
{
  return (V){vrndnq_f32(x.l), vrndnq_f32(x.h)};
}

INLINE V
v_floor(V x)
{
  return (V){vrndmq_f32(x.l), vrndmq_f32(x.h)};
}

INLINE float32x4_t
v_power_of_two_4(float32x4_t n)
{
  const int32x4_t e = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
}

INLINE V
v_power_of_two(V n)
{
  return (V){v_power_of_two_4(n.l), v_power_of_two_4(n.h)};
}

INLINE float
v_sum(V v)
{
  return vaddvq_f32(vaddq_f32(v.l, v.h));
}

INLINE void
v_sum4(const V v[4], float *sums)
{
  for (int i = 0; i < 4; i++)
    sums[i] = v_sum(v[i]);
}

INLINE float
v_largest(V v)
{
  return vmaxvq_f32(vmaxq_f32(v.l, v.h));
}

INLINE int
v_find(V v, float x)
{
  float part[8];
  v_store(part, v);
  for (int i = 0; i < 8; i++)
    if (part[i] == x)
      return i;
  return -1;
}

#endif
