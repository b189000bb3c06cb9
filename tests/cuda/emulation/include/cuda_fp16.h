/* f16: stored as its bits, computed with in f32. */
#ifndef EMULATION_CUDA_FP16_H
#define EMULATION_CUDA_FP16_H

#include <cuda_runtime.h>

#include "../../../../kernels/kernels.h"

struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
typedef __half half;
typedef __half2 half2;

inline float
__half2float(__half h)
{
  return moshi_f16_to_f32(h.bits);
}
inline __half
__float2half(float x)
{
  return {moshi_f32_to_f16(x)};
}
inline __half
__float2half_rn(float x)
{
  return __float2half(x);
}
inline __half
__ushort_as_half(unsigned short bits)
{
  return {bits};
}
inline unsigned short
__half_as_ushort(__half h)
{
  return h.bits;
}
inline float2
__half22float2(__half2 h)
{
  return {__half2float(h.x), __half2float(h.y)};
}
inline float
__low2float(__half2 h)
{
  return __half2float(h.x);
}
inline float
__high2float(__half2 h)
{
  return __half2float(h.y);
}
inline __half2
__floats2half2_rn(float x, float y)
{
  return {__float2half(x), __float2half(y)};
}

#endif
