/* How the two operands of products on tensor cores lie, for every type of weights.
 *
 * Columns go in stages of two steps; a step is K columns, a row's part of one mma. Each
 * weight or x is one or several parts whose products the tensor cores do exactly:
 *
 *   integer weights  8 bits, 4 of them unpacked in registers; x as 16-bit integers with a
 *                    scale for each stage (operand.cuh), in two planes of bytes
 *   float weights    a bf16 for each 8 bits of a significand: 1 of BF16, 2 of F16, 3 of
 *                    F32 and of x; products of parts below 2^-26 of the whole are left
 *                    out
 *
 * A lane of the mma has words t and t + 4 of eight; which columns these are is chosen so
 * that a row's bytes of a step are W/4 consecutive ones of each of four lanes. */
#ifndef MOSHI_CUDA_TENSOR_CUH
#define MOSHI_CUDA_TENSOR_CUH

#include "mma.cuh"
#include "operand.cuh"

template <int TYPE> struct MoshiTensor {
  using Piece = MoshiPiece<TYPE>;
  static constexpr bool FLOATS = Piece::FLOATS;
  static constexpr bool FOUR_BITS =
      TYPE == MOSHI_TYPE_Q4_0 || TYPE == MOSHI_TYPE_Q4_K || TYPE == MOSHI_TYPE_MLX4;
  /* Columns of a step, and the bytes of a row that they take. */
  static constexpr int K = FLOATS ? 16 : 32, STEPS = 2, STAGE = STEPS * K;
  static constexpr int W = K * 16 / Piece::N;
  /* Of a row's stage in shared memory: lanes of a load then differ in their banks. In
   * Q4_K both steps are in the same bytes. */
  static constexpr int PITCH = 2 * W + (TYPE == MOSHI_TYPE_Q4_K ? 0 : W);
  static constexpr int PARTS = TYPE == MOSHI_TYPE_F32   ? 3
                               : TYPE == MOSHI_TYPE_F16 ? 2
                                                        : 1;
  static constexpr int PLANES = FLOATS ? 3 : 2;
  /* Bytes that have no sign. */
  static constexpr bool SIGNED =
      TYPE == MOSHI_TYPE_I8 || TYPE == MOSHI_TYPE_Q8_0 || TYPE == MOSHI_TYPE_Q4_0;

  /* ------------------------------------------------------------ x of a stage */

  /* One block of memory for a stage and a tile of ITEMS: fragments [step][8 items][plane]
   * [lane] of 8 bytes, then of integers three floats for each item: the scale, and it
   * times the sum of each step's integers. */
  __host__ __device__ static constexpr int fragment(int items, int step, int eight)
  {
    return (step * (items / 8) + eight) * PLANES * MOSHI_WARP * 8;
  }
  __host__ __device__ static constexpr int x_bytes(int items)
  {
    return fragment(items, STEPS, 0) + (FLOATS ? 0 : 3 * items * (int)sizeof(float));
  }

  /* x of columns c … c + 3 of an item, c a multiple of 4; item is its place in the tile.
   * All lanes of a warp call it, 16 of them for a stage of integers. */
  __device__ static __forceinline__ void put(
      uint8_t *stage, int items, int item, int c, const float (&v)[4])
  {
    uint8_t *to = stage + fragment(items, c % STAGE / K, item / 8) + item % 8 * 32;
    if (FLOATS)
      put_floats(to, c, v);
    else
      put_integers(to, stage + fragment(items, STEPS, 0), items, item, c, v);
  }

  /* ------------------------------------------------------- weights of a stage */

  /* The fragment of rows g and g + 8 of a step; row: row g's stage in shared memory. */
  __device__ static __forceinline__ void load(
      const uint8_t *row, int step, uint32_t (&a)[PARTS][4])
  {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint8_t *from = row + r * 8 * PITCH;
      uint32_t words[2];
      if (PARTS > 1) {
        float f[4];
        floats(from + step * W + t * (W / 4), f);
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
          part(f, words);
          a[p][r] = words[0];
          a[p][2 + r] = words[1];
        }
        continue;
      }
      bytes(from, step, t, words);
      a[0][r] = words[0];
      a[0][2 + r] = words[1];
    }
  }

  /* Scale and bias of a row for the step from column c on; of Q4_0 a sixteenth. */
  __device__ static __forceinline__ float2 factors(
      const MoshiRows &w, int row, const uint8_t *data, int c)
  {
    const int at = min(c, w.cols - 1);
    const int piece = TYPE == MOSHI_TYPE_Q4_K ? at / 64 * 2 : at / Piece::N;
    const MoshiFactors f = Piece::factors(w, row, data, piece);
    const int half = Piece::HALVES == 2 ? at / K % 2 : 0;
    const float scale = half ? f.scale[1] : f.scale[0];
    return make_float2(TYPE == MOSHI_TYPE_Q4_0 ? moshi_mul(scale, 0.0625f) : scale,
        half ? f.bias[1] : f.bias[0]);
  }

private:
  /* The bf16 nearest to f, as the upper half of a float: what is left of f is then at most
   * 2^-9 of it, and exact. Cut off where there is none above, and of NaN. */
  __device__ static __forceinline__ uint32_t nearest(float f)
  {
    const uint32_t bits = __float_as_uint(f);
    const bool room = (bits & 0x7fffffffu) < 0x7f7f8000u;
    return (bits + (room ? 0x8000u : 0)) & 0xffff0000u;
  }

  /* The next bf16 of each number, which is taken off. */
  __device__ static __forceinline__ void part(float (&f)[4], uint32_t (&words)[2])
  {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint32_t a = nearest(f[2 * i]), b = nearest(f[2 * i + 1]);
      words[i] = a >> 16 | b;
      f[2 * i] = moshi_add(f[2 * i], -__uint_as_float(a));
      f[2 * i + 1] = moshi_add(f[2 * i + 1], -__uint_as_float(b));
    }
  }

  /* Four weights of F32 or F16. */
  __device__ static __forceinline__ void floats(const uint8_t *from, float (&f)[4])
  {
    if (TYPE == MOSHI_TYPE_F32) {
      const float4 v = *reinterpret_cast<const float4 *>(from);
      f[0] = v.x;
      f[1] = v.y;
      f[2] = v.z;
      f[3] = v.w;
      return;
    }
    const uint2 v = *reinterpret_cast<const uint2 *>(from);
#pragma unroll
    for (int i = 0; i < 4; i++)
      f[i] = moshi_half_float((i < 2 ? v.x : v.y) >> i % 2 * 16 & 0xffff);
  }

  /* Words t and t + 4 of a step of a row. Q4_0 counts from −8, here in 16ths: a nibble
   * at the top of a byte, with its first bit turned over, is 16·(q − 8). */
  __device__ static __forceinline__ void bytes(
      const uint8_t *row, int step, int t, uint32_t (&words)[2])
  {
    if (FOUR_BITS && TYPE != MOSHI_TYPE_Q4_K) {
      const uint32_t w = *reinterpret_cast<const uint32_t *>(row + step * W + 4 * t);
      const bool signs = TYPE == MOSHI_TYPE_Q4_0;
      words[0] = signs ? (w << 4 & 0xf0f0f0f0u) ^ 0x80808080u : w & 0x0f0f0f0fu;
      words[1] = signs ? (w & 0xf0f0f0f0u) ^ 0x80808080u : w >> 4 & 0x0f0f0f0fu;
      return;
    }
    const bool both = TYPE == MOSHI_TYPE_Q4_K;
    const uint2 v =
        *reinterpret_cast<const uint2 *>(row + (both ? 0 : step * W) + 8 * t);
    words[0] = both ? v.x >> 4 * step & 0x0f0f0f0fu : v.x;
    words[1] = both ? v.y >> 4 * step & 0x0f0f0f0fu : v.y;
  }

  __device__ static __forceinline__ void put_floats(
      uint8_t *to, int c, const float (&v)[4])
  {
    float rest[4] = {v[0], v[1], v[2], v[3]};
#pragma unroll
    for (int p = 0; p < PLANES; p++) {
      uint32_t words[2];
      part(rest, words);
      reinterpret_cast<uint2 *>(to)[p * MOSHI_WARP + c % K / 4] =
          make_uint2(words[0], words[1]);
    }
  }

  /* Where column c of a step is among a row's 32 bytes: the nibbles of a byte are words
   * t and t + 4. */
  __device__ static __forceinline__ int place(int c)
  {
    return TYPE == MOSHI_TYPE_Q4_0   ? c % 16 / 4 * 8 + c / 16 * 4 + c % 4
           : TYPE == MOSHI_TYPE_MLX4 ? c / 8 * 8 + c % 2 * 4 + c % 8 / 2
                                     : c;
  }

  __device__ static __forceinline__ void put_integers(
      uint8_t *to, uint8_t *factors, int items, int item, int c, const float (&v)[4])
  {
    const float scale = moshi_x_scale(v);
    uint32_t planes[2];
    int q[4];

    moshi_x_integers(v, scale, q);
    moshi_x_planes(q, &planes[0], &planes[1]);
#pragma unroll
    for (int p = 0; p < PLANES; p++) {
      uint8_t *plane = to + p * MOSHI_WARP * 8;
      if (TYPE != MOSHI_TYPE_MLX4)
        *reinterpret_cast<uint32_t *>(plane + place(c % K)) = planes[p];
      else
#pragma unroll
        for (int i = 0; i < 4; i++)
          plane[place(c % K + i)] = (uint8_t)(planes[p] >> 8 * i);
    }
    int sum = q[0] + q[1] + q[2] + q[3];
#pragma unroll
    for (int d = 1; d < 8; d *= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, d);
    float *own = reinterpret_cast<float *>(factors) + item;
    if (c % STAGE == 0)
      own[0] = scale;
    if (c % K == 0)
      own[(1 + c % STAGE / K) * items] = moshi_mul((float)sum, scale);
  }
};

#endif
