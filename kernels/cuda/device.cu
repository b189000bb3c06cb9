/* Opening a card, its memory, copies, and what is said when it fails. The module's one
 * symbol is moshi_cuda_open(); common/device/cuda.c looks for it. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "bench.cuh"
#include "device.cuh"
#include "module.h"

#ifndef MOSHI_CUDA_OLDEST
#define MOSHI_CUDA_OLDEST                                                              \
  80 /* compute capability that this build begins at, times 10 */
#endif

/* Left free on the card by weights and sessions: for arguments, scratch, graphs, and
 * kernels that are loaded late, so that no frame fails for want of memory. */
#define RESERVE ((size_t)256 << 20)

int
moshi_cuda_fail(MoshiError *error, MoshiStatus status, const char *format, ...)
{
  if (error) {
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    error->status = status;
  }
  return status;
}

bool
moshi_cuda_check(MoshiCuda *d, cudaError_t error)
{
  if (error != cudaSuccess && !d->error)
    d->error = error;
  return !d->error;
}

/* ------------------------------------------------------------------- memory */

static size_t
available(bool working)
{
  size_t free_bytes = 0, total = 0;
  if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
    return 0;
  const size_t reserve = working ? 0 : RESERVE < total / 16 ? RESERVE : total / 16;
  return free_bytes > reserve ? free_bytes - reserve : 0;
}

void *
moshi_cuda_alloc(MoshiCuda *d, size_t bytes, bool working)
{
  void *p = nullptr;
  bytes = bytes ? bytes : 1;
  if (d->error || bytes > available(working))
    return nullptr;
  if (cudaMalloc(&p, bytes) != cudaSuccess) {
    cudaGetLastError(); /* it does not stay */
    return nullptr;
  }
  moshi_cuda_check(d, cudaMemsetAsync(p, 0, bytes, d->stream));
  moshi_cuda_check(d, cudaStreamSynchronize(d->stream));
  return p;
}

/* The device for this thread, while it is in scope. */
struct Use {
  MoshiCuda *d;
  explicit Use(MoshiDevice *base) : d(moshi_cuda(base))
  {
    d->lock->lock();
    moshi_cuda_check(d, cudaSetDevice(d->index));
  }
  ~Use()
  {
    d->lock->unlock();
  }
};

static void *
device_alloc(MoshiDevice *base, size_t bytes)
{
  Use use(base);
  return moshi_cuda_alloc(use.d, bytes, false);
}

static void
device_free(MoshiDevice *base, void *p)
{
  Use use(base);
  cudaFree(p);
}

static uint64_t
device_available(MoshiDevice *base)
{
  Use use(base);
  return available(false);
}

/* The best of some copies of a gigabyte, or of what there is. */
static double
device_copy_gb_s(MoshiDevice *base)
{
  enum { COPIES = 8 };
  Use use(base);
  MoshiCuda *d = use.d;
  const size_t most = (size_t)1 << 30, half = available(false) / 2;
  const size_t bytes = half < most ? half : most;
  void *from = moshi_cuda_alloc(d, bytes, false),
       *to = moshi_cuda_alloc(d, bytes, false);
  cudaEvent_t begun = nullptr, done = nullptr;
  cudaEventCreate(&begun);
  cudaEventCreate(&done);
  float best = 0;
  for (int i = 0; from && to && i < COPIES; i++) {
    float ms = 0;
    cudaEventRecord(begun, d->stream);
    cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, d->stream);
    cudaEventRecord(done, d->stream);
    cudaEventSynchronize(done);
    cudaEventElapsedTime(&ms, begun, done);
    best = i == 0 || ms < best ? ms : best;
  }
  cudaEventDestroy(begun);
  cudaEventDestroy(done);
  cudaFree(from);
  cudaFree(to);
  return best > 0 ? 2.0 * bytes / best / 1e6 : 0;
}

static double
device_waited_s(MoshiDevice *base)
{
  return moshi_cuda_waited_ns() / 1e9;
}

/* Large uploads are those of weights, before any frame. */
static void
device_upload(MoshiDevice *base, void *dst, const void *host, size_t bytes)
{
  Use use(base);
  MoshiCuda *d = use.d;
  if (!bytes || d->error)
    return;
  if (!d->in_frame) {
    moshi_cuda_check(
        d, cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, d->stream));
    moshi_cuda_check(d, cudaStreamSynchronize(d->stream));
    return;
  }
  void *from = moshi_cuda_push(d, host, bytes);
  MoshiCudaCopy *a =
      from ? static_cast<MoshiCudaCopy *>(moshi_cuda_record(d, MOSHI_CUDA_COPY))
           : nullptr;
  if (a) {
    a->to = dst;
    a->from = from;
    a->bytes = bytes;
  }
}

static void
device_download(MoshiDevice *base, void *host, const void *src, size_t bytes)
{
  Use use(base);
  MoshiCuda *d = use.d;
  if (!bytes)
    return;
  const size_t at = moshi_cuda_result(d, src, bytes);
  moshi_cuda_flush(d);
  if (d->error)
    memset(host, 0, bytes);
  else
    memcpy(host, d->results.data + at, bytes);
}

/* ------------------------------------------------------------------- frames */

static void
device_begin(MoshiDevice *base)
{
  MoshiCuda *d = moshi_cuda(base);
  d->lock->lock();
  moshi_cuda_check(d, cudaSetDevice(d->index));
  if (d->in_frame)
    d->lock->unlock();
  d->in_frame = true;
}

static int
device_sync(MoshiDevice *base, MoshiError *error)
{
  Use use(base);
  MoshiCuda *d = use.d;
  moshi_cuda_flush(d);
  if (d->in_frame) {
    d->in_frame = false;
    d->lock->unlock();
  }
  if (!d->error)
    return 0;
  return moshi_cuda_fail(error, MOSHI_ERROR_DEVICE,
      "%s: %s: %s; nothing more can be computed on this card by this process", d->name,
      cudaGetErrorName(d->error), cudaGetErrorString(d->error));
}

/* -------------------------------------------------------------------- bench */

static int
device_bench(MoshiDevice *base, int shrink,
    void (*report)(void *ctx, const MoshiTimed *timed), void *ctx, MoshiError *error)
{
  Use use(base);
  MoshiCudaBench bench = {};
  bench.shrink = shrink;
  bench.chains = use.d->use_chains;
  if (shrink > 1) {
    bench.memory = (size_t)16 << 20;
    bench.launches = 1;
  }
  const cudaError_t status = moshi_cuda_bench(&bench, report, ctx);
  if (status == cudaSuccess)
    return 0;
  return moshi_cuda_fail(error, MOSHI_ERROR_DEVICE, "%s: %s: %s", use.d->name,
      cudaGetErrorName(status), cudaGetErrorString(status));
}

/* ------------------------------------------------------------------ opening */

static void
device_close(MoshiDevice *base)
{
  MoshiCuda *d = moshi_cuda(base);
  cudaSetDevice(d->index);
  moshi_cuda_frame_free(d);
  if (d->stream)
    cudaStreamDestroy(d->stream);
  delete d->lock;
  free(d);
}

static const MoshiDeviceOps *
operations(void)
{
  static const MoshiDeviceOps table = [] {
    MoshiDeviceOps ops = {};
    ops.name = "cuda";
    ops.close = device_close;
    ops.alloc = device_alloc;
    ops.free = device_free;
    ops.available = device_available;
    ops.copy_gb_s = device_copy_gb_s;
    ops.waited_s = device_waited_s;
    ops.upload = device_upload;
    ops.download = device_download;
    ops.begin = device_begin;
    ops.sync = device_sync;
    ops.rows_matrix = moshi_cuda_rows_matrix;
    ops.linear_matrix = moshi_cuda_rows_matrix;
    ops.packed_matrix = moshi_cuda_packed_matrix;
    ops.free_matrix = moshi_cuda_free_matrix;
    ops.bench = device_bench;
    moshi_cuda_operations(&ops);
    return ops;
  }();
  return &table;
}

/* Versions are 1000·major + 10·minor. */
static int
no_devices(cudaError_t status, MoshiError *error)
{
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (status == cudaErrorInsufficientDriver && driver == 0)
    return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
        "there is no NVIDIA driver on this machine, or it is not visible here; install "
        "it, or use device 'cpu'");
  if (status == cudaErrorInsufficientDriver)
    return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
        "the NVIDIA driver is for CUDA %d.%d, and this back end was built with CUDA "
        "%d.%d; update the driver, or use device 'cpu'",
        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (status == cudaErrorNoDevice)
    return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
        "this machine has no CUDA card, or CUDA_VISIBLE_DEVICES hides it; use device "
        "'cpu'");
  return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
      "no CUDA card can be used: %s: %s", cudaGetErrorName(status),
      cudaGetErrorString(status));
}

static int
check_card(int index, cudaDeviceProp *card, MoshiError *error)
{
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess)
    return no_devices(status, error);
  if (index >= count)
    return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
        "device 'cuda:%d': this machine has %d CUDA card%s, of which the first is "
        "'cuda:0'",
        index, count, count == 1 ? "" : "s");
  status = cudaGetDeviceProperties(card, index);
  if (status != cudaSuccess)
    return no_devices(status, error);
  if (card->major * 10 + card->minor < MOSHI_CUDA_OLDEST)
    return moshi_cuda_fail(error, MOSHI_ERROR_NOT_FOUND,
        "cuda:%d (%s) has compute capability %d.%d, and this build begins at %d.%d; "
        "use "
        "a newer card or device 'cpu'",
        index, card->name, card->major, card->minor, MOSHI_CUDA_OLDEST / 10,
        MOSHI_CUDA_OLDEST % 10);
  return 0;
}

static int
init(MoshiCuda *d, int index, const cudaDeviceProp *card, MoshiError *error)
{
  const char *graphs = getenv("MOSHI_CUDA_GRAPHS"), *chains = getenv("MOSHI_CUDA_PDL");
  d->base.ops = operations();
  d->index = index;
  d->use_graphs = !graphs || strcmp(graphs, "0");
  snprintf(d->name, sizeof d->name, "cuda:%d (%.48s)", index, card->name);
  snprintf(d->base.description, sizeof d->base.description, "cuda:%d (%.48s, %.0f GB)",
      index, card->name, card->totalGlobalMem / 1e9);
  cudaError_t status = cudaSetDevice(index);
  d->use_chains = (!chains || strcmp(chains, "0")) && moshi_cuda_can_chain();
  if (status == cudaSuccess)
    status = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
  if (status == cudaSuccess && !moshi_cuda_frame_init(d))
    status = d->error;
  if (status == cudaSuccess)
    return 0;
  return moshi_cuda_fail(error,
      status == cudaErrorMemoryAllocation ? MOSHI_ERROR_MEMORY : MOSHI_ERROR_DEVICE,
      "%s cannot be used: %s: %s", d->name, cudaGetErrorName(status),
      cudaGetErrorString(status));
}

extern "C" MOSHI_CUDA_EXPORT const char moshi_cuda_interface[] = MOSHI_CUDA_INTERFACE;

extern "C" MOSHI_CUDA_EXPORT int
moshi_cuda_open(int index, MoshiDevice **device, MoshiError *error)
{
  cudaDeviceProp card;
  *device = nullptr;
  int status = check_card(index, &card, error);
  if (status)
    return status;
  MoshiCuda *d = static_cast<MoshiCuda *>(calloc(1, sizeof *d));
  if (d)
    d->lock = new (std::nothrow) std::recursive_mutex;
  if (!d || !d->lock) {
    free(d);
    return moshi_cuda_fail(error, MOSHI_ERROR_MEMORY, "no memory for a CUDA device");
  }
  status = init(d, index, &card, error);
  if (status)
    device_close(&d->base);
  else
    *device = &d->base;
  return status;
}
