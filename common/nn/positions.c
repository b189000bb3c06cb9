/* Sinusoidal and rotary positions; angles are taken in f32, as the reference does.
 * Reference: moshi/modules/{transformer,rope}.py. */
#include "positions.h"

#include <math.h>

void
moshi_sin_periods(float *periods, int dim, float max_period)
{
  int half = dim / 2;
  for (int i = 0; i < half; i++)
    periods[i] = powf(max_period, (float)i / (half - 1));
}

void
moshi_sin_embedding(float *out, int64_t position, const float *periods, int dim)
{
  int half = dim / 2;
  for (int i = 0; i < half; i++) {
    float phase = (float)position / periods[i];
    out[i] = cosf(phase);
    out[half + i] = sinf(phase);
  }
}

void
moshi_rope_frequencies(float *frequencies, int half, float max_period)
{
  float rate = -log(max_period) / half;
  for (int i = 0; i < half; i++)
    frequencies[i] = expf(i * rate);
}

void
moshi_rope_turn(float *out, int64_t position, const float *frequencies, int half)
{
  for (int i = 0; i < half; i++) {
    const float angle = (float)position * frequencies[i];
    out[i] = cosf(angle);
    out[half + i] = sinf(angle);
  }
}
