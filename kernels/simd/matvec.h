/* Rows of a stored matrix times a few vectors. Each (row, vector) has one
 * accumulator of V_WIDTH lanes, whatever is computed beside it; a tile of rows and
 * vectors shares the loads. */
enum { MAX_ROWS = 4, MAX_BATCH = 4, LOOKAHEAD = 1024 /* bytes */ };

/* A vector of weights, or the first n of them (n < V_WIDTH). */
INLINE V
load_weights(MoshiType type, const char *w, int n)
{
  if (type == MOSHI_TYPE_F32)
    return n < V_WIDTH ? v_load_some((const float *)w, n) : v_load((const float *)w);
  return v_load_halves(w, n, type == MOSHI_TYPE_BF16);
}

typedef struct {
  float *y;
  size_t y_step;
  const char *w; /* first row of the tile, */
  int step;      /* and from each to the next */
  const float *x;
  size_t x_step;
  int cols;
} MatvecTile;

/* `rows` by `batch`, both and `type` known to the compiler. The weights of tiles after
 * this one are asked for meanwhile. */
INLINE void
matvec_tile(const MatvecTile *t, MoshiType type, int rows, int batch)
{
  const size_t size = type == MOSHI_TYPE_F32 ? 4 : 2,
               row = (size_t)t->cols * t->step * size;
  V sum[MAX_ROWS * MAX_BATCH];
  int c = 0;

  for (int i = 0; i < rows * batch; i++)
    sum[i] = v_set(0);
  for (; c + V_WIDTH <= t->cols; c += V_WIDTH) {
    V w[MAX_ROWS];
    for (int j = 0; j < rows; j++) {
      const char *at = t->w + j * row + c * size;
      w[j] = load_weights(type, at, V_WIDTH);
      if (type == MOSHI_TYPE_F32 || c % 16 == 0)
        __builtin_prefetch(at + LOOKAHEAD);
    }
    for (int i = 0; i < batch; i++) {
      const V x = v_load(t->x + i * t->x_step + c);
      for (int j = 0; j < rows; j++)
        sum[i * rows + j] = v_fma(w[j], x, sum[i * rows + j]);
    }
  }
  if (c < t->cols) {
    const int n = t->cols - c;
    for (int j = 0; j < rows; j++) {
      const V w = load_weights(type, t->w + j * row + c * size, n);
      for (int i = 0; i < batch; i++) {
        const V x = v_load_some(t->x + i * t->x_step + c, n);
        sum[i * rows + j] = v_fma(w, x, sum[i * rows + j]);
      }
    }
  }
  for (int i = 0; i < batch; i++)
    for (int j = 0; j < rows; j++)
      t->y[i * t->y_step + j * t->step] = v_sum(sum[i * rows + j]);
}

/* Tiles of `rows` rows for one to four vectors. Rows of a tile come from as many parts
 * of the weights: parts read in sequence beside each other come faster from memory
 * than one. */
INLINE void
some_vectors(MatvecTile t, MoshiType type, int n_rows, int rows, int batch)
{
  const size_t row = (size_t)t.cols * (type == MOSHI_TYPE_F32 ? 4 : 2);
  const char *w = t.w;
  float *y = t.y;

  t.step = n_rows / rows;
  for (int r = 0; r < t.step; r++, t.w += row, t.y++)
    matvec_tile(&t, type, rows, batch);
  for (int r = t.step * rows; r < n_rows; r++) {
    t.w = w + r * row;
    t.y = y + r;
    matvec_tile(&t, type, 1, batch);
  }
}

INLINE void
matvec(float *y, size_t y_step, const MoshiRows *w, const float *x, size_t x_step,
    int r0, int r1, int batch, MoshiType type)
{
  const size_t row = (size_t)w->cols * (type == MOSHI_TYPE_F32 ? 4 : 2);
  /* With many vectors, few enough rows to stay in the first cache meanwhile. */
  const int most = batch <= MAX_BATCH ? r1 - r0 : MAX_ROWS;

  for (int r = r0; r < r1; r += most) {
    const int n = r1 - r < most ? r1 - r : most;
    MatvecTile t = {
        y + (r - r0), y_step, (const char *)w->data + r * row, 1, x, x_step, w->cols};
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
  static void tier_matvec_##name(float *y, size_t y_step, const MoshiRows *w,          \
      const float *x, size_t x_step, int r0, int r1, int batch)                        \
  {                                                                                    \
    matvec(y, y_step, w, x, x_step, r0, r1, batch, type);                              \
  }
MATVEC(f32, MOSHI_TYPE_F32)
MATVEC(f16, MOSHI_TYPE_F16)
MATVEC(bf16, MOSHI_TYPE_BF16)
