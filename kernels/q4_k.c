/* Matrices of Q4_K in panels of eight rows (MoshiQ4kPanel).
 *
 * Of the twelve bytes of a block's scales and offsets the first eight hold the first
 * four groups' six bits, and above them the upper two of the last four's. Of its
 * columns, groups 2j and 2j + 1 share 32 bytes, the low halves and the high ones. */
#include <string.h>

#include "kernels.h"

enum { COLS = 256, ROWS = MOSHI_Q4_K_ROWS, BLOCK = 144, GROUPS = 8 };

static size_t
row_panels(int rows)
{
  return ((size_t)rows + ROWS - 1) / ROWS;
}

size_t
moshi_q4_k_panels_bytes(int rows, int cols)
{
  return row_panels(rows) * (cols / COLS) * sizeof(MoshiQ4kPanel);
}

static void
pack_scales(MoshiQ4kPanel *to, int row, const uint8_t *block)
{
  const uint8_t *s = block + 4;

  memcpy(&to->d[row], block, 2);
  memcpy(&to->dmin[row], block + 2, 2);
  for (int g = 0; g < 4; g++) {
    to->scales[g][row] = s[g] & 63;
    to->offsets[g][row] = s[g + 4] & 63;
    to->scales[g + 4][row] = (uint8_t)((s[g + 8] & 15) | (s[g] >> 6) << 4);
    to->offsets[g + 4][row] = (uint8_t)(s[g + 8] >> 4 | (s[g + 4] >> 6) << 4);
  }
}

/* Four columns at a time. */
static void
pack_columns(MoshiQ4kPanel *to, int row, const uint8_t *block)
{
  const uint32_t low = 0x0f0f0f0f, high = 0xf0f0f0f0;

  for (int g = 0; g < GROUPS; g += 2)
    for (int k = 0; k < 4; k++) {
      uint32_t from[2];
      memcpy(from, block + 16 + g * 16 + k * 8, sizeof from);
      const uint32_t even = (from[0] & low) | (from[1] & low) << 4;
      const uint32_t odd = (from[0] & high) >> 4 | (from[1] & high);
      memcpy(to->q[g][k][row], &even, sizeof even);
      memcpy(to->q[g + 1][k][row], &odd, sizeof odd);
    }
}

void
moshi_pack_q4_k(MoshiQ4kPanel *panels, const MoshiRows *w, int p0, int p1)
{
  const int n = w->cols / COLS;
  const size_t row_bytes = moshi_rows_bytes(w->type, w->cols);

  for (int p = p0; p < p1; p++)
    for (int c = 0; c < n; c++) {
      MoshiQ4kPanel *to = panels + (size_t)p * n + c;
      const int rows = w->rows - p * ROWS < ROWS ? w->rows - p * ROWS : ROWS;
      if (rows < ROWS)
        memset(to, 0, sizeof *to);
      for (int r = 0; r < rows; r++) {
        const uint8_t *block = (const uint8_t *)w->data +
                               (size_t)(p * ROWS + r) * row_bytes + (size_t)c * BLOCK;
        pack_scales(to, r, block);
        pack_columns(to, r, block);
      }
    }
}
