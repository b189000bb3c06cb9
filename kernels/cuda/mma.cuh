/* Products of small matrices by a whole warp, on tensor cores, and the asynchronous
 * copies that feed them: each a PTX instruction with a plain twin.
 *
 * D[16][8] += A[16][K] · B[K][8]. How the fragments lie, from the PTX ISA ("Matrix
 * fragments for mma.m16n8k32", "… mma.m16n8k16 with floating point type"): with
 * g = lane / 4 and t = lane % 4, and k counted in words of 32 bits, of which a row of A
 * and a column of B have eight,
 *
 *   a[0] = A[g][t]      a[1] = A[g + 8][t]      a[2] = A[g][t + 4]   a[3] = A[g + 8][t + 4]
 *   b.x  = B[t][g]      b.y  = B[t + 4][g]
 *   d[0] = D[g][2t]     d[1] = D[g][2t + 1]     d[2] = D[g + 8][2t]  d[3] = D[g + 8][2t + 1]
 *
 * Which columns of the operands go by the name of k is the caller's choice, as long as
 * it is the same for both. */
#ifndef MOSHI_CUDA_MMA_CUH
#define MOSHI_CUDA_MMA_CUH

#include "layout.cuh"
#include "reduce.cuh"

#if !MOSHI_CUDA_DEVICE_CODE
/* add(i, a, b) for d[i] and each word of its row of A and column of B, in order of k. */
template <class F>
__device__ inline void
moshi_mma_plain(const uint32_t (&a)[4], uint2 b, F add)
{
  const int lane = threadIdx.x % MOSHI_WARP, g = lane / 4, t = lane % 4;
  unsigned long long rows[4][2], columns[4][2];

  for (int s = 0; s < 4; s++)
    for (int i = 0; i < 2; i++) {
      const int mine = 2 * i; /* a[0], a[1], then a[2], a[3] */
      rows[s][i] = __shfl_sync(
          0xffffffffu, a[mine] | (unsigned long long)a[mine + 1] << 32, g * 4 + s);
      columns[s][i] = __shfl_sync(
          0xffffffffu, b.x | (unsigned long long)b.y << 32, (2 * t + i) * 4 + s);
    }
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 8; k++)
      add(i, (uint32_t)(rows[k % 4][k / 4] >> i / 2 * 32),
          (uint32_t)(columns[k % 4][i % 2] >> k / 4 * 32));
}
#endif

/* K = 32 bytes: those of B are signed, those of A if it is said. Sums are exact. */
template <bool SIGNED>
__device__ __forceinline__ void
moshi_mma_bytes(int (&d)[4], const uint32_t (&a)[4], uint2 b)
{
#if MOSHI_CUDA_DEVICE_CODE
  if (SIGNED)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#else
  moshi_mma_plain(a, b, [&d](int i, uint32_t row, uint32_t column) {
    for (int byte = 0; byte < 32; byte += 8)
      d[i] += (SIGNED ? (int8_t)(row >> byte) : (uint8_t)(row >> byte)) *
              (int8_t)(column >> byte);
  });
#endif
}

/* K = 16 bf16, two a word. Products are exact, their sums of f32's precision. */
__device__ __forceinline__ void
moshi_mma_brain(float (&d)[4], const uint32_t (&a)[4], uint2 b)
{
#if MOSHI_CUDA_DEVICE_CODE
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#else
  moshi_mma_plain(a, b, [&d](int i, uint32_t row, uint32_t column) {
    d[i] += moshi_brain_float(row & 0xffff) * moshi_brain_float(column & 0xffff);
    d[i] += moshi_brain_float(row >> 16) * moshi_brain_float(column >> 16);
  });
#endif
}

/* ------------------------------------------------------------------- copies */

/* 16 bytes to shared memory, or zeros; there after the wait. */
__device__ __forceinline__ void
moshi_copy_async(void *shared, const void *global, bool there)
{
#if MOSHI_CUDA_DEVICE_CODE
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
               :
               : "r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(global),
               "r"(there ? 16 : 0)
               : "memory");
#elif defined(MOSHI_CUDA_EMULATION)
  emulation::copy_async(shared, global, there);
#endif
}

/* Ends a group of copies. */
__device__ __forceinline__ void
moshi_copies_commit(void)
{
#if MOSHI_CUDA_DEVICE_CODE
  asm volatile("cp.async.commit_group;" ::: "memory");
#elif defined(MOSHI_CUDA_EMULATION)
  emulation::copies_commit();
#endif
}

/* Until at most the newest LATE of this thread's groups are under way. */
template <int LATE>
__device__ __forceinline__ void
moshi_copies_wait(void)
{
#if MOSHI_CUDA_DEVICE_CODE
  asm volatile("cp.async.wait_group %0;" ::"n"(LATE) : "memory");
#elif defined(MOSHI_CUDA_EMULATION)
  emulation::copies_wait(LATE);
#endif
}

#endif
