/* How fast the kernels that read most are, beside a copy on the same card. */
#ifndef MOSHI_CUDA_BENCH_CUH
#define MOSHI_CUDA_BENCH_CUH

#include "kernels.cuh"

typedef struct {
  const char *name, *type; /* "linear1", "q4_k"; of attention the type of its rings */
  int rows, cols, batch;   /* of attention: heads, keys */
  double bytes, seconds;   /* read once, and the time of a launch */
} MoshiCudaTimed;

typedef struct {
  int shrink;       /* divides the sizes of the 7B model: 1, or 32 to try the program */
  size_t memory;    /* of weights to go through, so that none wait in L2; 0: 1 GB */
  int launches;     /* that are timed together; 0: 50 */
  double copy_gb_s; /* out: what is read and written by a copy in the card's memory */
} MoshiCudaBench;

/* Times the products of every type for batches of 1 to 16, and attention; calls
 * report() for each. Returns CUDA's first error. */
cudaError_t moshi_cuda_bench(MoshiCudaBench *bench,
    void (*report)(void *ctx, const MoshiCudaTimed *timed), void *ctx);

#endif
