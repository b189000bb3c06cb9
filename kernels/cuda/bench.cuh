/* How fast the kernels that read most are, beside a copy on the same card. */
#ifndef MOSHI_CUDA_BENCH_CUH
#define MOSHI_CUDA_BENCH_CUH

#include "kernels.cuh"

typedef struct {
  int shrink;    /* divides the sizes of the 7B model: 1, or 32 to try the program */
  size_t memory; /* of weights to go through, so that none wait in L2; 0: 1 GB */
  int launches;  /* that are timed together; 0: 50 */
  bool chains;   /* they may start early, as in a frame */
} MoshiCudaBench;

/* Times the products of every type for batches of 1 to 128, or 16 if it is shrunk, and
 * attention; calls report() for each. Returns CUDA's first error. */
cudaError_t moshi_cuda_bench(const MoshiCudaBench *bench,
    void (*report)(void *ctx, const MoshiTimed *timed), void *ctx);

#endif
