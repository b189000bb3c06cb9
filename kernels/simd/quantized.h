/* Rows of weights of 8 bits times a few vectors (those of 4: four_bits.h).
 *
 * The vectors are rounded to 16-bit integers, a chunk of 256 columns to a scale
 * (kernels.h), so that a product of 32 columns is exact integer arithmetic, and is
 * scaled once. Integers may be summed in any order; what is floating is summed in one
 * that depends on the row alone: lanes over a segment of chunks, and segment after
 * segment. */

enum {
  CHUNK = 256,
  GROUP = 32, /* columns that share a scale, at least */
  GROUPS = CHUNK / GROUP,
  SEGMENT = 8, /* chunks */
  /* Chunks that are prepared at once, on the stack: 72 KB. */
  SPAN = 128,
  QUANTIZED_ROWS = 4,
  QUANTIZED_BATCH = 8,
  QUANTIZED_TILE = 16,
  QUANTIZED_AHEAD = 1024, /* bytes */
  MOST_VECTORS = SPAN / SEGMENT,
};

/* What the largest |x| of a chunk becomes. */
#ifndef G_MOST
#define G_MOST 32767
#endif

/* A part of a vector: scale·x, and the sums of x over each group. */
typedef struct {
  _Alignas(64) int16_t x[CHUNK];
  float sums[GROUPS];
  float scale;
} Chunk;

/* Bytes of a block, for compilers to know. */
INLINE size_t
block_bytes(MoshiType type)
{
  return type == MOSHI_TYPE_Q8_0 ? 34 : 32;
}

INLINE size_t
row_bytes(MoshiType type, int cols)
{
  if (type == MOSHI_TYPE_I8)
    return cols;
  return cols / GROUP * block_bytes(type);
}

INLINE const char *
at_chunk(const MoshiRows *w, MoshiType type, int row, int chunk)
{
  return (const char *)w->data + row * row_bytes(type, w->cols) +
         chunk * row_bytes(type, CHUNK);
}

/* n ≤ CHUNK floats. What is below 2^-110 counts as zero; a chunk that is not finite
 * makes every product NaN. */
INLINE void
prepare_chunk(Chunk *to, const float *x, int n)
{
  V most = v_set(0), zero = v_set(0);
  int i = 0;

  for (; i + V_WIDTH <= n; i += V_WIDTH) {
    most = v_max(v_abs(v_load(x + i)), most);
    zero = v_fma(v_load(x + i), v_set(0), zero);
  }
  if (i < n) {
    most = v_max(v_abs(v_load_some(x + i, n - i)), most);
    zero = v_fma(v_load_some(x + i, n - i), v_set(0), zero);
  }
  const float largest = v_largest(most);
  const bool finite = v_sum(zero) == 0;
  const float inverse = finite && largest > 0x1p-110f ? G_MOST / largest : 0;
  to->scale = finite ? largest / G_MOST : NAN;
  if (!finite)
    n = 0;
  for (i = 0; i < n; i++)
    to->x[i] = (int16_t)rintf(x[i] * inverse);
  memset(to->x + n, 0, (CHUNK - n) * sizeof *to->x);
  for (int g = 0; g < GROUPS; g++) {
    int sum = 0;
    for (i = 0; i < GROUP; i++)
      sum += to->x[g * GROUP + i];
    to->sums[g] = (float)sum;
#ifdef G_PREPARE
    G_PREPARE(to->x + g * GROUP);
#endif
  }
}

/* ----------------------------------------------------------------- scales */

/* Of the groups of a chunk: w = scales·q + offsets. */
typedef struct {
  _Alignas(32) float scales[GROUPS], offsets[GROUPS];
} ChunkScales;

/* Whether weights come sooner when they are asked for ahead. Of most types, read for one
 * vector, the processor finds out for itself what comes next, and asking takes 6 to 20 %
 * longer. */
INLINE bool
asked_for(MoshiType type, int batch)
{
  return batch > 1 || type == MOSHI_TYPE_I8;
}

INLINE bool
has_offsets(MoshiType type)
{
  return type == MOSHI_TYPE_MLX8;
}

/* Halves at every `stride` bytes, `groups` of them, and zeros. */
INLINE V
load_apart(const char *at, size_t stride, int groups)
{
  if (groups == GROUPS)
    return v_load_f16_apart(at, stride);
  uint16_t halves[GROUPS] = {0};
  for (int g = 0; g < groups; g++)
    memcpy(halves + g, at + g * stride, 2);
  return v_load_halves(halves, GROUPS, false);
}

/* Those of the groups of 32 of a chunk, from those of `per` of them each. */
INLINE V
mlx_scales(const char *from, MoshiType type, int per, int groups)
{
  const size_t size = type == MOSHI_TYPE_F32 ? 4 : 2;
  if (groups == GROUPS)
    return v_load_repeated(from, type == MOSHI_TYPE_F32, type == MOSHI_TYPE_BF16, per);
  float all[GROUPS] = {0};
  for (int g = 0; g < groups; g++) {
    const char *at = from + g / per * size;
    const V one = type == MOSHI_TYPE_F32
                      ? v_load_some((const float *)(const void *)at, 1)
                      : v_load_halves(at, 1, type == MOSHI_TYPE_BF16);
    v_store_some(all + g, one, 1);
  }
  return v_load_eight(all);
}

/* ------------------------------------------------------------------ tiles */

typedef struct {
  const MoshiRows *w;
  int row, first, n; /* chunks [first, first + n) of the columns */
  const Chunk *x;    /* the first of them */
  int x_step;        /* chunks from a vector to the next */
  float *y;
  size_t y_step;
} QuantizedTile;

INLINE void
load_scales(ChunkScales *s, const MoshiRows *w, MoshiType type, const char *at, int row,
    int chunk, int groups)
{
  if (type == MOSHI_TYPE_Q8_0) {
    v_store_eight(s->scales, load_apart(at, 34, groups));
  } else if (type == MOSHI_TYPE_MLX8) {
    const MoshiType stored = w->scale_type;
    const size_t first = (size_t)row * (w->cols / w->group) + chunk * CHUNK / w->group;
    const size_t offset = first * (stored == MOSHI_TYPE_F32 ? 4 : 2);
    const int per = w->group / GROUP;
    v_store_eight(
        s->scales, mlx_scales((const char *)w->scales + offset, stored, per, groups));
    v_store_eight(
        s->offsets, mlx_scales((const char *)w->biases + offset, stored, per, groups));
  }
}

/* Group g of a chunk, of n columns. */
INLINE G
load_group(MoshiType type, const char *at, int g, int n)
{
  switch (type) {
  case MOSHI_TYPE_I8:
    if (n < GROUP) {
      char some[GROUP] = {0};
      memcpy(some, at + g * GROUP, n);
      return g_bytes(some, true);
    }
    return g_bytes(at + g * GROUP, true);
  case MOSHI_TYPE_Q8_0:
    return g_bytes(at + g * 34 + 2, true);
  default: /* MLX8 */
    return g_bytes(at + g * GROUP, false);
  }
}

/* Adds chunk `chunk`, of n columns, of some rows, `step` apart, and vectors to their
 * sums. */
INLINE void
quantized_chunk(const QuantizedTile *t, MoshiType type, int row, int step, int rows,
    int batch, int chunk, int n, V *sum)
{
  const Chunk *x = t->x + (chunk - t->first);
  const int groups = (n + GROUP - 1) / GROUP;
  const size_t apart = step * row_bytes(type, t->w->cols);
  const char *at = at_chunk(t->w, type, row, chunk);
  ChunkScales s[QUANTIZED_ROWS];
  V part[QUANTIZED_BATCH];
  I whole[QUANTIZED_BATCH]; /* of I8, whose scale is the row's */

  for (int j = 0; j < rows; j++) {
    load_scales(&s[j], t->w, type, at + j * apart, row + j * step, chunk, groups);
    for (size_t p = 0; asked_for(type, batch) && p < row_bytes(type, CHUNK); p += 64)
      __builtin_prefetch(at + j * apart + QUANTIZED_AHEAD + p);
    for (int i = 0; i < batch; i++) {
      if (has_offsets(type))
        part[i * rows + j] =
            v_mul(v_load_eight(s[j].offsets), v_load_eight(x[i * t->x_step].sums));
      else
        part[i * rows + j] = v_set(0);
      whole[i * rows + j] = i_zero();
    }
  }
  for (int g = 0; g < groups; g += 2)
    for (int j = 0; j < rows; j++)
      for (int h = g; h < g + 2 && h < groups; h++) {
        const G w = load_group(type, at + j * apart, h, n - h * GROUP);
        for (int i = 0; i < batch; i++) {
          const I dot = g_dot(w, x[i * t->x_step].x + h * GROUP);
          if (type == MOSHI_TYPE_I8)
            whole[i * rows + j] = i_add(whole[i * rows + j], dot);
          else
            part[i * rows + j] =
                v_fma(v_from_i(dot), v_set(s[j].scales[h]), part[i * rows + j]);
        }
      }
  for (int i = 0; i < batch; i++)
    for (int j = 0; j < rows; j++) {
      const V p =
          type == MOSHI_TYPE_I8 ? v_from_i(whole[i * rows + j]) : part[i * rows + j];
      sum[i * rows + j] = v_fma(p, v_set(x[i * t->x_step].scale), sum[i * rows + j]);
    }
}

/* `most` rows, `step` apart, `rows` at a time, for `batch` vectors, whose chunk stays in
 * the first cache meanwhile. */
INLINE void
quantized_tile(const QuantizedTile *t, MoshiType type, int row, int step, int most,
    int rows, int batch)
{
  const int end = t->first + t->n;
  float *y = t->y + (row - t->row);

  for (int c0 = t->first; c0 < end; c0 += SEGMENT) {
    const int c1 = c0 + SEGMENT < end ? c0 + SEGMENT : end;
    V sum[QUANTIZED_TILE * QUANTIZED_BATCH];
    for (int i = 0; i < most * batch; i++)
      sum[i] = v_set(0);
    for (int c = c0; c < c1; c++) {
      const int left = t->w->cols - c * CHUNK;
      for (int j = 0; j < most; j += rows)
        if (left >= CHUNK)
          quantized_chunk(
              t, type, row + j * step, step, rows, batch, c, CHUNK, sum + j * batch);
        else
          quantized_chunk(
              t, type, row + j * step, step, rows, batch, c, left, sum + j * batch);
    }
    for (int j = 0; j < most; j++)
      for (int i = 0; i < batch; i++) {
        float *to = y + i * t->y_step + j * step;
        const float s = v_sum(sum[j / rows * rows * batch + i * rows + j % rows]);
        *to = c0 ? *to + s : s;
      }
  }
}

/* One to eight prepared vectors. A single one takes its rows from `most` parts of the
 * weights in turn: parts read in sequence beside each other come faster from memory than
 * one. */
INLINE void
quantized_rows(
    const QuantizedTile *t, MoshiType type, int n_rows, int most, int rows, int batch)
{
  const int end = t->row + n_rows, step = batch == 1 ? n_rows / most : 1;
  int r = t->row;
  if (batch == 1) {
    for (; r < t->row + step; r++)
      quantized_tile(t, type, r, step, most, rows, batch);
    r = t->row + step * most;
  }
  for (; r + most <= end; r += most)
    quantized_tile(t, type, r, 1, most, rows, batch);
  for (; r < end; r++)
    quantized_tile(t, type, r, 1, 1, 1, batch);
}

INLINE void
quantized_batch(QuantizedTile t, MoshiType type, int n_rows, int batch)
{
  while (batch > 0) {
    const int n = batch >= 8 ? 8 : batch >= 4 ? 4 : batch >= 2 ? 2 : 1;
    if (n == 8)
      quantized_rows(&t, type, n_rows, QUANTIZED_TILE, 1, 8);
    else if (n == 4)
      quantized_rows(&t, type, n_rows, QUANTIZED_TILE, 1, 4);
    else if (n == 2)
      quantized_rows(&t, type, n_rows, QUANTIZED_TILE, 2, 2);
    else
      quantized_rows(&t, type, n_rows, QUANTIZED_ROWS, QUANTIZED_ROWS, 1);
    t.y += n * t.y_step;
    t.x += n * t.x_step;
    batch -= n;
  }
}

INLINE void
prepare(Chunk *to, int n, const MoshiRows *w, const float *x, size_t x_step, int first,
    int n_chunks)
{
  for (int i = 0; i < n; i++)
    for (int c = 0; c < n_chunks; c++) {
      const int at = (first + c) * CHUNK, left = w->cols - at;
      prepare_chunk(
          to + i * n_chunks + c, x + i * x_step + at, left < CHUNK ? left : CHUNK);
    }
}

/* I8's scales are applied to whole sums. */
INLINE void
scale_rows(float *y, const MoshiRows *w, int r0, int r1)
{
  for (int r = r0; r < r1; r++) {
    float scale;
    memcpy(&scale, (const char *)w->scales + sizeof scale * (size_t)r, sizeof scale);
    y[r - r0] *= scale;
  }
}

INLINE void
quantized(float *y, size_t y_step, const MoshiRows *w, const float *x, size_t x_step,
    int r0, int r1, int batch, MoshiType type)
{
  Chunk chunks[SPAN];
  const int all = (w->cols + CHUNK - 1) / CHUNK;

  while (batch > 0) {
    const int n = batch < MOST_VECTORS ? batch : MOST_VECTORS;
    const int span = SPAN / n / SEGMENT * SEGMENT;
    for (int first = 0; first < all; first += span) {
      const int here = all - first < span ? all - first : span;
      prepare(chunks, n, w, x, x_step, first, here);
      quantized_batch((QuantizedTile){w, r0, first, here, chunks, here, y, y_step},
          type, r1 - r0, n);
    }
    for (int i = 0; i < n && type == MOSHI_TYPE_I8; i++)
      scale_rows(y + i * y_step, w, r0, r1);
    batch -= n;
    x += n * x_step;
    y += n * y_step;
  }
}

#define QUANTIZED(name, type)                                                          \
  static void tier_matvec_##name(float *y, size_t y_step, const MoshiRows *w,          \
      const float *x, size_t x_step, int r0, int r1, int batch)                        \
  {                                                                                    \
    quantized(y, y_step, w, x, x_step, r0, r1, batch, type);                           \
  }
QUANTIZED(i8, MOSHI_TYPE_I8)
QUANTIZED(q8_0, MOSHI_TYPE_Q8_0)
QUANTIZED(mlx8, MOSHI_TYPE_MLX8)
