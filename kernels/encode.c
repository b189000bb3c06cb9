/* From floats to ggml's blocks. Q8_0 and Q4_0 give the bytes that ggml gives
 * (ggml-quants.c, quantize_row_q8_0_ref and quantize_row_q4_0_ref), whatever the
 * machine: plain loops of single operations, which compilers know how to widen. */
#include "reference.h"

#define ENCODE_LANES 4
#include "simd/encode_q4_k.h"

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

void
moshi_encode_q4_k(uint8_t *to, const float *x)
{
  encode_q4_k(to, x);
}

bool
moshi_encode(const MoshiKernels *k, MoshiType type, void *to, const float *x, size_t n)
{
  void (*const encoders[MOSHI_N_TYPES])(uint8_t * to, const float *x) = {
      [MOSHI_TYPE_Q8_0] = encode_q8_0,
      [MOSHI_TYPE_Q4_0] = encode_q4_0,
      [MOSHI_TYPE_Q4_K] = k->encode_q4_k,
  };
  const size_t block = moshi_type_block(type);
  const size_t bytes = moshi_rows_bytes(type, block);

  if (!encoders[type] || n % block)
    return false;
  for (size_t i = 0; i < n / block; i++)
    encoders[type]((uint8_t *)to + i * bytes, x + i * block);
  return true;
}
