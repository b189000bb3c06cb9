/* The kernel check of the AVX-512 tier under emulation. It is built with kernels/dispatch.c
 * and kernels/x86/avx512.c of its own, for which every machine has AVX-512. The
 * emulation itself needs AVX2. */
#include <stdio.h>

#include "../../kernels/check.h"

int
main(int argc, char **argv)
{
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    printf("no AVX2 to emulate AVX-512 with: skipped\n");
    return 77;
  }
  return moshi_check_kernels(argc - 1, argv + 1);
}
