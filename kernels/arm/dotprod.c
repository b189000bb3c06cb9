/* NEON with dot products of bytes (Armv8.2's, and optional before): the products
 * of quantised rows; everything else is neon.c's. */
#include "integers.h"

#include <math.h>

#include "../simd/math.h"
#include "../simd/quantized.h"
#include "eight.h"
#include "../simd/four_bits.h"

#include "../tiers.h"

void
moshi_dotprod_init(MoshiKernels *k)
{
  k->name = "dotprod";
  k->matvec[MOSHI_TYPE_I8] = tier_matvec_i8;
  k->matvec[MOSHI_TYPE_Q8_0] = tier_matvec_q8_0;
  k->matvec[MOSHI_TYPE_MLX8] = tier_matvec_mlx8;
  four_bits_init(k);
}
