/* AVX2, FMA and F16C. */
#include "vec256.h"

#define TIER_NAME "avx2"
#define TIER_INIT moshi_avx2_init
#define TIER_INTEGERS "quantized.h"
#define TIER_EIGHT "../x86/eight.h"
#define ENCODE_LANES 8
#include "../simd/tier.h"
