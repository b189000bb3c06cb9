/* Vector types, dimensions, and the words that CUDA adds to C++. */
#ifndef EMULATION_TYPES_H
#define EMULATION_TYPES_H

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
/* Shared memory is declared by the macros of launch.h: there is no __shared__. */

#define EMULATION_VECTORS(T, name)                                                     \
  struct alignas(sizeof(T)) name##1                                                    \
  {                                                                                    \
    T x;                                                                               \
  };                                                                                   \
  struct alignas(2 * sizeof(T)) name##2                                                \
  {                                                                                    \
    T x, y;                                                                            \
  };                                                                                   \
  struct name##3                                                                       \
  {                                                                                    \
    T x, y, z;                                                                         \
  };                                                                                   \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4                      \
  {                                                                                    \
    T x, y, z, w;                                                                      \
  };                                                                                   \
  inline name##2 make_##name##2(T x, T y)                                              \
  {                                                                                    \
    return {x, y};                                                                     \
  }                                                                                    \
  inline name##3 make_##name##3(T x, T y, T z)                                         \
  {                                                                                    \
    return {x, y, z};                                                                  \
  }                                                                                    \
  inline name##4 make_##name##4(T x, T y, T z, T w)                                    \
  {                                                                                    \
    return {x, y, z, w};                                                               \
  }

EMULATION_VECTORS(signed char, char)
EMULATION_VECTORS(unsigned char, uchar)
EMULATION_VECTORS(short, short)
EMULATION_VECTORS(unsigned short, ushort)
EMULATION_VECTORS(int, int)
EMULATION_VECTORS(unsigned, uint)
EMULATION_VECTORS(long long, longlong)
EMULATION_VECTORS(unsigned long long, ulonglong)
EMULATION_VECTORS(float, float)
EMULATION_VECTORS(double, double)
#undef EMULATION_VECTORS

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
  {
  }
};

#endif
