/* The rows in plain C. */
#ifndef MOSHI_KERNELS_REFERENCE_H
#define MOSHI_KERNELS_REFERENCE_H

#include "kernels.h"

extern const MoshiKernels moshi_kernels_reference;

void moshi_encode_q4_k(uint8_t *to, const float *x);

#endif
