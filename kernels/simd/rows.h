/* Norms, elementwise kernels, reductions. */
#include <math.h>

/* ------------------------------------------------------------ elementwise */

INLINE void
act(MoshiAct which, float *y, const float *x, size_t n)
{
  size_t i = 0;
  for (; i + V_WIDTH <= n; i += V_WIDTH)
    v_store(y + i, apply(which, v_load(x + i)));
  if (i < n) {
    const int left = (int)(n - i);
    v_store_some(y + i, apply(which, v_load_some(x + i, left)), left);
  }
}

#define ACT(name, which)                                                               \
  static void act_##name(float *y, const float *x, size_t n)                           \
  {                                                                                    \
    act(which, y, x, n);                                                               \
  }
ACT(elu, MOSHI_ACT_ELU)
ACT(gelu, MOSHI_ACT_GELU)
ACT(silu, MOSHI_ACT_SILU)
ACT(relu, MOSHI_ACT_RELU)
ACT(sigmoid, MOSHI_ACT_SIGMOID)
ACT(tanh, MOSHI_ACT_TANH)

static void
act_none(float *y, const float *x, size_t n)
{
  if (y != x)
    memcpy(y, x, n * sizeof *y);
}

/* From here to the norms plain loops, which compilers know how to widen. */
static void
mul(float *y, const float *x, const float *g, size_t n)
{
  for (size_t i = 0; i < n; i++)
    y[i] = x[i] * g[i];
}

static void
add(float *y, const float *x, const float *s, size_t n)
{
  if (s)
    for (size_t i = 0; i < n; i++)
      y[i] += s[i] * x[i];
  else
    for (size_t i = 0; i < n; i++)
      y[i] += x[i];
}

static void
rope(float *x, const float *cos, const float *sin, int n)
{
  for (int i = 0; i < n; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

static void
rope_halves(float *a, float *b, const float *cos, const float *sin, int n)
{
  for (int i = 0; i < n; i++) {
    const float u = a[i], v = b[i];
    a[i] = u * cos[i] - v * sin[i];
    b[i] = u * sin[i] + v * cos[i];
  }
}

/* ------------------------------------------------------------------ norms */

/* A vector from i on, zero beyond n. */
INLINE V
load_within(const float *x, int i, int n)
{
  return i + V_WIDTH <= n ? v_load(x + i) : v_load_some(x + i, n - i);
}

/* Σ(x − mean)², in four chains. */
static float
squares(const float *x, int n, float mean)
{
  V sum[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
  for (int i = 0; i < n; i += 4 * V_WIDTH)
    for (int j = 0; j < 4 && i + V_WIDTH * j < n; j++) {
      V d = v_sub(load_within(x, i + V_WIDTH * j, n), v_set(mean));
      d = v_keep(d, n - i - V_WIDTH * j);
      sum[j] = v_fma(d, d, sum[j]);
    }
  return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

static float
sum_of(const float *x, int n)
{
  V sum[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
  for (int i = 0; i < n; i += 4 * V_WIDTH)
    for (int j = 0; j < 4 && i + V_WIDTH * j < n; j++)
      sum[j] = v_add(sum[j], load_within(x, i + V_WIDTH * j, n));
  return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

static void
rms_norm(float *y, const float *x, const float *alpha, int n, float eps)
{
  const float inverse = 1 / sqrtf(squares(x, n, 0) / n + eps);
  int i = 0;
  for (; i + V_WIDTH <= n; i += V_WIDTH)
    v_store(y + i, v_mul(v_mul(v_load(x + i), v_set(inverse)), v_load(alpha + i)));
  for (; i < n; i++)
    y[i] = x[i] * inverse * alpha[i];
}

static void
layer_norm(float *y, const float *x, const float *w, const float *b, int n, float eps)
{
  const float mean = sum_of(x, n) / n;
  const float inverse = 1 / sqrtf(squares(x, n, mean) / n + eps);
  int i = 0;
  for (; i + V_WIDTH <= n; i += V_WIDTH) {
    const V d = v_sub(v_load(x + i), v_set(mean));
    v_store(y + i, v_fma(v_mul(d, v_set(inverse)), v_load(w + i), v_load(b + i)));
  }
  for (; i < n; i++)
    y[i] = fmaf((x[i] - mean) * inverse, w[i], b[i]);
}

/* ------------------------------------------------------------- reductions */

/* The largest of sign·x, NaNs aside (max returns its second operand), or −inf. */
INLINE float
largest(const float *x, int n, float sign)
{
  V top = v_set(-INFINITY);
  float rest = -INFINITY;
  int i = 0;

  for (; i + V_WIDTH <= n; i += V_WIDTH)
    top = v_max(v_mul(v_load(x + i), v_set(sign)), top);
  for (; i < n; i++)
    rest = sign * x[i] > rest ? sign * x[i] : rest;
  const float most = v_largest(top);
  return most > rest ? most : rest;
}

/* The first that equals value; 0 where none does. */
static int
first_equal(const float *x, int n, float value)
{
  int i = 0;
  for (; i + V_WIDTH <= n; i += V_WIDTH) {
    const int lane = v_find(v_load(x + i), value);
    if (lane >= 0)
      return i + lane;
  }
  for (; i < n; i++)
    if (x[i] == value)
      return i;
  return 0;
}

static int
argmin(const float *x, int n)
{
  return first_equal(x, n, -largest(x, n, -1));
}

static int
argmax(const float *x, int n)
{
  return first_equal(x, n, largest(x, n, 1));
}

static float
softmax_exp(float *p, const float *x, int n, float inv_temperature)
{
  const V top = v_set(largest(x, n, 1));
  V sum = v_set(0);

  for (int i = 0; i < n; i += V_WIDTH) {
    const int left = n - i;
    const V d = v_sub(left < V_WIDTH ? v_load_some(x + i, left) : v_load(x + i), top);
    const V e = exp_v(v_mul(d, v_set(inv_temperature)));
    if (left < V_WIDTH)
      v_store_some(p + i, e, left);
    else
      v_store(p + i, e);
    sum = v_add(sum, v_keep(e, left));
  }
  return v_sum(sum);
}

/* --------------------------------------------------------------- widening */

static void
widen_f32(float *y, const MoshiRows *w, int row, int col, int n)
{
  memcpy(y, (const float *)w->data + (size_t)row * w->cols + col, n * sizeof *y);
}

INLINE void
widen(bool bf16, float *y, const MoshiRows *w, int row, int col, int n)
{
  const uint16_t *x = (const uint16_t *)w->data + (size_t)row * w->cols + col;
  int i = 0;
  for (; i + V_WIDTH <= n; i += V_WIDTH)
    v_store(y + i, v_load_halves(x + i, V_WIDTH, bf16));
  if (i < n)
    v_store_some(y + i, v_load_halves(x + i, n - i, bf16), n - i);
}

static void
widen_f16(float *y, const MoshiRows *w, int row, int col, int n)
{
  widen(false, y, w, row, col, n);
}

static void
widen_bf16(float *y, const MoshiRows *w, int row, int col, int n)
{
  widen(true, y, w, row, col, n);
}
