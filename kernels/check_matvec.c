/* Rounds of the products of stored rows and of their widening, for every type. */
#include "check_inner.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

/* Columns that share the rounding of x (kernels.h). */
enum { CHUNK = 256 };

static bool
is_float(MoshiType type)
{
  return type <= MOSHI_TYPE_BF16;
}

static void
store_float(MoshiType type, void *to, size_t i, float x)
{
  const uint16_t half =
      type == MOSHI_TYPE_F16 ? moshi_f32_to_f16(x) : moshi_f32_to_bf16(x);
  if (type == MOSHI_TYPE_F32)
    memcpy((char *)to + 4 * i, &x, 4);
  else
    memcpy((char *)to + 2 * i, &half, 2);
}

static void *
random_floats(Check *c, MoshiType type, size_t n, Data data, size_t alignment)
{
  void *to = check_input_bytes(c, n * moshi_rows_bytes(type, 1), alignment);
  for (size_t i = 0; i < n; i++)
    store_float(type, to, i, check_number(c, data));
  return to;
}

/* Infinite or not a number, or so that weights are within f32: else a formula that
 * multiplies out first overflows where one that scales sums does not. */
static void *
random_scales(Check *c, MoshiType type, size_t n, Data data)
{
  const float most = FLT_MAX / 512;
  void *to = check_input_bytes(c, n * moshi_rows_bytes(type, 1), 1);
  for (size_t i = 0; i < n; i++) {
    const float x = check_number(c, data);
    store_float(type, to, i, isfinite(x) ? fminf(fmaxf(x, -most), most) : x);
  }
  return to;
}

/* Of the types whose scales are in their blocks: f16 at the block's start. */
static int
scales_in_block(MoshiType type)
{
  return type == MOSHI_TYPE_Q4_K                              ? 2
         : type == MOSHI_TYPE_Q8_0 || type == MOSHI_TYPE_Q4_0 ? 1
                                                              : 0;
}

/* Random bits, and scales of the kind that is wanted. */
static void
random_blocks(Check *c, MoshiRows *w, Data data)
{
  const size_t bytes = w->rows * moshi_rows_bytes(w->type, w->cols);
  const size_t block = moshi_rows_bytes(w->type, moshi_type_block(w->type));
  const int scales = scales_in_block(w->type);
  unsigned char *to = check_input_bytes(c, bytes, 1);

  for (size_t i = 0; i < bytes; i++)
    to[i] = (unsigned char)check_random(c);
  for (size_t at = 0; scales && at < bytes; at += block)
    for (int i = 0; i < scales; i++)
      store_float(MOSHI_TYPE_F16, to + at, i, check_number(c, data));
  w->data = to;
}

static MoshiRows
random_rows(Check *c, MoshiType type, int rows, int cols, Data data)
{
  MoshiRows w = {.type = type, .rows = rows, .cols = cols};

  if (is_float(type)) {
    w.data =
        random_floats(c, type, (size_t)rows * cols, data, moshi_rows_bytes(type, 1));
    return w;
  }
  random_blocks(c, &w, data);
  if (type == MOSHI_TYPE_I8) {
    w.scales = random_scales(c, MOSHI_TYPE_F32, rows, data);
  } else if (type >= MOSHI_TYPE_MLX4) {
    do
      w.group = 32 << check_below(c, 3);
    while (cols % w.group);
    w.scale_type = check_below(c, 3);
    const size_t n = (size_t)rows * (cols / w.group);
    w.scales = random_scales(c, w.scale_type, n, data);
    w.biases = random_scales(c, w.scale_type, n, data);
  }
  return w;
}

static int
random_cols(Check *c, MoshiType type, int max)
{
  const int block = moshi_type_block(type);
  return block * check_size(c, max / block + 1);
}

/* What is added to a multiple of q: the parts of a weight may be larger than it. */
static double
offset_of(const MoshiRows *w, int row, int col)
{
  unsigned char zeros[144] = {0}; /* a block of Q4_K whose q are 0 */
  MoshiRows parts = {.type = w->type, .rows = 1, .cols = 256, .data = zeros};
  float offset = 0;

  if (w->type == MOSHI_TYPE_Q4_0) {
    parts.cols = 32;
    memcpy(zeros,
        (const char *)w->data + row * moshi_rows_bytes(w->type, w->cols) +
            (size_t)(col / 32) * 18,
        2);
    moshi_kernels_reference.widen[w->type](&offset, &parts, 0, 0, 1);
  } else if (w->type == MOSHI_TYPE_Q4_K) {
    const char *block = (const char *)w->data +
                        row * moshi_rows_bytes(w->type, w->cols) +
                        (size_t)(col / 256) * sizeof zeros;
    memcpy(zeros, block, 16);
    moshi_kernels_reference.widen[w->type](&offset, &parts, 0, col % 256, 1);
  } else if (w->group) {
    parts = (MoshiRows){.type = w->scale_type,
        .rows = w->rows,
        .cols = w->cols / w->group,
        .data = w->biases};
    moshi_kernels_reference.widen[parts.type](&offset, &parts, row, col / w->group, 1);
  }
  return fabs(offset);
}

/* Beside the sum's own error: x of a quantised type may be rounded to a multiple of
 * 1/32639 of the largest of its chunk, so by half of that. */
static double
product_tolerance(const MoshiRows *w, int row, const float *x)
{
  double magnitude = 0, rounding = 0;

  for (int c0 = 0; c0 < w->cols; c0 += CHUNK) {
    const int n = w->cols - c0 < CHUNK ? w->cols - c0 : CHUNK;
    float wide[CHUNK];
    double weights = 0, largest = 0;
    moshi_kernels_reference.widen[w->type](wide, w, row, c0, n);
    for (int i = 0; i < n; i++) {
      const double parts = fabs(wide[i]) + 2 * offset_of(w, row, c0 + i);
      magnitude += parts * fabs(x[c0 + i]);
      weights += fabs(wide[i]);
      largest = fmax(largest, fabs(x[c0 + i]));
    }
    rounding += weights * largest * (0.5001 / 32639);
  }
  return check_sum_tolerance(w->cols, magnitude) + (is_float(w->type) ? 0 : rounding);
}

static bool
check_product(
    Check *c, const MoshiRows *w, int row, const float *x, float got, float want)
{
  /* Infinite and NaN scales may cancel in another order, and infinite weights meet a
   * part of x that is 0. */
  if (!isfinite(want)) {
    if (isfinite(got))
      check_fail(c, "row %d is %.9g, not %.9g", row, got, want);
    return isfinite(got);
  }
  return check_near(c, row, got, want, product_tolerance(w, row, x));
}

/* Takes out the ends of f32, where formulas that multiply in another order overflow
 * and vanish. */
static void
moderate(float *x, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (isfinite(x[i]) && (fabsf(x[i]) > 0x1p80f || fabsf(x[i]) < 0x1p-80f))
      x[i] = 0;
}

typedef void (*Matvec)(float *y, size_t y_step, const MoshiRows *w, const float *x,
    size_t x_step, int r0, int r1, int batch);

/* `tier` multiplies with `held`, which is w as it wants it. */
static void
check_products(
    Check *c, const MoshiRows *w, const MoshiRows *held, Matvec tier, Data data)
{
  const int batch = check_size(c, 20), r0 = check_below(c, w->rows);
  const int n = 1 + check_below(c, w->rows - r0);
  const size_t x_step = w->cols + check_below(c, 9), y_step = n + check_below(c, 9);
  const size_t size = y_step * batch, x_size = x_step * (batch - 1) + w->cols;
  float *x = check_vector(c, x_size, data);
  float *want = check_output(c, size), *y = check_output(c, size), one;

  if (data == DATA_SPECIAL)
    moderate(x, x_size);
  snprintf(c->what, sizeof c->what, "rows %d-%d, cols %d, batch %d, %s data", r0,
      r0 + n, w->cols, batch, check_data_names[data]);
  c->ref->matvec[w->type](want, y_step, w, x, x_step, r0, r0 + n, batch);
  tier(y, y_step, held, x, x_step, r0, r0 + n, batch);
  for (int i = 0; i < batch; i++)
    for (int r = 0; r < n; r++) {
      const size_t at = i * y_step + r;
      if (!check_product(c, w, r0 + r, x + i * x_step, y[at], want[at]))
        return;
    }
  const int item = check_below(c, batch), row = check_below(c, n);
  tier(&one, 1, held, x + item * x_step, x_step, r0 + row, r0 + row + 1, 1);
  check_same(c, "alone", &one, y + item * y_step + row, 1);
}

static MoshiRows
random_matrix(Check *c, MoshiType type, Data data)
{
  const int cols = random_cols(c, type, check_below(c, 32) ? 1500 : 40000);
  return random_rows(c, type, check_size(c, 1 + 60000 / cols), cols,
      data == DATA_HUGE ? DATA_UNIT : data);
}

void
check_matvec(Check *c, MoshiType type)
{
  /* Infinities and NaNs among the scales of blocks, not among floats. */
  const Data data = check_below(c, is_float(type) ? DATA_SPECIAL : N_DATA);
  const MoshiRows w = random_matrix(c, type, data);
  check_products(c, &w, &w, c->tier->matvec[type], data);
}

void
check_matvec_panels(Check *c, MoshiType type)
{
  const Data data = check_below(c, N_DATA);
  const MoshiRows w = random_matrix(c, type, data);
  const int panels = (w.rows + MOSHI_PANEL_ROWS - 1) / MOSHI_PANEL_ROWS;
  void *memory = NULL;

  if (posix_memalign(&memory, 64, moshi_row_panels_bytes(&w)))
    return check_fail(c, "no memory");
  MoshiRows held = w;
  held.data = memory;
  held.scales = held.biases = NULL;
  moshi_pack_rows(memory, &w, 0, panels);
  check_products(c, &w, &held, c->tier->matvec_panels[type], data);
  free(memory);
}

/* Exact, for every value there is. */
void
check_widen(Check *c, MoshiType type)
{
  const int rows = check_size(c, 4), cols = random_cols(c, type, 600);
  const int row = check_below(c, rows), col = check_below(c, cols);
  const int n = 1 + check_below(c, cols - col);
  float *want = check_output(c, n), *y = check_output(c, n);
  MoshiRows w;

  if (is_float(type)) {
    w = (MoshiRows){.type = type, .rows = rows, .cols = cols};
    random_blocks(c, &w, DATA_UNIT);
  } else {
    w = random_rows(c, type, rows, cols, check_below(c, N_DATA));
  }
  snprintf(c->what, sizeof c->what, "%d from column %d of %d", n, col, cols);
  c->ref->widen[type](want, &w, row, col, n);
  c->tier->widen[type](y, &w, row, col, n);
  check_same(c, "widened", y, want, n);
}
