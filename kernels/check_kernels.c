/* A random round of each kernel. The tolerance stands next to its kernel, with
 * the reason; EPS is half a unit in the last place, relatively. */
#include "check_inner.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPS CHECK_EPS
#define TINY CHECK_TINY

/* ------------------------------------------------------------ activations */

static const char *const act_names[] = {
    "none", "elu", "gelu", "silu", "relu", "sigmoid", "tanh"};

/* 4 ulp for what is built on exp, erf and one division. The last term of GELU is
 * the cancellation in 1 + erf(x), which the formula itself has. SiLU's is the same
 * as the others' but for results that underflow. */
static double
act_tolerance(MoshiAct act, float x, float want)
{
  switch (act) {
  case MOSHI_ACT_NONE:
  case MOSHI_ACT_RELU:
    return 0;
  case MOSHI_ACT_GELU:
    return 8 * EPS * fabs(want) + 2 * EPS * fmin(fabs(x), 8) + TINY;
  default:
    return 8 * EPS * fabs(want) + TINY;
  }
}

static void
act_round(Check *c, MoshiAct act)
{
  const int n = check_size(c, 500), at = check_below(c, n);
  const Data data = check_below(c, N_DATA);
  float *x = check_input(c, n), *y = check_output(c, n), *want = check_output(c, n),
        one;

  snprintf(c->what, sizeof c->what, "n %d, %s data", n, check_data_names[data]);
  check_fill(c, x, n, data);
  if (data == DATA_UNIT) /* where the functions bend */
    for (int i = 0; i < n; i++)
      x[i] *= 12;
  c->ref->act[act](want, x, n);
  c->tier->act[act](y, x, n);
  for (int i = 0; i < n; i++)
    if (!check_near(c, i, y[i], want[i], act_tolerance(act, x[i], want[i])))
      break;
  c->tier->act[act](&one, x + at, 1);
  check_same(c, "alone", &one, y + at, 1);
  c->tier->act[act](x, x, n);
  check_same(c, "in place", x, y, n);
}

#define ACT_ROUND(name, act)                                                           \
  static void act_##name##_round(Check *c)                                             \
  {                                                                                    \
    act_round(c, act);                                                                 \
  }
ACT_ROUND(none, MOSHI_ACT_NONE)
ACT_ROUND(elu, MOSHI_ACT_ELU)
ACT_ROUND(gelu, MOSHI_ACT_GELU)
ACT_ROUND(silu, MOSHI_ACT_SILU)
ACT_ROUND(relu, MOSHI_ACT_RELU)
ACT_ROUND(sigmoid, MOSHI_ACT_SIGMOID)
ACT_ROUND(tanh, MOSHI_ACT_TANH)

/* ------------------------------------------------------------------- gemm */

static int
panels_of(const MoshiGemm *g)
{
  return (g->n_out + MOSHI_PANEL - 1) / MOSHI_PANEL;
}

static size_t
input_size(const MoshiGemm *g)
{
  return (g->batch - 1) * g->in_batch + (g->steps - 1) * g->in_step + g->n_in;
}

typedef struct {
  const float *w;
  int n_in;
} Unpacked;

static void
unpacked_weights(const void *ctx, int n, int k, int count, float *to)
{
  const Unpacked *u = ctx;
  memcpy(to, u->w + (size_t)n * u->n_in + k, count * sizeof *to);
}

static float
packed_weight(const MoshiGemm *g, int n, int k)
{
  const size_t at =
      ((size_t)(n / MOSHI_PANEL) * g->n_in + k) * MOSHI_PANEL + n % MOSHI_PANEL;
  return g->type == MOSHI_TYPE_F32
             ? ((const float *)g->panels)[at]
             : moshi_bf16_to_f32(((const uint16_t *)g->panels)[at]);
}

static const void *
random_panels(Check *c, const MoshiGemm *g, Data data)
{
  const size_t bytes = moshi_panels_bytes(g->type, g->n_out, g->n_in);
  void *panels = check_input_bytes(c, bytes, moshi_rows_bytes(g->type, 1));
  const Unpacked u = {check_vector(c, g->n_out * g->n_in, data), g->n_in};

  moshi_pack_panels(
      panels, g->type, g->n_out, g->n_in, 0, panels_of(g), unpacked_weights, &u);
  return panels;
}

/* Windows that overlap or not, every option, at most some million products. */
static MoshiGemm
random_gemm(Check *c, Data data)
{
  MoshiGemm g = {.act = check_below(c, MOSHI_N_ACTS),
      .type = check_below(c, 2) ? MOSHI_TYPE_F32 : MOSHI_TYPE_BF16};

  do {
    g.batch = check_size(c, 4);
    g.steps = check_below(c, 2) ? check_size(c, 4) : check_size(c, 150);
    g.n_in = check_below(c, 8) ? check_size(c, 200) : check_size(c, 3000);
    g.n_out = check_size(c, 150);
  } while ((double)g.batch * g.steps * g.n_in * g.n_out > 1e6);
  g.in_step = check_below(c, 2) ? g.n_in + check_below(c, 5) : check_size(c, g.n_in);
  g.in_batch = g.in_step * g.steps + g.n_in + check_below(c, 9);
  g.out_step = g.n_out + check_below(c, 5);
  g.out_batch = g.out_step * g.steps + check_below(c, 9);
  g.residual_step = g.n_out + check_below(c, 5);
  g.residual_batch = g.residual_step * g.steps + check_below(c, 9);
  snprintf(c->what, sizeof c->what,
      "batch %d, steps %d, in %d (every %zu), out %d, %s, %s, %s data", g.batch,
      g.steps, g.n_in, g.in_step, g.n_out, moshi_type_name(g.type), act_names[g.act],
      check_data_names[data]);
  g.in = check_vector(c, input_size(&g), data);
  g.panels = random_panels(c, &g, data == DATA_HUGE ? DATA_UNIT : data);
  if (check_below(c, 2))
    g.bias = check_vector(c, g.n_out, data);
  if (check_below(c, 3) == 0)
    g.scale = check_vector(c, g.n_out, DATA_UNIT);
  if (check_below(c, 3) == 0)
    g.residual = check_vector(c, g.residual_batch * g.batch, data);
  return g;
}

/* The sum's error passes the activation, whose slope is below 1.2, then scale and
 * residual, which round once each. */
static double
gemm_tolerance(const MoshiGemm *g, int item, int step, int n, float want)
{
  const float *x = g->in + item * g->in_batch + step * g->in_step;
  double magnitude = g->bias ? fabs(g->bias[n]) : 0;

  for (int k = 0; k < g->n_in; k++)
    magnitude += fabs((double)x[k] * packed_weight(g, n, k));
  double tolerance = 1.2 * check_sum_tolerance(g->n_in, magnitude);
  if (g->act != MOSHI_ACT_NONE)
    tolerance += 8 * EPS * magnitude + 8 * EPS;
  if (g->scale)
    tolerance *= fabs(g->scale[n]);
  if (g->residual)
    tolerance +=
        2 * EPS *
        fabs(g->residual[item * g->residual_batch + step * g->residual_step + n]);
  return tolerance + 4 * EPS * fabs(want) + TINY;
}

/* The same product cut at random into rows and panels. */
static void
gemm_in_pieces(Check *c, const MoshiGemm *g)
{
  const int rows = g->batch * g->steps, panels = panels_of(g);
  for (int r0 = 0, r1; r0 < rows; r0 = r1) {
    r1 = r0 + 1 + check_below(c, check_below(c, 2) ? 3 : rows);
    r1 = r1 < rows ? r1 : rows;
    for (int p0 = 0, p1; p0 < panels; p0 = p1) {
      p1 = p0 + 1 + check_below(c, panels - p0);
      c->tier->gemm(g, r0, r1, p0, p1);
    }
  }
}

static void
gemm_round(Check *c)
{
  const Data data = check_finite_data(c);
  MoshiGemm g = random_gemm(c, data);
  const size_t size = g.out_batch * g.batch;
  float *want = check_output(c, size), *whole = check_output(c, size),
        *pieces = check_output(c, size);

  g.out = want;
  c->ref->gemm(&g, 0, g.batch * g.steps, 0, panels_of(&g));
  g.out = whole;
  c->tier->gemm(&g, 0, g.batch * g.steps, 0, panels_of(&g));
  g.out = pieces;
  gemm_in_pieces(c, &g);
  check_same(
      c, "in pieces", pieces, whole, size); /* and nothing written between rows */
  for (int i = 0; i < g.batch; i++)
    for (int t = 0; t < g.steps; t++)
      for (int n = 0; n < g.n_out; n++) {
        const size_t at = i * g.out_batch + t * g.out_step + n;
        if (!check_near(
                c, at, whole[at], want[at], gemm_tolerance(&g, i, t, n, want[at])))
          return;
      }
}

/* ------------------------------------------------------------ elementwise */

/* One rounding: exact. */
static void
mul_round(Check *c)
{
  const int n = check_size(c, 300);
  const Data data = check_below(c, N_DATA);
  float *x = check_vector(c, n, data), *g = check_vector(c, n, data);
  float *want = check_output(c, n), *y = check_output(c, n);

  snprintf(c->what, sizeof c->what, "n %d, %s data", n, check_data_names[data]);
  c->ref->mul(want, x, g, n);
  c->tier->mul(y, x, g, n);
  check_same(c, "product", y, want, n);
  c->tier->mul(x, x, g, n);
  check_same(c, "in place", x, want, n);
}

/* Exact without s; with it the product may be rounded or not. */
static void
add_round(Check *c)
{
  const int n = check_size(c, 300), at = check_below(c, n);
  const Data data = check_below(c, N_DATA);
  const float *x = check_vector(c, n, data);
  const float *s = check_below(c, 2) ? check_vector(c, n, data) : NULL;
  float *want = check_output(c, n), *y = check_output(c, n);

  snprintf(c->what, sizeof c->what, "n %d, %s, %s data", n, s ? "scaled" : "plain",
      check_data_names[data]);
  check_fill(c, want, n, data);
  memcpy(y, want, n * sizeof *y);
  float one = y[at];
  c->ref->add(want, x, s, n);
  c->tier->add(y, x, s, n);
  for (int i = 0; i < n; i++) {
    /* what the reference computed in two steps may overflow in the first */
    const double product = s ? (double)s[i] * x[i] : 0;
    if (s && !(fabs(product) < FLT_MAX / 2))
      continue;
    const double tolerance = s ? 2 * EPS * (fabs(product) + fabs(want[i])) + TINY : 0;
    if (!check_near(c, i, y[i], want[i], tolerance))
      return;
  }
  c->tier->add(&one, x + at, s ? s + at : NULL, 1);
  check_same(c, "alone", &one, y + at, 1);
}

/* Two products and a sum: 2 roundings, or 3. */
static void
rope_check(Check *c, bool halves)
{
  const int n = check_size(c, 100);
  const Data data = check_finite_data(c);
  float *want = check_output(c, 2 * n), *y = check_output(c, 2 * n);
  const float *cos = check_vector(c, n, DATA_UNIT),
              *sin = check_vector(c, n, DATA_UNIT);

  snprintf(c->what, sizeof c->what, "%d pairs, %s data", n, check_data_names[data]);
  check_fill(c, y, 2 * n, data);
  memcpy(want, y, 2 * n * sizeof *y);
  const float *x = memcpy(check_input(c, 2 * n), y, 2 * n * sizeof *y);
  if (halves) {
    c->ref->rope_halves(want, want + n, cos, sin, n);
    c->tier->rope_halves(y, y + n, cos, sin, n);
  } else {
    c->ref->rope(want, cos, sin, n);
    c->tier->rope(y, cos, sin, n);
  }
  for (int i = 0; i < 2 * n; i++) {
    const int other = halves ? (i + n) % (2 * n) : i ^ 1;
    const double tolerance = 4 * EPS * (fabs(x[i]) + fabs(x[other])) + TINY;
    if (!check_near(c, i, y[i], want[i], tolerance))
      return;
  }
}

static void
rope_round(Check *c)
{
  rope_check(c, false);
}

static void
rope_halves_round(Check *c)
{
  rope_check(c, true);
}

/* ------------------------------------------------------------------ norms */

/* The mean square has n roundings, of which the root keeps half; the products
 * round twice more. */
static void
rms_norm_round(Check *c)
{
  const int n = check_size(c, 2000);
  const Data data = check_finite_data(c);
  const float *x = check_vector(c, n, data), *alpha = check_vector(c, n, DATA_UNIT);
  float *want = check_output(c, n), *y = check_output(c, n);

  snprintf(c->what, sizeof c->what, "n %d, %s data", n, check_data_names[data]);
  c->ref->rms_norm(want, x, alpha, n, 1e-8f);
  c->tier->rms_norm(y, x, alpha, n, 1e-8f);
  for (int i = 0; i < n; i++)
    if (!check_near(c, i, y[i], want[i], (n + 8) * EPS * fabs(want[i]) + TINY))
      return;
  c->tier->rms_norm(memcpy(want, x, n * sizeof *x), want, alpha, n, 1e-8f);
  check_same(c, "in place", want, y, n);
}

/* As above, and the error of the mean, which is of the size of Σ|x|. */
static void
layer_norm_round(Check *c)
{
  const int n = check_size(c, 2000);
  const Data data = check_finite_data(c);
  const float *x = check_vector(c, n, data), *w = check_vector(c, n, DATA_UNIT),
              *b = check_vector(c, n, DATA_UNIT);
  float *want = check_output(c, n), *y = check_output(c, n);
  double mean = 0, magnitude = 0, variance = 0;

  snprintf(c->what, sizeof c->what, "n %d, %s data", n, check_data_names[data]);
  for (int i = 0; i < n; i++) {
    mean += x[i] / (double)n;
    magnitude += fabs(x[i]) / n;
  }
  for (int i = 0; i < n; i++)
    variance += (x[i] - mean) * (x[i] - mean) / n;
  const double inverse = 1 / sqrt(variance + 1e-5);
  c->ref->layer_norm(want, x, w, b, n, 1e-5f);
  c->tier->layer_norm(y, x, w, b, n, 1e-5f);
  for (int i = 0; i < n; i++) {
    const double scaled = fabs((x[i] - mean) * inverse) + magnitude * inverse;
    const double tolerance =
        (n + 8) * EPS * scaled * fabs(w[i]) * (1 + magnitude * inverse * EPS * n) +
        4 * EPS * (fabs(want[i]) + fabs(b[i])) + TINY;
    if (!check_near(c, i, y[i], want[i], tolerance))
      return;
  }
  c->tier->layer_norm(memcpy(want, x, n * sizeof *x), want, w, b, n, 1e-5f);
  check_same(c, "in place", want, y, n);
}

/* -------------------------------------------------------------- attention */

typedef struct {
  char *rows;
  float *scales;
} Ring;

static Ring
empty_ring(Check *c, MoshiKv kv, const MoshiAttention *a)
{
  const size_t elements = a->stride * (a->capacity - 1) + a->d;
  return (Ring){check_input_bytes(c, elements * moshi_kv_size(kv), moshi_kv_size(kv)),
      check_input(c, a->capacity)};
}

static float
kept(MoshiKv kv, const char *row, float scale, int i)
{
  if (kv == MOSHI_KV_I8)
    return scale * ((const int8_t *)row)[i];
  if (kv == MOSHI_KV_BF16)
    return moshi_bf16_to_f32(((const uint16_t *)row)[i]);
  return ((const float *)row)[i];
}

/* Fills a ring; what comes back is off by half a step of the type: 2^-8 of a bf16,
 * of an int8 half its scale, besides the roundings of x/scale. */
static void
fill_ring(Check *c, MoshiKv kv, const MoshiAttention *a, const Ring *ring, Data data,
    double *largest)
{
  float x[MOSHI_MAX_HEAD_DIM];

  for (int j = 0; j < a->capacity; j++) {
    char *row = ring->rows + j * a->stride * moshi_kv_size(kv);
    float *scale = ring->scales + j;
    check_fill(c, x, a->d, data);
    moshi_kv_store(kv, row, scale, x, a->d);
    for (int i = 0; i < a->d; i++) {
      const double step = kv == MOSHI_KV_I8     ? *scale * (0.5 + 254 * EPS)
                          : kv == MOSHI_KV_BF16 ? fabsf(x[i]) * 0x1p-8
                                                : 0;
      *largest = fmax(*largest, fabsf(kept(kv, row, *scale, i)));
      if (!check_near(c, i, kept(kv, row, *scale, i), x[i], step + 127 * TINY))
        return;
    }
  }
}

/* The rows of `from`, where the first key lies, put where it shall lie. */
static void
turn_ring(
    MoshiKv kv, const MoshiAttention *a, const Ring *from, const Ring *to, int first)
{
  const size_t size = moshi_kv_size(kv);
  for (int j = 0; j < a->count; j++) {
    const int old = (a->first + j) % a->capacity, new = (first + j) % a->capacity;
    memcpy(to->rows + new * a->stride *size, from->rows + old * a->stride * size,
        a->d * size);
    to->scales[new] = from->scales[old];
  }
}

/* A score's error, d roundings of Σ|q·k|, is the relative error of its weight; the
 * sums over keys add count roundings of values of at most max|v|. */
static void
attention_round(Check *c, MoshiKv kv)
{
  MoshiAttention a = {.d = check_size(c, 130), .capacity = check_size(c, 400)};
  const Data data = check_below(c, 2) ? DATA_UNIT : DATA_TINY;
  float *want = check_output(c, a.d), *out = check_output(c, a.d);
  double scores = 0, keys = 0, values = 0;

  a.stride = a.d + check_below(c, 5);
  a.count = 1 + check_below(c, a.capacity);
  a.first = check_below(c, a.capacity);
  a.scale = 1 / sqrtf((float)a.d);
  snprintf(c->what, sizeof c->what, "d %d, %d of %d keys from %d, %s data", a.d,
      a.count, a.capacity, a.first, check_data_names[data]);
  float *q = check_vector(c, a.d, data);
  const Ring k = empty_ring(c, kv, &a), v = empty_ring(c, kv, &a);
  fill_ring(c, kv, &a, &k, data, &keys);
  fill_ring(c, kv, &a, &v, data, &values);
  if (data == DATA_UNIT && check_below(c, 2)) /* one key that takes all */
    for (int i = 0; i < a.d; i++)
      q[i] *= 50;
  for (int i = 0; i < a.d; i++)
    scores += fabs(q[i]) * fmax(keys, 1);
  a.q = q;
  a.k = k.rows;
  a.v = v.rows;
  a.k_scales = k.scales;
  a.v_scales = v.scales;

  a.out = want;
  c->ref->attention[kv](&a);
  a.out = out;
  c->tier->attention[kv](&a);
  const double tolerance =
      (2 * (a.d + 6) * scores * a.scale + a.count + 18) * EPS * values + TINY;
  for (int i = 0; i < a.d; i++)
    if (!check_near(c, i, out[i], want[i], tolerance))
      return;

  /* The same keys elsewhere in a ring. */
  const Ring k2 = empty_ring(c, kv, &a), v2 = empty_ring(c, kv, &a);
  const int first = check_below(c, a.capacity);
  turn_ring(kv, &a, &k, &k2, first);
  turn_ring(kv, &a, &v, &v2, first);
  a.first = first;
  a.k = k2.rows;
  a.v = v2.rows;
  a.k_scales = k2.scales;
  a.v_scales = v2.scales;
  a.out = q; /* in place, too */
  c->tier->attention[kv](&a);
  check_same(c, "turned ring, in place", q, out, a.d);
}

#define ATTENTION_ROUND(name, kv)                                                      \
  static void attention_##name##_round(Check *c)                                       \
  {                                                                                    \
    attention_round(c, kv);                                                            \
  }
ATTENTION_ROUND(f32, MOSHI_KV_F32)
ATTENTION_ROUND(bf16, MOSHI_KV_BF16)
ATTENTION_ROUND(i8, MOSHI_KV_I8)

/* ------------------------------------------------------------- reductions */

/* Exact, ties and NaNs included. */
static void
arg_round(Check *c, int (*ref)(const float *, int), int (*tier)(const float *, int))
{
  const int n = check_size(c, 3000), kind = check_below(c, N_DATA + 2);
  float *x = check_vector(c, n, kind < N_DATA ? kind : DATA_UNIT);

  if (kind >= N_DATA) /* many ties, or nothing but NaNs */
    for (int i = 0; i < n; i++)
      x[i] = kind == N_DATA ? rintf(2 * x[i]) : NAN;
  snprintf(c->what, sizeof c->what, "n %d, kind %d", n, kind);
  const int got = tier(x, n), want = ref(x, n);
  if (got != want)
    check_fail(c, "index %d, not %d", got, want);
}

static void
argmin_round(Check *c)
{
  arg_round(c, c->ref->argmin, c->tier->argmin);
}

static void
argmax_round(Check *c)
{
  arg_round(c, c->ref->argmax, c->tier->argmax);
}

/* The argument of exp is rounded twice, and that error, relative to its size, is
 * the relative error of p; exp itself adds 4 ulp. */
static void
softmax_exp_round(Check *c)
{
  const int n = check_size(c, 3000);
  const float inverse =
      check_below(c, 2) ? 1 : 0.2f + 3 * fabsf(check_number(c, DATA_UNIT));
  const Data data = check_finite_data(c);
  float *x = check_vector(c, n, data);
  float *want = check_output(c, n), *p = check_output(c, n);
  double total = 0;

  snprintf(c->what, sizeof c->what, "n %d, %s data, 1/T %g", n, check_data_names[data],
      inverse);
  if (data == DATA_UNIT)
    for (int i = 0; i < n; i++)
      x[i] *= 20;
  c->ref->softmax_exp(want, x, n, inverse);
  const float sum = c->tier->softmax_exp(p, x, n, inverse);
  const float top = x[c->ref->argmax(x, n)];
  for (int i = 0; i < n; i++) {
    const double argument = fabs((double)x[i] - top) * inverse;
    if (!check_near(c, i, p[i], want[i], (8 + 4 * argument) * EPS * want[i] + TINY))
      return;
    total += p[i];
  }
  check_near(c, n, sum, (float)total, (n + 4) * EPS * total);
}

/* Exact, of whatever data. */
static void
encode_q4_k_round(Check *c)
{
  enum { N = 256, BLOCK = 144 / sizeof(float) };
  const Data data = check_below(c, N_DATA);
  const float *x = check_vector(c, N, data);
  float *want = check_output(c, BLOCK), *to = check_output(c, BLOCK);

  snprintf(c->what, sizeof c->what, "%s data", check_data_names[data]);
  c->ref->encode_q4_k((uint8_t *)want, x);
  c->tier->encode_q4_k((uint8_t *)to, x);
  check_same(c, "block", to, want, BLOCK);
}

#define TYPE_ROUNDS(name, type)                                                        \
  static void matvec_##name##_round(Check *c)                                          \
  {                                                                                    \
    check_matvec(c, type);                                                             \
  }                                                                                    \
  static void widen_##name##_round(Check *c)                                           \
  {                                                                                    \
    check_widen(c, type);                                                              \
  }
TYPE_ROUNDS(f32, MOSHI_TYPE_F32)
TYPE_ROUNDS(f16, MOSHI_TYPE_F16)
TYPE_ROUNDS(bf16, MOSHI_TYPE_BF16)
TYPE_ROUNDS(i8, MOSHI_TYPE_I8)
TYPE_ROUNDS(q8_0, MOSHI_TYPE_Q8_0)
TYPE_ROUNDS(q4_0, MOSHI_TYPE_Q4_0)
TYPE_ROUNDS(q4_k, MOSHI_TYPE_Q4_K)
TYPE_ROUNDS(mlx4, MOSHI_TYPE_MLX4)
TYPE_ROUNDS(mlx8, MOSHI_TYPE_MLX8)

#define PANEL_ROUNDS(name, type)                                                       \
  static void matvec_panels_##name##_round(Check *c)                                   \
  {                                                                                    \
    check_matvec_panels(c, type);                                                      \
  }
PANEL_ROUNDS(q4_0, MOSHI_TYPE_Q4_0)
PANEL_ROUNDS(q4_k, MOSHI_TYPE_Q4_K)
PANEL_ROUNDS(mlx4, MOSHI_TYPE_MLX4)

const CheckKernel check_kernels[] = {
    {"gemm", gemm_round},
    {"matvec_f32", matvec_f32_round},
    {"matvec_f16", matvec_f16_round},
    {"matvec_bf16", matvec_bf16_round},
    {"matvec_i8", matvec_i8_round},
    {"matvec_q8_0", matvec_q8_0_round},
    {"matvec_q4_0", matvec_q4_0_round},
    {"matvec_q4_k", matvec_q4_k_round},
    {"matvec_panels_q4_0", matvec_panels_q4_0_round},
    {"matvec_panels_q4_k", matvec_panels_q4_k_round},
    {"matvec_panels_mlx4", matvec_panels_mlx4_round},
    {"matvec_mlx4", matvec_mlx4_round},
    {"matvec_mlx8", matvec_mlx8_round},
    {"widen_f32", widen_f32_round},
    {"widen_f16", widen_f16_round},
    {"widen_bf16", widen_bf16_round},
    {"widen_i8", widen_i8_round},
    {"widen_q8_0", widen_q8_0_round},
    {"widen_q4_0", widen_q4_0_round},
    {"widen_q4_k", widen_q4_k_round},
    {"widen_mlx4", widen_mlx4_round},
    {"widen_mlx8", widen_mlx8_round},
    {"rms_norm", rms_norm_round},
    {"layer_norm", layer_norm_round},
    {"act_none", act_none_round},
    {"act_elu", act_elu_round},
    {"act_gelu", act_gelu_round},
    {"act_silu", act_silu_round},
    {"act_relu", act_relu_round},
    {"act_sigmoid", act_sigmoid_round},
    {"act_tanh", act_tanh_round},
    {"mul", mul_round},
    {"add", add_round},
    {"rope", rope_round},
    {"rope_halves", rope_halves_round},
    {"attention_f32", attention_f32_round},
    {"attention_bf16", attention_bf16_round},
    {"attention_i8", attention_i8_round},
    {"argmin", argmin_round},
    {"argmax", argmax_round},
    {"softmax_exp", softmax_exp_round},
    {"encode_q4_k", encode_q4_k_round},
};
const int n_check_kernels = sizeof check_kernels / sizeof *check_kernels;
