/* How weights of 4 bits lie in panels of eight rows.
 *
 * 32 columns of eight rows are 128 bytes, q[k][row][i]: column 8k + i, and 8k + 4 + i in
 * the upper half, k and i below 4. Q4_0 and MLX4 have the rows' scales before them, and
 * MLX4 their offsets behind, as it stores them (Q4_0's are f16). Q4_K has for 256 columns
 * d[row] and dmin[row], f16, then bytes scales[group][row] and offsets[group][row], and
 * then the columns. */
#ifndef MOSHI_KERNELS_FOUR_BITS_H
#define MOSHI_KERNELS_FOUR_BITS_H

#include "kernels.h"

enum {
  FOUR_BITS_ROWS = MOSHI_PANEL_ROWS,
  FOUR_BITS_Q = 128,             /* bytes of 32 columns */
  FOUR_BITS_SCALES = 32,         /* where Q4_K has those, */
  FOUR_BITS_OFFSETS = 32 + 64,   /* those, */
  FOUR_BITS_HEAD = 32 + 64 + 64, /* and its columns */
};

/* Bytes of the scales of 32 columns; of Q4_0, Q4_K (d) and MLX4. */
static inline size_t
four_bits_scales(MoshiType type, MoshiType scale_type)
{
  return type == MOSHI_TYPE_MLX4 && scale_type == MOSHI_TYPE_F32 ? 32 : 16;
}

/* Of 32 columns, of Q4_K on the average. */
static inline size_t
four_bits_bytes(MoshiType type, MoshiType scale_type)
{
  return FOUR_BITS_Q + (type == MOSHI_TYPE_Q4_K ? FOUR_BITS_HEAD / 8
                           : type == MOSHI_TYPE_MLX4
                               ? 2 * four_bits_scales(type, scale_type)
                               : four_bits_scales(type, scale_type));
}

/* Of 256 columns. */
static inline size_t
four_bits_chunk(MoshiType type, MoshiType scale_type)
{
  return 8 * four_bits_bytes(type, scale_type);
}

/* Where the columns of a group of a chunk are. */
static inline size_t
four_bits_at(MoshiType type, MoshiType scale_type, int group)
{
  return type == MOSHI_TYPE_Q4_K ? FOUR_BITS_HEAD + (size_t)group * FOUR_BITS_Q
                                 : group * four_bits_bytes(type, scale_type) +
                                       four_bits_scales(type, scale_type);
}

#endif
