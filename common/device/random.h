/* Random numbers without a state: number i of draw `counter` of stream `seed` is
 * a pure function of the three, so that a draw is the same on every device, in
 * any order and on any number of threads. Philox 4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", 2011). */
#ifndef MOSHI_RANDOM_H
#define MOSHI_RANDOM_H

#include <math.h>
#include <stdint.h>

static inline void
moshi_philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xd2511f53u * c[0];
    const uint64_t p1 = (uint64_t)0xcd9e8d57u * c[2];
    c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
    c[3] = (uint32_t)p0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

/* Exp(1), from 2^-33 to 23. */
static inline float
moshi_random_exponential(uint64_t seed, uint64_t counter, uint32_t i)
{
  uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), i, 0};
  moshi_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
  return (float)-log((c[0] + 0.5) * 0x1p-32);
}

#endif
