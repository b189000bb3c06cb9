/* Times the kernels that read most, a JSON object a line: bench-kernels [SHRINK]. */
#include <cstdio>
#include <cstdlib>

#include "../../kernels/cuda/bench.cuh"

static void
report(void *ctx, const MoshiCudaTimed *t)
{
  const MoshiCudaBench *bench = static_cast<const MoshiCudaBench *>(ctx);
  const double gb_s = t->bytes / t->seconds / 1e9;
  printf("{\"bench\": \"kernel:%s\", \"type\": \"%s\", \"rows\": %d, \"cols\": %d, "
         "\"batch\": %d, \"us\": %.2f, \"gb_s\": %.1f, \"copy_gb_s\": %.1f, "
         "\"bandwidth_fraction\": %.3f}\n",
      t->name, t->type, t->rows, t->cols, t->batch, t->seconds * 1e6, gb_s,
      bench->copy_gb_s, bench->copy_gb_s > 0 ? gb_s / bench->copy_gb_s : 0);
}

int
main(int argc, char **argv)
{
  int count = 0;
  MoshiCudaBench bench = {};
  bench.shrink = argc > 1 ? atoi(argv[1]) : 1;
  if (bench.shrink > 1) {
    bench.memory = 1 << 20;
    bench.launches = 2;
  }
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    fprintf(stderr, "no CUDA device: skipped\n");
    return 77;
  }
  const cudaError_t error = moshi_cuda_bench(&bench, report, &bench);
  if (error != cudaSuccess)
    fprintf(stderr, "%s: %s\n", cudaGetErrorName(error), cudaGetErrorString(error));
  return error != cudaSuccess;
}
