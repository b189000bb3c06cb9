/* Encoded blocks: against ggml's bytes, and against what was encoded. */
#include <glib.h>
#include <math.h>
#include <string.h>

#include "encode-golden.h"
#include "../../kernels/kernels.h"

enum { BLOCKS = 24, N = 32 * BLOCKS };

static MoshiKernels kernels;

static double
golden_value(int block, int i, int value)
{
  switch (block) {
  case 0:
    return 0;
  case 1:
    return (value % 7 + 7) % 7 - 3;
  case 2:
    return i ? ((value % 255 + 255) % 255 - 127) / 2.0 : 127;
  case 3:
    return i ? (value % 17 + 17) % 17 / 2.0 - 4 : -4;
  case 4:
    return ldexp(value, -60);
  case 5:
    return ldexp(value, -36);
  case 6:
    return i == 9 ? value / 1024.0 : 0;
  default:
    return ldexp(value, block - 30);
  }
}

/* As in encode-golden.py. */
static void
golden_input(float *x)
{
  uint64_t state = 1;
  for (int i = 0; i < N; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x[i] = (float)golden_value(i / 32, i % 32, (int)(state >> 40) - (1 << 23));
  }
}

static void
check_golden(MoshiType type, const unsigned char *want, size_t bytes)
{
  float x[N];
  unsigned char got[N * 2];

  g_assert_cmpuint(bytes, ==, moshi_rows_bytes(type, N));
  golden_input(x);
  g_assert_true(moshi_encode(&kernels, type, got, x, N));
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != want[i])
      g_error("%s: byte %zu is %d, not %d", moshi_type_name(type), i, got[i], want[i]);
}

static void
test_golden(void)
{
  check_golden(MOSHI_TYPE_Q8_0, golden_q8_0, sizeof golden_q8_0);
  check_golden(MOSHI_TYPE_Q4_0, golden_q4_0, sizeof golden_q4_0);
}

/* Sums of uniform numbers, near enough to weights. */
static void
normal(float *x, int n)
{
  GRand *rand = g_rand_new_with_seed(1);
  for (int i = 0; i < n; i++) {
    double sum = -6;
    for (int j = 0; j < 12; j++)
      sum += g_rand_double(rand);
    x[i] = (float)(0.02 * sum);
  }
  g_rand_free(rand);
}

/* RMS of what is lost, relative to the RMS of x. */
static double
loss(MoshiType type, const float *x, int n)
{
  unsigned char *blocks = g_malloc(moshi_rows_bytes(type, n));
  float *y = g_new(float, n);
  MoshiRows rows = {.type = type, .rows = 1, .cols = n, .data = blocks};
  double lost = 0, all = 0;

  g_assert_true(moshi_encode(&kernels, type, blocks, x, n));
  kernels.widen[type](y, &rows, 0, 0, n);
  for (int i = 0; i < n; i++) {
    lost += (x[i] - y[i]) * (x[i] - y[i]);
    all += x[i] * x[i];
  }
  g_free(blocks);
  g_free(y);
  return sqrt(lost / all);
}

static void
test_loss(void)
{
  enum { MANY = 1 << 16 };
  static float x[MANY];
  normal(x, MANY);
  g_assert_cmpfloat(loss(MOSHI_TYPE_Q8_0, x, MANY), <, 0.0056);
  g_assert_cmpfloat(loss(MOSHI_TYPE_Q4_0, x, MANY), <, 0.090);
  /* ggml's own search: 0.073 */
  g_assert_cmpfloat(loss(MOSHI_TYPE_Q4_K, x, MANY), <, 0.073);
}

/* Nothing is undefined, whatever the weights are. */
static void
test_odd_values(void)
{
  static const float odd[] = {
      INFINITY, -INFINITY, NAN, 3.4e38f, -3.4e38f, 1e-45f, -0.0f, 65504};
  static const MoshiType types[] = {MOSHI_TYPE_Q8_0, MOSHI_TYPE_Q4_0, MOSHI_TYPE_Q4_K};
  unsigned char blocks[512];

  for (size_t t = 0; t < G_N_ELEMENTS(types); t++)
    for (size_t a = 0; a < G_N_ELEMENTS(odd); a++)
      for (size_t b = 0; b < G_N_ELEMENTS(odd); b++) {
        float x[256];
        for (int i = 0; i < 256; i++)
          x[i] = i % 3 ? odd[a] : odd[b];
        g_assert_true(moshi_encode(&kernels, types[t], blocks, x, 256));
      }
}

static void
test_refused(void)
{
  float x[256] = {0};
  unsigned char to[1024];
  g_assert_false(moshi_encode(&kernels, MOSHI_TYPE_Q8_0, to, x, 33));
  g_assert_false(moshi_encode(&kernels, MOSHI_TYPE_MLX4, to, x, 256));
  g_assert_false(moshi_encode(&kernels, MOSHI_TYPE_BF16, to, x, 256));
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  moshi_kernels_init(&kernels, ~0u);
  g_test_add_func("/encode/golden", test_golden);
  g_test_add_func("/encode/loss", test_loss);
  g_test_add_func("/encode/odd values", test_odd_values);
  g_test_add_func("/encode/refused", test_refused);
  return g_test_run();
}
