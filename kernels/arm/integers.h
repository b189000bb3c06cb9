/* Integers for simd/quantized.h on NEON: what each function does is said in
 * x86/vec256.h. With dot products (Armv8.2's SDOT, of 8 bits) x comes as two planes:
 * 256·high + low. */
#include "vec.h"

/* 8 sums of 32 bits. */
typedef struct {
  int32x4_t l, h;
} I;

INLINE I
i_zero(void)
{
  return (I){vdupq_n_s32(0), vdupq_n_s32(0)};
}

INLINE I
i_add(I a, I b)
{
  return (I){vaddq_s32(a.l, b.l), vaddq_s32(a.h, b.h)};
}

INLINE V
v_from_i(I x)
{
  return (V){vcvtq_f32_s32(x.l), vcvtq_f32_s32(x.h)};
}

INLINE uint8x16_t
load16(const void *x)
{
  return vld1q_u8(x);
}

#ifdef __ARM_FEATURE_DOTPROD

/* 32 integers of 8 bits; unsigned ones less 128. */
typedef struct {
  int8x16_t a, b;
  bool less_128;
} G;

/* The most that |x| may be, for its high plane to fit. */
#define G_MOST 32639

#define G_PREPARE g_prepare

/* 32 integers of 16 bits, in place: their high plane, then their low one. */
INLINE void
g_prepare(int16_t *x)
{
  int8_t planes[64];
  for (int i = 0; i < 32; i++) {
    planes[i] = (int8_t)((x[i] + 128) >> 8);
    planes[i + 32] = (int8_t)(x[i] - planes[i] * 256);
  }
  memcpy(x, planes, sizeof planes);
}

INLINE I
g_dot(G w, const int16_t *x)
{
  const int8_t *planes = (const int8_t *)x;
  I sum = i_zero();

  for (int plane = 0; plane < 2; plane++, planes += 32) {
    const int8x16_t a = vld1q_s8(planes), b = vld1q_s8(planes + 16);
    sum = (I){vshlq_n_s32(sum.l, 8), vshlq_n_s32(sum.h, 8)};
    sum = (I){vdotq_s32(sum.l, w.a, a), vdotq_s32(sum.h, w.b, b)};
    for (int i = 0; w.less_128 && i < 2; i++)
      sum =
          (I){vdotq_s32(sum.l, vdupq_n_s8(64), a), vdotq_s32(sum.h, vdupq_n_s8(64), b)};
  }
  return sum;
}

INLINE G
g_bytes(const char *x, bool with_sign)
{
  const uint8x16_t turn = vdupq_n_u8(with_sign ? 0 : 128);
  return (G){vreinterpretq_s8_u8(veorq_u8(load16(x), turn)),
      vreinterpretq_s8_u8(veorq_u8(load16(x + 16), turn)), !with_sign};
}

#else

/* 32 integers of 16 bits. */
typedef struct {
  int16x8_t q[4];
} G;

INLINE I
g_dot(G w, const int16_t *x)
{
  I sum = i_zero();
  for (int i = 0; i < 4; i++) {
    const int16x8_t v = vld1q_s16(x + 8 * i);
    sum.l = vmlal_s16(sum.l, vget_low_s16(w.q[i]), vget_low_s16(v));
    sum.h = vmlal_high_s16(sum.h, w.q[i], v);
  }
  return sum;
}

INLINE G
g_bytes(const char *x, bool with_sign)
{
  const uint8x16_t a = load16(x), b = load16(x + 16);
  if (with_sign) {
    const int8x16_t c = vreinterpretq_s8_u8(a), d = vreinterpretq_s8_u8(b);
    return (G){{vmovl_s8(vget_low_s8(c)), vmovl_high_s8(c), vmovl_s8(vget_low_s8(d)),
        vmovl_high_s8(d)}};
  }
  return (G){{vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a))),
      vreinterpretq_s16_u16(vmovl_high_u8(a)),
      vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(b))),
      vreinterpretq_s16_u16(vmovl_high_u8(b))}};
}

#endif

/* ------------------------------------------------------------------ scales */

INLINE V
v_load_f16_apart(const char *x, size_t stride)
{
  uint16_t h[8];
  for (int i = 0; i < 8; i++)
    memcpy(h + i, x + i * stride, sizeof *h);
  return v_load_halves(h, 8, false);
}

INLINE V
v_load_repeated(const char *x, bool single, bool bf16, int per)
{
  float all[8], repeated[8];
  v_store(all, single ? v_load_some((const float *)(const void *)x, 8 / per)
                      : v_load_halves(x, 8 / per, bf16));
  for (int i = 0; i < 8; i++)
    repeated[i] = all[i / per];
  return v_load(repeated);
}

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
