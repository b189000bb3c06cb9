/* Products of random matrices in every format, computed by this machine's kernels,
 * against the matrix as it was before, in double precision. What rounding the
 * weights may do is bounded: each of them is off by half a step of its format at
 * most, so that a product is off by at most Σ half step·|x|. */
#include "products.h"

#include <glib.h>
#include <math.h>
#include <stdio.h>

#include "formats.h"

enum { ROWS = 256, COLS = 4096 };

typedef struct {
  double power;           /* Σ of the products' squares */
  double error, rounding; /* Σ of squares: all of it, and what the weights make */
  double of_bound;        /* the largest |error| ÷ its bound */
} Sums;

/* Numbers that lie about like weights and activations do. */
static void
fill_normal(GRand *rand, float *x, int n)
{
  for (int i = 0; i < n; i++)
    x[i] =
        sqrt(-2 * log(1 - g_rand_double(rand))) * cos(2 * G_PI * g_rand_double(rand));
}

/* A product of one row, in the order in which a device holds it. */
static float
product(const MoshiKernels *k, const MoshiRows *row, const float *x)
{
  MoshiRows held = *row;
  size_t bytes = moshi_row_panels_bytes(row);
  void *panels = bytes ? g_malloc(bytes) : NULL;
  float y;
  if (panels) {
    moshi_pack_rows(panels, row, 0, 1);
    held.data = panels;
  }
  (panels ? k->matvec_panels : k->matvec)[row->type](&y, 1, &held, x, COLS, 0, 1, 1);
  g_free(panels);
  return y;
}

static void
add_row(Sums *s, const Format *f, const MoshiKernels *k, const float *w, const float *x,
    GByteArray *data, GByteArray *scales, GByteArray *biases)
{
  float scale = 1, stored[COLS], half[COLS];
  format_encode(f, w, COLS, data->data, scales->data, biases->data);
  MoshiRows rows = {.type = f->type,
      .rows = 1,
      .cols = COLS,
      .data = data->data,
      .scales = scales->data,
      .biases = biases->data,
      .scale_type = MOSHI_TYPE_BF16,
      .group = f->group};
  if (f->type == MOSHI_TYPE_I8) {
    scale = *(const float *)scales->data / 127;
    rows.scales = &scale;
  }
  const float y = product(k, &rows, x);
  k->widen[f->type](stored, &rows, 0, 0, COLS);
  format_half_steps(f, w, COLS, half);
  double exact = 0, rounded = 0, bound = 0;
  for (int i = 0; i < COLS; i++) {
    exact += (double)w[i] * x[i];
    rounded += (double)stored[i] * x[i];
    bound += (double)half[i] * fabsf(x[i]);
  }
  s->power += exact * exact;
  s->error += (y - exact) * (y - exact);
  s->rounding += (rounded - exact) * (rounded - exact);
  if (bound > 0)
    s->of_bound = MAX(s->of_bound, fabs(y - exact) / bound);
}

static void
measure(const Format *f, const MoshiKernels *k, bool json)
{
  GRand *rand = g_rand_new_with_seed(1);
  GByteArray *buffers[3];
  const size_t sizes[] = {format_row_bytes(f, COLS), format_scale_bytes(f, COLS),
      format_scale_bytes(f, COLS)};
  for (int i = 0; i < 3; i++) {
    buffers[i] = g_byte_array_new();
    g_byte_array_set_size(buffers[i], MAX(sizes[i], 1));
  }
  float w[COLS], x[COLS];
  Sums s = {0};
  for (int row = 0; row < ROWS; row++) {
    fill_normal(rand, w, COLS);
    fill_normal(rand, x, COLS);
    add_row(&s, f, k, w, x, buffers[0], buffers[1], buffers[2]);
  }
  double error = sqrt(s.error / s.power), rounding = sqrt(s.rounding / s.power),
         bits = 8.0 *
                (sizes[0] + (f->scales ? sizes[1] : 0) + (f->biases ? sizes[2] : 0)) /
                COLS;
  if (json)
    printf(
        "{\"bench\": \"product:%s\", \"kernels\": \"%s\", \"bits\": %.2f, \"error\": "
        "%.3e, \"rounding\": %.3e, \"of_bound\": %.4f}\n",
        f->name, k->name, bits, error, rounding, s.of_bound);
  else
    printf(
        "%-6s %5.2f bits a weight: products off by %.5f %% (%.5f %% by the weights), "
        "at most %.3f of the bound\n",
        f->name, bits, 100 * error, 100 * rounding, s.of_bound);
  for (int i = 0; i < 3; i++)
    g_byte_array_unref(buffers[i]);
  g_rand_free(rand);
}

void
bench_products(bool json)
{
  MoshiKernels k;
  moshi_kernels_init(&k, moshi_cpu_detect());
  for (const Format *f = formats; f->name; f++)
    measure(f, &k, json);
}
