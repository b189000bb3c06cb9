/* Weights of every type, a piece of 16 bytes at a time: which columns a piece has, its
 * numbers as floats, and the factors that make weights of them.
 *
 * Integers become floats by their bits: 2^23 + q is the float whose lowest bits are q,
 * so a byte permutation and a subtraction widen a byte, where a conversion would take
 * eight times the cycles. */
#ifndef MOSHI_CUDA_PIECES_CUH
#define MOSHI_CUDA_PIECES_CUH

#include "layout.cuh"

/* A weight is scale·number + bias. The numbers of a piece of Q4_K are of two groups,
 * one a half. */
struct MoshiFactors {
  float scale[2], bias[2];
};

template <int TYPE> struct MoshiPiece {
  static constexpr int N = moshi_piece_columns(TYPE);
  static constexpr bool MLX = TYPE == MOSHI_TYPE_MLX4 || TYPE == MOSHI_TYPE_MLX8;
  static constexpr int HALVES = TYPE == MOSHI_TYPE_Q4_K ? 2 : 1;
  /* Factors each piece has; the numbers of other types are the weights, of I8 but for
   * the row's scale. */
  static constexpr bool SCALED =
      MLX || TYPE == MOSHI_TYPE_Q8_0 || TYPE == MOSHI_TYPE_Q4_0 || HALVES == 2;
  static constexpr bool BIASED = MLX || HALVES == 2;

  /* Bytes from the row's start. */
  __device__ static __forceinline__ size_t offset(int p)
  {
    return TYPE == MOSHI_TYPE_Q4_K ? (size_t)(p / 8) * 144 + 16 + p % 8 * 16
                                   : (size_t)p * 16;
  }

  /* The column of the piece's number 4·j, and three more follow it. */
  __device__ static __forceinline__ int column(int p, int j)
  {
    if (TYPE != MOSHI_TYPE_Q4_K)
      return p * N + 4 * j;
    return p / 8 * 256 + p % 8 / 2 * 64 + p % 2 * 16 + (j < 4 ? 0 : 32 - 16) + 4 * j;
  }

  __device__ static __forceinline__ void numbers(uint4 piece, float (&f)[N])
  {
    const uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (int i = 0; i < N; i++)
      f[i] = number(words, i);
  }

  __device__ static __forceinline__ MoshiFactors factors(
      const MoshiRows &w, int row, const uint8_t *data, int p)
  {
    MoshiFactors f = {};
    if (TYPE == MOSHI_TYPE_Q4_K) {
      const uint8_t *header = data + (size_t)(p / 8) * 144;
      const uint4 bytes = *reinterpret_cast<const uint4 *>(header);
      const int j = p % 8 / 2 * 2;
      for (int h = 0; h < 2; h++) {
        float min;
        moshi_q4_k_scales(
            reinterpret_cast<const uint8_t *>(&bytes), j + h, &f.scale[h], &min);
        f.bias[h] = -min;
      }
      return f;
    }
    const size_t at = (size_t)row * (w.cols / w.group) + p * N / w.group;
    f.scale[0] = moshi_scale_at(MLX ? w.scale_type : MOSHI_TYPE_F16, w.scales, at);
    if (MLX)
      f.bias[0] = moshi_scale_at(w.scale_type, w.biases, at);
    return f;
  }

private:
  /* Byte i of a word, of 0 … 255, minus `zero`. */
  __device__ static __forceinline__ float byte(uint32_t word, int i, float zero)
  {
#if MOSHI_CUDA_DEVICE_CODE
    return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440 + i)) -
           (8388608 + zero);
#else
    return (float)(word >> 8 * i & 255) - zero;
#endif
  }

  __device__ static __forceinline__ float nibble(uint32_t word, int i, float zero)
  {
    return moshi_bits_float((word >> 4 * i & 15) | 0x4b000000u) - (8388608 + zero);
  }

  __device__ static __forceinline__ float number(const uint32_t (&words)[4], int i)
  {
    switch (TYPE) {
    case MOSHI_TYPE_F32:
      return moshi_bits_float(words[i & 3]);
    case MOSHI_TYPE_F16:
      return moshi_half_float(words[i / 2 & 3] >> i % 2 * 16 & 0xffff);
    case MOSHI_TYPE_BF16:
      return moshi_bits_float(
          i % 2 ? words[i / 2 & 3] & 0xffff0000u : words[i / 2 & 3] << 16);
    case MOSHI_TYPE_I8:
    case MOSHI_TYPE_Q8_0:
      return byte(words[i / 4 & 3] ^ 0x80808080u, i % 4, 128);
    case MOSHI_TYPE_MLX8:
      return byte(words[i / 4 & 3], i % 4, 0);
    case MOSHI_TYPE_MLX4:
      return nibble(words[i / 8 & 3], i % 8, 0);
    default: /* low halves of 16 bytes, then the high ones */
      return nibble(
          words[i % 16 / 4], i % 4 * 2 + i / 16, TYPE == MOSHI_TYPE_Q4_0 ? 8.0f : 0.0f);
    }
  }
};

#endif
