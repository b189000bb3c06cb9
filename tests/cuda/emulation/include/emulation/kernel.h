/* What a kernel sees: its indices, barriers, warp functions, atomics, arithmetic. */
#ifndef EMULATION_KERNEL_H
#define EMULATION_KERNEL_H

#include <functional>
#include <tuple>
#include <utility>

namespace emulation {

struct Thread;
struct Block {
  dim3 index, size, grid;
};

/* The running fiber. */
extern Thread *self;
const uint3 &thread_index();
const Block &block();
unsigned lane();

void *shared(const void *key, size_t bytes);
void *dynamic_shared();
void block_barrier();
/* Until the kernels before are complete. */
void grid_wait();
/* Dies where a card would. */
void prefetch(const void *p, size_t bytes);
/* Copies of 16 bytes, or of zeros, in groups. None is made before the wait for its
 * group, when all but the newest `late` of the thread's groups are. */
void copy_async(void *to, const void *from, bool there);
void copies_commit();
void copies_wait(size_t late);
void warp_barrier(unsigned mask);
/* Every lane of the mask gives 16 bytes and gets all lanes' [32][16] until its next
 * warp function. */
const unsigned char *warp_gather(unsigned mask, const void *value, size_t bytes);
[[noreturn]] void die(const char *what);

void enqueue_kernel(const char *name, const void *kernel, dim3 grid, dim3 block,
    size_t shared_bytes, cudaStream_t stream, bool early, std::function<void()> body);

template <class... P, class... A>
void
launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
    size_t shared_bytes, cudaStream_t stream, bool early, A &&...args)
{
  enqueue_kernel(name, reinterpret_cast<const void *>(kernel), grid, block,
      shared_bytes, stream, early,
      [kernel, copy = std::tuple<std::decay_t<P>...>(static_cast<P>(args)...)] {
        std::apply(kernel, copy);
      });
}

template <class T>
T
from_lane(unsigned mask, T value, unsigned source)
{
  static_assert(sizeof(T) <= 16, "a warp moves at most 16 bytes");
  const unsigned char *all = warp_gather(mask, &value, sizeof value);
  T result;
  memcpy(&result, all + 16 * (source & 31), sizeof result);
  return result;
}

} // namespace emulation

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block().index)
#define blockDim (emulation::block().size)
#define gridDim (emulation::block().grid)
#define warpSize 32

inline void
__syncthreads()
{
  emulation::block_barrier();
}
inline void
__syncwarp(unsigned mask = ~0u)
{
  emulation::warp_barrier(mask);
}

template <class T>
T
__shfl_sync(unsigned mask, T v, int source, int width = 32)
{
  const unsigned base = emulation::lane() & ~(width - 1u);
  return emulation::from_lane(mask, v, base + (source & (width - 1)));
}
template <class T>
T
__shfl_xor_sync(unsigned mask, T v, int flip, int width = 32)
{
  const unsigned lane = emulation::lane(), source = lane ^ flip;
  const bool inside = source < (lane & ~(width - 1u)) + width;
  return emulation::from_lane(mask, v, inside ? source : lane);
}
template <class T>
T
__shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32)
{
  const unsigned lane = emulation::lane();
  const bool inside = (lane & (width - 1u)) + delta < unsigned(width);
  return emulation::from_lane(mask, v, inside ? lane + delta : lane);
}
template <class T>
T
__shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32)
{
  const unsigned lane = emulation::lane();
  return emulation::from_lane(
      mask, v, (lane & (width - 1u)) >= delta ? lane - delta : lane);
}
inline unsigned
__ballot_sync(unsigned mask, int predicate)
{
  const unsigned char vote = predicate != 0;
  const unsigned char *all = emulation::warp_gather(mask, &vote, 1);
  unsigned result = 0;
  for (int i = 0; i < 32; i++)
    if (mask >> i & 1 && all[16 * i])
      result |= 1u << i;
  return result;
}

/* Fibers never interleave inside of these. */
template <class T, class F>
T
emulation_atomic(T *p, F f)
{
  const T old = *p;
  *p = f(old);
  return old;
}
inline void
__threadfence()
{
}
template <class T>
T
atomicAdd(T *p, T v)
{
  return emulation_atomic(p, [v](T old) { return T(old + v); });
}

template <class T>
T
__ldg(const T *p)
{
  return *p;
}
template <class T>
T
__ldcg(const T *p)
{
  return *p;
}

template <class To, class From>
To
emulation_bits(From from)
{
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned
__float_as_uint(float x)
{
  return emulation_bits<unsigned>(x);
}
inline float
__uint_as_float(unsigned x)
{
  return emulation_bits<float>(x);
}
inline float
__fmul_rn(float a, float b)
{
  return a * b;
}
inline float
__fadd_rn(float a, float b)
{
  return a + b;
}
inline float
rsqrtf(float x)
{
  return 1 / sqrtf(x);
}
inline int
__float2int_rn(float x)
{
  return int(rintf(x));
}
inline int
__dp4a(int a, int b, int c)
{
  unsigned sum = unsigned(c);
  for (int i = 0; i < 32; i += 8)
    sum += unsigned(int(int8_t(unsigned(a) >> i)) * int(int8_t(unsigned(b) >> i)));
  return int(sum);
}

#define EMULATION_MIN_MAX(T)                                                           \
  inline T min(T a, T b)                                                               \
  {                                                                                    \
    return b < a ? b : a;                                                              \
  }                                                                                    \
  inline T max(T a, T b)                                                               \
  {                                                                                    \
    return a < b ? b : a;                                                              \
  }
EMULATION_MIN_MAX(int)
EMULATION_MIN_MAX(unsigned)
EMULATION_MIN_MAX(long)
EMULATION_MIN_MAX(unsigned long)
EMULATION_MIN_MAX(long long)
EMULATION_MIN_MAX(unsigned long long)
#undef EMULATION_MIN_MAX
inline float
min(float a, float b)
{
  return fminf(a, b);
}
inline float
max(float a, float b)
{
  return fmaxf(a, b);
}

#endif
