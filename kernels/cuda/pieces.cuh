/* Weights of every type, a piece of 16 bytes at a time: where it is, which columns it
 * has, and the factors that make weights of its numbers. */
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
  static constexpr bool FLOATS = TYPE <= MOSHI_TYPE_BF16;
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

  /* The piece that column c is in, and where in it: the low halves of a piece's bytes
   * count first, then the high ones, as Q4_0 has them. */
  __device__ static __forceinline__ int piece(int c)
  {
    return TYPE == MOSHI_TYPE_Q4_K ? c / 64 * 2 + c % 32 / 16 : c / N;
  }

  __device__ static __forceinline__ int place(int c)
  {
    return TYPE == MOSHI_TYPE_Q4_K   ? c % 64 / 32 * 16 + c % 16
           : TYPE == MOSHI_TYPE_MLX4 ? c % 2 * 16 + c % 32 / 2
                                     : c % N;
  }

  /* A piece's factors before anything is computed of them, so that nothing waits for
   * them while they are loaded. Q4_K: the block's header. */
  struct Bits {
    uint32_t scale, bias;
    uint4 header;
  };

  __device__ static __forceinline__ Bits bits(
      const MoshiRows &w, int row, const uint8_t *data, int p)
  {
    Bits b = {};
    if (TYPE == MOSHI_TYPE_Q4_K) {
      b.header = *reinterpret_cast<const uint4 *>(data + (size_t)(p / 8) * 144);
      return b;
    }
    const size_t at = (size_t)row * (w.cols / w.group) + p * N / w.group;
    b.scale = moshi_scale_bits(MLX ? w.scale_type : MOSHI_TYPE_F16, w.scales, at);
    if (MLX)
      b.bias = moshi_scale_bits(w.scale_type, w.biases, at);
    return b;
  }

  __device__ static __forceinline__ MoshiFactors factors(
      int scale_type, const Bits &b, int p)
  {
    MoshiFactors f = {};
    if (TYPE == MOSHI_TYPE_Q4_K) {
      const int j = p % 8 / 2 * 2;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float min;
        moshi_q4_k_scales(b.header, j + h, &f.scale[h], &min);
        f.bias[h] = -min;
      }
      return f;
    }
    f.scale[0] = moshi_scale_of(MLX ? scale_type : MOSHI_TYPE_F16, b.scale);
    if (MLX)
      f.bias[0] = moshi_scale_of(scale_type, b.bias);
    return f;
  }

  __device__ static __forceinline__ MoshiFactors factors(
      const MoshiRows &w, int row, const uint8_t *data, int p)
  {
    return factors(w.scale_type, bits(w, row, data, p), p);
  }
};

#endif
