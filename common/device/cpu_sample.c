/* Sampling as the reference does (moshi/utils/sampling.py): the k most probable
 * candidates each get an Exp(1) number e, and the largest p/e wins, which draws
 * i with probability p_i over the sum of the kept ones. */
#include "cpu.h"

#include <math.h>
#include <string.h>

#include "random.h"

/* The float that is u-th in order; of NaNs there are none from order(-inf) to
 * order(inf). */
static float
in_order(uint32_t u)
{
  const uint32_t bits = u & 0x80000000u ? u & 0x7fffffffu : ~u;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* How many are not below `least`; a loop that compilers make vectors of. */
static int
count_from(const float *x, int n, float least)
{
  int count = 0;
  for (int i = 0; i < n; i++)
    count += x[i] >= least;
  return count;
}

/* Finds the k-th largest (1 ≤ k ≤ n) by halving what it may be; NaNs are below
 * everything, and -inf the answer where k is one of theirs. *ties: how many of the
 * values equal to it belong to the k. */
static float
kth_largest(const float *x, int n, int k, int *ties)
{
  uint32_t least = 0x007fffffu, most = 0xff800000u; /* -inf, inf */

  while (least < most) {
    const uint32_t middle = most - (most - least) / 2;
    if (count_from(x, n, in_order(middle)) >= k)
      least = middle;
    else
      most = middle - 1;
  }
  *ties = k - (least < 0xff800000u ? count_from(x, n, in_order(least + 1)) : 0);
  return in_order(least);
}

static int
draw(const float *logits, int n, int best, const MoshiDraw *how)
{
  const bool all = how->top_k <= 0 || how->top_k >= n;
  const float inv_temperature = 1 / how->temperature, top = logits[best];
  int ties = n, winner = best;
  const float least = all ? -INFINITY : kth_largest(logits, n, how->top_k, &ties);
  float most = -1;

  for (int i = 0; i < n; i++) {
    if (!(logits[i] >= least) || (logits[i] == least && ties-- <= 0))
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
