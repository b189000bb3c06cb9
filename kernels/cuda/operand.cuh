/* The other operand of products of rows: x in shared memory, in the order in which
 * pieces of weights are read, and its product with a piece.
 *
 * Units of 16 bytes lie [item][unit of the piece][piece], so that lanes with neighbouring
 * pieces read neighbouring units; the pitch of odd units steps through the banks. */
#ifndef MOSHI_CUDA_OPERAND_CUH
#define MOSHI_CUDA_OPERAND_CUH

#include "activation.cuh"
#include <cfloat>
#include <cmath>

#include "kernels.cuh"
#include "norm.cuh"
#include "pieces.cuh"

/* A row of x of a product, and how it is normalised where the product asks for it. */
struct MoshiInput {
  const float *x, *norm; /* norm: NULL without */
  float *normed;         /* or NULL: where the normalised row is wanted, too */
  float inverse;
  int cols;
  bool aligned; /* to 16 bytes, all of them */

  /* Four from column c on; zeros behind the last. */
  __device__ __forceinline__ void four(int c, float (&v)[4]) const
  {
    read(x, c, v);
    if (!norm)
      return;
    float w[4];
    read(norm, c, w);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      v[i] = moshi_mul(moshi_mul(v[i], inverse), w[i]);
      if (normed && c + i < cols)
        normed[c + i] = v[i];
    }
  }

private:
  __device__ __forceinline__ void read(const float *from, int c, float (&v)[4]) const
  {
    if (aligned && c + 4 <= cols) {
      const float4 f = *reinterpret_cast<const float4 *>(from + c);
      v[0] = f.x;
      v[1] = f.y;
      v[2] = f.z;
      v[3] = f.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      v[i] = c + i < cols ? from[c + i] : 0;
  }
};

__device__ __forceinline__ void
moshi_words(uint4 v, uint32_t (&words)[4])
{
  words[0] = v.x;
  words[1] = v.y;
  words[2] = v.z;
  words[3] = v.w;
}

/* ------------------------------------------------------------------ floats */

/* x as it is. */
template <int TYPE> struct MoshiFloatOperand {
  using Piece = MoshiPiece<TYPE>;
  static constexpr int UNITS = Piece::N / 4;

  /* x of pieces [first, first + n) of one item. */
  template <int THREADS>
  __device__ static __forceinline__ void stage(
      const MoshiInput &x, uint4 *units, int pitch, int first, int n)
  {
    for (int i = threadIdx.x; i < n * UNITS; i += THREADS) {
      const int p = i / UNITS, j = i % UNITS;
      float v[4];
      x.four((first + p) * Piece::N + 4 * j, v);
      units[j * pitch + p] = make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]),
          __float_as_uint(v[2]), __float_as_uint(v[3]));
    }
  }

  /* sums += the weights of a piece of each row · x */
  template <int ROWS, int ITEMS>
  __device__ static __forceinline__ void multiply(const uint4 (&bytes)[ROWS],
      const MoshiFactors (&)[ROWS], const uint4 *units, int pitch,
      float (&sums)[ROWS][ITEMS])
  {
    float f[ROWS][Piece::N];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
      widen(bytes[r], f[r]);
#pragma unroll
    for (int b = 0; b < ITEMS; b++)
#pragma unroll
      for (int j = 0; j < UNITS; j++) {
        uint32_t x[4];
        moshi_words(units[(b * UNITS + j) * pitch], x);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
          for (int i = 0; i < 4; i++)
            sums[r][b] = fmaf(f[r][4 * j + i], __uint_as_float(x[i]), sums[r][b]);
      }
  }

private:
  __device__ static __forceinline__ void widen(uint4 piece, float (&f)[Piece::N])
  {
    uint32_t words[4];
    moshi_words(piece, words);
#pragma unroll
    for (int i = 0; i < Piece::N; i++)
      f[i] = TYPE == MOSHI_TYPE_F32 ? __uint_as_float(words[i & 3])
             : TYPE == MOSHI_TYPE_F16
                 ? moshi_half_float(words[i / 2 & 3] >> i % 2 * 16 & 0xffff)
             : i % 2 ? __uint_as_float(words[i / 2 & 3] & 0xffff0000u)
                     : __uint_as_float(words[i / 2 & 3] << 16);
  }
};

/* ---------------------------------------------------------------- integers */

/* c + the dot product of four signed bytes. */
__device__ __forceinline__ int
moshi_dot(uint32_t a, uint32_t b, int c)
{
#if MOSHI_CUDA_DEVICE_CODE
  return __dp4a((int)a, (int)b, c);
#else
  for (int i = 0; i < 4; i++)
    c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
  return c;
#endif
}

/* The scale of 64 columns of x, of which each of 16 lanes has four. What is not finite
 * makes it NaN; numbers so small that the scale would lose bits become zeros. */
__device__ __forceinline__ float
moshi_x_scale(const float (&v)[4])
{
  float most = 0;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    most = fmaxf(most, fabsf(v[i]));
    finite = finite && fabsf(v[i]) < INFINITY;
  }
  most = finite ? most : INFINITY;
  for (int d = 8; d > 0; d /= 2)
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
  if (!(most < INFINITY))
    return NAN;
  return most >= 32639 * FLT_MIN ? most / 32639 : 0;
}

/* 1.5·2^23, and its bits: a float of it plus an integer below 2^22 has that integer in
 * its lowest bits. */
#define MOSHI_WHOLE 12582912.0f
enum { MOSHI_WHOLE_BITS = 0x4b400000 };

/* v/scale, of at most 2^15, to the nearest: in the lowest bits of MOSHI_WHOLE plus it,
 * as a conversion takes eight times the cycles of a sum. A scale of 0 or NaN gives 0. */
__device__ __forceinline__ void
moshi_x_integers(const float (&v)[4], float scale, int (&q)[4])
{
  const float rescale = scale > 0 ? 1 / scale : 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
    q[i] = (int)(__float_as_uint(fmaf(rescale > 0 ? v[i] : 0, rescale, MOSHI_WHOLE)) -
                 (uint32_t)MOSHI_WHOLE_BITS);
}

/* Their planes, a byte each: q = 256·high + low. */
__device__ __forceinline__ void
moshi_x_planes(const int (&q)[4], uint32_t *high, uint32_t *low)
{
  *high = *low = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    *high |= (uint32_t)((q[i] + 128) >> 8 & 255) << 8 * i;
    *low |= (uint32_t)(q[i] & 255) << 8 * i;
  }
}

/* x as integers of 16 bits times a scale for each 64 columns (kernels.h): two planes of
 * bytes, x = scale·(256·high + low), so that four products are one instruction. A
 * float for each weight would cost more cycles than its memory does. Integer sums are
 * exact; a piece's becomes a float once. */
template <int TYPE> struct MoshiIntegerOperand {
  using Piece = MoshiPiece<TYPE>;
  static constexpr int FOURS = Piece::N / 4;
  /* High bytes, low bytes, and one of the scale and the integers' sums over each 16
   * columns. */
  static constexpr int PLANE = Piece::N / 16, UNITS = 2 * PLANE + 1;

  template <int THREADS>
  __device__ static __forceinline__ void stage(
      const MoshiInput &x, uint4 *units, int pitch, int first, int n)
  {
    enum { CHUNK = 64, LANES = CHUNK / 4 };
    const int lane = threadIdx.x % LANES, end = (first + n) * Piece::N;

    /* All lanes of a warp take part in each round. */
    for (int c0 = first * Piece::N; c0 < end; c0 += THREADS / LANES * CHUNK) {
      const int c = c0 + threadIdx.x / LANES * CHUNK + 4 * lane;
      float v[4];
      x.four(c, v);
      const float scale = moshi_x_scale(v);
      int q[4];
      moshi_x_integers(v, scale, q);
      int sum = q[0] + q[1] + q[2] + q[3];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const int p = Piece::piece(c) - first;
      if (p >= n)
        continue;
      put(units + p, pitch, c, q);
      if (lane % 4 == 0)
        put_sum(units + (UNITS - 1) * pitch + p, c, scale, sum);
    }
  }

  template <int ROWS, int ITEMS>
  __device__ static __forceinline__ void multiply(const uint4 (&bytes)[ROWS],
      const MoshiFactors (&factors)[ROWS], const uint4 *units, int pitch,
      float (&sums)[ROWS][ITEMS])
  {
#pragma unroll
    for (int b = 0; b < ITEMS; b++) {
      const uint4 *own = units + b * UNITS * pitch;
      const uint4 extra = own[(UNITS - 1) * pitch];
      const float scale = __uint_as_float(extra.x);
      const int sum[2] = {(int)extra.y, (int)extra.z};
      uint32_t high[PLANE][4], low[PLANE][4];
#pragma unroll
      for (int k = 0; k < PLANE; k++) {
        moshi_words(own[k * pitch], high[k]);
        moshi_words(own[(PLANE + k) * pitch], low[k]);
      }
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        int dots[2];
        dot(bytes[r], high, low, sum, dots);
#pragma unroll
        for (int h = 0; h < Piece::HALVES; h++) {
          const int whole = Piece::HALVES == 2 || PLANE == 1 ? sum[h] : sum[0] + sum[1];
          if (Piece::SCALED)
            sums[r][b] =
                fmaf(moshi_mul((float)dots[h], scale), factors[r].scale[h], sums[r][b]);
          else
            sums[r][b] = fmaf((float)dots[h], scale, sums[r][b]);
          if (Piece::BIASED)
            sums[r][b] =
                fmaf(moshi_mul((float)whole, scale), factors[r].bias[h], sums[r][b]);
        }
      }
    }
  }

private:
  /* Columns c … c+3, which are one four, or of MLX4 two of each half. */
  __device__ static __forceinline__ void put(
      uint4 *units, int pitch, int c, const int (&q)[4])
  {
    uint32_t high, low;
    moshi_x_planes(q, &high, &low);
    if (TYPE == MOSHI_TYPE_MLX4) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int place = Piece::place(c + i);
        byte_at(units, pitch, 0, place) = (uint8_t)(high >> 8 * i);
        byte_at(units, pitch, PLANE, place) = (uint8_t)(low >> 8 * i);
      }
      return;
    }
    const int place = Piece::place(c);
    reinterpret_cast<uint32_t *>(&byte_at(units, pitch, 0, place))[0] = high;
    reinterpret_cast<uint32_t *>(&byte_at(units, pitch, PLANE, place))[0] = low;
  }

  __device__ static __forceinline__ uint8_t &byte_at(
      uint4 *units, int pitch, int plane, int place)
  {
    return reinterpret_cast<uint8_t *>(
        units + (plane + place / 16) * pitch)[place % 16];
  }

  /* The scale, and the sum of 16 columns from c on. */
  __device__ static __forceinline__ void put_sum(
      uint4 *unit, int c, float scale, int sum)
  {
    const int half = TYPE == MOSHI_TYPE_MLX4 ? c % 32 / 16 : Piece::place(c) / 16;
    uint32_t *words = reinterpret_cast<uint32_t *>(unit);
    if (half == 0)
      words[0] = __float_as_uint(scale);
    words[1 + half] = (uint32_t)sum;
  }

  /* Σ number·integer of each half of the piece (HALVES), or of all of it. */
  __device__ static __forceinline__ void dot(uint4 piece,
      const uint32_t (&high)[PLANE][4], const uint32_t (&low)[PLANE][4],
      const int (&sum)[2], int (&dots)[2])
  {
    constexpr int LAST = Piece::HALVES - 1;
    uint32_t words[4];
    int tops[2] = {0, 0}, bottoms[2] = {0, 0};

    moshi_words(piece, words);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint32_t w = PLANE == 2                ? words[i] & 0x0f0f0f0fu
                         : TYPE == MOSHI_TYPE_MLX8 ? words[i] ^ 0x80808080u
                                                   : words[i];
      tops[0] = moshi_dot(w, high[0][i], tops[0]);
      bottoms[0] = moshi_dot(w, low[0][i], bottoms[0]);
      if (PLANE == 2) {
        const uint32_t v = words[i] >> 4 & 0x0f0f0f0fu;
        tops[LAST] = moshi_dot(v, high[PLANE - 1][i], tops[LAST]);
        bottoms[LAST] = moshi_dot(v, low[PLANE - 1][i], bottoms[LAST]);
      }
    }
    dots[0] = tops[0] * 256 + bottoms[0];
    dots[1] = tops[1] * 256 + bottoms[1];
    if (TYPE == MOSHI_TYPE_Q4_0)
      dots[0] -= 8 * (sum[0] + sum[1]);
    if (TYPE == MOSHI_TYPE_MLX8)
      dots[0] += 128 * sum[0];
  }
};

template <int TYPE, bool FLOATS = MoshiPiece<TYPE>::FLOATS> struct MoshiOperandOf {
  using Operand = MoshiFloatOperand<TYPE>;
};
template <int TYPE> struct MoshiOperandOf<TYPE, false> {
  using Operand = MoshiIntegerOperand<TYPE>;
};

#endif
