/* From floats to ggml's blocks. Q8_0 and Q4_0 give the bytes that ggml gives
 * (ggml-quants.c, quantize_row_q8_0_ref and quantize_row_q4_0_ref), whatever the
 * machine: plain loops of single operations, which compilers know how to widen. Q4_K
 * leaves its choice to the encoder. */
#include "kernels.h"

#include <string.h>

enum { BLOCK = 32 };

static int32_t
magnitude_bits(float x)
{
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffff;
}

/* The largest magnitude; compared as integers, where NaN is the largest of all. */
static float
largest_of(const float *x)
{
  int32_t most = 0;
  float largest;
  for (int i = 0; i < BLOCK; i++) {
    const int32_t bits = magnitude_bits(x[i]);
    most = bits > most ? bits : most;
  }
  memcpy(&largest, &most, sizeof largest);
  return largest;
}

static void
store_f16(uint8_t *to, float x)
{
  const uint16_t half = moshi_f32_to_f16(x);
  memcpy(to, &half, sizeof half);
}

/* To the nearest integer, halves away from zero; within ±limit, NaN to −limit. */
static int
round_away(float x, float limit)
{
  x = x >= -limit ? x : -limit;
  x = x <= limit ? x : limit;
  const int whole = (int)x;
  const float rest = x - (float)whole;
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

static void
encode_q8_0(uint8_t *to, const float *x)
{
  const float d = largest_of(x) / 127, inverse = d != 0 ? 1 / d : 0;

  store_f16(to, d);
  for (int i = 0; i < BLOCK; i++)
    to[2 + i] = (uint8_t)round_away(x[i] * inverse, 127);
}

/* The first of the elements with the largest magnitude, with its sign; 0 has none. */
static float
extreme_of(const float *x)
{
  const float largest = largest_of(x);
  int i = 0;
  while (magnitude_bits(x[i]) != magnitude_bits(largest))
    i++;
  return largest == 0 ? 0 : x[i];
}

/* That element becomes −8: the side that has a step more. */
static void
encode_q4_0(uint8_t *to, const float *x)
{
  const float d = extreme_of(x) / -8, inverse = d != 0 ? 1 / d : 0;
  uint8_t q[BLOCK];

  store_f16(to, d);
  for (int i = 0; i < BLOCK; i++) {
    float place = x[i] * inverse + 8.5f;
    place = place >= 0 ? place : 0;
    q[i] = (uint8_t)(place <= 15 ? place : 15);
  }
  for (int i = 0; i < BLOCK / 2; i++)
    to[2 + i] = q[i] | q[i + BLOCK / 2] << 4;
}

/* ------------------------------------------------------------------ Q4_K */

enum { SUPER = 256, GROUPS = SUPER / BLOCK };

/* x ≈ scale·q − min, min and scale ≥ 0, q of 0 … 15. */
typedef struct {
  float scale, min;
} Line;

/* Four at a time, as every compiler knows them: the same operations everywhere. */
typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));
enum { FOURS = BLOCK / 4 };

static inline Four
all_four(float x)
{
  return (Four){x, x, x, x};
}

/* a where the mask says so, else b. */
static inline Four
choose(FourInts mask, Four a, Four b)
{
  return (Four)((mask & (FourInts)a) | (~mask & (FourInts)b));
}

static inline float
sum_four(Four x)
{
  return (x[0] + x[1]) + (x[2] + x[3]);
}

/* The q nearest to x. */
static void
place_on(const Line *line, const Four *x, Four *q)
{
  const Four inverse = all_four(line->scale > 0 ? 1 / line->scale : 0);
  const Four min = all_four(line->min), none = all_four(0), most = all_four(15);
  for (int i = 0; i < FOURS; i++) {
    Four place = (x[i] + min) * inverse + all_four(0.5f);
    place = choose(place > none, place, none);
    place = choose(place < most, place, most);
    q[i] = __builtin_convertvector(__builtin_convertvector(place, FourInts), Four);
  }
}

static float
squared_error(const Line *line, const Four *x, const Four *q)
{
  const Four scale = all_four(line->scale), min = all_four(line->min);
  Four sum = all_four(0);
  for (int i = 0; i < FOURS; i++) {
    const Four e = scale * q[i] - min - x[i];
    sum += e * e;
  }
  return sum_four(sum);
}

/* The best line for given q, by least squares; false where there is none. */
static bool
fit_line(Line *line, const Four *x, const Four *q)
{
  Four n[4] = {all_four(0), all_four(0), all_four(0), all_four(0)};
  for (int i = 0; i < FOURS; i++) {
    n[0] += q[i];
    n[1] += q[i] * q[i];
    n[2] += x[i];
    n[3] += x[i] * q[i];
  }
  float s[4];
  for (int k = 0; k < 4; k++)
    s[k] = sum_four(n[k]);
  const float determinant = BLOCK * s[1] - s[0] * s[0];
  if (!(determinant > 0))
    return false;
  line->scale = (BLOCK * s[3] - s[0] * s[2]) / determinant;
  line->min = (s[0] * s[3] - s[1] * s[2]) / determinant;
  if (line->min < 0) { /* which is not stored: a line through 0 */
    line->min = 0;
    line->scale = s[1] > 0 ? s[3] / s[1] : 0;
  }
  return line->scale > 0;
}

/* From the least x, 0 at most, to the largest. */
static Line
widest_line(const Four *x)
{
  Four low = all_four(0), high = all_four(x[0][0]);
  for (int i = 0; i < FOURS; i++) {
    low = choose(x[i] < low, x[i], low);
    high = choose(x[i] > high, x[i], high);
  }
  float least = low[0], most = high[0];
  for (int j = 1; j < 4; j++) {
    least = low[j] < least ? low[j] : least;
    most = high[j] > most ? high[j] : most;
  }
  return (Line){most > least ? (most - least) / 15 : 0, -least};
}

/* Searches from a narrower and a wider line than that from the least x to the largest,
 * and from that, each improved once by what least squares make of its q. More of them
 * gain little: 17 lose 0.0702 of normal weights in place of 0.0715, in four times the
 * time. */
static Line
search_line(const Four *x)
{
  Four q[FOURS];
  Line best = widest_line(x);
  const Line widest = best;
  place_on(&best, x, q);
  float error = squared_error(&best, x, q);
  for (int step = -1; step <= 1 && widest.scale > 0; step++) {
    Line line = {widest.scale * 15 / (15 + 0.5f * (float)step), widest.min};
    place_on(&line, x, q);
    if (!fit_line(&line, x, q))
      continue;
    place_on(&line, x, q);
    const float e = squared_error(&line, x, q);
    if (e < error) {
      error = e;
      best = line;
    }
  }
  return best;
}

static int
clamp_six(float x)
{
  x = x > 0 ? x : 0;
  return (int)((x < 63 ? x : 63) + 0.5f);
}

/* Six bits of scales and minima in twelve bytes: see q4_k_at in reference.c. */
static void
store_six(uint8_t *to, const int *scales, const int *mins)
{
  for (int j = 0; j < 4; j++) {
    to[j] = (uint8_t)(scales[j] | (scales[j + 4] >> 4) << 6);
    to[j + 4] = (uint8_t)(mins[j] | (mins[j + 4] >> 4) << 6);
    to[j + 8] = (uint8_t)((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

/* What f16 makes of a scale: never infinite. */
static float
as_f16(float x)
{
  return moshi_f16_to_f32(moshi_f32_to_f16(x < 65504 ? x : 65504));
}

static void
encode_q4_k(uint8_t *to, const float *x)
{
  Line lines[GROUPS];
  Four fours[GROUPS][FOURS], q[2][FOURS];
  float scale = 0, min = 0, places[2][BLOCK];
  int scales[GROUPS], mins[GROUPS];

  memcpy(fours, x, sizeof fours);
  for (int g = 0; g < GROUPS; g++) {
    lines[g] = search_line(fours[g]);
    scale = lines[g].scale > scale ? lines[g].scale : scale;
    min = lines[g].min > min ? lines[g].min : min;
  }
  const float d = as_f16(scale / 63), dmin = as_f16(min / 63);
  for (int g = 0; g < GROUPS; g++) {
    scales[g] = d > 0 ? clamp_six(lines[g].scale / d) : 0;
    mins[g] = dmin > 0 ? clamp_six(lines[g].min / dmin) : 0;
    lines[g] = (Line){d * (float)scales[g], dmin * (float)mins[g]};
  }
  store_f16(to, d);
  store_f16(to + 2, dmin);
  store_six(to + 4, scales, mins);
  for (int g = 0; g < GROUPS; g += 2) {
    place_on(&lines[g], fours[g], q[0]);
    place_on(&lines[g + 1], fours[g + 1], q[1]);
    memcpy(places, q, sizeof places);
    for (int i = 0; i < BLOCK; i++)
      to[16 + g / 2 * BLOCK + i] =
          (uint8_t)((int)places[0][i] | (int)places[1][i] << 4);
  }
}

static void (*const encoders[MOSHI_N_TYPES])(uint8_t *to, const float *x) = {
    [MOSHI_TYPE_Q8_0] = encode_q8_0,
    [MOSHI_TYPE_Q4_0] = encode_q4_0,
    [MOSHI_TYPE_Q4_K] = encode_q4_k,
};

bool
moshi_encode(MoshiType type, void *to, const float *x, size_t n)
{
  const size_t block = moshi_type_block(type);
  const size_t bytes = moshi_rows_bytes(type, block);

  if (!encoders[type] || n % block)
    return false;
  for (size_t i = 0; i < n / block; i++)
    encoders[type]((uint8_t *)to + i * bytes, x + i * block);
  return true;
}
