/* Recording a frame, and running it: one by one the first time it is seen, captured
 * the second time, a single launch from then on. */
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "device.cuh"

namespace {

/* At the head of each record; sizes are multiples of 8. */
struct Header {
  uint32_t kind, bytes;
};

struct Download {
  const void *src;
  void *to; /* in `results`, whose place belongs to a graph */
  size_t bytes;
};

/* A launcher, whatever its struct is. */
typedef void (*Launcher)(const void *a, cudaStream_t stream);

template <class T, void (*LAUNCH)(const T *, cudaStream_t)>
void
launch(const void *a, cudaStream_t stream)
{
  LAUNCH(static_cast<const T *>(a), stream);
}

/* By MoshiCudaKind. */
const struct {
  size_t bytes;
  Launcher launch;
} kinds[MOSHI_CUDA_N_KINDS] = {
    {sizeof(MoshiCudaLinear), launch<MoshiCudaLinear, moshi_cuda_linear>},
    {sizeof(MoshiCudaAttend), launch<MoshiCudaAttend, moshi_cuda_attend>},
    {sizeof(MoshiCudaCross), launch<MoshiCudaCross, moshi_cuda_cross>},
    {sizeof(MoshiCudaSample), launch<MoshiCudaSample, moshi_cuda_sample>},
    {sizeof(MoshiCudaNorm), launch<MoshiCudaNorm, moshi_cuda_norm>},
    {sizeof(MoshiCudaAct), launch<MoshiCudaAct, moshi_cuda_act>},
    {sizeof(MoshiCudaGate), launch<MoshiCudaGate, moshi_cuda_gate>},
    {sizeof(MoshiCudaAdd), launch<MoshiCudaAdd, moshi_cuda_add>},
    {sizeof(MoshiCudaMove), launch<MoshiCudaMove, moshi_cuda_move>},
    {sizeof(MoshiCudaEmbed), launch<MoshiCudaEmbed, moshi_cuda_embed>},
    {sizeof(MoshiCudaQuantize), launch<MoshiCudaQuantize, moshi_cuda_quantize>},
    {sizeof(MoshiCudaGuide), launch<MoshiCudaGuide, moshi_cuda_guide>},
    {sizeof(MoshiCudaSoftmax), launch<MoshiCudaSoftmax, moshi_cuda_softmax>},
    {sizeof(MoshiCudaEdit), launch<MoshiCudaEdit, moshi_cuda_edit>},
    {sizeof(MoshiCudaCopy), launch<MoshiCudaCopy, moshi_cuda_copy>},
    {sizeof(Download), nullptr},
};

const size_t CHUNK = 1 << 20;
const size_t ARGUMENT_ALIGNMENT = 16;

size_t
up_to(size_t bytes, size_t unit)
{
  return (bytes + unit - 1) / unit * unit;
}

/* ---------------------------------------------------------------- recording */

bool
grow(MoshiCuda *d, MoshiCudaBytes *b, size_t more)
{
  if (b->used + more <= b->size)
    return true;
  const size_t size = 2 * (b->used + more);
  char *data = static_cast<char *>(realloc(b->data, size));
  if (!data)
    return moshi_cuda_check(d, cudaErrorMemoryAllocation);
  b->data = data;
  b->size = size;
  return true;
}

/* A chunk with room for so many bytes. */
MoshiCudaChunk *
find_chunk(MoshiCuda *d, size_t bytes)
{
  for (int i = 0; i < d->n_chunks; i++)
    if (d->chunks[i].used + bytes <= d->chunks[i].size)
      return &d->chunks[i];
  if (d->n_chunks == MOSHI_CUDA_MAX_CHUNKS) {
    moshi_cuda_check(d, cudaErrorMemoryAllocation);
    return nullptr;
  }
  MoshiCudaChunk *c = &d->chunks[d->n_chunks];
  void *host = nullptr;
  c->size = bytes > CHUNK ? bytes : CHUNK;
  c->device = static_cast<char *>(moshi_cuda_alloc(d, c->size, true));
  if (!c->device ||
      cudaHostAlloc(&host, c->size, cudaHostAllocDefault) != cudaSuccess) {
    cudaFree(c->device);
    moshi_cuda_check(d, cudaErrorMemoryAllocation);
    return nullptr;
  }
  c->host = static_cast<char *>(host);
  d->n_chunks++;
  return c;
}

} // namespace

bool
moshi_cuda_frame_init(MoshiCuda *d)
{
  return find_chunk(d, CHUNK) != nullptr;
}

void *
moshi_cuda_record(MoshiCuda *d, MoshiCudaKind kind)
{
  const size_t bytes = up_to(kinds[kind].bytes, 8);
  if (d->error || !grow(d, &d->records, sizeof(Header) + bytes))
    return nullptr;
  const Header header = {static_cast<uint32_t>(kind), static_cast<uint32_t>(bytes)};
  char *at = d->records.data + d->records.used;
  d->last = d->records.used;
  memcpy(at, &header, sizeof header);
  memset(at + sizeof header, 0, bytes);
  d->records.used += sizeof header + bytes;
  return at + sizeof header;
}

const void *
moshi_cuda_last(const MoshiCuda *d, MoshiCudaKind kind)
{
  if (d->error || !d->records.used)
    return nullptr;
  const char *at = d->records.data + d->last;
  return reinterpret_cast<const Header *>(at)->kind == kind ? at + sizeof(Header)
                                                            : nullptr;
}

void
moshi_cuda_drop(MoshiCuda *d)
{
  d->records.used = d->last;
}

/* All layers of a transformer name the same slots and positions: one copy will do. */
static char *
pushed_before(const MoshiCuda *d, const void *host, size_t bytes)
{
  for (int i = 0; i < d->n_pushed; i++) {
    const MoshiCudaPushed *p = &d->pushed[i];
    if (p->host == host && p->bytes == bytes && !memcmp(p->copy, host, bytes))
      return p->device;
  }
  return nullptr;
}

void *
moshi_cuda_push(MoshiCuda *d, const void *host, size_t bytes)
{
  if (d->error)
    return nullptr;
  if (char *before = pushed_before(d, host, bytes))
    return before;
  MoshiCudaChunk *c = find_chunk(d, up_to(bytes, ARGUMENT_ALIGNMENT));
  if (!c)
    return nullptr;
  const MoshiCudaPushed p = {host, bytes, c->host + c->used, c->device + c->used};
  memcpy(p.copy, host, bytes);
  c->used += up_to(bytes, ARGUMENT_ALIGNMENT);
  memmove(d->pushed + 1, d->pushed, sizeof d->pushed - sizeof *d->pushed);
  d->pushed[0] = p;
  d->n_pushed += d->n_pushed < MOSHI_CUDA_PUSHED;
  return p.device;
}

float *
moshi_cuda_scratch(MoshiCuda *d, size_t bytes)
{
  if (bytes <= d->scratch_bytes || d->error)
    return bytes ? static_cast<float *>(d->scratch) : nullptr;
  if (d->n_retired == MOSHI_CUDA_MAX_RETIRED) {
    moshi_cuda_check(d, cudaErrorMemoryAllocation);
    return nullptr;
  }
  void *scratch = moshi_cuda_alloc(d, 2 * bytes, true);
  if (!scratch) {
    moshi_cuda_check(d, cudaErrorMemoryAllocation);
    return nullptr;
  }
  d->retired[d->n_retired++] = d->scratch;
  d->scratch = scratch;
  d->scratch_bytes = 2 * bytes;
  return static_cast<float *>(scratch);
}

size_t
moshi_cuda_result(MoshiCuda *d, const void *src, size_t bytes)
{
  MoshiCudaBytes *r = &d->results;
  const size_t at = r->used;
  if (at + bytes > r->size) {
    /* No download is recorded yet: each is followed by a flush. */
    void *data = nullptr;
    cudaFreeHost(r->data);
    *r = {};
    if (cudaHostAlloc(&data, 2 * bytes, cudaHostAllocDefault) != cudaSuccess) {
      moshi_cuda_check(d, cudaErrorMemoryAllocation);
      return 0;
    }
    *r = {static_cast<char *>(data), 0, 2 * bytes};
  }
  Download *a = static_cast<Download *>(moshi_cuda_record(d, MOSHI_CUDA_DOWNLOAD));
  if (a) {
    a->src = src;
    a->to = r->data + at;
    a->bytes = bytes;
    r->used = at + bytes;
  }
  return at;
}

/* ------------------------------------------------------------------ running */

/* Queues the copy in, every record, and the copies out. */
static bool
enqueue(MoshiCuda *d)
{
  const MoshiChain head = d->use_chains ? MOSHI_CHAIN_HEAD : MOSHI_UNCHAINED;
  for (int i = 0; i < d->n_chunks; i++) {
    const MoshiCudaChunk *c = &d->chunks[i];
    if (c->used && cudaMemcpyAsync(c->device, c->host, c->used, cudaMemcpyHostToDevice,
                       d->stream) != cudaSuccess)
      return false;
  }
  moshi_chain = head;
  for (size_t at = 0; at < d->records.used;) {
    Header header;
    memcpy(&header, d->records.data + at, sizeof header);
    const void *a = d->records.data + at + sizeof header;
    if (header.kind == MOSHI_CUDA_DOWNLOAD) {
      const Download *o = static_cast<const Download *>(a);
      cudaMemcpyAsync(o->to, o->src, o->bytes, cudaMemcpyDeviceToHost, d->stream);
      moshi_chain = head;
    } else {
      kinds[header.kind].launch(a, d->stream);
    }
    at += sizeof header + header.bytes;
  }
  moshi_chain = MOSHI_UNCHAINED;
  return cudaPeekAtLastError() == cudaSuccess;
}

static void
graph_free(MoshiCudaGraph *g)
{
  if (g->exec)
    cudaGraphExecDestroy(g->exec);
  free(g->records);
  *g = {};
}

static MoshiCudaGraph *
find_graph(MoshiCuda *d)
{
  const MoshiCudaBytes *r = &d->records;
  for (int i = 0; i < d->n_graphs; i++) {
    MoshiCudaGraph *g = &d->graphs[i];
    if (g->bytes == r->used && !memcmp(g->records, r->data, r->used))
      return g;
  }
  return nullptr;
}

/* Remembers the records, in place of those that were not used for longest. */
static void
remember(MoshiCuda *d)
{
  MoshiCudaGraph *g = &d->graphs[0];
  if (d->n_graphs < MOSHI_CUDA_MAX_GRAPHS) {
    g = &d->graphs[d->n_graphs++];
  } else {
    for (int i = 1; i < d->n_graphs; i++)
      if (d->graphs[i].last_used < g->last_used)
        g = &d->graphs[i];
    graph_free(g);
  }
  g->records = static_cast<char *>(malloc(d->records.used));
  if (!g->records)
    return;
  memcpy(g->records, d->records.data, d->records.used);
  g->bytes = d->records.used;
  g->last_used = ++d->uses;
}

static bool
try_capture(MoshiCuda *d, MoshiCudaGraph *g)
{
  cudaGraph_t graph = nullptr;
  if (cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal) !=
      cudaSuccess)
    return false;
  const bool queued = enqueue(d);
  bool done = cudaStreamEndCapture(d->stream, &graph) == cudaSuccess && queued;
  done = done && cudaGraphInstantiate(&g->exec, graph, 0) == cudaSuccess;
  if (graph)
    cudaGraphDestroy(graph);
  if (!done)
    cudaGetLastError();
  return done;
}

/* A driver that cannot have early starts in graphs is known by its first graph. */
static bool
capture(MoshiCuda *d, MoshiCudaGraph *g)
{
  if (try_capture(d, g))
    return true;
  if (!d->use_chains)
    return false;
  d->use_chains = false;
  const bool done = try_capture(d, g);
  d->use_chains = !done; /* it was not that */
  return done;
}

static void
run(MoshiCuda *d)
{
  MoshiCudaGraph *g = d->in_frame && d->use_graphs ? find_graph(d) : nullptr;
  if (g) {
    g->last_used = ++d->uses;
    g->refused = g->refused || (!g->exec && !capture(d, g));
  } else if (d->in_frame && d->use_graphs) {
    remember(d);
  }
  if (g && g->exec)
    moshi_cuda_check(d, cudaGraphLaunch(g->exec, d->stream));
  else if (!enqueue(d))
    moshi_cuda_check(d, cudaGetLastError());
}

static std::atomic<uint64_t> waited_ns;

uint64_t
moshi_cuda_waited_ns(void)
{
  return waited_ns;
}

static void
wait(MoshiCuda *d)
{
  const auto began = std::chrono::steady_clock::now();
  moshi_cuda_check(d, cudaStreamSynchronize(d->stream));
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - began;
  waited_ns += took.count();
}

/* How much of each chunk is used belongs to what a graph was captured with; it follows
 * from the records, which hold the sizes of all that was pushed. */
void
moshi_cuda_flush(MoshiCuda *d)
{
  if (!d->error && d->records.used) {
    run(d);
    wait(d);
  }
  d->records.used = d->results.used = 0;
  d->n_pushed = 0;
  for (int i = 0; i < d->n_chunks; i++)
    d->chunks[i].used = 0;
  while (d->n_retired)
    cudaFree(d->retired[--d->n_retired]);
}

void
moshi_cuda_frame_free(MoshiCuda *d)
{
  moshi_cuda_flush(d);
  for (int i = 0; i < d->n_graphs; i++)
    graph_free(&d->graphs[i]);
  for (int i = 0; i < d->n_chunks; i++) {
    cudaFreeHost(d->chunks[i].host);
    cudaFree(d->chunks[i].device);
  }
  cudaFreeHost(d->results.data);
  cudaFree(d->scratch);
  free(d->records.data);
}
