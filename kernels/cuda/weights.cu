/* Weights on their way to the device, a part at a time through a buffer of the host. */
#include <cstdlib>

#include "device.cuh"
#include "layout.cuh"

/* Of the buffer. */
static const size_t PART = (size_t)8 << 20;

static bool
copy(MoshiCuda *d, void *to, const void *from, size_t bytes)
{
  return !bytes ||
         moshi_cuda_check(d, cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
}

static bool
copy_rows(MoshiCuda *d, const MoshiRows *host, char *memory, const MoshiCudaLayout *l)
{
  const bool split = moshi_scales_in_blocks(host->type);
  const size_t scales = split ? l->scales_bytes / host->rows : 0;
  size_t n = PART / (l->stride + scales);
  n = n < 1 ? 1 : n > (size_t)host->rows ? host->rows : n;
  char *buffer = static_cast<char *>(malloc(n * (l->stride + scales)));
  bool ok = buffer != nullptr;

  for (size_t first = 0; ok && first < (size_t)host->rows; first += n) {
    const size_t some = host->rows - first < n ? host->rows - first : n;
    char *some_scales = buffer + n * l->stride;
    moshi_cuda_lay(host, (int)first, (int)some, buffer, some_scales);
    ok = copy(d, memory + first * l->stride, buffer, some * l->stride) &&
         copy(d, memory + l->scales + first * scales, some_scales, some * scales);
  }
  if (ok && !split)
    ok = copy(d, memory + l->scales, host->scales, l->scales_bytes);
  if (ok)
    ok = copy(d, memory + l->biases, host->biases, l->biases_bytes);
  free(buffer);
  return ok;
}

int
moshi_cuda_rows_matrix(MoshiDevice *base, MoshiMatrix *m, const MoshiRows *host)
{
  MoshiCuda *d = moshi_cuda(base);
  std::lock_guard<std::recursive_mutex> locked(*d->lock);
  const MoshiCudaLayout l = moshi_cuda_layout(host);
  cudaSetDevice(d->index);
  char *memory = static_cast<char *>(moshi_cuda_alloc(d, l.bytes, false));

  *m = MoshiMatrix();
  if (!memory || !copy_rows(d, host, memory, &l)) {
    cudaFree(memory);
    return MOSHI_ERROR_MEMORY;
  }
  m->m = moshi_cuda_rows(host, memory);
  return 0;
}

int
moshi_cuda_packed_matrix(MoshiDevice *base, MoshiMatrix *m, MoshiType type, int rows,
    int cols, MoshiWeights weights, const void *ctx)
{
  MoshiCuda *d = moshi_cuda(base);
  std::lock_guard<std::recursive_mutex> locked(*d->lock);
  const size_t bytes = moshi_panels_bytes(type, rows, cols);
  cudaSetDevice(d->index);
  void *panels = malloc(bytes),
       *memory = panels ? moshi_cuda_alloc(d, bytes, false) : nullptr;
  bool ok = memory != nullptr;

  *m = MoshiMatrix();
  if (ok) {
    moshi_pack_panels(panels, type, rows, cols, 0,
        (rows + MOSHI_PANEL - 1) / MOSHI_PANEL, weights, ctx);
    ok = copy(d, memory, panels, bytes);
  }
  free(panels);
  if (!ok) {
    cudaFree(memory);
    return MOSHI_ERROR_MEMORY;
  }
  m->m.type = type;
  m->m.rows = rows;
  m->m.cols = cols;
  m->m.data = memory;
  m->packed = true;
  return 0;
}

void
moshi_cuda_free_matrix(MoshiDevice *base, MoshiMatrix *m)
{
  MoshiCuda *d = moshi_cuda(base);
  std::lock_guard<std::recursive_mutex> locked(*d->lock);
  cudaSetDevice(d->index);
  cudaFree(const_cast<void *>(m->m.data));
  m->m.data = nullptr;
}
