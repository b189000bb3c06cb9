/* Operations of the CUDA back end that are more than a kernel of the table, against
 * those of the CPU device over its reference tier. What is no sum is the same bit for
 * bit: tokens drawn, rings of keys and values, rows of tables. */
#include <glib.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "../../common/device/cpu.h"
#include "../../kernels/cuda/bench.cuh"
#include "../../kernels/cuda/kernels.cuh"
#include "../../kernels/cuda/layout.cuh"
#include "memory.cuh"

static MoshiDevice *cpu;
static uint32_t state;

static uint32_t
random_bits(void)
{
  state = state * 1664525u + 1013904223u;
  return state ^ state >> 15;
}

static int
below(int n)
{
  return (int)(random_bits() % (uint32_t)n);
}

static float
unit(void)
{
  return (float)(int32_t)random_bits() * 0x1p-31f;
}

static std::vector<float>
floats(size_t n)
{
  std::vector<float> x(n);
  for (float &v : x)
    v = unit();
  return x;
}

static std::vector<int>
slots_of(int n, int all)
{
  std::vector<int> slots;
  for (int s = below(all - n + 1); (int)slots.size() < n; s++)
    slots.push_back(s);
  return slots;
}

static void
assert_near(float got, float want, double tolerance)
{
  if (!(fabs((double)got - want) <= tolerance))
    g_error("%.9g is not %.9g (tolerance %.3g)", got, want, tolerance);
}

static void
assert_same(const std::vector<float> &got, const std::vector<float> &want)
{
  g_assert_cmpmem(
      got.data(), got.size() * sizeof(float), want.data(), want.size() * sizeof(float));
}

/* --------------------------------------------------------------- attention */

typedef struct {
  int kv, heads, kv_heads, d, context, slots, batch, steps, turned, concat;
  int from_start; /* not also from a full ring on */
} AttendCase;

/* Calls one after the other, so that rings fill, overflow and differ between slots. */
static void
check_attend(const AttendCase &c)
{
  const size_t ring = moshi_ring_bytes((MoshiKv)c.kv, c.context, c.d);
  const size_t slot_stride = 2 * c.kv_heads * ring;
  const size_t rows = (size_t)c.batch * c.steps, out_size = rows * c.heads * c.d;
  const size_t width = (size_t)(c.heads + 2 * c.kv_heads) * c.d;
  std::vector<char> want_cache(slot_stride * c.slots), cache(slot_stride * c.slots);
  std::vector<int64_t> position(c.slots);

  for (int64_t &p : position)
    p = c.from_start || below(2) ? 0 : below(3 * c.context);
  for (int call = 0; call < 4; call++) {
    const std::vector<int> slots = slots_of(c.batch, c.slots);
    std::vector<float> qkv = floats(rows * width), turn = floats(rows * c.d);
    std::vector<float> want(out_size), out(out_size), other(out_size);
    std::vector<int64_t> positions;
    MoshiAttendOp op = {};
    MoshiCudaAttend a = {};
    Memory m;

    for (int s : slots)
      positions.push_back(position[s]);
    op.qkv = qkv.data();
    op.out = want.data();
    op.cache = want_cache.data();
    a.slot_stride = op.slot_stride = slot_stride;
    op.kv = (MoshiKv)c.kv;
    a.kv = c.kv;
    a.n_heads = op.n_heads = c.heads;
    a.n_kv_heads = op.n_kv_heads = c.kv_heads;
    a.head_dim = op.head_dim = c.d;
    a.context = op.context = c.context;
    a.batch = op.batch = c.batch;
    a.steps = op.steps = c.steps;
    op.slots = slots.data();
    op.positions = positions.data();
    op.turn = c.turned ? turn.data() : nullptr;
    a.concat_pairs = c.concat;
    op.concat_pairs = c.concat != 0;
    cpu->ops->attend(cpu, &op);

    a.qkv = m.in(qkv.data(), qkv.size());
    a.out = m.back(out.data(), out.size());
    a.cache = m.back(cache.data(), cache.size());
    a.slots = m.in(slots.data(), slots.size());
    a.positions = m.in(positions.data(), positions.size());
    a.turn = c.turned ? m.in(turn.data(), turn.size()) : nullptr;
    a.scratch = (float *)m.bytes(moshi_cuda_attend_scratch(&a));
    moshi_cuda_attend(&a, nullptr);
    /* And again with threads in another order: rings and results are the same. */
    g_setenv("MOSHI_EMULATION", call % 2 ? "seed=3" : "seed=4", TRUE);
    MoshiCudaAttend again = a;
    again.out = m.back(other.data(), other.size());
    moshi_cuda_attend(&again, nullptr);
    m.finish();
    assert_same(other, out);

    g_assert_cmpmem(cache.data(), cache.size(), want_cache.data(), want_cache.size());
    /* Scores are off by d roundings of |q|·|k| ≤ 2d; sums over keys by theirs. */
    const double tolerance =
        (4.0 * (c.d + 6) * c.d / sqrt(c.d) + 2 * c.context + 18) * FLT_EPSILON;
    for (size_t i = 0; i < out_size; i++)
      assert_near(out[i], want[i], tolerance);
    for (int s : slots)
      position[s] += c.steps;
  }
}

static void
test_attend(void)
{
  static const AttendCase cases[] = {
      {MOSHI_KV_F32, 2, 2, 8, 5, 3, 2, 1, 1, 0},
      {MOSHI_KV_F32, 4, 2, 6, 130, 4, 3, 2, 1, 1},
      {MOSHI_KV_F32, 2, 1, 64, 300, 2, 1, 2, 1, 0},
      {MOSHI_KV_BF16, 3, 3, 128, 300, 2, 2, 1, 1, 0},
      {MOSHI_KV_BF16, 2, 1, 10, 200, 2, 1, 7, 0, 0},
      {MOSHI_KV_BF16, 1, 1, 7, 9, 5, 5, 3, 1, 0},
      {MOSHI_KV_I8, 3, 3, 128, 300, 2, 2, 1, 1, 0},
      {MOSHI_KV_I8, 2, 2, 9, 150, 2, 1, 3, 1, 1},
      {MOSHI_KV_I8, 1, 1, 260, 40, 2, 2, 1, 1, 1},
      {MOSHI_KV_F32, 1, 1, MOSHI_MAX_HEAD_DIM, 3, 2, 1, 1, 0, 0},
  };
  for (const AttendCase &c : cases)
    check_attend(c);
  /* More than 32 splits of 128 keys: splits grow, up to what shared memory holds. */
  check_attend({MOSHI_KV_BF16, 1, 1, 16, 5000, 1, 1, 1, 1, 0, 0});
  check_attend({MOSHI_KV_F32, 1, 1, 4, 600000, 1, 1, 1, 1, 0, 1});
}

static void
test_cross(void)
{
  for (int round = 0; round < 6; round++) {
    const int heads = 1 + below(4), d = round % 2 ? 4 * (1 + below(20)) : 1 + below(50);
    const int length = 1 + below(300), n = 1 + below(3), all = 3;
    const size_t stride = (size_t)2 * heads * length * d;
    const std::vector<float> kv = floats(stride * all), q = floats(n * heads * d);
    const std::vector<int> slots = slots_of(n, all);
    std::vector<float> want(q.size()), out(q.size());
    MoshiCrossOp op = {
        q.data(), want.data(), kv.data(), stride, heads, d, length, n, slots.data()};
    Memory m;
    MoshiCudaCross a = {m.in(q.data(), q.size()), m.back(out.data(), out.size()),
        m.in(kv.data(), kv.size()), stride, m.in(slots.data(), slots.size()), heads, d,
        length, n};

    cpu->ops->cross(cpu, &op);
    moshi_cuda_cross(&a, nullptr);
    m.finish();
    const double tolerance =
        (4.0 * (d + 6) * d / sqrt(d) + 2 * length + 18) * FLT_EPSILON;
    for (size_t i = 0; i < out.size(); i++)
      assert_near(out[i], want[i], tolerance);
  }
}

/* ---------------------------------------------------------------- products */

typedef struct {
  MoshiRows host, device;
  std::vector<float> numbers;
  std::vector<char> bytes;
} Matrix;

/* Of a type that moshi_encode knows, or f32. */
static void
random_matrix(Matrix *w, Memory &m, MoshiType type, int rows, int cols)
{
  w->numbers = floats((size_t)rows * cols);
  w->host = MoshiRows{};
  w->host.type = type;
  w->host.rows = rows;
  w->host.cols = cols;
  w->host.data = w->numbers.data();
  if (type != MOSHI_TYPE_F32) {
    w->bytes.resize(rows * moshi_rows_bytes(type, cols));
    MoshiKernels k;
    moshi_kernels_init(&k, ~0u);
    g_assert_true(
        moshi_encode(&k, type, w->bytes.data(), w->numbers.data(), w->numbers.size()));
    w->host.data = w->bytes.data();
  }
  const MoshiCudaLayout l = moshi_cuda_layout(&w->host);
  std::vector<char> laid(l.bytes);
  moshi_cuda_lay(&w->host, 0, rows, laid.data(), laid.data() + l.scales);
  w->device = moshi_cuda_rows(&w->host, m.in(laid.data(), laid.size()));
}

/* Every option, of some rows of a matrix; the norm before it is the norm's own bits,
 * and an item alone is the same as in a batch. tensor: on tensor cores. */
static void
check_linear(MoshiType type, bool gated, bool tensor, int batch, int steps)
{
  const int cols =
      type == MOSHI_TYPE_F32 ? 1 + below(1500) : 256 * (1 + below(tensor ? 6 : 9));
  const int n = 1 + below(tensor ? 150 : 40), first = gated ? 0 : below(5);
  const int rows = gated ? 2 * n : first + n + below(3);
  const int items = batch * steps;
  const size_t x_size = (size_t)items * cols, y_size = (size_t)items * n;
  const bool normed = below(2);
  const std::vector<float> x = floats(x_size), bias = floats(n), scale = floats(n);
  const std::vector<float> residual = floats(y_size), weight = floats(cols);
  std::vector<float> h(x_size), other(x_size), want(y_size), y(y_size), alone(n);
  Memory m;
  Matrix w;

  random_matrix(&w, m, type, rows, cols);
  MoshiCudaNorm norm = {m.back(h.data(), x_size), m.in(x.data(), x_size),
      m.in(weight.data(), cols), nullptr, items, cols, 1, 1e-5f};
  moshi_cuda_norm(&norm, nullptr);

  MoshiCudaLinear a = {};
  a.w = moshi_cuda_part(&w.device, first, gated ? rows : n);
  a.x = {normed ? (float *)norm.x : norm.y, (size_t)cols * steps, (size_t)cols};
  a.y = {m.back(y.data(), y_size), (size_t)n * steps, (size_t)n};
  a.norm = normed ? norm.weight : nullptr;
  a.normed = normed && below(2) ? m.back(other.data(), x_size) : nullptr;
  a.eps = norm.eps;
  a.batch = batch;
  a.steps = steps;
  a.n_out = n;
  a.act = MOSHI_ACT_SILU;
  a.gated = gated;
  if (!gated) {
    a.residual = {m.in(residual.data(), y_size), a.y.batch_stride, a.y.step_stride};
    a.bias = m.in(bias.data(), n);
    a.scale = m.in(scale.data(), n);
  }
  if (tensor)
    a.scratch = (float *)m.bytes(moshi_cuda_tensor_scratch(&a));
  moshi_cuda_linear(&a, nullptr);

  const int item = below(items);
  MoshiCudaLinear one = a;
  one.x.data = norm.y + (size_t)item * cols;
  one.y.data = m.back(alone.data(), n);
  one.norm = nullptr;
  one.batch = one.steps = 1;
  if (!gated)
    one.residual.data += (size_t)item * n;
  moshi_cuda_linear(&one, nullptr);
  m.finish();
  assert_same(
      alone, std::vector<float>(y.begin() + item * n, y.begin() + item * n + n));

  MoshiMatrix matrix = {w.host, false};
  MoshiLinearOp op = {};
  op.w = &matrix;
  op.first_row = first;
  op.n_rows = gated ? 0 : n;
  op.x = {h.data(), a.x.batch_stride, a.x.step_stride};
  op.y = {want.data(), a.y.batch_stride, a.y.step_stride};
  op.batch = batch;
  op.steps = steps;
  op.act = MOSHI_ACT_SILU;
  op.gated = gated;
  if (!gated) {
    op.residual = {(float *)residual.data(), a.y.batch_stride, a.y.step_stride};
    op.bias = bias.data();
    op.scale = scale.data();
  }
  cpu->ops->linear(cpu, &op);
  /* |w| ≤ 1.1, |h| ≤ 2: cols roundings of sums below 2.2·cols, passed on by slopes of at
   * most 1.1, and of a gated product times the other sum, which is not much over
   * 5·√cols. */
  const double sum = cols * 1.2e-7 * 1.5 * sqrt(cols), slope = 1.1 + 5 * sqrt(cols);
  for (size_t i = 0; i < y_size; i++)
    assert_near(y[i], want[i], sum * (gated ? 2 * slope : 1.1) + 1e-6);
}

static void
test_linear(void)
{
  static const MoshiType types[] = {
      MOSHI_TYPE_F32, MOSHI_TYPE_Q8_0, MOSHI_TYPE_Q4_0, MOSHI_TYPE_Q4_K};
  for (int round = 0; round < 3; round++)
    for (MoshiType type : types)
      for (int gated = 0; gated < 2; gated++)
        check_linear(type, gated, false, 1 + below(11), 1 + below(2));
  static const struct {
    int batch, steps;
  } many[] = {{9, 1}, {8, 2}, {17, 1}, {64, 1}, {35, 2}};
  for (size_t i = 0; i < sizeof many / sizeof *many; i++)
    for (MoshiType type : types)
      check_linear(type, (i + type) % 2, true, many[i].batch, many[i].steps);
}

/* A stream's numbers are the same in every batch of more than eight, whoever else is in
 * it; and of eight or fewer nothing is for tensor cores. */
static void
test_buckets(void)
{
  static const int batches[] = {9, 16, 17, 33, 64, 65, 128};
  enum { COLS = 768, N = 21 };
  Memory m;
  Matrix w;
  std::vector<float> first(N);

  random_matrix(&w, m, MOSHI_TYPE_Q8_0, N, COLS);
  const std::vector<float> stream = floats(COLS);
  MoshiCudaLinear a = {};
  a.w = w.device;
  a.n_out = N;
  a.steps = 1;
  for (a.batch = 1; a.batch <= 8; a.batch++)
    g_assert_cmpuint(moshi_cuda_linear_scratch(&a), ==, 0);
  for (int batch : batches) {
    Memory own;
    std::vector<float> x = floats((size_t)batch * COLS), y((size_t)batch * N);
    const int slot = below(batch);
    x[(size_t)(slot + 1) % batch * COLS] = NAN;
    std::copy(stream.begin(), stream.end(), x.begin() + (size_t)slot * COLS);
    a.batch = batch;
    a.x = {own.in(x.data(), x.size()), COLS, COLS};
    a.y = {own.back(y.data(), y.size()), N, N};
    g_assert_cmpuint(moshi_cuda_linear_scratch(&a), >, 0);
    a.scratch = (float *)own.bytes(moshi_cuda_linear_scratch(&a));
    moshi_cuda_linear(&a, nullptr);
    own.finish();
    const std::vector<float> got(
        y.begin() + (size_t)slot * N, y.begin() + (size_t)(slot + 1) * N);
    if (batch == batches[0])
      first = got;
    assert_same(got, first);
  }
}

static void
some_weights(const void *ctx, int n, int k, int count, float *to)
{
  const MoshiRows *w = (const MoshiRows *)ctx;
  memcpy(to, (const float *)w->data + (size_t)n * w->cols + k, count * sizeof *to);
}

/* So many rows that tiles are large; each row is the same as alone. (Small ones are in
 * the kernel check.) */
static void
test_panels(void)
{
  const int cols = 37, n = 440, batch = 4, steps = 650, stride = 21;
  const std::vector<float> x = floats((size_t)batch * steps * stride + cols);
  std::vector<float> y((size_t)batch * steps * n), alone(n);
  Memory m;
  Matrix w;

  random_matrix(&w, m, MOSHI_TYPE_F32, n, cols);
  std::vector<char> panels(moshi_panels_bytes(MOSHI_TYPE_BF16, n, cols));
  moshi_pack_panels(panels.data(), MOSHI_TYPE_BF16, n, cols, 0,
      (n + MOSHI_PANEL - 1) / MOSHI_PANEL, some_weights, &w.host);
  MoshiCudaLinear a = {};
  a.w.type = MOSHI_TYPE_BF16;
  a.w.rows = n;
  a.w.cols = cols;
  a.w.data = m.in(panels.data(), panels.size());
  a.packed = 1;
  a.x = {m.in(const_cast<float *>(x.data()), x.size()), (size_t)steps * stride,
      (size_t)stride};
  a.y = {m.back(y.data(), y.size()), (size_t)steps * n, (size_t)n};
  a.batch = batch;
  a.steps = steps;
  a.n_out = n;
  moshi_cuda_linear(&a, nullptr);
  m.finish();

  for (int round = 0; round < 20; round++) {
    Memory own;
    const size_t row = below(batch * steps);
    MoshiCudaLinear one = a;
    one.x.data += row * stride;
    one.y.data = own.back(alone.data(), n);
    one.batch = one.steps = 1;
    moshi_cuda_linear(&one, nullptr);
    own.finish();
    assert_same(alone, std::vector<float>(&y[row * n], &y[row * n] + n));
    const int o = below(n);
    double sum = 0;
    for (int k = 0; k < cols; k++)
      sum += (double)x[row * stride + k] *
             moshi_bf16_to_f32(moshi_f32_to_bf16(w.numbers[(size_t)o * cols + k]));
    assert_near(alone[o], (float)sum, (cols + 4) * FLT_EPSILON * cols);
  }
}

/* ---------------------------------------------------------------- sampling */

static const float specials[] = {-INFINITY, NAN, 0.0f, -0.0f, 1.0f, -1e30f};

static void
check_sample(int n, int size, bool special)
{
  std::vector<float> logits(n * size);
  std::vector<MoshiDraw> draws(n);
  std::vector<int32_t> want(3 * n, -7), tokens(3 * n, -7);
  Memory m;

  for (float &x : logits)
    x = special && !below(3) ? specials[below(6)]
        : special            ? below(4) * 0.5f
                             : 6 * unit();
  for (MoshiDraw &d : draws) {
    d = MoshiDraw{};
    d.temperature = below(5) ? 0.1f + below(20) * 0.1f : 0;
    d.top_k = below(3) ? 1 + below(below(2) ? size : size < 30 ? size : 30) : 0;
    d.seed = (uint64_t)random_bits() << 32 | random_bits();
    d.counter = random_bits();
  }
  cpu->ops->sample(cpu, logits.data(), n, size, draws.data(), want.data(), 3);
  MoshiCudaSample a = {m.in(logits.data(), logits.size()),
      m.in(draws.data(), draws.size()), m.back(tokens.data(), tokens.size()), 3, n,
      size};
  moshi_cuda_sample(&a, nullptr);
  m.finish();
  g_assert_cmpmem(tokens.data(), tokens.size() * 4, want.data(), want.size() * 4);
}

static void
test_sample(void)
{
  for (int round = 0; round < 40; round++) {
    check_sample(8, 1 + below(round % 4 ? 300 : 3000), false);
    check_sample(8, 1 + below(600), true);
  }
}

/* ------------------------------------------------------------------ tables */

static void
test_embed(void)
{
  for (int round = 0; round < 8; round++) {
    const MoshiType type = round % 2 ? MOSHI_TYPE_F32 : MOSHI_TYPE_Q8_0;
    const int rows = 1 + below(9), cols = 32 * (1 + below(12)), n = 1 + below(6);
    std::vector<float> want = floats(n * (cols + 3)), y = want;
    std::vector<int32_t> tokens(2 * n);
    Memory m;
    Matrix w;

    for (int32_t &t : tokens)
      t = below(rows + 3) - 2;
    random_matrix(&w, m, type, rows, cols);
    MoshiMatrix table = {w.host, false};
    cpu->ops->embed(cpu, want.data(), cols + 3, &table, tokens.data(), 2, n);
    MoshiCudaEmbed a = {m.back(y.data(), y.size()), (size_t)cols + 3, w.device,
        m.in(tokens.data(), tokens.size()), 2, n, 0};
    moshi_cuda_embed(&a, nullptr);
    m.finish();
    assert_same(y, want);
  }
}

/* Residuals close to an entry each, so that the search has one answer; of equal
 * entries the first. */
static void
test_quantize(void)
{
  const int entries = 300, dim = 37, n = 9, same = 17;
  std::vector<float> scores(n * entries), half(entries), residual(n * dim), left;
  std::vector<int32_t> want(2 * n), codes(2 * n, -1);
  Memory m;
  Matrix w;

  random_matrix(&w, m, MOSHI_TYPE_F32, entries, dim);
  float *rows = w.numbers.data();
  memcpy(rows + (same + 100) * dim, rows + same * dim, dim * sizeof *rows);
  const MoshiCudaLayout l = moshi_cuda_layout(&w.host);
  std::vector<char> laid(l.bytes);
  moshi_cuda_lay(&w.host, 0, entries, laid.data(), nullptr);
  w.device = moshi_cuda_rows(&w.host, m.in(laid.data(), laid.size()));
  for (int i = 0; i < n; i++) {
    want[2 * i] = i ? below(100) : same;
    for (int c = 0; c < dim; c++)
      residual[i * dim + c] = rows[want[2 * i] * dim + c] + unit() * 0.01f;
  }
  left = residual;
  for (int e = 0; e < entries; e++)
    for (int c = 0; c < dim; c++)
      half[e] += rows[e * dim + c] * rows[e * dim + c] / 2;

  MoshiCudaLinear dots = {};
  dots.w = w.device;
  dots.x = {m.back(residual.data(), residual.size()), (size_t)dim, (size_t)dim};
  dots.y = {m.in(scores.data(), scores.size()), (size_t)entries, (size_t)entries};
  dots.batch = n;
  dots.steps = 1;
  dots.n_out = entries;
  moshi_cuda_linear(&dots, nullptr);
  MoshiCudaQuantize a = {(const float *)w.device.data, m.in(half.data(), half.size()),
      dots.y.data, dots.x.data, m.back(codes.data(), codes.size()), 2, n, entries, dim,
      0};
  moshi_cuda_quantize(&a, nullptr);
  m.finish();
  for (int i = 0; i < n; i++) {
    g_assert_cmpint(codes[2 * i], ==, want[2 * i]);
    g_assert_cmpint(codes[2 * i + 1], ==, -1);
    for (int c = 0; c < dim; c++)
      g_assert_true(
          residual[i * dim + c] == left[i * dim + c] - rows[want[2 * i] * dim + c]);
  }
}

/* ------------------------------------------------------------- elementwise */

static void
test_small(void)
{
  const int n = 3, dim = 301, all = 5;
  const std::vector<float> x = floats(2 * n * dim), s = floats(dim);
  const std::vector<int> slots = slots_of(n, all);
  std::vector<float> want(n * dim), y(n * dim);
  Memory m;
  const float *d_x = m.in(x.data(), x.size()), *d_s = m.in(s.data(), s.size());
  const int *d_slots = m.in(slots.data(), n);

  { /* one row for all, in place */
    Memory own;
    want = y = floats(n * dim);
    cpu->ops->add(cpu, want.data(), x.data(), 0, s.data(), n, dim);
    MoshiCudaAdd a = {own.back(y.data(), y.size()), d_x, d_s, 0, n, dim};
    moshi_cuda_add(&a, nullptr);
    own.finish();
    assert_same(y, want);
  }
  {
    Memory own;
    cpu->ops->guide(cpu, want.data(), x.data(), x.data() + n * dim, 1.7f, n * dim);
    MoshiCudaGuide a = {
        own.back(y.data(), y.size()), d_x, d_x + n * dim, (size_t)n * dim, 1.7f, 0};
    moshi_cuda_guide(&a, nullptr);
    own.finish();
    assert_same(y, want);
  }
  {
    Memory own;
    cpu->ops->gate(cpu, MOSHI_ACT_RELU, want.data(), x.data(), n, dim);
    MoshiCudaGate a = {own.back(y.data(), y.size()), d_x, MOSHI_ACT_RELU, n, dim, 0};
    moshi_cuda_gate(&a, nullptr);
    own.finish();
    assert_same(y, want);
  }
  {
    Memory own;
    cpu->ops->softmax(cpu, want.data(), x.data(), n, dim);
    MoshiCudaSoftmax a = {own.back(y.data(), y.size()), d_x, n, dim};
    moshi_cuda_softmax(&a, nullptr);
    own.finish();
    for (size_t i = 0; i < y.size(); i++)
      assert_near(y[i], want[i], want[i] * (dim + 10) * FLT_EPSILON);
  }
  for (int store = 0; store < 2; store++) {
    Memory own;
    std::vector<float> to(all * (dim + 2), 7), got = to;
    if (store)
      cpu->ops->store(cpu, x.data(), dim, to.data(), dim + 2, dim, slots.data(), n);
    else
      cpu->ops->load(cpu, to.data(), dim + 2, x.data(), dim, dim, slots.data(), n);
    MoshiCudaMove a = {own.back(got.data(), got.size()), d_x, (size_t)dim + 2,
        (size_t)dim, d_slots, dim, n, store, 0};
    moshi_cuda_move(&a, nullptr);
    own.finish();
    assert_same(got, to);
  }
  {
    Memory own;
    const std::vector<MoshiEdit> edits = {
        {0, 3, 1.3f, 0}, {2, 300, 1, 2.5f}, {-1, 0, 0, 0}};
    want = y = floats(n * dim);
    cpu->ops->edit(cpu, want.data(), dim, edits.data(), 2);
    MoshiCudaEdit a = {own.back(y.data(), y.size()), own.in(edits.data(), 3), 3, dim};
    moshi_cuda_edit(&a, nullptr);
    own.finish();
    assert_same(y, want);
  }
}

/* ------------------------------------------------------------------- bench */

static void
count_report(void *ctx, const MoshiTimed *timed)
{
  g_assert_cmpfloat(timed->bytes, >, 0);
  g_assert_cmpfloat(timed->seconds, >=, 0);
  g_assert_cmpfloat(timed->copy_gb_s, >, 0);
  ++*(int *)ctx;
}

/* It runs, with every type and batch; its figures mean nothing here. */
static void
test_bench(void)
{
  MoshiCudaBench bench = {128, 1 << 22, 1};
  int reports = 0;
  g_assert_cmpint(moshi_cuda_bench(&bench, count_report, &reports), ==, cudaSuccess);
  g_assert_cmpint(reports, ==, 4 * MOSHI_N_TYPES * 5 + MOSHI_N_KVS);
  bench.memory = 1000;
  g_assert_cmpint(
      moshi_cuda_bench(&bench, count_report, &reports), ==, cudaErrorMemoryAllocation);
}

int
main(int argc, char **argv)
{
  MoshiError error;

  if (!have_card())
    return NO_CARD;
  g_setenv("MOSHI_CPU_MASK", "c", TRUE);
  g_test_init(&argc, &argv, nullptr);
  cpu = moshi_device_cpu(1, &error);
  g_assert_nonnull(cpu);
  g_test_add_func("/cuda/attend", test_attend);
  g_test_add_func("/cuda/cross", test_cross);
  g_test_add_func("/cuda/linear", test_linear);
  g_test_add_func("/cuda/buckets", test_buckets);
  g_test_add_func("/cuda/panels", test_panels);
  g_test_add_func("/cuda/sample", test_sample);
  g_test_add_func("/cuda/embed", test_embed);
  g_test_add_func("/cuda/quantize", test_quantize);
  g_test_add_func("/cuda/small", test_small);
  g_test_add_func("/cuda/bench", test_bench);
  const int status = g_test_run();
  moshi_device_close(cpu);
  return status;
}
