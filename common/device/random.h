/* Random numbers without a state: number i of draw `counter` of stream `seed` is
 * a pure function of the three, so that a draw is the same on every device, in
 * any order and on any number of threads. Philox 4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", 2011).
 *
 * The functions of a draw are series of plain operations, each rounded once: the
 * mathematics libraries of two machines differ in last bits. */
#ifndef MOSHI_RANDOM_H
#define MOSHI_RANDOM_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define MOSHI_ANYWHERE __host__ __device__ static inline
#else
#define MOSHI_ANYWHERE static inline
#endif

/* a·b + c without a fused operation; C is compiled with -ffp-contract=off. */
MOSHI_ANYWHERE double
moshi_random_step(double a, double b, double c)
{
#ifdef __CUDA_ARCH__
  return __dadd_rn(__dmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

MOSHI_ANYWHERE void
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

/* −ln x, x normal: with x = m·2^e and s = (m − 1)/(m + 1), ln m = 2·artanh s. */
MOSHI_ANYWHERE double
moshi_random_minus_log(double x)
{
  uint64_t bits;
  double m;

  memcpy(&bits, &x, sizeof bits);
  int e = (int)(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
  memcpy(&m, &bits, sizeof m);
  if (m > 1.41421356237309505) {
    m *= 0.5;
    e++;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double sum = 0;
  for (int k = 21; k >= 1; k -= 2)
    sum = moshi_random_step(sum, square, 1.0 / k);
  return moshi_random_step(-2 * s, sum, -0.69314718055994531 * e);
}

/* e^x of an x ≤ 0: 2^n by its bits, and the rest by its series. NaN gives 0. */
MOSHI_ANYWHERE float
moshi_random_exp(float x)
{
  if (!(x >= -104))
    return 0;
  const int n = (int)moshi_random_step(x, 1.44269504088896341, -0.5);
  const double r = moshi_random_step(-n, 0.69314718055994531, x);
  const uint64_t bits = (uint64_t)(1023 + n) << 52;
  double power, sum = 1;
  memcpy(&power, &bits, sizeof power);
  for (int k = 12; k >= 1; k--)
    sum = moshi_random_step(sum, r / k, 1);
  return (float)(sum * power);
}

/* Exp(1), from 2^-33 to 23. */
MOSHI_ANYWHERE float
moshi_random_exponential(uint64_t seed, uint64_t counter, uint32_t i)
{
  uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), i, 0};
  moshi_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
  return (float)moshi_random_minus_log((c[0] + 0.5) * 0x1p-32);
}

#endif
