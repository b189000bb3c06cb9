/* Panels of weights of 4 bits (../four_bits.h) times a few vectors.
 *
 * The vectors are rounded to 16-bit integers, a chunk of 256 columns to a scale
 * (kernels.h), and come as two planes of 8 bits, 256·high + low. Four columns of eight
 * rows meet the same four of x; the 32 columns of a group are summed in integers, which
 * is exact, and what is floating is summed group after group and chunk after chunk,
 * whatever is computed beside it. */

#include "../four_bits.h"

enum {
  PANEL_COLS = 256,
  PANEL_GROUPS = 8,
  PANEL_MOST = 32639, /* what the largest |x| of a chunk becomes: 127·256 + 127 */
  /* Chunks of all vectors that are prepared at once, on the stack: 73 KB. */
  SPAN_CHUNKS = 128,
  SPAN_VECTORS = 16,
  /* Panels for one vector, and vectors for one panel, whose sums fit the registers. */
  PANELS_AT_ONCE = 4,
  VECTORS_AT_ONCE = 4,
};

/* Of a vector: x = scale·(256·high + low), and the sums of that over each group. */
typedef struct {
  _Alignas(32) int8_t high[PANEL_COLS], low[PANEL_COLS];
  float sums[PANEL_GROUPS], scale;
} Planes;

/* Of n ≤ PANEL_COLS floats. What is below 2^-110 counts as zero; a chunk that is not finite makes every product
 * NaN. As integers, floats without their sign are in order. */
INLINE void
split_planes(Planes *to, const float *x, int n)
{
  float padded[PANEL_COLS];
  const float most = PANEL_MOST;
  int32_t top = 0, q[PANEL_COLS];
  float largest;

  if (n < PANEL_COLS) {
    memcpy(padded, x, n * sizeof *x);
    memset(padded + n, 0, (PANEL_COLS - n) * sizeof *x);
    x = padded;
  }
  for (int i = 0; i < PANEL_COLS; i++) {
    int32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    top = (bits & 0x7fffffff) > top ? bits & 0x7fffffff : top;
  }
  memcpy(&largest, &top, sizeof largest);
  const bool finite = top < 0x7f800000;
  const float inverse = finite && largest > 0x1p-110f ? most / largest : 0;
  to->scale = finite ? largest / most : NAN;
  for (int i = 0; i < PANEL_COLS; i++)
    q[i] = finite ? (int32_t)rintf(x[i] * inverse) : 0;
  for (int i = 0; i < PANEL_COLS; i++) {
    const int32_t high = (q[i] + 128) >> 8;
    to->high[i] = (int8_t)high;
    to->low[i] = (int8_t)(q[i] - 256 * high);
  }
  for (int g = 0; g < PANEL_GROUPS; g++) {
    int32_t sum = 0;
    for (int i = 0; i < 32; i++)
      sum += q[g * 32 + i];
    to->sums[g] = (float)sum;
  }
}

/* How panels are held: of MLX4 there are three ways. */
typedef struct {
  MoshiType type, scale_type;
} Held;

INLINE V8
panel_numbers(Held h, const uint8_t *at)
{
  const bool mlx = h.type == MOSHI_TYPE_MLX4;
  return mlx && h.scale_type == MOSHI_TYPE_F32
             ? v8_load((const float *)(const void *)at)
             : v8_halves(at, mlx && h.scale_type == MOSHI_TYPE_BF16);
}

/* Of a group of a chunk: w = scale·q + offset; of Q4_K in units of d and −dmin. */
INLINE V8
panel_scale(Held h, const uint8_t *chunk, int g)
{
  return h.type == MOSHI_TYPE_Q4_K
             ? v8_bytes(chunk + FOUR_BITS_SCALES + g * FOUR_BITS_ROWS)
             : panel_numbers(h, chunk + g * four_bits_bytes(h.type, h.scale_type));
}

INLINE V8
panel_offset(Held h, const uint8_t *chunk, int g, V8 scale)
{
  return h.type == MOSHI_TYPE_Q4_K
             ? v8_bytes(chunk + FOUR_BITS_OFFSETS + g * FOUR_BITS_ROWS)
         : h.type == MOSHI_TYPE_Q4_0
             ? v8_mul(scale, v8_set(-8))
             : panel_numbers(
                   h, chunk + four_bits_at(h.type, h.scale_type, g) + FOUR_BITS_Q);
}

/* Adds `groups` of a chunk of `panels`, `apart` from each other, and `batch` vectors to
 * their sums. */
INLINE void
panel_chunk(Held h, const uint8_t *w, size_t apart, int panels, const Planes *x,
    size_t x_step, int batch, int groups, V8 *sum)
{
  const size_t ahead = 2 * four_bits_chunk(h.type, h.scale_type);
  V8 part[PANELS_AT_ONCE * VECTORS_AT_ONCE], offset[PANELS_AT_ONCE * VECTORS_AT_ONCE];

  for (int n = 0; n < panels * batch; n++)
    part[n] = offset[n] = v8_set(0);
  for (int g = 0; g < groups; g++) {
    const uint8_t *columns = w + four_bits_at(h.type, h.scale_type, g);
    Dots dots[PANELS_AT_ONCE * VECTORS_AT_ONCE];
    for (int p = 0; batch == 1 && p < panels; p++)
      for (int at = 0; at < FOUR_BITS_Q; at += 64)
        __builtin_prefetch(columns + p * apart + ahead + at);
    for (int n = 0; n < panels * batch; n++)
      dots[n] = dots_zero();
    for (int k = 0; k < 4; k++)
      for (int half = 0; half < 2; half++)
        for (int i = 0; i < batch; i++) {
          const int first = 32 * g + 8 * k + 4 * half;
          const Four four =
              four_load(x[i * x_step].high + first, x[i * x_step].low + first);
          for (int p = 0; p < panels; p++) {
            const uint8_t *at = columns + p * apart + k * (FOUR_BITS_Q / 4);
            const Eight q = half ? eight_high(at) : eight_low(at);
            const int n = i * panels + p;
            dots[n] = dots_add(dots[n], q, four);
          }
        }
    for (int p = 0; p < panels; p++) {
      const V8 scale = panel_scale(h, w + p * apart, g);
      const V8 least = panel_offset(h, w + p * apart, g, scale);
      for (int i = 0; i < batch; i++) {
        const int n = i * panels + p;
        part[n] = v8_fma(dots_sum(dots[n]), scale, part[n]);
        offset[n] = v8_fma(v8_set(x[i * x_step].sums[g]), least, offset[n]);
      }
    }
  }
  for (int p = 0; p < panels; p++)
    for (int i = 0; i < batch; i++) {
      const int n = i * panels + p;
      const uint8_t *head = w + p * apart;
      const V8 whole = h.type == MOSHI_TYPE_Q4_K
                           ? v8_fnma(v8_halves(head + 2 * FOUR_BITS_ROWS, false),
                                 offset[n], v8_mul(v8_halves(head, false), part[n]))
                           : v8_add(part[n], offset[n]);
      sum[n] = v8_fma(whole, v8_set(x[i * x_step].scale), sum[n]);
    }
}

typedef struct {
  const MoshiRows *w;
  int first, n; /* chunks of the columns */
  const Planes *x;
  size_t x_step; /* chunks from a vector to the next */
  float *y;      /* of row r0 */
  size_t y_step;
  int r0, r1;
} PanelTile;

/* Of the rows of a panel those that are wanted: sums go on where the columns before have
 * left them, so that it does not matter how many those were. */
INLINE void
move_rows(const PanelTile *t, float *y, int panel, float *sums, bool store)
{
  for (int j = 0; j < FOUR_BITS_ROWS; j++) {
    const int row = panel * FOUR_BITS_ROWS + j;
    if (row < t->r0 || row >= t->r1)
      continue;
    if (store)
      y[row - t->r0] = sums[j];
    else
      sums[j] = y[row - t->r0];
  }
}

INLINE size_t
panel_bytes(Held h, int cols)
{
  return cols / 32 * four_bits_bytes(h.type, h.scale_type);
}

/* `panels` of them, `step` apart, for the vectors from `i` on. */
INLINE void
panel_tile(
    const PanelTile *t, Held h, int panel, int step, int panels, int i, int batch)
{
  const size_t bytes = panel_bytes(h, t->w->cols);
  const size_t chunk = four_bits_chunk(h.type, h.scale_type);
  const uint8_t *w = (const uint8_t *)t->w->data + panel * bytes + t->first * chunk;
  const Planes *x = t->x + i * t->x_step;
  V8 sum[PANELS_AT_ONCE * VECTORS_AT_ONCE];
  float sums[FOUR_BITS_ROWS] = {0};

  for (int n = 0; n < panels * batch; n++) {
    if (t->first)
      move_rows(t, t->y + (i + n / panels) * t->y_step, panel + n % panels * step, sums,
          false);
    sum[n] = v8_load(sums);
  }
  for (int c = 0; c < t->n; c++, w += chunk) {
    const int left = t->w->cols - (t->first + c) * PANEL_COLS;
    if (h.type == MOSHI_TYPE_Q4_K || left >= PANEL_COLS)
      panel_chunk(
          h, w, step * bytes, panels, x + c, t->x_step, batch, PANEL_GROUPS, sum);
    else
      panel_chunk(h, w, step * bytes, panels, x + c, t->x_step, batch, left / 32, sum);
  }
  for (int n = 0; n < panels * batch; n++) {
    v8_store(sums, sum[n]);
    move_rows(
        t, t->y + (i + n / panels) * t->y_step, panel + n % panels * step, sums, true);
  }
}

/* One vector takes its panels from as many parts of the weights: parts read in sequence
 * beside each other come faster from memory than one. */
INLINE void
panel_vector(const PanelTile *t, Held h, int p0, int p1)
{
  const int step = (p1 - p0) / PANELS_AT_ONCE;

  for (int p = p0; p < p0 + step; p++)
    panel_tile(t, h, p, step, PANELS_AT_ONCE, 0, 1);
  for (int p = p0 + PANELS_AT_ONCE * step; p < p1; p++)
    panel_tile(t, h, p, 0, 1, 0, 1);
}

/* A panel stays in the first caches for all vectors. */
INLINE void
panel_vectors(const PanelTile *t, Held h, int p0, int p1, int batch)
{
  for (int p = p0; p < p1; p++) {
    int i = 0;
    for (; i + 4 <= batch; i += 4)
      panel_tile(t, h, p, 0, 1, i, 4);
    for (; i + 2 <= batch; i += 2)
      panel_tile(t, h, p, 0, 1, i, 2);
    if (i < batch)
      panel_tile(t, h, p, 0, 1, i, 1);
  }
}

/* One vector, or several: compiled apart from what prepares them, for gcc 12 to find the
 * registers that it finds for them alone. */
typedef void (*PanelLoop)(const PanelTile *t, int p0, int p1, int batch);

#define PANEL_LOOPS(name, ...)                                                         \
  static __attribute__((noinline)) void one_##name(                                    \
      const PanelTile *t, int p0, int p1, int batch)                                   \
  {                                                                                    \
    panel_vector(t, (Held){__VA_ARGS__}, p0, p1);                                      \
  }                                                                                    \
  static __attribute__((noinline)) void some_##name(                                   \
      const PanelTile *t, int p0, int p1, int batch)                                   \
  {                                                                                    \
    panel_vectors(t, (Held){__VA_ARGS__}, p0, p1, batch);                              \
  }
PANEL_LOOPS(q4_0, MOSHI_TYPE_Q4_0, MOSHI_TYPE_F16)
PANEL_LOOPS(q4_k, MOSHI_TYPE_Q4_K, MOSHI_TYPE_F16)
PANEL_LOOPS(mlx4_f32, MOSHI_TYPE_MLX4, MOSHI_TYPE_F32)
PANEL_LOOPS(mlx4_f16, MOSHI_TYPE_MLX4, MOSHI_TYPE_F16)
PANEL_LOOPS(mlx4_bf16, MOSHI_TYPE_MLX4, MOSHI_TYPE_BF16)

static void
panels_times(float *y, size_t y_step, const MoshiRows *w, const float *x, size_t x_step,
    int r0, int r1, int batch, PanelLoop one, PanelLoop several)
{
  Planes planes[SPAN_CHUNKS];
  const int all = (w->cols + PANEL_COLS - 1) / PANEL_COLS, p0 = r0 / FOUR_BITS_ROWS,
            p1 = (r1 + FOUR_BITS_ROWS - 1) / FOUR_BITS_ROWS;

  for (int done = 0; done < batch; done += SPAN_VECTORS) {
    const int some = batch - done < SPAN_VECTORS ? batch - done : SPAN_VECTORS;
    const int span = SPAN_CHUNKS / some;
    PanelTile t = {.w = w,
        .x = planes,
        .y = y + done * y_step,
        .y_step = y_step,
        .r0 = r0,
        .r1 = r1};
    for (t.first = 0; t.first < all; t.first += span) {
      t.n = all - t.first < span ? all - t.first : span;
      t.x_step = t.n;
      for (int i = 0; i < some; i++)
        for (int c = 0; c < t.n; c++) {
          const int at = (t.first + c) * PANEL_COLS, left = w->cols - at;
          split_planes(planes + i * t.x_step + c, x + (done + i) * x_step + at,
              left < PANEL_COLS ? left : PANEL_COLS);
        }
      (some == 1 ? one : several)(&t, p0, p1, some);
    }
  }
}

static void
tier_matvec_panels_q4_0(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch)
{
  panels_times(y, y_step, w, x, x_step, r0, r1, batch, one_q4_0, some_q4_0);
}

static void
tier_matvec_panels_q4_k(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch)
{
  panels_times(y, y_step, w, x, x_step, r0, r1, batch, one_q4_k, some_q4_k);
}

static void
tier_matvec_panels_mlx4(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch)
{
  static const PanelLoop loops[][2] = {[MOSHI_TYPE_F32] = {one_mlx4_f32, some_mlx4_f32},
      [MOSHI_TYPE_F16] = {one_mlx4_f16, some_mlx4_f16},
      [MOSHI_TYPE_BF16] = {one_mlx4_bf16, some_mlx4_bf16}};
  panels_times(y, y_step, w, x, x_step, r0, r1, batch, loops[w->scale_type][0],
      loops[w->scale_type][1]);
}

INLINE void
four_bits_init(MoshiKernels *k)
{
  k->matvec_panels[MOSHI_TYPE_Q4_0] = tier_matvec_panels_q4_0;
  k->matvec_panels[MOSHI_TYPE_Q4_K] = tier_matvec_panels_q4_k;
  k->matvec_panels[MOSHI_TYPE_MLX4] = tier_matvec_panels_mlx4;
}
