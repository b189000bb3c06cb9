/* How the device keeps weight rows, and the reading of them by kernels. */
#ifndef MOSHI_CUDA_LAYOUT_CUH
#define MOSHI_CUDA_LAYOUT_CUH

#include "../../common/device/device.h"
#include "launch.h"

/* ------------------------------------------------------------ on the host */

/* Where the planes of a matrix start in its memory, and how long they are. */
typedef struct {
  size_t stride; /* bytes from a row's numbers to the next's */
  size_t scales, scales_bytes, biases, biases_bytes;
  size_t bytes; /* of all */
} MoshiCudaLayout;

MoshiCudaLayout moshi_cuda_layout(const MoshiRows *host);
/* Writes the numbers of rows [first, first + n) as the device keeps them, n·stride
 * bytes, and of Q8_0 and Q4_0 their scales, n·cols/32 f16. Other types' scales and
 * biases are the host's, unchanged. */
void moshi_cuda_lay(
    const MoshiRows *host, int first, int n, void *numbers, void *scales);
/* The matrix in a device's memory of layout.bytes: what launchers take. */
MoshiRows moshi_cuda_rows(const MoshiRows *host, void *memory);
/* As moshi_rows_part, of such a matrix. */
MoshiRows moshi_cuda_part(const MoshiRows *w, int first, int n);

/* ----------------------------------------------------------- both sides */

__host__ __device__ inline bool
moshi_scales_in_blocks(int type)
{
  return type == MOSHI_TYPE_Q8_0 || type == MOSHI_TYPE_Q4_0;
}

/* Columns whose numbers are in 16 bytes, a piece. Q4_K: on average, and one more
 * piece for each block of 256 holds its scales. */
__host__ __device__ constexpr int
moshi_piece_columns(int type)
{
  return type == MOSHI_TYPE_F32                              ? 4
         : type == MOSHI_TYPE_F16 || type == MOSHI_TYPE_BF16 ? 8
         : type == MOSHI_TYPE_I8 || type == MOSHI_TYPE_Q8_0 || type == MOSHI_TYPE_MLX8
             ? 16
             : 32;
}

__host__ __device__ inline size_t
moshi_row_stride(int type, int cols)
{
  const int n = moshi_piece_columns(type);
  const size_t pieces = ((size_t)cols + n - 1) / n;
  return (type == MOSHI_TYPE_Q4_K ? pieces + pieces / 8 : pieces) * 16;
}

/* ---------------------------------------------------------- on the device */

/* 16 bytes that are read once: past L1, not held there. */
__device__ __forceinline__ uint4
moshi_stream(const void *p)
{
#if MOSHI_CUDA_DEVICE_CODE
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
#else
  return *static_cast<const uint4 *>(p);
#endif
}

__device__ __forceinline__ float
moshi_half_float(uint32_t half)
{
#if MOSHI_CUDA_DEVICE_CODE
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)half));
  return x;
#else
  return moshi_f16_to_f32((uint16_t)half);
#endif
}

__device__ __forceinline__ float
moshi_brain_float(uint32_t half)
{
  return __uint_as_float(half << 16);
}

/* As moshi_f32_to_bf16. */
__device__ __forceinline__ uint16_t
moshi_round_brain(float x)
{
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: keep it one */
    return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* One rounding for each operation, where a compiler would contract. */
__device__ __forceinline__ float
moshi_mul(float a, float b)
{
#if MOSHI_CUDA_DEVICE_CODE
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

__device__ __forceinline__ float
moshi_add(float a, float b)
{
#if MOSHI_CUDA_DEVICE_CODE
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

/* Element i of scales or biases, as its bits. */
__device__ __forceinline__ uint32_t
moshi_scale_bits(int type, const void *p, size_t i)
{
  return type == MOSHI_TYPE_F32 ? static_cast<const uint32_t *>(p)[i]
                                : static_cast<const uint16_t *>(p)[i];
}

__device__ __forceinline__ float
moshi_scale_of(int type, uint32_t bits)
{
  return type == MOSHI_TYPE_F32   ? __uint_as_float(bits)
         : type == MOSHI_TYPE_F16 ? moshi_half_float(bits)
                                  : moshi_brain_float(bits);
}

__device__ __forceinline__ float
moshi_scale_at(int type, const void *p, size_t i)
{
  return moshi_scale_of(type, moshi_scale_bits(type, p, i));
}

/* Q4_K: the 6-bit scale and minimum of 32 columns, number j of the block, times the
 * block's. header: d, dmin, then the twelve bytes of reference.c. */
__device__ __forceinline__ void
moshi_q4_k_scales(uint4 header, int j, float *scale, float *min)
{
  const int shift = j % 4 * 8;
  const uint32_t a = header.y >> shift, b = header.z >> shift, c = header.w >> shift;
  const uint32_t q = j < 4 ? a & 63 : (c & 15) | (a >> 2 & 48);
  const uint32_t m = j < 4 ? b & 63 : (c >> 4 & 15) | (b >> 2 & 48);
  *scale = moshi_mul(moshi_half_float(header.x & 0xffff), (float)q);
  *min = moshi_mul(moshi_half_float(header.x >> 16), (float)m);
}

/* W[row][col] with the very bits of reference.c's widen. */
__device__ inline float
moshi_weight_at(const MoshiRows &w, int row, int col)
{
  const uint8_t *data = static_cast<const uint8_t *>(w.data) +
                        (size_t)row * moshi_row_stride(w.type, w.cols);
  const size_t group = w.group ? (size_t)row * (w.cols / w.group) + col / w.group : 0;

  switch (w.type) {
  case MOSHI_TYPE_I8:
    return moshi_mul((int8_t)data[col], static_cast<const float *>(w.scales)[row]);
  case MOSHI_TYPE_Q8_0:
    return moshi_mul(moshi_scale_at(w.scale_type, w.scales, group), (int8_t)data[col]);
  case MOSHI_TYPE_Q4_0: {
    const int byte = data[col / 32 * 16 + col % 16];
    const int q = col % 32 < 16 ? byte & 15 : byte >> 4;
    return moshi_mul(moshi_scale_at(w.scale_type, w.scales, group), (float)(q - 8));
  }
  case MOSHI_TYPE_Q4_K: {
    const uint8_t *block = data + col / 256 * 144;
    const int j = col % 256 / 32, byte = block[16 + j / 2 * 32 + col % 32];
    float scale, min;
    moshi_q4_k_scales(*reinterpret_cast<const uint4 *>(block), j, &scale, &min);
    return moshi_add(moshi_mul(scale, (float)(j % 2 ? byte >> 4 : byte & 15)), -min);
  }
  case MOSHI_TYPE_MLX4:
  case MOSHI_TYPE_MLX8: {
    const int q = w.type == MOSHI_TYPE_MLX8 ? data[col]
                  : col % 2                 ? data[col / 2] >> 4
                                            : data[col / 2] & 15;
    return fmaf(moshi_scale_at(w.scale_type, w.scales, group), (float)q,
        moshi_scale_at(w.scale_type, w.biases, group));
  }
  default:
    return moshi_scale_at(w.type, data, col);
  }
}

#endif
