/* bf16: stored as its bits, computed with in f32. */
#ifndef EMULATION_CUDA_BF16_H
#define EMULATION_CUDA_BF16_H

#include <cuda_runtime.h>

#include "../../../../kernels/kernels.h"

struct __nv_bfloat16 {
  uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float
__bfloat162float(__nv_bfloat16 b)
{
  return moshi_bf16_to_f32(b.bits);
}
inline __nv_bfloat16
__float2bfloat16(float x)
{
  return {moshi_f32_to_bf16(x)};
}
inline __nv_bfloat16
__float2bfloat16_rn(float x)
{
  return __float2bfloat16(x);
}
inline __nv_bfloat16
__ushort_as_bfloat16(unsigned short bits)
{
  return {bits};
}
inline unsigned short
__bfloat16_as_ushort(__nv_bfloat16 b)
{
  return b.bits;
}
inline float2
__bfloat1622float2(__nv_bfloat162 b)
{
  return {__bfloat162float(b.x), __bfloat162float(b.y)};
}
inline float
__low2float(__nv_bfloat162 b)
{
  return __bfloat162float(b.x);
}
inline float
__high2float(__nv_bfloat162 b)
{
  return __bfloat162float(b.y);
}

#endif
