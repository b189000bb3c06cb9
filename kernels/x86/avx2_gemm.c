/* The product of row windows and packed panels. A tile of up to 6 rows by 1 or 2
 * panels lives in registers while k runs; every output has one accumulator, so
 * that it is summed in the same order in a tile of any shape. Sums are taken in
 * blocks of K_BLOCK and the blocks then added: long sums lose less, and a block
 * of a panel stays in the first cache for the next rows. */
#include "avx2.h"

enum {
  K_BLOCK = 512,
  TILE_ROWS = 6,
  /* Rows that pass over all panels together, when the panels are few enough to
   * stay in the second cache. */
  ROW_BLOCK = 96,
  CACHED_PANELS = 64 << 10, /* floats */
  /* How far ahead of its use a weight is asked for when panels come from memory
   * and few rows hide the way, in floats. */
  AHEAD = 1024,
};

typedef struct {
  const float *in[TILE_ROWS];
  const float *residual[TILE_ROWS];
  float *out[TILE_ROWS];
} Rows;

INLINE void
locate(const MoshiGemm *g, int r, int n, Rows *rows)
{
  for (int i = 0; i < n; i++) {
    const size_t item = (r + i) / g->steps, step = (r + i) % g->steps;
    rows->in[i] = g->in + item * g->in_batch + step * g->in_step;
    rows->out[i] = g->out + item * g->out_batch + step * g->out_step;
    rows->residual[i] =
        g->residual ? g->residual + item * g->residual_batch + step * g->residual_step
                    : NULL;
  }
}

/* Bias, activation, scale and residual of 8 sums, of which `left` or fewer are
 * outputs. */
INLINE void
finish(const MoshiGemm *g, __m256 sum, float *out, const float *residual, int n)
{
  const int left = g->n_out - n;
  if (left <= 0)
    return;
  const __m256i mask = lanes(left);
  if (g->bias)
    sum = _mm256_add_ps(sum, _mm256_maskload_ps(g->bias + n, mask));
  sum = apply(g->act, sum);
  if (g->scale)
    sum = _mm256_mul_ps(sum, _mm256_maskload_ps(g->scale + n, mask));
  if (residual)
    sum = _mm256_add_ps(_mm256_maskload_ps(residual + n, mask), sum);
  if (left >= 8)
    store(out + n, sum);
  else
    _mm256_maskstore_ps(out + n, mask, sum);
}

/* `rows` by `panels` (2 vectors each), `rows` and `panels` known to the
 * compiler. */
INLINE void
tile(const MoshiGemm *g, const Rows *r, int p, int rows, int panels, int ahead)
{
  const size_t panel_size = (size_t)MOSHI_PANEL * g->n_in;
  const float *w = g->panels + p * panel_size;
  __m256 total[TILE_ROWS * 2];
  const int n = rows * panels * 2;

  for (int i = 0; i < n; i++)
    total[i] = _mm256_setzero_ps();
  for (int k0 = 0; k0 < g->n_in; k0 += K_BLOCK) {
    const int k1 = g->n_in - k0 < K_BLOCK ? g->n_in : k0 + K_BLOCK;
    __m256 sum[TILE_ROWS * 2];
    for (int i = 0; i < n; i++)
      sum[i] = _mm256_setzero_ps();
    for (int k = k0; k < k1; k++) {
      for (int j = 0; j < panels; j++) {
        const float *wk = w + j * panel_size + (size_t)k * MOSHI_PANEL;
        const __m256 w0 = load(wk), w1 = load(wk + 8);
        if (ahead)
          _mm_prefetch((const char *)(wk + ahead), _MM_HINT_T0);
        for (int i = 0; i < rows; i++) {
          const __m256 x = _mm256_broadcast_ss(r->in[i] + k);
          sum[(i * panels + j) * 2] = _mm256_fmadd_ps(x, w0, sum[(i * panels + j) * 2]);
          sum[(i * panels + j) * 2 + 1] =
              _mm256_fmadd_ps(x, w1, sum[(i * panels + j) * 2 + 1]);
        }
      }
    }
    for (int i = 0; i < n; i++)
      total[i] = _mm256_add_ps(total[i], sum[i]);
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < 2 * panels; j++)
      finish(g, total[i * 2 * panels + j], r->out[i], r->residual[i],
          p * MOSHI_PANEL + 8 * j);
}

#define TILE(rows, panels, ahead)                                                      \
  static void tile_##rows##x##panels(const MoshiGemm *g, const Rows *r, int p)         \
  {                                                                                    \
    tile(g, r, p, rows, panels, ahead);                                                \
  }
TILE(1, 1, AHEAD)
TILE(1, 2, AHEAD)
TILE(2, 1, AHEAD)
TILE(2, 2, AHEAD)
TILE(3, 1, AHEAD)
TILE(4, 1, AHEAD)
TILE(5, 1, 0)
TILE(6, 1, 0)

/* One or two rows: two panels at a time keep enough sums under way. */
static void
few_rows(const MoshiGemm *g, const Rows *r, int rows, int p0, int p1)
{
  int p = p0;
  for (; p + 2 <= p1; p += 2)
    (rows == 1 ? tile_1x2 : tile_2x2)(g, r, p);
  if (p < p1)
    (rows == 1 ? tile_1x1 : tile_2x1)(g, r, p);
}

static void
all_panels(const MoshiGemm *g, int r0, int rows, int p0, int p1)
{
  static void (*const tiles[])(const MoshiGemm *, const Rows *, int) = {
      tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1};
  Rows r;

  locate(g, r0, rows, &r);
  if (rows <= 2) {
    few_rows(g, &r, rows, p0, p1);
    return;
  }
  for (int p = p0; p < p1; p++)
    tiles[rows - 1](g, &r, p);
}

/* Rows [r0,r1) in tiles, the last ones balanced: 4 and 4 rather than 6 and 2. */
static void
row_block(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  while (r0 < r1) {
    const int left = r1 - r0;
    const int rows = left <= TILE_ROWS      ? left
                     : left < 2 * TILE_ROWS ? (left + 1) / 2
                                            : TILE_ROWS;
    all_panels(g, r0, rows, p0, p1);
    r0 += rows;
  }
}

void
moshi_avx2_gemm(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  const size_t weights = (size_t)(p1 - p0) * MOSHI_PANEL * g->n_in;

  if (r1 - r0 <= TILE_ROWS || weights <= CACHED_PANELS) {
    row_block(g, r0, r1, p0, p1);
    return;
  }
  for (int p = p0; p < p1; p++)
    row_block(g, r0, r1, p, p + 1);
}
