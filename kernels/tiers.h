/* Each tier's way into the table: overwrites the rows that it has. */
#ifndef MOSHI_KERNELS_TIERS_H
#define MOSHI_KERNELS_TIERS_H

#include "kernels.h"

void moshi_avx2_init(MoshiKernels *k);
void moshi_avx512_init(MoshiKernels *k);
void moshi_neon_init(MoshiKernels *k);
void moshi_dotprod_init(MoshiKernels *k);

#endif
