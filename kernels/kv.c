/* Keys and values on their way into a ring. A step writes few of them and reads all:
 * one plain version serves every tier. */
#include "kernels.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

size_t
moshi_kv_size(MoshiKv kv)
{
  static const size_t sizes[MOSHI_N_KVS] = {sizeof(float), sizeof(uint16_t), 1};
  return sizes[kv];
}

/* Rows so small that the scale would lose bits become zeros. */
static void
store_i8(int8_t *row, float *scale, const float *x, int d)
{
  float most = 0;
  for (int i = 0; i < d; i++)
    most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
  const bool some = most >= 127 * FLT_MIN;
  const float inverse = some ? 127 / most : 0;
  *scale = some ? most / 127 : 0;
  for (int i = 0; i < d; i++) {
    const float q = x[i] * inverse; /* a NaN becomes 127, never undefined */
    row[i] = (int8_t)lrintf(q < 127 ? q > -127 ? q : -127 : 127);
  }
}

void
moshi_kv_store(MoshiKv kv, void *row, float *scale, const float *x, int d)
{
  uint16_t *halves = row;

  if (kv == MOSHI_KV_F32)
    memcpy(row, x, d * sizeof *x);
  else if (kv == MOSHI_KV_I8)
    store_i8(row, scale, x, d);
  else
    for (int i = 0; i < d; i++)
      halves[i] = moshi_f32_to_bf16(x[i]);
}
