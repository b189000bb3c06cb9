/* Sampling as the reference does (moshi/utils/sampling.py): the k most probable
 * candidates each get an Exp(1) number e, and the largest p/e wins, which draws
 * i with probability p_i over the sum of the kept ones. */
#include "cpu.h"

#include <math.h>
#include <string.h>

#include "random.h"

/* A number that orders as the float does; NaN below everything. */
static uint32_t
order(float x)
{
  uint32_t bits;
  if (isnan(x))
    return 0;
  x += 0.0f; /* −0 is 0 */
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Finds the k-th largest (1 ≤ k ≤ n) a byte at a time, by counting. *ties: how
 * many of the values equal to it belong to the k. */
static uint32_t
kth_largest(const float *x, int n, int k, int *ties)
{
  uint32_t prefix = 0, mask = 0;

  for (int shift = 24; shift >= 0; shift -= 8) {
    int counts[256] = {0}, byte = 255;
    for (int i = 0; i < n; i++) {
      const uint32_t u = order(x[i]);
      if ((u & mask) == prefix)
        counts[u >> shift & 255]++;
    }
    while (counts[byte] < k)
      k -= counts[byte--];
    prefix |= (uint32_t)byte << shift;
    mask |= (uint32_t)255 << shift;
  }
  *ties = k;
  return prefix;
}

static int
draw(const float *logits, int n, int best, const MoshiDraw *how)
{
  const bool all = how->top_k <= 0 || how->top_k >= n;
  const float inv_temperature = 1 / how->temperature, top = logits[best];
  int ties = 0, winner = best;
  const uint32_t least = all ? 0 : kth_largest(logits, n, how->top_k, &ties);
  float most = -1;

  for (int i = 0; i < n; i++) {
    const uint32_t u = order(logits[i]);
    if (u < least || u == 0 || (!all && u == least && ties-- <= 0))
      continue;
    const float p = moshi_random_exp((logits[i] - top) * inv_temperature);
    if (p == 0)
      continue;
    const float weight = p / moshi_random_exponential(how->seed, how->counter, i);
    if (weight > most) {
      most = weight;
      winner = i;
    }
  }
  return winner;
}

typedef struct {
  const MoshiKernels *k;
  const float *logits;
  int size;
  const MoshiDraw *draws;
  int32_t *tokens;
  size_t token_stride;
} Sample;

static void
some_rows(void *ctx, int begin, int end)
{
  const Sample *s = ctx;
  for (int i = begin; i < end; i++) {
    const float *row = s->logits + (size_t)i * s->size;
    const int best = s->k->argmax(row, s->size);
    const bool certain = !(s->draws[i].temperature > 0) || !isfinite(row[best]);
    s->tokens[i * s->token_stride] =
        certain ? best : draw(row, s->size, best, &s->draws[i]);
  }
}

void
moshi_cpu_sample(MoshiDevice *d, const float *logits, int n, int size,
    const MoshiDraw *draws, int32_t *tokens, size_t token_stride)
{
  Sample s = {&moshi_cpu(d)->k, logits, size, draws, tokens, token_stride};
  moshi_cpu_split(moshi_cpu(d), n, 1, (double)n * size * 8, some_rows, &s);
}
