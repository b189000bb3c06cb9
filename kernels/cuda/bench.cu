/* The product kernels and attention, timed with events. The shapes are those of the 7B
 * model; weights are random bits, and more of them than L2 holds are gone through in
 * turn, as a frame does. */
#include "bench.cuh"
#include "layout.cuh"

namespace {

enum { BLOCK = 256, MAX_BATCH = 128, CONTEXT = 3000, HEADS = 32, HEAD_DIM = 128 };

const struct {
  const char *name;
  int rows, cols, gated;
} shapes[] = {
    {"in_proj", 12288, 4096, 0},
    {"out_proj", 4096, 4096, 0},
    {"linear1", 22528, 4096, 1},
    {"linear2", 4096, 11264, 0},
};

__global__ void
random_kernel(uint32_t *words, size_t n)
{
  moshi_grid_wait();
  for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < n;
       i += (size_t)gridDim.x * BLOCK) {
    const uint32_t bits = (uint32_t)i * 2654435761u;
    words[i] = bits ^ bits >> 15;
  }
}

/* All that a run has, and its first error. */
struct Run {
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
  char *pool = nullptr, *other = nullptr;
  float *x = nullptr, *y = nullptr;
  size_t size = 0;
  int launches = 0;
  bool chains = false;
  cudaError_t error = cudaSuccess;

  bool ok(cudaError_t status)
  {
    if (error == cudaSuccess)
      error = status;
    return error == cudaSuccess;
  }

  template <class T> bool alloc(T **p, size_t bytes)
  {
    return ok(cudaMalloc(p, bytes)) && ok(cudaMemsetAsync(*p, 0, bytes, stream));
  }

  bool open(size_t floats)
  {
    return ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) &&
           ok(cudaEventCreate(&start)) && ok(cudaEventCreate(&stop)) &&
           alloc(&pool, size) && alloc(&other, size) &&
           alloc(&x, floats * sizeof(float)) && alloc(&y, floats * sizeof(float));
  }

  ~Run()
  {
    cudaFree(pool);
    cudaFree(other);
    cudaFree(x);
    cudaFree(y);
    if (start)
      cudaEventDestroy(start);
    if (stop)
      cudaEventDestroy(stop);
    if (stream)
      cudaStreamDestroy(stream);
  }

  /* Seconds of one launch(i), i = 0, 1, … */
  template <class F> double time(F launch)
  {
    float ms = 0;
    for (int i = 0; i < 3; i++)
      launch(i);
    ok(cudaEventRecord(start, stream));
    moshi_chain = chains ? MOSHI_CHAIN_HEAD : MOSHI_UNCHAINED;
    for (int i = 0; i < launches; i++)
      launch(i);
    moshi_chain = MOSHI_UNCHAINED;
    ok(cudaEventRecord(stop, stream));
    ok(cudaGetLastError());
    ok(cudaEventSynchronize(stop));
    ok(cudaEventElapsedTime(&ms, start, stop));
    return ms * 1e-3 / launches;
  }
};

double
copy_speed(Run *run)
{
  const double seconds = run->time([run](int) {
    run->ok(cudaMemcpyAsync(
        run->other, run->pool, run->size, cudaMemcpyDeviceToDevice, run->stream));
  });
  return 2e-9 * run->size / seconds;
}

/* A matrix of a type as it would come from a file; of whole blocks when it is shrunk. */
MoshiRows
matrix(MoshiType type, int rows, int cols)
{
  const int blocks = cols / 256;
  MoshiRows w = {};
  w.type = type;
  w.rows = rows;
  w.cols = 256 * (blocks ? blocks : 1);
  if (type == MOSHI_TYPE_MLX4 || type == MOSHI_TYPE_MLX8) {
    w.scale_type = MOSHI_TYPE_BF16;
    w.group = 64;
  }
  return w;
}

double
time_product(Run *run, const MoshiRows &host, int gated, int batch)
{
  const size_t bytes = moshi_cuda_layout(&host).bytes, places = run->size / bytes;
  MoshiCudaLinear a = {};

  if (!places) {
    run->ok(cudaErrorMemoryAllocation);
    return 0;
  }
  a.x = {run->x, (size_t)host.cols, (size_t)host.cols};
  a.n_out = gated ? host.rows / 2 : host.rows;
  a.y = {run->y, (size_t)a.n_out, (size_t)a.n_out};
  a.batch = batch;
  a.steps = 1;
  a.act = gated ? MOSHI_ACT_SILU : MOSHI_ACT_NONE;
  a.gated = gated;
  a.w = moshi_cuda_rows(&host, run->pool);
  if (const size_t scratch = moshi_cuda_linear_scratch(&a))
    if (!run->alloc(&a.scratch, scratch))
      return 0;
  const double seconds = run->time([&](int i) {
    a.w = moshi_cuda_rows(&host, run->pool + i % places * bytes);
    moshi_cuda_linear(&a, run->stream);
  });
  cudaFree(a.scratch);
  return seconds;
}

/* One stream whose ring is full. */
double
time_attend(Run *run, int kv, int heads, int context, double *bytes)
{
  const size_t ring = moshi_ring_bytes((MoshiKv)kv, context, HEAD_DIM);
  const size_t cache = 2 * heads * ring, places = run->size / cache;
  const int64_t position = 2 * context;
  const int slot = 0;
  int64_t *state = nullptr;
  MoshiCudaAttend a = {};

  a.qkv = run->x;
  a.out = run->y;
  a.slot_stride = cache;
  a.kv = kv;
  a.n_heads = a.n_kv_heads = heads;
  a.head_dim = HEAD_DIM;
  a.context = context;
  a.batch = a.steps = 1;
  *bytes = (double)cache;
  if (!places)
    run->ok(cudaErrorMemoryAllocation);
  if (run->error || !run->alloc(&state, 16 + moshi_cuda_attend_scratch(&a)))
    return 0;
  run->ok(cudaMemcpyAsync(
      state, &position, sizeof position, cudaMemcpyHostToDevice, run->stream));
  run->ok(cudaMemcpyAsync(
      state + 1, &slot, sizeof slot, cudaMemcpyHostToDevice, run->stream));
  a.positions = state;
  a.slots = reinterpret_cast<int *>(state + 1);
  a.scratch = reinterpret_cast<float *>(state + 2);
  const double seconds = run->time([&](int i) {
    a.cache = run->pool + i % places * cache;
    moshi_cuda_attend(&a, run->stream);
  });
  cudaFree(state);
  return seconds;
}

} // namespace

cudaError_t
moshi_cuda_bench(const MoshiCudaBench *bench,
    void (*report)(void *ctx, const MoshiTimed *timed), void *ctx)
{
  static const char *const kv_names[MOSHI_N_KVS] = {"f32", "bf16", "i8"};
  const int shrink = bench->shrink > 1 ? bench->shrink : 1;
  Run run;

  run.size = bench->memory ? bench->memory : (size_t)1 << 30;
  run.launches = bench->launches ? bench->launches : 50;
  run.chains = bench->chains;
  if (!run.open((size_t)MAX_BATCH * 32768))
    return run.error;
  MOSHI_LAUNCH(random_kernel, dim3(1024), dim3(BLOCK), 0, run.stream,
      reinterpret_cast<uint32_t *>(run.pool), run.size / sizeof(uint32_t));
  const double copy_gb_s = copy_speed(&run);
  for (const auto &shape : shapes)
    for (int type = 0; type < MOSHI_N_TYPES; type++)
      for (int batch = 1; batch <= (shrink > 1 ? 16 : MAX_BATCH); batch *= 2) {
        const MoshiRows host =
            matrix((MoshiType)type, shape.rows / shrink, shape.cols / shrink);
        const MoshiTimed timed = {shape.name, moshi_type_name((MoshiType)type),
            host.rows, host.cols, batch, (double)moshi_cuda_layout(&host).bytes,
            time_product(&run, host, shape.gated, batch), copy_gb_s};
        if (run.error)
          return run.error;
        report(ctx, &timed);
      }
  for (int kv = 0; kv < MOSHI_N_KVS; kv++) {
    MoshiTimed timed = {"attend", kv_names[kv],
        HEADS / (shrink > HEADS ? HEADS : shrink), CONTEXT / shrink, 1, 0, 0,
        copy_gb_s};
    timed.seconds = time_attend(&run, kv, timed.rows, timed.cols, &timed.bytes);
    if (run.error)
      return run.error;
    report(ctx, &timed);
  }
  return run.error;
}
