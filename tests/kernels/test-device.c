/* The CPU device: what is more than a kernel. Every operation gives the same bits
 * on one thread and on three, alone and in a batch. */
#include <glib.h>
#include <math.h>
#include <string.h>

#include "device/cpu.h"
#include "device/random.h"
#include "nn/positions.h"

static uint32_t state;

static float
unit(void)
{
  state = state * 1664525u + 1013904223u;
  return (float)(int32_t)state * 0x1p-31f;
}

static float *
random_floats(MoshiDevice *d, size_t n)
{
  float *x = d->ops->alloc(d, n * sizeof *x);
  g_assert_nonnull(x);
  for (size_t i = 0; i < n; i++)
    x[i] = unit();
  return x;
}

static MoshiDevice *
open_cpu(int threads)
{
  MoshiError error;
  MoshiDevice *d = moshi_device_cpu(threads, &error);
  g_assert_nonnull(d);
  return d;
}

static void
test_open(void)
{
  MoshiError error = {0};
  MoshiDevice *d = moshi_device_open("auto", 2, &error);

  g_assert_nonnull(d);
  g_assert_true(g_str_has_suffix(d->description, "2 threads)"));
  moshi_device_close(d);
  d = moshi_device_open(NULL, 1, &error);
  g_assert_true(g_str_has_suffix(d->description, "1 thread)"));
  moshi_device_close(d);
  g_assert_null(moshi_device_open("cuda:0", 0, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_NOT_FOUND);
  g_assert_null(moshi_device_open("cudagpu", 0, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
}

static void
test_mask(void)
{
  MoshiKernels k;
  g_assert_cmpuint(moshi_cpu_parse_mask("c"), ==, 0);
  g_assert_cmpuint(
      moshi_cpu_parse_mask("avx2,neon"), ==, MOSHI_CPU_AVX2 | MOSHI_CPU_NEON);
  g_assert_cmpuint(moshi_cpu_parse_mask("0x3"), ==, 3);
  g_assert_cmpuint(moshi_cpu_parse_mask("nonsense"), ==, 0);
  g_assert_cmpuint(moshi_cpu_parse_mask(NULL), ==, ~0u);
  moshi_kernels_init(&k, 0);
  g_assert_cmpstr(k.name, ==, "c");
}

static void
test_memory(void)
{
  MoshiDevice *d = open_cpu(1);
  for (size_t size = 1; size < (8u << 20); size = size * 3 + 1) {
    unsigned char *p = d->ops->alloc(d, size);
    g_assert_nonnull(p);
    g_assert_cmpuint((uintptr_t)p % 64, ==, 0);
    g_assert_cmpint(p[0] | p[size / 2] | p[size - 1], ==, 0);
    memset(p, 1, size);
    d->ops->free(d, p);
  }
  g_assert_null(d->ops->alloc(d, SIZE_MAX / 2));
  d->ops->free(d, NULL);
  moshi_device_close(d);
}

/* --------------------------------------------------------------- products */

typedef struct {
  const float *w;
  int cols;
} Dense;

static void
dense_weights(const void *ctx, int row, int col, int count, float *to)
{
  const Dense *dense = ctx;
  memcpy(to, dense->w + (size_t)row * dense->cols + col, count * sizeof *to);
}

enum { OUT = 150, IN = 1100, BATCH = 5, STEPS = 3 };

/* y of one product, every option used. */
static void
run_linear(MoshiDevice *d, const MoshiMatrix *m, const float *x, const float *extra,
    int first, int batch, float *y)
{
  d->ops->linear(d, &(MoshiLinearOp){.w = m,
                        .x = {(float *)x + (size_t)first * STEPS * IN, STEPS * IN, IN},
                        .y = {y, STEPS * OUT, OUT},
                        .residual = {(float *)extra, 0, OUT},
                        .batch = batch,
                        .steps = STEPS,
                        .bias = extra,
                        .scale = extra + OUT,
                        .act = MOSHI_ACT_GELU});
}

/* The same bits from one thread and three, and from a batch and alone. */
static void
check_linear(MoshiDevice *one, MoshiDevice *three, const MoshiMatrix *m, const float *x,
    const float *extra)
{
  static float y1[BATCH * STEPS * OUT], y3[BATCH * STEPS * OUT], alone[STEPS * OUT];

  run_linear(one, m, x, extra, 0, BATCH, y1);
  run_linear(three, m, x, extra, 0, BATCH, y3);
  g_assert_cmpmem(y1, sizeof y1, y3, sizeof y3);
  for (int i = 0; i < BATCH; i++) {
    run_linear(three, m, x, extra, i, 1, alone);
    g_assert_cmpmem(alone, sizeof alone, y1 + i * STEPS * OUT, sizeof alone);
  }
}

/* A product that gates as it goes, and one whose gate comes after it. */
static void
check_gated(MoshiDevice *d, const MoshiMatrix *m, const float *x)
{
  enum { ROWS = BATCH * STEPS, HALF = OUT / 2 };
  static float u[ROWS * OUT], want[ROWS * HALF], y[ROWS * HALF];
  MoshiLinearOp op = {.w = m,
      .x = {(float *)x, STEPS * IN, IN},
      .y = {u, STEPS * OUT, OUT},
      .batch = BATCH,
      .steps = STEPS};

  d->ops->linear(d, &op);
  d->ops->gate(d, MOSHI_ACT_SILU, want, u, ROWS, HALF);
  op.y = (MoshiView){y, STEPS * HALF, HALF};
  op.act = MOSHI_ACT_SILU;
  op.gated = true;
  d->ops->linear(d, &op);
  g_assert_cmpmem(y, sizeof y, want, sizeof want);
}

/* Packed in panels of eight rows, of which OUT and its half are no multiples. */
static void
check_packed_rows(MoshiDevice *one, MoshiDevice *three, MoshiType type, int cols,
    const float *w, const float *x, const float *extra)
{
  static float packed[BATCH * STEPS * OUT], in_rows[BATCH * STEPS * OUT];
  const size_t row = moshi_rows_bytes(type, cols);
  uint8_t *blocks = g_malloc(OUT * row);
  const MoshiRows rows = {.type = type, .rows = OUT, .cols = cols, .data = blocks};
  MoshiMatrix m, unpacked;
  MoshiKernels k;

  moshi_kernels_init(&k, ~0u);
  for (int r = 0; r < OUT; r++)
    g_assert_true(moshi_encode(&k, type, blocks + r * row, w + r * IN, cols));
  g_assert_cmpint(three->ops->linear_matrix(three, &m, &rows), ==, 0);
  g_assert_true(m.packed);
  g_assert_cmpint(one->ops->rows_matrix(one, &unpacked, &rows), ==, 0);
  run_linear(one, &m, x, extra, 0, BATCH, packed);
  run_linear(one, &unpacked, x, extra, 0, BATCH, in_rows);
  for (int i = 0; i < BATCH * STEPS * OUT; i++)
    g_assert_cmpfloat_with_epsilon(packed[i], in_rows[i], 2e-3);
  g_free(blocks); /* not needed once packed */
  check_linear(one, three, &m, x, extra);
  check_gated(one, &m, x);
  check_gated(three, &m, x);
  three->ops->free_matrix(three, &m);
}

static void
test_linear(void)
{
  MoshiDevice *one = open_cpu(1), *three = open_cpu(3);
  float *w = random_floats(one, OUT * IN), *x = random_floats(one, BATCH * STEPS * IN);
  float *extra = random_floats(one, STEPS * OUT);
  uint16_t *halves = one->ops->alloc(one, OUT * IN * 2);
  MoshiMatrix m;
  MoshiRows rows;

  Dense dense = {w, IN};
  for (int i = 0; i < 2; i++) {
    const MoshiType type = i ? MOSHI_TYPE_BF16 : MOSHI_TYPE_F32;
    g_assert_cmpint(
        three->ops->packed_matrix(three, &m, type, OUT, IN, dense_weights, &dense), ==,
        0);
    check_linear(one, three, &m, x, extra);
    three->ops->free_matrix(three, &m);
  }
  rows = (MoshiRows){.type = MOSHI_TYPE_F32, .rows = OUT, .cols = IN, .data = w};
  one->ops->rows_matrix(one, &m, &rows);
  check_linear(one, three, &m, x, extra);
  check_gated(one, &m, x);
  check_gated(three, &m, x);
  for (int i = 0; i < OUT * IN; i++)
    halves[i] = moshi_f32_to_bf16(w[i]);
  rows = (MoshiRows){.type = MOSHI_TYPE_BF16, .rows = OUT, .cols = IN, .data = halves};
  one->ops->rows_matrix(one, &m, &rows);
  check_linear(one, three, &m, x, extra);
  for (int i = 0; i < OUT * IN; i++)
    halves[i] = moshi_f32_to_f16(w[i]);
  rows = (MoshiRows){.type = MOSHI_TYPE_F16, .rows = OUT, .cols = IN, .data = halves};
  one->ops->rows_matrix(one, &m, &rows);
  check_linear(one, three, &m, x, extra);

  check_packed_rows(one, three, MOSHI_TYPE_Q4_K, 1024, w, x, extra);
  check_packed_rows(one, three, MOSHI_TYPE_Q4_0, 1088, w, x, extra);

  one->ops->free(one, w);
  one->ops->free(one, x);
  one->ops->free(one, extra);
  one->ops->free(one, halves);
  moshi_device_close(one);
  moshi_device_close(three);
}

/* -------------------------------------------------------------- attention */

enum { HEADS = 4, KV_HEADS = 2, DIM = 24, CONTEXT = 7, CALLS = 9, SLOTS = 3 };

/* How far off a result may be: f32 sums; half a step of bf16 and of int8, of keys
 * and values. */
typedef struct {
  int steps;
  bool concat;
  MoshiKv kv;
  double tolerance;
} AttendCase;

static void
turn(double *x, const float *from, int64_t position, const float *frequencies,
    bool concat)
{
  for (int i = 0; i < DIM / 2; i++) {
    const int a = concat ? i : 2 * i, b = concat ? i + DIM / 2 : 2 * i + 1;
    const float angle = (float)position * frequencies[i];
    x[a] = from[a] * cos(angle) - from[b] * sin(angle);
    x[b] = from[a] * sin(angle) + from[b] * cos(angle);
  }
}

/* One query head from all that was ever said: the window's rule, literally. */
static void
expect(const AttendCase *c, const float *all, const float *frequencies,
    int64_t position, int64_t last, int head, double *out)
{
  const size_t row = (HEADS + 2 * KV_HEADS) * DIM;
  const int kv = head / (HEADS / KV_HEADS);
  const int64_t first = MAX(0, last + 1 - CONTEXT);
  double q[DIM], total = 0;

  turn(q, all + position * row + head * DIM, position, frequencies, c->concat);
  memset(out, 0, DIM * sizeof *out);
  for (int64_t p = first; p <= position; p++) {
    double k[DIM], score = 0;
    const float *key = all + p * row + (HEADS + kv) * DIM,
                *value = key + KV_HEADS * DIM;
    turn(k, key, p, frequencies, c->concat);
    for (int i = 0; i < DIM; i++)
      score += q[i] * k[i];
    const double weight = exp(score / sqrt(DIM));
    total += weight;
    for (int i = 0; i < DIM; i++)
      out[i] += weight * value[i];
  }
  for (int i = 0; i < DIM; i++)
    out[i] /= total;
}

/* Two slots of three, past the ring's wrap. */
static void
test_attend(gconstpointer data)
{
  const AttendCase *c = data;
  MoshiDevice *d = open_cpu(2);
  const size_t row = (HEADS + 2 * KV_HEADS) * DIM;
  const size_t slot = 2 * KV_HEADS * moshi_ring_bytes(c->kv, CONTEXT, DIM);
  const int slots[] = {2, 0}, steps = c->steps;
  float *all = random_floats(d, 2 * CALLS * steps * row);
  float *qkv = d->ops->alloc(d, 2 * steps * row * sizeof(float));
  float *out = d->ops->alloc(d, 2 * steps * HEADS * DIM * sizeof(float));
  char *cache = d->ops->alloc(d, SLOTS * slot);
  float frequencies[DIM / 2], turns[2 * 3 * DIM];
  double want[DIM];

  memset(cache, 0x3f, SLOTS * slot); /* what nobody wrote is not read */
  moshi_rope_frequencies(frequencies, DIM / 2, 10000);
  for (int call = 0; call < CALLS; call++) {
    const int64_t positions[] = {(int64_t)call * steps, (int64_t)call * steps};
    for (int i = 0; i < 2; i++)
      memcpy(qkv + i * steps * row, all + (i * CALLS + call) * steps * row,
          steps * row * sizeof(float));
    for (int i = 0; i < 2 * steps; i++)
      moshi_rope_turn(
          turns + i * DIM, positions[i / steps] + i % steps, frequencies, DIM / 2);
    d->ops->attend(d, &(MoshiAttendOp){.qkv = qkv,
                          .out = out,
                          .cache = cache,
                          .slot_stride = slot,
                          .kv = c->kv,
                          .n_heads = HEADS,
                          .n_kv_heads = KV_HEADS,
                          .head_dim = DIM,
                          .context = CONTEXT,
                          .batch = 2,
                          .steps = steps,
                          .slots = slots,
                          .positions = positions,
                          .turn = turns,
                          .concat_pairs = c->concat});
    for (int r = 0; r < 2 * steps * HEADS; r++) {
      const int item = r / HEADS / steps, head = r % HEADS;
      expect(c, all + item * CALLS * steps * row, frequencies,
          positions[0] + r / HEADS % steps, positions[0] + steps - 1, head, want);
      for (int i = 0; i < DIM; i++)
        g_assert_cmpfloat_with_epsilon(out[r * DIM + i], want[i], c->tolerance);
    }
  }
  d->ops->free(d, all);
  d->ops->free(d, qkv);
  d->ops->free(d, out);
  d->ops->free(d, cache);
  moshi_device_close(d);
}

/* --------------------------------------------------------------- sampling */

/* Random123's published vectors for Philox 4x32-10. */
static void
test_philox(void)
{
  uint32_t zeros[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
  const uint32_t want_zeros[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const uint32_t want_ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};

  moshi_philox(zeros, 0, 0);
  moshi_philox(ones, ~0u, ~0u);
  g_assert_cmpmem(zeros, 16, want_zeros, 16);
  g_assert_cmpmem(ones, 16, want_ones, 16);
}

/* Logits of both signs, of two rows; all others stay as they are. */
static void
test_edit(void)
{
  MoshiDevice *d = open_cpu(1);
  const MoshiEdit edits[] = {
      {0, 0, 2, 0}, {0, 1, 2, 0}, {1, 2, 4, 1}, {1, 1, 1, -0.5f}};
  const float before[] = {3, -3, 5, -7, 1, -8}, after[] = {1.5f, -6, 5, -7, 0.5f, -31};
  float *logits = d->ops->alloc(d, sizeof before);
  float got[6];

  d->ops->upload(d, logits, before, sizeof before);
  d->ops->edit(d, logits, 3, edits, G_N_ELEMENTS(edits));
  d->ops->download(d, got, logits, sizeof got);
  g_assert_cmpint(d->ops->sync(d, NULL), ==, 0);
  g_assert_cmpmem(got, sizeof got, after, sizeof after);
  d->ops->free(d, logits);
  moshi_device_close(d);
}

static int
sample_one(MoshiDevice *d, const float *logits, int size, MoshiDraw draw)
{
  int32_t token = -5;
  d->ops->sample(d, logits, 1, size, &draw, &token, 1);
  g_assert_cmpint(token, >=, 0);
  g_assert_cmpint(token, <, size);
  return token;
}

static void
test_sample_nasty(void)
{
  MoshiDevice *d = open_cpu(1);
  const float logits[] = {1, 3, NAN, 3, -INFINITY, 2};
  const float nans[] = {NAN, NAN, NAN}, all_equal[] = {0, 0, 0, 0};
  const float certain[] = {0, INFINITY, 5}, never[] = {-INFINITY, -INFINITY, NAN};

  g_assert_cmpint(sample_one(d, logits, 6, (MoshiDraw){0}), ==, 1);
  g_assert_cmpint(sample_one(d, logits, 6, (MoshiDraw){NAN, 2, 1, 1}), ==, 1);
  for (int i = 0; i < 200; i++) {
    const MoshiDraw draw = {1, 0, 7, i}, two = {1, 2, 7, i}, one = {1, 1, 7, i};
    g_assert_cmpint(sample_one(d, nans, 3, draw), ==, 0);
    g_assert_cmpint(sample_one(d, certain, 3, draw), ==, 1);
    g_assert_cmpint(sample_one(d, never, 3, draw), ==, 0);
    g_assert_cmpint(sample_one(d, logits, 6, draw), !=, 2);
    g_assert_cmpint(sample_one(d, logits, 6, draw), !=, 4);
    g_assert_cmpint(sample_one(d, logits, 6, two) % 2, ==, 1);
    g_assert_cmpint(sample_one(d, logits, 6, two), !=, 5);
    g_assert_cmpint(sample_one(d, logits, 6, one), ==, 1);
    g_assert_cmpint(sample_one(d, all_equal, 4, two), <, 2); /* ties: lowest kept */
  }
  moshi_device_close(d);
}

/* 40000 draws against the probabilities, within five standard deviations. */
static void
test_sample_distribution(void)
{
  enum { N = 8, DRAWS = 40000, TOP = 5 };
  MoshiDevice *d = open_cpu(1);
  const float logits[N] = {0.3f, -1, 2, 1.5f, 0, 1, -3, 0.7f}, temperature = 0.8f;
  const bool kept[N] = {false, false, true, true, false, true, false, true};
  int counts[N] = {0};
  double total = 0;

  for (int i = 0; i < DRAWS; i++)
    counts[sample_one(d, logits, N, (MoshiDraw){temperature, TOP - 1, 42, i})]++;
  for (int i = 0; i < N; i++)
    total += kept[i] ? exp(logits[i] / temperature) : 0;
  for (int i = 0; i < N; i++) {
    const double p = kept[i] ? exp(logits[i] / temperature) / total : 0;
    const double deviation = sqrt(DRAWS * p * (1 - p));
    g_assert_cmpfloat(fabs(counts[i] - DRAWS * p), <=, 5 * deviation);
  }
  moshi_device_close(d);
}

int
main(int argc, char **argv)
{
  static const struct {
    const char *name;
    AttendCase c;
  } attends[] = {{"1", {1, false, MOSHI_KV_F32, 1e-5}},
      {"2", {2, false, MOSHI_KV_F32, 1e-5}},
      {"1-concat", {1, true, MOSHI_KV_F32, 1e-5}},
      {"3-concat", {3, true, MOSHI_KV_F32, 1e-5}},
      {"2-bf16", {2, false, MOSHI_KV_BF16, 1.2e-2}},
      {"1-int8", {1, false, MOSHI_KV_I8, 2.4e-2}},
      {"3-int8-concat", {3, true, MOSHI_KV_I8, 2.4e-2}}};

  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/device/open", test_open);
  g_test_add_func("/device/mask", test_mask);
  g_test_add_func("/device/memory", test_memory);
  g_test_add_func("/device/linear", test_linear);
  for (size_t i = 0; i < G_N_ELEMENTS(attends); i++) {
    char *name = g_strdup_printf("/device/attend/%s", attends[i].name);
    g_test_add_data_func(name, &attends[i].c, test_attend);
    g_free(name);
  }
  g_test_add_func("/device/philox", test_philox);
  g_test_add_func("/device/edit", test_edit);
  g_test_add_func("/device/sample/nasty", test_sample_nasty);
  g_test_add_func("/device/sample/distribution", test_sample_distribution);
  return g_test_run();
}
