/* AVX-512 F, BW, DQ, VL and VNNI: Ice Lake, Zen 4 and all servers since. */
#include "vec512.h"

#define TIER_NAME "avx512"
#define TIER_INIT moshi_avx512_init
#define TIER_INTEGERS "../x86/integer512.h"
#define TIER_EIGHT "../x86/eight.h"
#define EIGHT_VNNI
#include "../simd/tier.h"
