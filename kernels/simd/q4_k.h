/* Panels of Q4_K (MoshiQ4kPanel) times a few vectors.
 *
 * The vectors are rounded to 16-bit integers, a chunk of 256 columns to a scale
 * (kernels.h), and come as two planes of 8 bits, 256·high + low. Four columns of eight
 * rows meet the same four of x; the 32 columns of a group are summed in integers, which
 * is exact, and what is floating is summed group after group and chunk after chunk,
 * whatever is computed beside it. */

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

/* What is below 2^-110 counts as zero; a chunk that is not finite makes every product
 * NaN. As integers, floats without their sign are in order. */
INLINE void
split_planes(Planes *to, const float *x)
{
  const float most = PANEL_MOST;
  int32_t top = 0, q[PANEL_COLS];
  float largest;

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

/* Adds a chunk of `panels`, `apart` from each other, and `batch` vectors to their
 * sums. */
INLINE void
panel_chunk(const MoshiQ4kPanel *w, size_t apart, int panels, const Planes *x,
    size_t x_step, int batch, V8 *sum)
{
  V8 part[PANELS_AT_ONCE * VECTORS_AT_ONCE], offset[PANELS_AT_ONCE * VECTORS_AT_ONCE];

  for (int n = 0; n < panels * batch; n++)
    part[n] = offset[n] = v8_set(0);
  for (int g = 0; g < PANEL_GROUPS; g++) {
    Dots dots[PANELS_AT_ONCE * VECTORS_AT_ONCE];
    for (int n = 0; n < panels * batch; n++)
      dots[n] = dots_zero();
      /* Unrolled, gcc 12 adds up in another order and runs out of registers. */
#pragma GCC unroll 1
    for (int k = 0; k < 4; k++)
      for (int h = 0; h < 2; h++)
        for (int i = 0; i < batch; i++) {
          const int first = 32 * g + 8 * k + 4 * h;
          const Four four =
              four_load(x[i * x_step].high + first, x[i * x_step].low + first);
          for (int p = 0; p < panels; p++) {
            const uint8_t *at = w[p * apart].q[g][k][0];
            const Eight q = h ? eight_high(at) : eight_low(at);
            const int n = i * panels + p;
            if (batch == 1 && h && k % 2 == 0)
              __builtin_prefetch(at + 2 * sizeof *w);
            dots[n] = dots_add(dots[n], q, four);
          }
        }
    for (int p = 0; p < panels; p++) {
      const V8 scale = v8_bytes(w[p * apart].scales[g]);
      const V8 least = v8_bytes(w[p * apart].offsets[g]);
      for (int i = 0; i < batch; i++) {
        const int n = i * panels + p;
        part[n] = v8_fma(dots_sum(dots[n]), scale, part[n]);
        offset[n] = v8_fma(v8_set(x[i * x_step].sums[g]), least, offset[n]);
      }
    }
  }
  for (int p = 0; p < panels; p++) {
    const V8 d = v8_halves(w[p * apart].d), dmin = v8_halves(w[p * apart].dmin);
    for (int i = 0; i < batch; i++) {
      const int n = i * panels + p;
      const V8 whole = v8_fnma(dmin, offset[n], v8_mul(d, part[n]));
      sum[n] = v8_fma(whole, v8_set(x[i * x_step].scale), sum[n]);
    }
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
  for (int j = 0; j < MOSHI_Q4_K_ROWS; j++) {
    const int row = panel * MOSHI_Q4_K_ROWS + j;
    if (row < t->r0 || row >= t->r1)
      continue;
    if (store)
      y[row - t->r0] = sums[j];
    else
      sums[j] = y[row - t->r0];
  }
}

/* `panels` of them, `step` apart, for the vectors from `i` on. */
INLINE void
panel_tile(const PanelTile *t, int panel, int step, int panels, int i, int batch)
{
  const size_t all = t->w->cols / PANEL_COLS;
  const MoshiQ4kPanel *w =
      (const MoshiQ4kPanel *)t->w->data + (size_t)panel * all + t->first;
  const Planes *x = t->x + i * t->x_step;
  V8 sum[PANELS_AT_ONCE * VECTORS_AT_ONCE];
  float sums[MOSHI_Q4_K_ROWS] = {0};

  for (int n = 0; n < panels * batch; n++) {
    if (t->first)
      move_rows(t, t->y + (i + n / panels) * t->y_step, panel + n % panels * step, sums,
          false);
    sum[n] = v8_load(sums);
  }
  for (int c = 0; c < t->n; c++)
    panel_chunk(w + c, step * all, panels, x + c, t->x_step, batch, sum);
  for (int n = 0; n < panels * batch; n++) {
    v8_store(sums, sum[n]);
    move_rows(
        t, t->y + (i + n / panels) * t->y_step, panel + n % panels * step, sums, true);
  }
}

/* One vector takes its panels from as many parts of the weights: parts read in sequence
 * beside each other come faster from memory than one. */
static __attribute__((noinline)) void
panel_vector(const PanelTile *t, int p0, int p1)
{
  const int step = (p1 - p0) / PANELS_AT_ONCE;

  for (int p = p0; p < p0 + step; p++)
    panel_tile(t, p, step, PANELS_AT_ONCE, 0, 1);
  for (int p = p0 + PANELS_AT_ONCE * step; p < p1; p++)
    panel_tile(t, p, 0, 1, 0, 1);
}

/* A panel stays in the first caches for all vectors. */
static __attribute__((noinline)) void
panel_vectors(const PanelTile *t, int p0, int p1, int batch)
{
  for (int p = p0; p < p1; p++) {
    int i = 0;
    for (; i + 4 <= batch; i += 4)
      panel_tile(t, p, 0, 1, i, 4);
    for (; i + 2 <= batch; i += 2)
      panel_tile(t, p, 0, 1, i, 2);
    if (i < batch)
      panel_tile(t, p, 0, 1, i, 1);
  }
}

static void
tier_matvec_q4_k_panels(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch)
{
  Planes planes[SPAN_CHUNKS];
  const int all = w->cols / PANEL_COLS, p0 = r0 / MOSHI_Q4_K_ROWS,
            p1 = (r1 + MOSHI_Q4_K_ROWS - 1) / MOSHI_Q4_K_ROWS;

  for (int done = 0; done < batch; done += SPAN_VECTORS) {
    const int some = batch - done < SPAN_VECTORS ? batch - done : SPAN_VECTORS;
    const int span = SPAN_CHUNKS / some;
    PanelTile t = {.w = w, .x = planes, .y = y + done * y_step, .y_step = y_step};
    t.r0 = r0;
    t.r1 = r1;
    for (t.first = 0; t.first < all; t.first += span) {
      t.n = all - t.first < span ? all - t.first : span;
      t.x_step = t.n;
      for (int i = 0; i < some; i++)
        for (int c = 0; c < t.n; c++)
          split_planes(planes + i * t.x_step + c,
              x + (done + i) * x_step + (size_t)(t.first + c) * PANEL_COLS);
      if (some == 1)
        panel_vector(&t, p0, p1);
      else
        panel_vectors(&t, p0, p1, some);
    }
  }
}
