/* Rows of a stored matrix times a few vectors. Each (row, vector) has one
 * accumulator of 8 lanes, whatever is computed beside it; a tile of rows and
 * vectors shares the loads. */
#include "avx2.h"

#include <string.h>

enum { MAX_ROWS = 4, MAX_BATCH = 4 };

/* n < 8 stored halves, zero beyond. */
INLINE __m128i
load_some_halves(const void *w, int n)
{
  uint16_t part[8] = {0};
  memcpy(part, w, n * sizeof *part);
  return _mm_loadu_si128((const __m128i *)part);
}

INLINE __m256
widen_bf16(__m128i h)
{
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* 8 weights, or the first n of them (n < 8). */
INLINE __m256
load_weights(MoshiType type, const char *w, int n)
{
  const __m128i *halves = (const __m128i *)w;
  switch (type) {
  case MOSHI_TYPE_F16:
    return _mm256_cvtph_ps(n < 8 ? load_some_halves(w, n) : _mm_loadu_si128(halves));
  case MOSHI_TYPE_BF16:
    return widen_bf16(n < 8 ? load_some_halves(w, n) : _mm_loadu_si128(halves));
  default:
    return n < 8 ? _mm256_maskload_ps((const float *)w, lanes(n))
                 : load((const float *)w);
  }
}

typedef struct {
  float *y;
  size_t y_step;
  const char *w; /* first row of the tile */
  const float *x;
  size_t x_step;
  int cols;
} Tile;

/* `rows` by `batch`, both and `type` known to the compiler. The weights of the
 * tile after this one are asked for meanwhile. */
INLINE void
tile(const Tile *t, MoshiType type, int rows, int batch)
{
  const size_t size = type == MOSHI_TYPE_F32 ? 4 : 2, row = t->cols * size;
  __m256 sum[MAX_ROWS * MAX_BATCH];
  int c = 0;

  for (int i = 0; i < rows * batch; i++)
    sum[i] = _mm256_setzero_ps();
  for (; c + 8 <= t->cols; c += 8) {
    __m256 w[MAX_ROWS];
    for (int j = 0; j < rows; j++) {
      const char *at = t->w + j * row + c * size;
      w[j] = load_weights(type, at, 8);
      if (type == MOSHI_TYPE_F32 || c % 16 == 0)
        _mm_prefetch(at + rows * row, _MM_HINT_T0);
    }
    for (int i = 0; i < batch; i++) {
      const __m256 x = load(t->x + i * t->x_step + c);
      for (int j = 0; j < rows; j++)
        sum[i * rows + j] = _mm256_fmadd_ps(w[j], x, sum[i * rows + j]);
    }
  }
  if (c < t->cols) {
    const int n = t->cols - c;
    for (int j = 0; j < rows; j++) {
      const __m256 w = load_weights(type, t->w + j * row + c * size, n);
      for (int i = 0; i < batch; i++) {
        const __m256 x = _mm256_maskload_ps(t->x + i * t->x_step + c, lanes(n));
        sum[i * rows + j] = _mm256_fmadd_ps(w, x, sum[i * rows + j]);
      }
    }
  }
  for (int i = 0; i < batch; i++)
    for (int j = 0; j < rows; j++)
      t->y[i * t->y_step + j] = sum_lanes(sum[i * rows + j]);
}

/* Tiles of `rows` rows for one to four vectors. */
INLINE void
some_vectors(Tile t, MoshiType type, int n_rows, int rows, int batch)
{
  const size_t row = (size_t)t.cols * (type == MOSHI_TYPE_F32 ? 4 : 2);
  int r = 0;

  for (; r + rows <= n_rows; r += rows, t.w += rows * row, t.y += rows)
    tile(&t, type, rows, batch);
  for (; r < n_rows; r++, t.w += row, t.y++)
    tile(&t, type, 1, batch);
}

INLINE void
matvec(float *y, size_t y_step, const void *w, const float *x, size_t x_step, int r0,
    int r1, int cols, int batch, MoshiType type)
{
  const size_t row = (size_t)cols * (type == MOSHI_TYPE_F32 ? 4 : 2);
  /* With many vectors, few enough rows to stay in the first cache meanwhile. */
  const int most = batch <= MAX_BATCH ? r1 - r0 : MAX_ROWS;

  for (int r = r0; r < r1; r += most) {
    const int n = r1 - r < most ? r1 - r : most;
    Tile t = {y + (r - r0), y_step, (const char *)w + r * row, x, x_step, cols};
    for (int left = batch; left > 0; left -= MAX_BATCH) {
      if (left >= 4)
        some_vectors(t, type, n, 2, 4);
      else if (left == 3)
        some_vectors(t, type, n, 2, 3);
      else if (left == 2)
        some_vectors(t, type, n, 4, 2);
      else
        some_vectors(t, type, n, 4, 1);
      t.x += MAX_BATCH * x_step;
      t.y += MAX_BATCH * y_step;
    }
  }
}

#define MATVEC(name, type)                                                             \
  void moshi_avx2_matvec_##name(float *y, size_t y_step, const void *w,                \
      const float *x, size_t x_step, int r0, int r1, int cols, int batch)              \
  {                                                                                    \
    matvec(y, y_step, w, x, x_step, r0, r1, cols, batch, type);                        \
  }
MATVEC(f32, MOSHI_TYPE_F32)
MATVEC(f16, MOSHI_TYPE_F16)
MATVEC(bf16, MOSHI_TYPE_BF16)
