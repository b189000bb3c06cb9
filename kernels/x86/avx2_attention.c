/* One query over a ring of keys, in one pass: blocks of keys are weighed against
 * the largest score so far, and what was summed before shrinks when a larger one
 * comes. Blocks are counted from the first key, wherever it lies in the ring. */
#include "avx2.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 128, WIDTH = 64 };

/* Entries of logical keys [j0, j0+n) of a ring, the last one repeated to a
 * multiple of 4. */
INLINE void
locate(const MoshiAttention *a, const float *ring, int j0, int n, const float **rows)
{
  int entry = (int)(((long)a->first + j0) % a->capacity);
  for (int j = 0; j < n; j++) {
    rows[j] = ring + entry * a->stride;
    if (++entry == a->capacity)
      entry = 0;
  }
  for (int j = n; j % 4; j++)
    rows[j] = rows[n - 1];
}

/* Four scores at once; a key's does not depend on the three beside it. */
INLINE void
four_scores(const MoshiAttention *a, const float *const *k, float *scores)
{
  __m256 sum[4];
  int i = 0;

  for (int j = 0; j < 4; j++)
    sum[j] = _mm256_setzero_ps();
  for (; i + 8 <= a->d; i += 8) {
    const __m256 q = load(a->q + i);
    for (int j = 0; j < 4; j++)
      sum[j] = _mm256_fmadd_ps(q, load(k[j] + i), sum[j]);
  }
  if (i < a->d) {
    const __m256i mask = lanes(a->d - i);
    const __m256 q = _mm256_maskload_ps(a->q + i, mask);
    for (int j = 0; j < 4; j++)
      sum[j] = _mm256_fmadd_ps(q, _mm256_maskload_ps(k[j] + i, mask), sum[j]);
  }
  const __m256 s01 = _mm256_hadd_ps(sum[0], sum[1]),
               s23 = _mm256_hadd_ps(sum[2], sum[3]);
  const __m256 s = _mm256_hadd_ps(s01, s23);
  const __m128 four =
      _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  _mm_storeu_ps(scores, _mm_mul_ps(four, _mm_set1_ps(a->scale)));
}

/* out[0 … 8·vectors) = shrink·out + Σ_j p[j]·v[j], `vectors` known to the
 * compiler. */
INLINE void
add_values(float *out, const float *const *v, const float *p, int n, float shrink,
    int at, int vectors)
{
  __m256 sum[WIDTH / 8];
  for (int i = 0; i < vectors; i++)
    sum[i] = _mm256_mul_ps(set1(shrink), load(out + at + 8 * i));
  for (int j = 0; j < n; j++) {
    const __m256 pj = set1(p[j]);
    for (int i = 0; i < vectors; i++)
      sum[i] = _mm256_fmadd_ps(pj, load(v[j] + at + 8 * i), sum[i]);
  }
  for (int i = 0; i < vectors; i++)
    store(out + at + 8 * i, sum[i]);
}

static void
add_all_values(
    float *out, int d, const float *const *v, const float *p, int n, float shrink)
{
  int at = 0;
  for (; at + WIDTH <= d; at += WIDTH)
    add_values(out, v, p, n, shrink, at, WIDTH / 8);
  for (; at + 8 <= d; at += 8)
    add_values(out, v, p, n, shrink, at, 1);
  if (at == d)
    return;
  const __m256i mask = lanes(d - at);
  __m256 sum = _mm256_mul_ps(set1(shrink), load(out + at));
  for (int j = 0; j < n; j++)
    sum = _mm256_fmadd_ps(set1(p[j]), _mm256_maskload_ps(v[j] + at, mask), sum);
  store(out + at, sum);
}

/* Turns n scores into weights below `top`; returns their sum. scores has room
 * for a multiple of 8. */
INLINE float
weigh(float *scores, int n, float top)
{
  __m256 sum = _mm256_setzero_ps();
  for (int j = 0; j < n; j += 8) {
    __m256 p = exp_ps(_mm256_sub_ps(load(scores + j), set1(top)));
    p = _mm256_and_ps(p, _mm256_castsi256_ps(lanes(n - j)));
    store(scores + j, p);
    sum = _mm256_add_ps(sum, p);
  }
  return sum_lanes(sum);
}

void
moshi_avx2_attention(const MoshiAttention *a)
{
  const float *rows[BLOCK + 3];
  float scores[BLOCK + 8], out[MOSHI_MAX_HEAD_DIM + 8];
  float top = -INFINITY, total = 0;

  memset(out, 0, (a->d + 8) * sizeof *out);
  for (int j0 = 0; j0 < a->count; j0 += BLOCK) {
    const int n = a->count - j0 < BLOCK ? a->count - j0 : BLOCK;
    float larger = top;
    locate(a, a->k, j0, n, rows);
    for (int j = 0; j < n; j += 4)
      four_scores(a, rows + j, scores + j);
    for (int j = 0; j < n; j++)
      larger = scores[j] > larger ? scores[j] : larger;
    const float shrink = j0 ? expf(top - larger) : 0;
    for (int j = n; j % 8; j++)
      scores[j] = larger;
    total = total * shrink + weigh(scores, n, larger);
    top = larger;
    locate(a, a->v, j0, n, rows);
    add_all_values(out, a->d, rows, scores, n, shrink);
  }
  for (int i = 0; i < a->d; i++)
    a->out[i] = out[i] / total;
}
