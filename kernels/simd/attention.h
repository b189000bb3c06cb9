/* One query over a ring of keys, in one pass: blocks of keys are weighed against
 * the largest score so far, and what was summed before shrinks when a larger one
 * comes. Blocks are counted from the first key, wherever it lies in the ring. */
#include <math.h>

enum { BLOCK = 128, WIDTH = 64 };

/* The keys or values of a block: their rows, and I8's scales. */
typedef struct {
  const char *rows[BLOCK + 3];
  float scales[BLOCK];
} Block;

/* Entries of logical keys [j0, j0+n) of a ring, the last one repeated to a
 * multiple of 4. */
INLINE void
locate_keys(const MoshiAttention *a, MoshiKv kv, const void *ring, const float *scales,
    int j0, int n, Block *b)
{
  const size_t size = kv == MOSHI_KV_F32 ? 4 : kv == MOSHI_KV_BF16 ? 2 : 1;
  int entry = (int)(((long)a->first + j0) % a->capacity);
  for (int j = 0; j < n; j++) {
    b->rows[j] = (const char *)ring + entry * a->stride * size;
    if (kv == MOSHI_KV_I8)
      b->scales[j] = scales[entry];
    if (++entry == a->capacity)
      entry = 0;
  }
  for (int j = n; j % 4; j++)
    b->rows[j] = b->rows[n - 1];
}

/* A vector from element i of a row on, or n < V_WIDTH elements and zeros. */
INLINE V
load_kept(MoshiKv kv, const char *row, int i, int n)
{
  if (kv == MOSHI_KV_I8)
    return v_load_bytes((const int8_t *)row + i, n);
  if (kv == MOSHI_KV_BF16)
    return v_load_halves(row + 2 * i, n, true);
  const float *x = (const float *)row + i;
  return n < V_WIDTH ? v_load_some(x, n) : v_load(x);
}

/* Four scores at once; a key's does not depend on the three beside it. */
INLINE void
four_scores(const MoshiAttention *a, MoshiKv kv, const char *const *k, float *scores)
{
  V sum[4];
  int i = 0;

  for (int j = 0; j < 4; j++)
    sum[j] = v_set(0);
  for (; i + V_WIDTH <= a->d; i += V_WIDTH) {
    const V q = v_load(a->q + i);
    for (int j = 0; j < 4; j++)
      sum[j] = v_fma(q, load_kept(kv, k[j], i, V_WIDTH), sum[j]);
  }
  if (i < a->d) {
    const V q = v_load_some(a->q + i, a->d - i);
    for (int j = 0; j < 4; j++)
      sum[j] = v_fma(q, load_kept(kv, k[j], i, a->d - i), sum[j]);
  }
  v_sum4(sum, scores);
  for (int j = 0; j < 4; j++)
    scores[j] *= a->scale;
}

/* out[0 … V_WIDTH·vectors) = shrink·out + Σ_j p[j]·v[j], `vectors` known to the
 * compiler. */
INLINE void
add_values(MoshiKv kv, float *out, const char *const *v, const float *p, int n,
    float shrink, int at, int vectors)
{
  V sum[WIDTH / V_WIDTH];
  for (int i = 0; i < vectors; i++)
    sum[i] = v_mul(v_set(shrink), v_load(out + at + V_WIDTH * i));
  for (int j = 0; j < n; j++) {
    const V pj = v_set(p[j]);
    for (int i = 0; i < vectors; i++)
      sum[i] = v_fma(pj, load_kept(kv, v[j], at + V_WIDTH * i, V_WIDTH), sum[i]);
  }
  for (int i = 0; i < vectors; i++)
    v_store(out + at + V_WIDTH * i, sum[i]);
}

INLINE void
add_all_values(MoshiKv kv, float *out, int d, const char *const *v, const float *p,
    int n, float shrink)
{
  int at = 0;
  for (; at + WIDTH <= d; at += WIDTH)
    add_values(kv, out, v, p, n, shrink, at, WIDTH / V_WIDTH);
  for (; at + V_WIDTH <= d; at += V_WIDTH)
    add_values(kv, out, v, p, n, shrink, at, 1);
  if (at == d)
    return;
  V sum = v_mul(v_set(shrink), v_load(out + at));
  for (int j = 0; j < n; j++)
    sum = v_fma(v_set(p[j]), load_kept(kv, v[j], at, d - at), sum);
  v_store(out + at, sum);
}

/* Turns n scores into weights below `top`; returns their sum. scores has room
 * for a multiple of V_WIDTH. */
INLINE float
weigh(float *scores, int n, float top)
{
  V sum = v_set(0);
  for (int j = 0; j < n; j += V_WIDTH) {
    V p = exp_v(v_sub(v_load(scores + j), v_set(top)));
    p = v_keep(p, n - j);
    v_store(scores + j, p);
    sum = v_add(sum, p);
  }
  return v_sum(sum);
}

INLINE void
attention(const MoshiAttention *a, MoshiKv kv)
{
  Block b;
  float scores[BLOCK + V_WIDTH], out[MOSHI_MAX_HEAD_DIM + V_WIDTH];
  float top = -INFINITY, total = 0;

  memset(out, 0, (a->d + V_WIDTH) * sizeof *out);
  for (int j0 = 0; j0 < a->count; j0 += BLOCK) {
    const int n = a->count - j0 < BLOCK ? a->count - j0 : BLOCK;
    float larger = top;
    locate_keys(a, kv, a->k, a->k_scales, j0, n, &b);
    for (int j = 0; j < n; j += 4)
      four_scores(a, kv, b.rows + j, scores + j);
    for (int j = 0; kv == MOSHI_KV_I8 && j < n; j++)
      scores[j] *= b.scales[j];
    for (int j = 0; j < n; j++)
      larger = scores[j] > larger ? scores[j] : larger;
    const float shrink = j0 ? expf(top - larger) : 0;
    for (int j = n; j % V_WIDTH; j++)
      scores[j] = larger;
    total = total * shrink + weigh(scores, n, larger);
    top = larger;
    locate_keys(a, kv, a->v, a->v_scales, j0, n, &b);
    for (int j = 0; kv == MOSHI_KV_I8 && j < n; j++)
      scores[j] *= b.scales[j];
    add_all_values(kv, out, a->d, b.rows, scores, n, shrink);
  }
  for (int i = 0; i < a->d; i++)
    a->out[i] = out[i] / total;
}

#define ATTENTION(name, kv)                                                            \
  static void tier_attention_##name(const MoshiAttention *a)                           \
  {                                                                                    \
    attention(a, kv);                                                                  \
  }
ATTENTION(f32, MOSHI_KV_F32)
ATTENTION(bf16, MOSHI_KV_BF16)
ATTENTION(i8, MOSHI_KV_I8)
