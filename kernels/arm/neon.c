/* NEON, as every 64-bit ARM has it. */
#include "vec.h"

#define TIER_NAME "neon"
#define TIER_INIT moshi_neon_init
#include "../simd/tier.h"
