/* Weight rows on their way to the device. Numbers lie in a plane of their own whose
 * rows start at multiples of 16 bytes, for loads of 16 bytes; scales follow in theirs.
 * Of a block of Q8_0 (34 bytes) or Q4_0 (18) the scale goes to the plane of scales. */
#include "layout.cuh"

#include <cstring>

namespace {

size_t
up_to(size_t bytes, size_t unit)
{
  return (bytes + unit - 1) / unit * unit;
}

} // namespace

MoshiCudaLayout
moshi_cuda_layout(const MoshiRows *host)
{
  MoshiCudaLayout l = {};
  const size_t rows = host->rows;
  size_t scales = 0;

  l.stride = moshi_row_stride(host->type, host->cols);
  if (moshi_scales_in_blocks(host->type))
    scales = rows * (host->cols / 32) * sizeof(uint16_t);
  else if (host->type == MOSHI_TYPE_I8)
    scales = rows * sizeof(float);
  else if (host->group)
    scales = rows * (host->cols / host->group) * moshi_rows_bytes(host->scale_type, 1);
  l.scales = up_to(rows * l.stride, MOSHI_ALIGNMENT);
  l.scales_bytes = scales;
  l.biases = l.scales + up_to(scales, MOSHI_ALIGNMENT);
  l.biases_bytes = host->group ? scales : 0;
  l.bytes = l.biases + up_to(l.biases_bytes, MOSHI_ALIGNMENT);
  return l;
}

void
moshi_cuda_lay(const MoshiRows *host, int first, int n, void *numbers, void *scales)
{
  const size_t row = moshi_rows_bytes(host->type, host->cols);
  const size_t stride = moshi_row_stride(host->type, host->cols);
  const bool split = moshi_scales_in_blocks(host->type);
  const size_t q = host->type == MOSHI_TYPE_Q8_0 ? 32 : 16;
  char *scale = static_cast<char *>(scales);

  for (int r = 0; r < n; r++) {
    const char *from = static_cast<const char *>(host->data) + (first + r) * row;
    char *to = static_cast<char *>(numbers) + r * stride, *end = to + stride;
    if (!split) {
      memcpy(to, from, row);
      memset(to + row, 0, end - to - row);
      continue;
    }
    for (int block = 0; block < host->cols / 32; block++, from += 2 + q) {
      memcpy(scale, from, 2);
      memcpy(to, from + 2, q);
      scale += 2;
      to += q;
    }
  }
}

MoshiRows
moshi_cuda_rows(const MoshiRows *host, void *memory)
{
  const MoshiCudaLayout l = moshi_cuda_layout(host);
  MoshiRows w = *host;

  w.data = memory;
  w.scales = l.scales_bytes ? static_cast<char *>(memory) + l.scales : nullptr;
  w.biases = l.biases_bytes ? static_cast<char *>(memory) + l.biases : nullptr;
  if (moshi_scales_in_blocks(host->type)) {
    w.scale_type = MOSHI_TYPE_F16;
    w.group = 32;
  }
  return w;
}

MoshiRows
moshi_cuda_part(const MoshiRows *w, int first, int n)
{
  MoshiRows part = *w;
  size_t scales = 0;

  if (w->type == MOSHI_TYPE_I8)
    scales = first * sizeof(float);
  else if (w->group)
    scales = first * (size_t)(w->cols / w->group) * moshi_rows_bytes(w->scale_type, 1);
  part.rows = n;
  part.data =
      static_cast<const char *>(w->data) + first * moshi_row_stride(w->type, w->cols);
  if (w->scales)
    part.scales = static_cast<const char *>(w->scales) + scales;
  if (w->biases)
    part.biases = static_cast<const char *>(w->biases) + scales;
  return part;
}
