/* From floats to a block of Q4_K. Its groups of 32 columns lie side by side, a group to
 * a lane; the including file says how many lanes ENCODE_LANES are, 4 or 8.
 *
 * ggml leaves the choice of scales to the encoder. This one gives the same bytes on
 * every machine: a group's sums have an order of their own, whatever lies beside it, and
 * no product is contracted with a sum. */
#include <math.h>
#include <string.h>

#include "../kernels.h"

enum {
  ENCODE_COLS = 32,
  ENCODE_GROUPS = 8,
  ENCODE_PARTS = ENCODE_GROUPS / ENCODE_LANES
};

typedef float Lanes __attribute__((vector_size(4 * ENCODE_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * ENCODE_LANES)));

/* Of each group: x ≈ scale·q − min, min and scale ≥ 0, q of 0 … 15. */
typedef struct {
  Lanes scale, min;
} Lines;

static inline Lanes
all(float x)
{
  return (Lanes){0} + x;
}

/* a where the mask says so, else b. */
static inline Lanes
choose(Ints mask, Lanes a, Lanes b)
{
  return (Lanes)((mask & (Ints)a) | (~mask & (Ints)b));
}

/* The nearest integer of 0 … most; 0 for NaN. */
static inline Ints
nearest(Lanes x, float most)
{
  x += all(0.5f);
  x = choose(x > all(0), x, all(0));
  return __builtin_convertvector(choose(x < all(most), x, all(most)), Ints);
}

/* Of a line's scale; 0 has none. */
static inline Lanes
inverse_of(Lanes scale)
{
  return choose(scale > all(0), all(1) / scale, all(0));
}

/* The q nearest to x. */
static inline Ints
place_on(const Lines *lines, Lanes inverse, Lanes x)
{
  return nearest((x + lines->min) * inverse, 15);
}

/* Of the sums over every fourth column: four that need not wait for each other. */
static inline Lanes
sum_four(const Lanes *x)
{
  return (x[0] + x[1]) + (x[2] + x[3]);
}

static Lanes
squared_error(const Lines *lines, const Lanes *x)
{
  const Lanes inverse = inverse_of(lines->scale);
  Lanes sums[4];
  for (int j = 0; j < 4; j++) {
    sums[j] = all(0);
    for (int i = j; i < ENCODE_COLS; i += 4) {
      const Lanes q = __builtin_convertvector(place_on(lines, inverse, x[i]), Lanes);
      const Lanes e = lines->scale * q - lines->min - x[i];
      sums[j] += e * e;
    }
  }
  return sum_four(sums);
}

/* Replaces each line by the best one for its q, by least squares; says where there is
 * one. */
static Ints
fit_lines(Lines *lines, const Lanes *x)
{
  const Lanes inverse = inverse_of(lines->scale);
  Lanes qs[4], squares[4], xs[4], products[4];
  for (int j = 0; j < 4; j++) {
    qs[j] = squares[j] = xs[j] = products[j] = all(0);
    for (int i = j; i < ENCODE_COLS; i += 4) {
      const Lanes q = __builtin_convertvector(place_on(lines, inverse, x[i]), Lanes);
      qs[j] += q;
      squares[j] += q * q;
      xs[j] += x[i];
      products[j] += x[i] * q;
    }
  }
  const Lanes n = all(ENCODE_COLS), q = sum_four(qs), qq = sum_four(squares),
              sum = sum_four(xs), qx = sum_four(products);
  const Lanes determinant = n * qq - q * q;
  const Lanes min = (q * qx - qq * sum) / determinant;
  /* A negative one is not stored: a line through 0. */
  const Ints through = min < all(0);
  lines->scale = choose(
      through, choose(qq > all(0), qx / qq, all(0)), (n * qx - q * sum) / determinant);
  lines->min = choose(through, all(0), min);
  return (determinant > all(0)) & (lines->scale > all(0));
}

/* From the least x, 0 at most, to the largest. */
static Lines
widest_lines(const Lanes *x)
{
  Lanes least = all(0), most = x[0];
  for (int i = 0; i < ENCODE_COLS; i++) {
    least = choose(x[i] < least, x[i], least);
    most = choose(x[i] > most, x[i], most);
  }
  return (Lines){choose(most > least, (most - least) / all(15), all(0)), -least};
}

/* Searches from a narrower and a wider line than that from the least x to the largest,
 * and from that, each improved once by what least squares make of its q. More of them
 * gain little: 17 lose 0.0702 of normal weights in place of 0.0715, in four times the
 * time. */
static Lines
search_lines(const Lanes *x)
{
  const Lines widest = widest_lines(x);
  Lines best = widest;
  Lanes error = squared_error(&best, x);
  for (int step = -1; step <= 1; step++) {
    Lines lines = {widest.scale * all(15) / all(15 + 0.5f * (float)step), widest.min};
    const Ints fit = fit_lines(&lines, x) & (widest.scale > all(0));
    const Lanes e = squared_error(&lines, x);
    const Ints better = fit & (e < error);
    error = choose(better, e, error);
    best.scale = choose(better, lines.scale, best.scale);
    best.min = choose(better, lines.min, best.min);
  }
  return best;
}

/* Six bits of scales and minima in twelve bytes: see q4_k_at in reference.c. */
static void
store_six(uint8_t *to, const int32_t *scales, const int32_t *mins)
{
  for (int j = 0; j < 4; j++) {
    to[j] = (uint8_t)(scales[j] | (scales[j + 4] >> 4) << 6);
    to[j + 4] = (uint8_t)(mins[j] | (mins[j + 4] >> 4) << 6);
    to[j + 8] = (uint8_t)((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

/* In multiples of d, of six bits; d 0 makes all of them 0. */
static inline Ints
six_bits(Lanes x, float d)
{
  return nearest(x / all(d > 0 ? d : INFINITY), 63);
}

/* Never infinite. */
static uint16_t
finite_f16(float x)
{
  return moshi_f32_to_f16(x < 65504 ? x : 65504);
}

static void
encode_q4_k(uint8_t *to, const float *x)
{
  Lanes columns[ENCODE_PARTS][ENCODE_COLS];
  Lines lines[ENCODE_PARTS];
  float scale = 0, min = 0;
  int32_t scales[ENCODE_GROUPS], mins[ENCODE_GROUPS];

  for (int p = 0; p < ENCODE_PARTS; p++) {
    for (int i = 0; i < ENCODE_COLS; i++)
      for (int l = 0; l < ENCODE_LANES; l++)
        columns[p][i][l] = x[(p * ENCODE_LANES + l) * ENCODE_COLS + i];
    lines[p] = search_lines(columns[p]);
    for (int l = 0; l < ENCODE_LANES; l++) {
      scale = lines[p].scale[l] > scale ? lines[p].scale[l] : scale;
      min = lines[p].min[l] > min ? lines[p].min[l] : min;
    }
  }
  const uint16_t halves[] = {finite_f16(scale / 63), finite_f16(min / 63)};
  const float d = moshi_f16_to_f32(halves[0]), dmin = moshi_f16_to_f32(halves[1]);
  memcpy(to, halves, sizeof halves);
  for (int p = 0; p < ENCODE_PARTS; p++) {
    const Ints s = six_bits(lines[p].scale, d), m = six_bits(lines[p].min, dmin);
    memcpy(scales + p * ENCODE_LANES, &s, sizeof s);
    memcpy(mins + p * ENCODE_LANES, &m, sizeof m);
    lines[p].scale = all(d) * __builtin_convertvector(s, Lanes);
    lines[p].min = all(dmin) * __builtin_convertvector(m, Lanes);
    const Lanes inverse = inverse_of(lines[p].scale);
    for (int i = 0; i < ENCODE_COLS; i++) {
      const Ints q = place_on(&lines[p], inverse, columns[p][i]);
      for (int l = 0; l < ENCODE_LANES; l += 2)
        to[16 + (p * ENCODE_LANES + l) / 2 * ENCODE_COLS + i] =
            (uint8_t)(q[l] | q[l + 1] << 4);
    }
  }
  store_six(to + 4, scales, mins);
}
