/* The product of row windows and packed panels. A tile of up to 6 rows by 1 to 4
 * panels lives in registers while k runs; every output has one accumulator, so
 * that it is summed in the same order in a tile of any shape. Sums are taken in
 * blocks of K_BLOCK and the blocks then added, so that long sums lose less.
 *
 * The panels of a tile come from as many parts of the matrix: parts read in sequence
 * beside each other come faster from memory than one. */
enum {
  PANEL_VECTORS = MOSHI_PANEL / V_WIDTH,
  K_BLOCK = 256,
  TILE_ROWS = 6,
  TILE_VECTORS = V_REGISTERS * 3 / 4,
  /* Bytes of panels that stay in the second cache together: rows then pass over
   * all of them. */
  CACHED_PANELS = 256 << 10,
  /* So few rows wait for memory alone, which is best left to the processor's own
   * looking ahead. With more, weights are asked for AHEAD bytes before their use. */
  FEW_ROWS = 2,
  AHEAD = 1024,
  /* Tiles of rows on one panel that share the asking for the next panel; with
   * more the way from memory is hidden anyway. */
  MOST_ASKING = 16,
  /* The most inputs of a single output that are summed along. */
  ONE_OUTPUT_INPUTS = 1024,
};

typedef struct {
  const float *in[TILE_ROWS];
  const float *residual[TILE_ROWS];
  float *out[TILE_ROWS];
  /* What to ask memory for meanwhile: from where on, bytes for each k. */
  const char *next;
  size_t pace;
} Rows;

static void
locate(const MoshiGemm *g, int r, int n, Rows *rows)
{
  size_t item = r / g->steps, step = r % g->steps;

  for (int i = 0; i < n; i++) {
    rows->in[i] = g->in + item * g->in_batch + step * g->in_step;
    rows->out[i] = g->out + item * g->out_batch + step * g->out_step;
    if (g->residual)
      rows->residual[i] =
          g->residual + item * g->residual_batch + step * g->residual_step;
    if (++step == (size_t)g->steps) {
      step = 0;
      item++;
    }
  }
}

/* -------------------------------------------------- bias, activation, store */

/* left < V_WIDTH: only so many are outputs. */
INLINE V
load_outputs(const float *x, int left)
{
  return left < V_WIDTH ? v_load_some(x, left) : v_load(x);
}

INLINE void
finish_vector(
    const MoshiGemm *g, MoshiAct act, V sum, const Rows *r, int i, int n, int left)
{
  if (g->bias)
    sum = v_add(sum, load_outputs(g->bias + n, left));
  sum = apply(act, sum);
  if (g->scale)
    sum = v_mul(sum, load_outputs(g->scale + n, left));
  if (g->residual)
    sum = v_add(load_outputs(r->residual[i] + n, left), sum);
  if (left < V_WIDTH)
    v_store_some(r->out[i] + n, sum, left);
  else
    v_store(r->out[i] + n, sum);
}

/* sums [rows][PANEL_VECTORS] of outputs n on. */
INLINE void
finish(const MoshiGemm *g, MoshiAct act, const V *sums, const Rows *r, int rows, int n)
{
  if (n + MOSHI_PANEL <= g->n_out) {
    for (int i = 0; i < rows; i++)
      for (int j = 0; j < PANEL_VECTORS; j++)
        finish_vector(
            g, act, sums[i * PANEL_VECTORS + j], r, i, n + V_WIDTH * j, V_WIDTH);
    return;
  }
  for (int j = 0; j < PANEL_VECTORS && n + V_WIDTH * j < g->n_out; j++)
    for (int i = 0; i < rows; i++)
      finish_vector(g, act, sums[i * PANEL_VECTORS + j], r, i, n + V_WIDTH * j,
          g->n_out - n - V_WIDTH * j);
}

#define FINISH(name, act)                                                              \
  static void finish_##name(                                                           \
      const MoshiGemm *g, const V *sums, const Rows *r, int rows, int n)               \
  {                                                                                    \
    finish(g, act, sums, r, rows, n);                                                  \
  }
FINISH(none, MOSHI_ACT_NONE)
FINISH(elu, MOSHI_ACT_ELU)
FINISH(gelu, MOSHI_ACT_GELU)
FINISH(silu, MOSHI_ACT_SILU)
FINISH(relu, MOSHI_ACT_RELU)
FINISH(sigmoid, MOSHI_ACT_SIGMOID)
FINISH(tanh, MOSHI_ACT_TANH)

static void (*const finishes[])(
    const MoshiGemm *, const V *, const Rows *, int, int) = {finish_none, finish_elu,
    finish_gelu, finish_silu, finish_relu, finish_sigmoid, finish_tanh};

/* ------------------------------------------------------------------- tiles */

/* Bytes of a panel's weights for one input. */
INLINE size_t
input_bytes(MoshiType type)
{
  return MOSHI_PANEL * (type == MOSHI_TYPE_F32 ? sizeof(float) : sizeof(uint16_t));
}

INLINE V
load_panel(MoshiType type, const char *w)
{
  return type == MOSHI_TYPE_F32 ? v_load((const float *)w)
                                : v_load_halves(w, V_WIDTH, true);
}

/* `rows` by `panels`, which are `apart` panels from each other, from panel p on; rows,
 * panels and the type known to the compiler. */
INLINE void
tile(const MoshiGemm *g, MoshiType type, const Rows *r, int p, int apart, int rows,
    int panels)
{
  const size_t step = input_bytes(type), panel_size = step * g->n_in;
  const size_t far = apart * panel_size;
  const char *w = (const char *)g->panels + p * panel_size;
  const char *next = r->next;
  const int vectors = PANEL_VECTORS * rows, n = vectors * panels;
  V total[TILE_VECTORS];

  for (int i = 0; i < n; i++)
    total[i] = v_set(0);
  for (int k0 = 0; k0 < g->n_in; k0 += K_BLOCK) {
    const int k1 = g->n_in - k0 < K_BLOCK ? g->n_in : k0 + K_BLOCK;
    V sum[TILE_VECTORS];
    for (int i = 0; i < n; i++)
      sum[i] = v_set(0);
    for (int k = k0; k < k1; k++, next += r->pace)
      for (int j = 0; j < panels; j++) {
        const char *wk = w + j * far + k * step;
        V wide[PANEL_VECTORS];
        for (int l = 0; l < PANEL_VECTORS; l++)
          wide[l] = load_panel(type, wk + l * (step / PANEL_VECTORS));
        if (rows > FEW_ROWS)
          __builtin_prefetch(next + j * far);
        for (int i = 0; i < rows; i++) {
          const V x = v_set(r->in[i][k]);
          V *s = sum + j * vectors + i * PANEL_VECTORS;
          for (int l = 0; l < PANEL_VECTORS; l++)
            s[l] = v_fma(x, wide[l], s[l]);
        }
      }
    for (int i = 0; i < n; i++)
      total[i] = v_add(total[i], sum[i]);
  }
  for (int j = 0; j < panels; j++)
    finishes[g->act](g, total + j * vectors, r, rows, (p + j * apart) * MOSHI_PANEL);
}

#define TILE(name, type, rows, panels)                                                 \
  static void name##_##rows##x##panels(                                                \
      const MoshiGemm *g, const Rows *r, int p, int apart)                             \
  {                                                                                    \
    tile(g, type, r, p, apart, rows, panels);                                          \
  }
#define FEW_TILES(name, type)                                                          \
  TILE(name, type, 1, 1)                                                               \
  TILE(name, type, 1, 2)                                                               \
  TILE(name, type, 1, 3)                                                               \
  TILE(name, type, 2, 1)                                                               \
  TILE(name, type, 2, 2)                                                               \
  TILE(name, type, 2, 3)                                                               \
  TILE(name, type, 3, 1)                                                               \
  TILE(name, type, 4, 1)                                                               \
  TILE(name, type, 5, 1)                                                               \
  TILE(name, type, 6, 1)
#define MORE_TILES(name, type)                                                         \
  TILE(name, type, 1, 4)                                                               \
  TILE(name, type, 2, 4)                                                               \
  TILE(name, type, 3, 2)                                                               \
  TILE(name, type, 3, 3)                                                               \
  TILE(name, type, 3, 4)                                                               \
  TILE(name, type, 4, 2)                                                               \
  TILE(name, type, 4, 3)                                                               \
  TILE(name, type, 4, 4)                                                               \
  TILE(name, type, 5, 2)                                                               \
  TILE(name, type, 5, 3)                                                               \
  TILE(name, type, 5, 4)                                                               \
  TILE(name, type, 6, 2)                                                               \
  TILE(name, type, 6, 3)                                                               \
  TILE(name, type, 6, 4)

/* By rows − 1 and panels − 1, as far as the sums find registers. */
enum { TILE_PANELS = 4 };
typedef void (*Tile)(const MoshiGemm *, const Rows *, int, int);
#if V_REGISTERS == 32
#define ROW_OF_TILES(name, rows)                                                       \
  {                                                                                    \
    name##_##rows##x1, name##_##rows##x2, name##_##rows##x3, name##_##rows##x4         \
  }
#define TILES(name, type)                                                              \
  FEW_TILES(name, type)                                                                \
  MORE_TILES(name, type)                                                               \
  static const Tile name##_tiles[TILE_ROWS][TILE_PANELS] = {ROW_OF_TILES(name, 1),     \
      ROW_OF_TILES(name, 2), ROW_OF_TILES(name, 3), ROW_OF_TILES(name, 4),             \
      ROW_OF_TILES(name, 5), ROW_OF_TILES(name, 6)};
#else
#define TILES(name, type)                                                              \
  FEW_TILES(name, type)                                                                \
  static const Tile name##_tiles[TILE_ROWS][TILE_PANELS] = {                           \
      {name##_1x1, name##_1x2, name##_1x3}, {name##_2x1, name##_2x2, name##_2x3},      \
      {name##_3x1}, {name##_4x1}, {name##_5x1}, {name##_6x1}};
#endif
TILES(f32, MOSHI_TYPE_F32)
TILES(bf16, MOSHI_TYPE_BF16)

/* Panels p, p + apart, … of the product. */
typedef struct {
  int n, apart;
} Panels;

static void
run_tile(const MoshiGemm *g, const Rows *r, int p, int rows, Panels panels)
{
  const Tile run = g->type == MOSHI_TYPE_F32 ? f32_tiles[rows - 1][panels.n - 1]
                                             : bf16_tiles[rows - 1][panels.n - 1];
  run(g, r, p, panels.apart);
}

/* How tiles of so many rows take the panels that are left: n · apart of them, the
 * largest n that there is, but no single panel shall be left over in the end. */
static Panels
share_panels(int rows, int left)
{
  int most = TILE_PANELS;
  while (!f32_tiles[rows - 1][most - 1])
    most--;
  if (left <= most)
    return (Panels){left, 1};
  if (left < 2 * most)
    return (Panels){(left + 1) / 2, 1};
  return (Panels){most, most > 1 && left % most == 1 ? left / most - 1 : left / most};
}

/* -------------------------------------------------------------------- order */

static const char *
panel_at(const MoshiGemm *g, int p)
{
  return (const char *)g->panels + p * input_bytes(g->type) * g->n_in;
}

/* Rows that pass over all panels: a single tile of them, with panels from
 * memory, or panels that stay cached. Few rows take as many panels at a time as
 * there are registers for, to keep enough sums and reads under way. */
static void
by_rows(const MoshiGemm *g, int r0, int rows, int p0, int p1)
{
  Rows r = {.pace = input_bytes(g->type)};

  locate(g, r0, rows, &r);
  while (p0 < p1) {
    const Panels panels = share_panels(rows, p1 - p0);
    for (int p = p0; p < p0 + panels.apart; p++) {
      r.next = panel_at(g, p) + AHEAD;
      run_tile(g, &r, p, rows, panels);
    }
    p0 += panels.n * panels.apart;
  }
}

/* The last two tiles are balanced: 4 and 4 rows rather than 6 and 2. */
static int
tile_rows(int left)
{
  return left <= TILE_ROWS ? left : left < 2 * TILE_ROWS ? (left + 1) / 2 : TILE_ROWS;
}

/* A tile's panels for all rows, while the tiles ask for their shares of the next. */
static void
by_panels(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  const int n = (r1 - r0 + TILE_ROWS - 1) / TILE_ROWS;
  Rows r = {.pace = n <= MOST_ASKING ? (input_bytes(g->type) + n - 1) / n : 0};

  while (p0 < p1) {
    const Panels panels = share_panels(TILE_ROWS, p1 - p0);
    for (int p = p0; p < p0 + panels.apart; p++) {
      r.next = panel_at(g, p + 1);
      for (int row = r0, rows; row < r1; row += rows) {
        rows = tile_rows(r1 - row);
        locate(g, row, rows, &r);
        run_tile(g, &r, p, rows, panels);
        r.next += r.pace * g->n_in;
      }
    }
    p0 += panels.n * panels.apart;
  }
}

/* ---------------------------------------------------------------- one output */

/* A panel would be 15 parts nothing: the weights are put in a row instead, and four
 * rows of inputs at a time are summed along it. */
static void
one_output(const MoshiGemm *g, int r0, int r1)
{
  float w[ONE_OUTPUT_INPUTS];

  for (int k = 0; k < g->n_in; k++) {
    const size_t at = (size_t)k * MOSHI_PANEL;
    w[k] = g->type == MOSHI_TYPE_F32
               ? ((const float *)g->panels)[at]
               : v_sum(v_load_halves((const uint16_t *)g->panels + at, 1, true));
  }
  for (int row = r0; row < r1; row += 4) {
    const int rows = r1 - row < 4 ? r1 - row : 4;
    Rows r;
    V sum[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
    V outputs[4 * PANEL_VECTORS];
    float sums[4];
    locate(g, row, rows, &r);
    for (int i = rows; i < 4; i++)
      r.in[i] = r.in[0];
    for (int k = 0; k < g->n_in; k += V_WIDTH) {
      const int left = g->n_in - k;
      for (int i = 0; i < 4; i++)
        sum[i] =
            v_fma(load_outputs(r.in[i] + k, left), load_outputs(w + k, left), sum[i]);
    }
    v_sum4(sum, sums);
    for (int i = 0; i < 4; i++)
      outputs[i * PANEL_VECTORS] = v_set(sums[i]);
    finishes[g->act](g, outputs, &r, rows, 0);
  }
}

static void
tier_gemm(const MoshiGemm *g, int r0, int r1, int p0, int p1)
{
  const size_t weights = (p1 - p0) * input_bytes(g->type) * g->n_in;

  if (g->n_out == 1 && g->n_in <= ONE_OUTPUT_INPUTS) {
    one_output(g, r0, r1);
    return;
  }
  if (r1 - r0 > TILE_ROWS && weights > CACHED_PANELS) {
    by_panels(g, r0, r1, p0, p1);
    return;
  }
  for (int rows; r0 < r1; r0 += rows) {
    rows = tile_rows(r1 - r0);
    by_rows(g, r0, rows, p0, p1);
  }
}
