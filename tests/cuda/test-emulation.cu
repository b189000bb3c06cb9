/* The emulation itself, by kernels that use what the back end uses; on a card the same
 * program checks that CUDA behaves as the emulation does. */
#include "../../kernels/cuda/mma.cuh"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                           \
      exit(1);                                                                         \
    }                                                                                  \
  } while (0)
#define OK(call) CHECK((call) == cudaSuccess)

template <class T>
static T *
on_device(const std::vector<T> &host)
{
  T *p;
  OK(cudaMalloc(&p, host.size() * sizeof(T)));
  OK(cudaMemcpy(p, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}

template <class T>
static std::vector<T>
from_device(const T *p, size_t n)
{
  std::vector<T> host(n);
  OK(cudaMemcpy(host.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
  return host;
}

/* Sum of a block, by shuffles in warps and shared memory between them. */
template <int BLOCK>
__global__ void
sum_blocks(float *sums, const __nv_bfloat16 *x, int n)
{
  MOSHI_SHARED(float, part, [BLOCK / 32]);
  moshi_grid_wait();
  const int i = blockIdx.x * BLOCK + threadIdx.x, warp = threadIdx.x / 32;
  float v = i < n ? __bfloat162float(x[i]) : 0;
  for (int d = 16; d; d /= 2)
    v += __shfl_xor_sync(~0u, v, d);
  if (threadIdx.x % 32 == 0)
    part[warp] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (int w = 0; w < BLOCK / 32; w++)
      sum += part[w];
    sums[blockIdx.x] = sum;
  }
}

__global__ void
reverse(int *x, int n)
{
  MOSHI_DYNAMIC_SHARED(int, copy);
  moshi_grid_wait();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    copy[i] = x[i];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    x[i] = copy[n - 1 - i];
}

__global__ void
votes(unsigned *out)
{
  const unsigned lane = threadIdx.x;
  moshi_grid_wait();
  const unsigned ballot = __ballot_sync(~0u, lane % 3 == 0);
  unsigned half = 0;
  if (lane < 16)
    half = __shfl_sync(0xffffu, lane * 7, 5);
  const int up = __shfl_up_sync(~0u, int(lane), 1);
  const int down = __shfl_down_sync(~0u, int(lane), 2, 8);
  out[lane] = ballot ^ half ^ unsigned(up * 100 + down);
}

static void
test_sums(cudaStream_t stream)
{
  std::vector<__nv_bfloat16> x(1000);
  for (size_t i = 0; i < x.size(); i++)
    x[i] = __float2bfloat16(float(i % 7));
  __nv_bfloat16 *d_x = on_device(x);
  float *sums = on_device(std::vector<float>(8));
  MOSHI_LAUNCH((sum_blocks<128>), 8, 128, 0, stream, sums, d_x, 1000);
  OK(cudaGetLastError());
  OK(cudaStreamSynchronize(stream));
  float total = 0;
  for (float s : from_device(sums, 8))
    total += s;
  float want = 0;
  for (int i = 0; i < 1000; i++)
    want += float(i % 7);
  CHECK(total == want);
  OK(cudaFree(sums));
  OK(cudaFree(d_x));
}

static void
test_votes(cudaStream_t stream)
{
  unsigned *out = on_device(std::vector<unsigned>(32));
  MOSHI_LAUNCH(votes, 1, 32, 0, stream, out);
  OK(cudaStreamSynchronize(stream));
  const std::vector<unsigned> got = from_device(out, 32);
  for (unsigned lane = 0; lane < 32; lane++) {
    unsigned ballot = 0;
    for (unsigned i = 0; i < 32; i += 3)
      ballot |= 1u << i;
    const unsigned half = lane < 16 ? 35 : 0, up = lane ? lane - 1 : 0;
    const unsigned down = lane % 8 < 6 ? lane + 2 : lane;
    CHECK(got[lane] == (ballot ^ half ^ (up * 100 + down)));
  }
  OK(cudaFree(out));
}

/* A graph is launched again with what lies in memory then. */
static void
test_graph(cudaStream_t stream)
{
  const int n = 77;
  std::vector<int> x(n);
  for (int i = 0; i < n; i++)
    x[i] = i;
  int *d_x = on_device(x), *pinned;
  OK(cudaHostAlloc(&pinned, n * sizeof(int), cudaHostAllocDefault));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  OK(cudaMemcpyAsync(d_x, pinned, n * sizeof(int), cudaMemcpyHostToDevice, stream));
  MOSHI_LAUNCH(reverse, 1, 32, n * sizeof(int), stream, d_x, n);
  OK(cudaStreamEndCapture(stream, &graph));
  OK(cudaGraphInstantiate(&exec, graph, 0));
  OK(cudaGraphDestroy(graph));
  CHECK(from_device(d_x, n) == x);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < n; i++)
      pinned[i] = i + round;
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    const std::vector<int> got = from_device(d_x, n);
    for (int i = 0; i < n; i++)
      CHECK(got[i] == n - 1 - i + round);
  }
  OK(cudaGraphExecDestroy(exec));
  OK(cudaFreeHost(pinned));
  OK(cudaFree(d_x));
}

/* --------------------------------------------------------------- copies */

enum { STAGES = 3 };

/* y = x, by way of shared memory: three copies of 16 bytes a thread, each a group, of
 * which `late` may be under way when the first is read, one fewer at the second. */
template <int LATE>
__global__ void
copy_stages(uint4 *y, const uint4 *x)
{
  MOSHI_SHARED(uint4, stages, [STAGES][32]);
  const int i = threadIdx.x;
  moshi_grid_wait();
  for (int s = 0; s < STAGES; s++) {
    moshi_copy_async(&stages[s][i], &x[s * 32 + i], i < 31);
    moshi_copies_commit();
  }
  moshi_copies_wait<LATE>();
  y[i] = stages[0][i];
  moshi_copies_wait<(LATE > 0 ? LATE - 1 : 0)>();
  y[32 + i] = stages[1][i];
  moshi_copies_wait<0>();
  y[64 + i] = stages[2][i];
}

/* Whether all of x arrives, and zeros for what is not there. */
template <int LATE>
static bool
copies_are_right(cudaStream_t stream)
{
  std::vector<uint4> x(32 * STAGES);
  for (unsigned i = 0; i < x.size(); i++)
    x[i] = make_uint4(i, i + 1, i + 2, i + 3);
  uint4 *from = on_device(x), *to = on_device(x);
  MOSHI_LAUNCH((copy_stages<LATE>), 1, 32, 0, stream, to, from);
  OK(cudaStreamSynchronize(stream));
  for (unsigned i = 31; i < x.size(); i += 32)
    x[i] = make_uint4(0, 0, 0, 0);
  const std::vector<uint4> got = from_device(to, x.size());
  OK(cudaFree(from));
  OK(cudaFree(to));
  return !memcmp(got.data(), x.data(), x.size() * sizeof x[0]);
}

static void
test_copies(cudaStream_t stream)
{
  CHECK(copies_are_right<0>(stream));
  CHECK(copies_are_right<STAGES - 1>(stream));
}

/* --------------------------------------------------------------- chains */

enum Manners { PROPER, READS_EARLY, WRITES_EARLY, NEVER_WAITS };

/* to = from + 1, and with bad manners before the kernels before are complete. */
__global__ void
follow(int *to, const int *from, int manners)
{
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  int early = 0;
  moshi_grid_release();
  if (manners == NEVER_WAITS && i == 77)
    return;
  if (manners == READS_EARLY)
    early = from[i];
  if (manners == WRITES_EARLY)
    to[i] = -1;
  moshi_grid_wait();
  to[i] = (manners == READS_EARLY ? early : from[i]) + 1;
}

enum { FOLLOWED = 4, FOLLOWERS = 256 };

/* Whether launches in a chain give what they give one after the other. Each is
 * {to, from, manners}; -1: the end. */
static bool
chain_is_right(cudaStream_t stream, const int (&steps)[4][3], bool captured)
{
  std::vector<int> want[FOLLOWED];
  int *device[FOLLOWED];
  for (int b = 0; b < FOLLOWED; b++) {
    want[b].assign(FOLLOWERS, 10 * b);
    device[b] = on_device(want[b]);
  }
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  if (captured)
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  moshi_chain = MOSHI_CHAIN_HEAD;
  for (const auto &s : steps) {
    if (s[0] < 0)
      break;
    MOSHI_LAUNCH(follow, 4, FOLLOWERS / 4, 0, stream, device[s[0]], device[s[1]], s[2]);
    for (int i = 0; i < FOLLOWERS; i++)
      want[s[0]][i] = want[s[1]][i] + 1;
  }
  moshi_chain = MOSHI_UNCHAINED;
  if (captured) {
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
  }
  OK(cudaGetLastError());
  OK(cudaStreamSynchronize(stream));
  bool right = true;
  for (int b = 0; b < FOLLOWED; b++) {
    right = right && from_device(device[b], FOLLOWERS) == want[b];
    OK(cudaFree(device[b]));
  }
  return right;
}

static void
test_chain(cudaStream_t stream)
{
  const int proper[4][3] = {{1, 0}, {2, 1}, {0, 2}, {3, 0}};
  for (const bool captured : {false, true})
    CHECK(chain_is_right(stream, proper, captured));
}

#ifdef MOSHI_CUDA_EMULATION
/* What a card shows now and then, or never, the emulation shows at once. */
static void
test_bad_manners(cudaStream_t stream)
{
  const int reads[4][3] = {{1, 0}, {2, 1, READS_EARLY}, {-1}};
  const int reads_ahead[4][3] = {{1, 0}, {2, 0}, {3, 1, READS_EARLY}, {-1}};
  const int writes[4][3] = {{1, 0}, {0, 2, WRITES_EARLY}, {-1}};
  const int head[4][3] = {{1, 0, READS_EARLY}, {-1}};
  for (const bool captured : {false, true}) {
    CHECK(!chain_is_right(stream, reads, captured));
    CHECK(!chain_is_right(stream, reads_ahead, captured));
    CHECK(!chain_is_right(stream, writes, captured));
    CHECK(chain_is_right(stream, head, captured));
  }
}

/* Shared and device memory that nobody has written. */
__global__ void
read_unwritten(unsigned *out, const unsigned *fresh)
{
  MOSHI_SHARED(unsigned, unwritten, [32]);
  moshi_grid_wait();
  out[threadIdx.x] = unwritten[threadIdx.x] & fresh[threadIdx.x];
}

static void
test_unwritten(cudaStream_t stream)
{
  unsigned *out = on_device(std::vector<unsigned>(32)), *fresh;
  OK(cudaMalloc(&fresh, 32 * sizeof *fresh));
  MOSHI_LAUNCH(read_unwritten, 1, 32, 0, stream, out, fresh);
  OK(cudaStreamSynchronize(stream));
  for (unsigned bits : from_device(out, 32))
    CHECK(bits == 0xffffffffu); /* a NaN, or -1 */
  OK(cudaFree(fresh));
  OK(cudaFree(out));
}

/* Another process, as the emulation ends it. */
static void
test_never_waits(cudaStream_t stream)
{
  const int never[4][3] = {{1, 0, NEVER_WAITS}, {-1}};
  int ends[2], status;
  char said[256] = "";
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    chain_is_right(stream, never, false);
    _exit(0);
  }
  close(ends[1]);
  CHECK(read(ends[0], said, sizeof said - 1) > 0);
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  CHECK(strstr(said, "kernel follow: a thread ends without moshi_grid_wait()"));
  close(ends[0]);
}
#endif

int
main()
{
  int count;
  cudaStream_t stream;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    printf("no CUDA device: skipped\n");
    return 77;
  }
  OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  test_sums(stream);
  test_votes(stream);
  test_graph(stream);
  test_copies(stream);
  test_chain(stream);
#ifdef MOSHI_CUDA_EMULATION
  CHECK(!copies_are_right<STAGES>(stream)); /* read before they are made */
  test_unwritten(stream);
  test_bad_manners(stream);
  test_never_waits(stream);
#endif
  MOSHI_LAUNCH(reverse, 1, 2048, 0, stream, nullptr, 0);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
  OK(cudaStreamDestroy(stream));
  printf("ok\n");
  return 0;
}
