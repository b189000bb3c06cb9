/* Rows of weights of 8 bits times a few vectors, in integers of 16 bits.
 *
 * A vector x is first rounded, CHUNK columns to a common scale of max|x|/32767,
 * which moves a product by less than f32 itself would over some dozens of columns.
 * Weights then meet x as pairs of 16 bits (vpmaddwd, vpdpwssd) whose
 * sums are exact, and f32 has only to add a block's sum times its scale.
 *
 * What the machine has and is not used, as x must not be rounded more coarsely:
 * vpdpbusd takes x of 8 bits, and in two planes of 8 bits it needs as many
 * instructions as 16 bits at once; vdpbf16ps takes x of 8 bits, too, and a product
 * with bf16 weights waits for memory anyway. */
enum {
  CHUNK = 256,
  BLOCK_COLS = 32,
  CHUNK_BLOCKS = CHUNK / BLOCK_COLS,
  /* Columns of x that are rounded at a time: as many as models have, so that
   * longer rows alone are taken in parts. */
  SEGMENT = 48 * CHUNK,
  MAX_INTEGER_BATCH = 4,
  MAX_INTEGER_ROWS = 4,
  MAX_INTEGER_SUMS = 8,
};

typedef struct {
  int16_t q[SEGMENT];
  float sums[SEGMENT / BLOCK_COLS];
  float scales[SEGMENT / CHUNK];
} __attribute__((aligned(64))) Rounded;

/* ------------------------------------------------------------- rounding of x */

/* Where column c of 32 lies after _mm512_packs_epi32 of its halves. */
#define AT(c) ((c) % 16 / 4 * 8 + (c) / 16 * 4 + (c) % 4)
#define EIGHT(from)                                                                    \
  AT(from), AT(from + 1), AT(from + 2), AT(from + 3), AT(from + 4), AT(from + 5),      \
      AT(from + 6), AT(from + 7)

/* The columns in their order again. */
static const uint16_t in_order[32]
    __attribute__((aligned(64))) = {EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)};

/* The largest |x| of n ≤ CHUNK, NaN above all: as integers, floats without their
 * sign are in order. */
INLINE float
largest_magnitude(const float *x, int n)
{
  __m512i top = _mm512_setzero_si512();
  for (int i = 0; i < n; i += 16) {
    const __m512i bits = _mm512_castps_si512(v_load_some(x + i, n - i));
    top = _mm512_max_epi32(top, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
  }
  const int32_t largest = _mm512_reduce_max_epi32(top);
  float magnitude;
  memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

/* n columns, and zeros to the end of the last chunk. An x beyond f32 makes its
 * chunk's scale so, and the product with it. */
static void
round_vector(Rounded *r, const float *x, int n)
{
  const __m512i order = _mm512_load_si512(in_order);

  for (int c = 0; c < n; c += CHUNK) {
    const int left = n - c < CHUNK ? n - c : CHUNK;
    float inverse = 32767 / largest_magnitude(x + c, left);
    if (inverse > 0x1p127f)
      inverse = 0x1p127f;
    const float scale = r->scales[c / CHUNK] = 1 / inverse;
    for (int i = c; i < c + CHUNK; i += BLOCK_COLS) {
      const V a = v_load_some(x + i, n - i), b = v_load_some(x + i + 16, n - i - 16);
      const __m512i low = _mm512_cvtps_epi32(v_mul(a, v_set(inverse)));
      const __m512i high = _mm512_cvtps_epi32(v_mul(b, v_set(inverse)));
      _mm512_store_si512(
          r->q + i, _mm512_permutexvar_epi16(order, _mm512_packs_epi32(low, high)));
      r->sums[i / BLOCK_COLS] =
          scale * (float)_mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
    }
  }
}

/* ------------------------------------------------------------------- weights */

/* Bytes of 32 weights, for the compiler to know. */
INLINE size_t
block_bytes(MoshiType type)
{
  return type == MOSHI_TYPE_Q8_0 ? 34 : 32;
}

INLINE size_t
chunk_bytes(MoshiType type)
{
  return CHUNK_BLOCKS * block_bytes(type);
}

/* 32 weights as integers of 16 bits, from those of a chunk on; n < 32 of I8 alone. */
INLINE __m512i
unpack(MoshiType type, const uint8_t *chunk, int block, int n)
{
  const size_t head = type == MOSHI_TYPE_Q8_0 ? 2 : 0;
  const uint8_t *q = chunk + block * block_bytes(type) + head;

  if (type == MOSHI_TYPE_I8 && n < BLOCK_COLS)
    return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8((1u << n) - 1, q));
  const __m256i bytes = _mm256_loadu_si256((const __m256i *)q);
  return type == MOSHI_TYPE_MLX8 ? _mm512_cvtepu8_epi16(bytes)
                                 : _mm512_cvtepi8_epi16(bytes);
}

INLINE __m256
low_lanes(__m256 v, int n)
{
  return _mm256_maskz_mov_ps((__mmask8)((1u << n) - 1), v);
}

/* n ≤ 8 stored floats, and zeros. */
INLINE __m256
load_scales(MoshiType type, const char *x, int n)
{
  const __mmask8 mask = (__mmask8)((1u << n) - 1);
  if (type == MOSHI_TYPE_F32)
    return _mm256_maskz_loadu_ps(mask, x);
  const __m128i h = _mm_maskz_loadu_epi16(mask, x);
  return type == MOSHI_TYPE_F16
             ? _mm256_cvtph_ps(h)
             : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The f16 at the head of each of n ≤ 8 blocks, and zeros. */
INLINE __m256
head_scales(const uint8_t *chunk, int n, size_t bytes)
{
  uint16_t d[CHUNK_BLOCKS] = {0};
  for (int i = 0; i < n; i++)
    memcpy(&d[i], chunk + i * bytes, 2);
  return _mm256_cvtph_ps(_mm_setr_epi16((short)d[0], (short)d[1], (short)d[2],
      (short)d[3], (short)d[4], (short)d[5], (short)d[6], (short)d[7]));
}

/* A group of 64 or 128 columns is 2 or 4 blocks. */
INLINE void
mlx_scales(const MoshiRows *w, int row, int col, int n, __m256 *scales, __m256 *offsets)
{
  const size_t size = w->scale_type == MOSHI_TYPE_F32 ? 4 : 2;
  const size_t at = ((size_t)row * (w->cols / w->group) + col / w->group) * size;
  const int shift = w->group == 32 ? 0 : w->group == 64 ? 1 : 2, groups = n >> shift;
  const __m256i block = _mm256_srl_epi32(
      _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm_cvtsi32_si128(shift));
  const __m256 s = load_scales(w->scale_type, (const char *)w->scales + at, groups);
  const __m256 b = load_scales(w->scale_type, (const char *)w->biases + at, groups);
  *scales = low_lanes(_mm256_permutevar8x32_ps(s, block), n);
  *offsets = low_lanes(_mm256_permutevar8x32_ps(b, block), n);
}

INLINE bool
has_offsets(MoshiType type)
{
  return type == MOSHI_TYPE_MLX8;
}

/* Of a chunk's n blocks: a weight is scale·q + offset. */
INLINE void
chunk_scales(const MoshiRows *w, MoshiType type, int row, int col, const uint8_t *chunk,
    int n, __m256 *scales, __m256 *offsets)
{
  if (has_offsets(type))
    mlx_scales(w, row, col, n, scales, offsets);
  else
    *scales = head_scales(chunk, n, block_bytes(type));
}

/* ------------------------------------------------------------------- product */

typedef struct {
  const MoshiRows *w;
  const Rounded *x;
  int row, col, n; /* rows from row on, n columns from col on */
  float *y;
  size_t y_step;
} IntegerTile;

INLINE float
sum8(__m256 v)
{
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* What a row's sum is still to be multiplied with. */
INLINE float
row_scale(const MoshiRows *w, MoshiType type, int row)
{
  float scale = 1;
  if (type == MOSHI_TYPE_I8)
    memcpy(&scale, (const char *)w->scales + row * sizeof scale, sizeof scale);
  return scale;
}

/* The sums of one chunk of `left` ≤ CHUNK columns, column c of the tile on. The
 * weights of the tile after this one are asked for meanwhile. */
INLINE void
integer_chunk(const IntegerTile *t, MoshiType type, int rows, int batch, int c,
    int left, const uint8_t *chunk, size_t row_bytes, V *sum, __m256 *offset)
{
  const int blocks = (left + BLOCK_COLS - 1) / BLOCK_COLS;
  float scales[MAX_INTEGER_ROWS][CHUNK_BLOCKS] __attribute__((aligned(32)));
  __m512i whole[MAX_INTEGER_SUMS]; /* I8's chunks have no scales within */

  for (int j = 0; type != MOSHI_TYPE_I8 && j < rows; j++) {
    __m256 s, o;
    chunk_scales(
        t->w, type, t->row + j, t->col + c, chunk + j * row_bytes, blocks, &s, &o);
    _mm256_store_ps(scales[j], s);
    for (int i = 0; has_offsets(type) && i < batch; i++)
      offset[i * rows + j] = _mm256_fmadd_ps(
          o, _mm256_loadu_ps(t->x[i].sums + c / BLOCK_COLS), offset[i * rows + j]);
  }
  for (int j = 0; j < rows; j++)
    for (size_t at = 0; at < chunk_bytes(type); at += 64)
      __builtin_prefetch(chunk + (rows + j) * row_bytes + at);
  for (int k = 0; k < rows * batch; k++) {
    sum[k] = v_set(0);
    whole[k] = _mm512_setzero_si512();
  }
  for (int b = 0; b < blocks; b++) {
    __m512i q[MAX_INTEGER_ROWS];
    for (int j = 0; j < rows; j++)
      q[j] = unpack(type, chunk + j * row_bytes, b, left - b * BLOCK_COLS);
    for (int i = 0; i < batch; i++) {
      const __m512i x = _mm512_load_si512(t->x[i].q + c + b * BLOCK_COLS);
      for (int j = 0; j < rows; j++) {
        const int k = i * rows + j;
        if (type == MOSHI_TYPE_I8)
          whole[k] = _mm512_dpwssd_epi32(whole[k], q[j], x);
        else
          sum[k] = v_fma(_mm512_cvtepi32_ps(_mm512_madd_epi16(q[j], x)),
              v_set(scales[j][b]), sum[k]);
      }
    }
  }
  for (int k = 0; type == MOSHI_TYPE_I8 && k < rows * batch; k++)
    sum[k] = _mm512_cvtepi32_ps(whole[k]);
}

/* `rows` by `batch`, both and `type` known to the compiler. */
INLINE void
integer_tile(const IntegerTile *t, MoshiType type, int rows, int batch)
{
  const size_t row_bytes = moshi_rows_bytes(type, t->w->cols);
  const uint8_t *chunk = (const uint8_t *)t->w->data + t->row * row_bytes +
                         t->col / CHUNK * chunk_bytes(type);
  V total[MAX_INTEGER_SUMS], sum[MAX_INTEGER_SUMS];
  __m256 offset[MAX_INTEGER_SUMS];

  for (int k = 0; k < rows * batch; k++) {
    total[k] = v_set(0);
    offset[k] = _mm256_setzero_ps();
  }
  for (int c = 0; c < t->n; c += CHUNK, chunk += chunk_bytes(type)) {
    if (c + CHUNK <= t->n)
      integer_chunk(t, type, rows, batch, c, CHUNK, chunk, row_bytes, sum, offset);
    else
      integer_chunk(t, type, rows, batch, c, t->n - c, chunk, row_bytes, sum, offset);
    for (int k = 0; k < rows * batch; k++)
      total[k] = v_fma(sum[k], v_set(t->x[k / rows].scales[c / CHUNK]), total[k]);
  }
  for (int k = 0; k < rows * batch; k++) {
    float *y = t->y + k / rows * t->y_step + k % rows;
    float part = v_sum(total[k]) * row_scale(t->w, type, t->row + k % rows);
    if (has_offsets(type))
      part += sum8(offset[k]);
    *y = t->col ? *y + part : part;
  }
}

INLINE void
integer_rows(IntegerTile t, MoshiType type, int n_rows, int rows, int batch)
{
  int r = 0;
  for (; r + rows <= n_rows; r += rows, t.row += rows, t.y += rows)
    integer_tile(&t, type, rows, batch);
  for (; r < n_rows; r++, t.row++, t.y++)
    integer_tile(&t, type, 1, batch);
}

INLINE void
integer_matvec(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch, MoshiType type)
{
  Rounded rounded[MAX_INTEGER_BATCH];

  for (int i = 0; i < batch; i += MAX_INTEGER_BATCH) {
    const int items = batch - i < MAX_INTEGER_BATCH ? batch - i : MAX_INTEGER_BATCH;
    for (int col = 0; col < w->cols; col += SEGMENT) {
      const int n = w->cols - col < SEGMENT ? w->cols - col : SEGMENT;
      const IntegerTile t = {w, rounded, r0, col, n, y + i * y_step, y_step};
      for (int j = 0; j < items; j++)
        round_vector(&rounded[j], x + (i + j) * x_step + col, n);
      if (items == 4)
        integer_rows(t, type, r1 - r0, 2, 4);
      else if (items == 3)
        integer_rows(t, type, r1 - r0, 2, 3);
      else if (items == 2)
        integer_rows(t, type, r1 - r0, 4, 2);
      else
        integer_rows(t, type, r1 - r0, 4, 1);
    }
  }
}

#define INTEGER_MATVEC(name, type)                                                     \
  static void tier_matvec_##name(float *y, size_t y_step, const MoshiRows *w,          \
      const float *x, size_t x_step, int r0, int r1, int batch)                        \
  {                                                                                    \
    integer_matvec(y, y_step, w, x, x_step, r0, r1, batch, type);                      \
  }
INTEGER_MATVEC(i8, MOSHI_TYPE_I8)
INTEGER_MATVEC(q8_0, MOSHI_TYPE_Q8_0)
INTEGER_MATVEC(mlx8, MOSHI_TYPE_MLX8)
