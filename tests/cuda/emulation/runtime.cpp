/* The runtime: device memory is heap memory that copies must lie in, a stream's work
 * waits in a queue until somebody waits for it, a graph is a list of such work.
 *
 * MOSHI_EMULATION, read whenever devices are counted, says what the machine is like
 * and what goes wrong: "devices=1,driver=13000,cc=90,memory=BYTES,seed=1" and
 * "fail-malloc=N" (from the Nth on), "fail-launch=N" (the Nth kernel faults, and the
 * device stays lost). driver=0: there is none; taken=1: another process has the card for
 * itself; dry=1: kernels are not run, so that what is left is the time of the host.
 * ahead=N: before a kernel runs, a block of each of up to N behind it that may start
 * early has begun, so that what they read too early is not
 * there yet; plain-graphs=1: they cannot be captured. */
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <time.h>

#include "counters.h"
#include "grid.h"

namespace emulation {

/* A kernel, or something else. */
struct Work {
  std::shared_ptr<const Launch> kernel;
  std::function<cudaError_t()> other;
};
struct Queued {
  Work work;
  std::unique_ptr<Grid> grid; /* of a kernel that has begun early */
};

struct Graph {
  std::vector<Work> nodes;
};
struct GraphExec {
  std::vector<Work> nodes;
};
struct Stream {
  std::deque<Queued> queue;
  uint64_t queued = 0, done = 0;
  Graph *capturing = nullptr;
  bool invalidated = false;
};
struct Event {
  Stream *stream = nullptr;
  uint64_t ticket = 0;
  double time = 0;
};

static const int RUNTIME = 13000;

static struct {
  std::string text;
  long devices = 1, driver = RUNTIME, cc = 90, seed = 1;
  long long memory = 8ll << 30, fail_malloc = 0, fail_launch = 0, dry = 0, taken = 0,
            ahead = 2, plain_graphs = 0;
} machine;

static std::recursive_mutex lock;
static EmulationCounters counters;
static std::map<char *, size_t> blocks;
static long long used, mallocs, launches;
static cudaError_t sticky, last;
static Stream default_stream;
static int captures; /* that forbid allocation */

typedef std::lock_guard<std::recursive_mutex> Locked;

static void
configure()
{
  const char *text = getenv("MOSHI_EMULATION");
  if (machine.text == (text ? text : ""))
    return;
  machine = {};
  machine.text = text ? text : "";
  mallocs = launches = 0;
  sticky = last = cudaSuccess;
  for (const char *p = machine.text.c_str(); *p; p += strcspn(p, ","), p += *p == ',') {
    char name[32];
    long long value;
    if (sscanf(p, "%31[a-z-]=%lld", name, &value) != 2)
      continue;
    const std::string key = name;
    if (key == "devices")
      machine.devices = value;
    if (key == "driver")
      machine.driver = value;
    if (key == "cc")
      machine.cc = value;
    if (key == "seed")
      machine.seed = value;
    if (key == "memory")
      machine.memory = value;
    if (key == "fail-malloc")
      machine.fail_malloc = value;
    if (key == "taken")
      machine.taken = value;
    if (key == "dry")
      machine.dry = value;
    if (key == "ahead")
      machine.ahead = value;
    if (key == "plain-graphs")
      machine.plain_graphs = value;
    if (key == "fail-launch")
      machine.fail_launch = value;
  }
}

static cudaError_t
result(cudaError_t error)
{
  if (sticky)
    return last = sticky;
  if (error)
    last = error;
  return error;
}

static cudaError_t
driver_error()
{
  if (machine.driver < RUNTIME)
    return cudaErrorInsufficientDriver;
  return machine.devices ? cudaSuccess : cudaErrorNoDevice;
}

/* ----------------------------------------------------------------- streams */

static Stream *
stream_of(Stream *s)
{
  return s ? s : &default_stream;
}

static Grid *
grid_of(Queued *q)
{
  if (!q->grid)
    q->grid = std::make_unique<Grid>(*q->work.kernel, machine.seed);
  return q->grid.get();
}

/* Kernels right behind the first in the queue that may start before it is complete. */
static void
begin_ahead(Stream *s, uint64_t most)
{
  if (sticky || machine.dry || !s->queue.front().work.kernel)
    return;
  most = std::min<uint64_t>({most, uint64_t(machine.ahead), s->queue.size() - 1});
  for (uint64_t i = 1; i <= most; i++) {
    const Launch *kernel = s->queue[i].work.kernel.get();
    if (!kernel || !kernel->early)
      return;
    grid_of(&s->queue[i])->begin();
  }
}

static cudaError_t
perform(Queued *q)
{
  if (!q->work.kernel)
    return q->work.other();
  counters.kernels++;
  counters.early += q->work.kernel->early;
  if (machine.fail_launch && ++launches >= machine.fail_launch)
    return cudaErrorIllegalAddress;
  if (!machine.dry)
    grid_of(q)->run();
  return cudaSuccess;
}

static cudaError_t
run_until(Stream *s, uint64_t ticket)
{
  while (s->done < ticket && !s->queue.empty()) {
    begin_ahead(s, ticket - s->done - 1);
    Queued next = std::move(s->queue.front());
    s->queue.pop_front();
    s->done++;
    const cudaError_t error = sticky ? sticky : perform(&next);
    if (error && !sticky)
      sticky = error;
  }
  return sticky;
}

static cudaError_t
enqueue(Stream *stream, Work work)
{
  Stream *s = stream_of(stream);
  if (sticky)
    return last = sticky;
  if (s->capturing)
    s->capturing->nodes.push_back(std::move(work));
  else {
    s->queue.push_back({std::move(work), nullptr});
    s->queued++;
  }
  return cudaSuccess;
}

/* More than 48 KB of shared memory a kernel has only where it was asked for. */
static std::map<const void *, size_t> allowed;

cudaError_t
allow_shared(const void *kernel, int bytes)
{
  Locked locked(lock);
  if (bytes < 0 || bytes > 227 * 1024)
    return result(cudaErrorInvalidValue);
  allowed[kernel] = bytes;
  return cudaSuccess;
}

void
enqueue_kernel(const char *name, const void *kernel, dim3 grid, dim3 block,
    size_t shared_bytes, cudaStream_t stream, bool early, std::function<void()> body)
{
  Locked locked(lock);
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (!threads || threads > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z ||
      grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu ||
      shared_bytes > (allowed.count(kernel) ? allowed[kernel] : 48 * 1024)) {
    result(cudaErrorInvalidConfiguration);
    return;
  }
  if (early && stream_of(stream)->capturing && machine.plain_graphs) {
    stream_of(stream)->invalidated = true;
    result(cudaErrorStreamCaptureUnsupported);
    return;
  }
  counters.launches += !stream_of(stream)->capturing;
  enqueue(stream, {std::make_shared<const Launch>(
                       Launch{name, grid, block, shared_bytes, early, std::move(body)}),
                      nullptr});
}

/* ------------------------------------------------------------------ memory */

/* Whether [p, p + bytes) lies in one block of device memory. */
static bool
on_device(const void *p, size_t bytes)
{
  char *at = static_cast<char *>(const_cast<void *>(p));
  auto next = blocks.upper_bound(at);
  if (next == blocks.begin())
    return false;
  const auto &block = *--next;
  return at >= block.first && bytes <= block.second &&
         size_t(at - block.first) <= block.second - bytes;
}

static bool
copy_allowed(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
  const bool to_device =
      kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device =
      kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault)
    return true;
  return to_device == on_device(to, bytes) && from_device == on_device(from, bytes);
}

} // namespace emulation

using namespace emulation;

cudaError_t
cudaMalloc(void **p, size_t bytes)
{
  Locked locked(lock);
  if (captures)
    return result(cudaErrorStreamCaptureUnsupported);
  if (sticky || driver_error())
    return result(driver_error());
  mallocs++;
  counters.allocations++;
  *p = nullptr;
  if (bytes > size_t(machine.memory - used) ||
      (machine.fail_malloc && mallocs >= machine.fail_malloc) ||
      posix_memalign(p, 256, bytes))
    return result(cudaErrorMemoryAllocation);
  memset(*p, 0xff, bytes);
  blocks[static_cast<char *>(*p)] = bytes;
  used += bytes;
  return cudaSuccess;
}

cudaError_t
cudaFree(void *p)
{
  Locked locked(lock);
  if (!p)
    return result(cudaSuccess);
  auto block = blocks.find(static_cast<char *>(p));
  if (block == blocks.end())
    return result(cudaErrorInvalidValue);
  cudaDeviceSynchronize();
  used -= block->second;
  blocks.erase(block);
  free(p);
  return result(cudaSuccess);
}

cudaError_t
cudaHostAlloc(void **p, size_t bytes, unsigned)
{
  Locked locked(lock);
  if (sticky || driver_error())
    return result(driver_error());
  *p = malloc(bytes);
  return result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t
cudaFreeHost(void *p)
{
  free(p);
  return cudaSuccess;
}

cudaError_t
cudaMemcpyAsync(
    void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
  Locked locked(lock);
  if (!copy_allowed(to, from, bytes, kind))
    return result(cudaErrorInvalidValue);
  return enqueue(stream, {nullptr, [=] {
                            counters.copies_in += kind == cudaMemcpyHostToDevice;
                            counters.copies_out += kind == cudaMemcpyDeviceToHost;
                            memmove(to, from, bytes);
                            return cudaSuccess;
                          }});
}

cudaError_t
cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
  Locked locked(lock);
  if (!on_device(p, bytes))
    return result(cudaErrorInvalidValue);
  return enqueue(stream, {nullptr, [=] {
                            memset(p, value, bytes);
                            return cudaSuccess;
                          }});
}

cudaError_t
cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
  Locked locked(lock);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t
cudaMemGetInfo(size_t *free, size_t *total)
{
  Locked locked(lock);
  *total = machine.memory;
  *free = machine.memory - used;
  return result(driver_error());
}

/* ----------------------------------------------------------------- devices */

cudaError_t
cudaGetDeviceCount(int *count)
{
  Locked locked(lock);
  configure();
  if (driver_error())
    return result(driver_error());
  *count = machine.devices;
  return result(cudaSuccess);
}

cudaError_t
cudaSetDevice(int device)
{
  Locked locked(lock);
  if (driver_error())
    return result(driver_error());
  if (device < 0 || device >= machine.devices)
    return result(cudaErrorInvalidDevice);
  if (machine.taken)
    return result(cudaErrorDevicesUnavailable);
  return result(cudaSuccess);
}

cudaError_t
cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
  Locked locked(lock);
  *p = {};
  if (device < 0 || device >= machine.devices)
    return result(cudaErrorInvalidDevice);
  snprintf(p->name, sizeof p->name, "Emulation");
  p->totalGlobalMem = machine.memory;
  p->sharedMemPerBlock = 48 * 1024;
  p->sharedMemPerBlockOptin = 227 * 1024;
  p->major = machine.cc / 10;
  p->minor = machine.cc % 10;
  p->multiProcessorCount = 4;
  return result(cudaSuccess);
}

cudaError_t
cudaDriverGetVersion(int *version)
{
  *version = machine.driver;
  return cudaSuccess;
}

cudaError_t
cudaRuntimeGetVersion(int *version)
{
  *version = RUNTIME;
  return cudaSuccess;
}

/* ------------------------------------------------------ streams and events */

static std::vector<Stream *> all_streams;

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
  Locked locked(lock);
  if (sticky || driver_error())
    return result(driver_error());
  *stream = new Stream;
  all_streams.push_back(*stream);
  return cudaSuccess;
}

cudaError_t
cudaStreamDestroy(cudaStream_t stream)
{
  Locked locked(lock);
  run_until(stream, stream->queued);
  for (size_t i = 0; i < all_streams.size(); i++)
    if (all_streams[i] == stream)
      all_streams.erase(all_streams.begin() + i--);
  delete stream;
  return result(cudaSuccess);
}

cudaError_t
cudaStreamSynchronize(cudaStream_t stream)
{
  Locked locked(lock);
  Stream *s = stream_of(stream);
  if (s->capturing) {
    s->invalidated = true;
    return result(cudaErrorStreamCaptureUnsupported);
  }
  counters.synchronisations++;
  run_until(s, s->queued);
  return result(cudaSuccess);
}

cudaError_t
cudaDeviceSynchronize(void)
{
  Locked locked(lock);
  for (Stream *s : all_streams)
    run_until(s, s->queued);
  run_until(&default_stream, default_stream.queued);
  return result(cudaSuccess);
}

cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
  *event = new Event;
  return result(driver_error());
}

cudaError_t
cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
  Locked locked(lock);
  const cudaError_t error =
      enqueue(stream, {nullptr, [event] {
                         struct timespec now;
                         clock_gettime(CLOCK_MONOTONIC, &now);
                         event->time = now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
                         return cudaSuccess;
                       }});
  event->stream = stream_of(stream);
  event->ticket = event->stream->queued;
  return result(error);
}

cudaError_t
cudaEventSynchronize(cudaEvent_t event)
{
  Locked locked(lock);
  if (event->stream)
    run_until(event->stream, event->ticket);
  return result(cudaSuccess);
}

cudaError_t
cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
  *ms = float(to->time - from->time);
  return result(cudaSuccess);
}

cudaError_t
cudaEventDestroy(cudaEvent_t event)
{
  delete event;
  return cudaSuccess;
}

/* ------------------------------------------------------------------ graphs */

cudaError_t
cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
  Locked locked(lock);
  if (!stream || stream->capturing)
    return result(cudaErrorStreamCaptureUnsupported);
  counters.captures++;
  stream->capturing = new Graph;
  stream->invalidated = false;
  captures += mode != cudaStreamCaptureModeRelaxed;
  return result(cudaSuccess);
}

cudaError_t
cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
  Locked locked(lock);
  captures = 0;
  *graph = stream->capturing;
  stream->capturing = nullptr;
  if (!*graph)
    return result(cudaErrorIllegalState);
  if (stream->invalidated) {
    delete *graph;
    *graph = nullptr;
    return result(cudaErrorStreamCaptureInvalidated);
  }
  return result(cudaSuccess);
}

cudaError_t
cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
  *exec = new GraphExec{graph->nodes};
  return result(cudaSuccess);
}

cudaError_t
cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
  Locked locked(lock);
  counters.graphs++;
  for (const Work &node : exec->nodes)
    if (const cudaError_t error = enqueue(stream, node))
      return error;
  return cudaSuccess;
}

cudaError_t
cudaGraphDestroy(cudaGraph_t graph)
{
  delete graph;
  return cudaSuccess;
}

cudaError_t
cudaGraphExecDestroy(cudaGraphExec_t exec)
{
  delete exec;
  return cudaSuccess;
}

void
emulation_count(EmulationCounters *to)
{
  Locked locked(lock);
  *to = counters;
}

/* ------------------------------------------------------------------ errors */

cudaError_t
cudaGetLastError(void)
{
  Locked locked(lock);
  const cudaError_t error = sticky ? sticky : last;
  last = cudaSuccess;
  return error;
}

cudaError_t
cudaPeekAtLastError(void)
{
  Locked locked(lock);
  return sticky ? sticky : last;
}

static const struct {
  cudaError_t error;
  const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
        "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
        "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable",
        "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
        "an illegal memory access was encountered"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
        "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
        "operation failed due to a previous error during capture"},
};

const char *
cudaGetErrorName(cudaError_t error)
{
  for (const auto &e : errors)
    if (e.error == error)
      return e.name;
  return "cudaErrorUnknown";
}

const char *
cudaGetErrorString(cudaError_t error)
{
  for (const auto &e : errors)
    if (e.error == error)
      return e.text;
  return "unknown error";
}
