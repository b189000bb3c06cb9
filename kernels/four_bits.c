/* Packing of weights of 4 bits into panels of eight rows (four_bits.h).
 *
 * As files have them, 32 columns are 16 bytes: of Q4_0 the low halves are the first
 * sixteen columns, of MLX4 the even ones. Of Q4_K two groups share 32 bytes, the first
 * in the low halves. Of the twelve bytes of its scales and offsets the first eight hold
 * the first four groups' six bits, and above them the upper two of the last four's. */
#include <string.h>

#include "four_bits.h"

enum { GROUP = 32, CHUNK = 256, BLOCK = 144 };

size_t
moshi_row_panels_bytes(const MoshiRows *w)
{
  if (w->type != MOSHI_TYPE_Q4_0 && w->type != MOSHI_TYPE_Q4_K &&
      w->type != MOSHI_TYPE_MLX4)
    return 0;
  return ((size_t)w->rows + FOUR_BITS_ROWS - 1) / FOUR_BITS_ROWS * (w->cols / GROUP) *
         four_bits_bytes(w->type, w->scale_type);
}

/* One group of a row: q, 0 … 15 each. */
static void
pack_group(uint8_t *to, int row, const uint8_t *q)
{
  for (int k = 0; k < 4; k++, q += 8)
    for (int i = 0; i < 4; i++)
      to[(k * FOUR_BITS_ROWS + row) * 4 + i] = (uint8_t)(q[i] | q[4 + i] << 4);
}

static void
pack_q4_k_scales(uint8_t *to, int row, const uint8_t *block)
{
  const uint8_t *s = block + 4;
  uint8_t *scales = to + FOUR_BITS_SCALES + row,
          *offsets = to + FOUR_BITS_OFFSETS + row;

  memcpy(to + 2 * row, block, 2);
  memcpy(to + 2 * (FOUR_BITS_ROWS + row), block + 2, 2);
  for (int g = 0; g < 4; g++) {
    const int last = (g + 4) * FOUR_BITS_ROWS, first = g * FOUR_BITS_ROWS;
    scales[first] = s[g] & 63;
    offsets[first] = s[g + 4] & 63;
    scales[last] = (uint8_t)((s[g + 8] & 15) | (s[g] >> 6) << 4);
    offsets[last] = (uint8_t)(s[g + 8] >> 4 | (s[g + 4] >> 6) << 4);
  }
}

/* A block; four columns at a time, as most models in 4 bits are of these. */
static void
pack_q4_k(uint8_t *to, int row, const uint8_t *block)
{
  const uint32_t low = 0x0f0f0f0f, high = 0xf0f0f0f0;

  pack_q4_k_scales(to, row, block);
  for (int g = 0; g < 8; g += 2)
    for (int k = 0; k < 4; k++) {
      uint8_t *even =
          to + four_bits_at(MOSHI_TYPE_Q4_K, 0, g) + (k * FOUR_BITS_ROWS + row) * 4;
      uint32_t from[2];
      memcpy(from, block + 16 + g * 16 + k * 8, sizeof from);
      const uint32_t first = (from[0] & low) | (from[1] & low) << 4;
      const uint32_t second = (from[0] & high) >> 4 | (from[1] & high);
      memcpy(even, &first, sizeof first);
      memcpy(even + FOUR_BITS_Q, &second, sizeof second);
    }
}

static void
pack_q4_0(uint8_t *to, int row, const uint8_t *block)
{
  uint8_t q[GROUP];

  for (int i = 0; i < 16; i++) {
    q[i] = block[2 + i] & 15;
    q[16 + i] = block[2 + i] >> 4;
  }
  memcpy(to + 2 * row, block, 2);
  pack_group(to + four_bits_at(MOSHI_TYPE_Q4_0, 0, 0), row, q);
}

/* Group `group` of 32 columns of a row; those of a scale may be more. */
static void
pack_mlx4(uint8_t *to, int row, const MoshiRows *w, int from, int group)
{
  const size_t scales = four_bits_scales(w->type, w->scale_type),
               size = scales / FOUR_BITS_ROWS;
  const size_t at =
      ((size_t)from * (w->cols / w->group) + group * GROUP / w->group) * size;
  const uint8_t *data = (const uint8_t *)w->data +
                        from * moshi_rows_bytes(w->type, w->cols) +
                        (size_t)group * (GROUP / 2);
  uint8_t q[GROUP];

  for (int i = 0; i < 16; i++) {
    q[2 * i] = data[i] & 15;
    q[2 * i + 1] = data[i] >> 4;
  }
  memcpy(to + row * size, (const char *)w->scales + at, size);
  memcpy(to + scales + FOUR_BITS_Q + row * size, (const char *)w->biases + at, size);
  pack_group(to + scales, row, q);
}

/* What is stored together: 256 columns of Q4_K, else 32. */
static void
pack_piece(uint8_t *to, const MoshiRows *w, int row, int from, int piece)
{
  const uint8_t *data =
      (const uint8_t *)w->data + from * moshi_rows_bytes(w->type, w->cols);

  if (w->type == MOSHI_TYPE_Q4_K)
    pack_q4_k(to, row, data + (size_t)piece * BLOCK);
  else if (w->type == MOSHI_TYPE_Q4_0)
    pack_q4_0(to, row, data + (size_t)piece * 18);
  else
    pack_mlx4(to, row, w, from, piece);
}

void
moshi_pack_rows(void *panels, const MoshiRows *w, int p0, int p1)
{
  const int piece = w->type == MOSHI_TYPE_Q4_K ? CHUNK : GROUP, n = w->cols / piece;
  const size_t bytes = piece / GROUP * four_bits_bytes(w->type, w->scale_type);
  uint8_t *to = (uint8_t *)panels + (size_t)p0 * n * bytes;

  for (int p = p0; p < p1; p++) {
    const int first = p * FOUR_BITS_ROWS, rows = w->rows - first < FOUR_BITS_ROWS
                                                     ? w->rows - first
                                                     : FOUR_BITS_ROWS;
    for (int i = 0; i < n; i++, to += bytes) {
      if (rows < FOUR_BITS_ROWS)
        memset(to, 0, bytes);
      for (int r = 0; r < rows; r++)
        pack_piece(to, w, r, first + r, i);
    }
  }
}
