/* What tells a transformer's steps apart. */
#ifndef MOSHI_NN_POSITIONS_H
#define MOSHI_NN_POSITIONS_H

#include <stdint.h>

/* periods[i] = max_period^(i/(half − 1)), i < half = dim/2. */
void moshi_sin_periods(float *periods, int dim, float max_period);
/* out[dim] = cos(position/period) then sin(position/period):
 * create_sin_embedding of the reference. */
void moshi_sin_embedding(float *out, int64_t position, const float *periods, int dim);

/* frequencies[i] = max_period^(−i/half), i < half. */
void moshi_rope_frequencies(float *frequencies, int half, float max_period);
/* out[2·half] = cosines, then sines, of the angles by which a head's pairs turn at
 * `position`. */
void moshi_rope_turn(float *out, int64_t position, const float *frequencies, int half);

#endif
