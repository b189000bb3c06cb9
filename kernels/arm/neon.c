/* NEON, as every 64-bit ARM has it. */
#include "integers.h"

#define TIER_NAME "neon"
#define TIER_INIT moshi_neon_init
#define TIER_INTEGERS "quantized.h"
#define TIER_EIGHT "../arm/eight.h"
#include "../simd/tier.h"
