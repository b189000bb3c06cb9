/* Every tier of every kernel against the reference: kernels/check.h. */
#include "../../kernels/check.h"

int
main(int argc, char **argv)
{
  return moshi_check_kernels(argc - 1, argv + 1);
}
