/* Memory of the device for the length of a check. */
#ifndef MOSHI_TESTS_CUDA_MEMORY_CUH
#define MOSHI_TESTS_CUDA_MEMORY_CUH

#include "../../kernels/cuda/launch.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#define MUST(call)                                                                     \
  do {                                                                                 \
    const cudaError_t must_error = (call);                                             \
    if (must_error != cudaSuccess) {                                                   \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                             \
          cudaGetErrorString(must_error));                                             \
      exit(1);                                                                         \
    }                                                                                  \
  } while (0)

/* Programs without a card to run on return this to be counted as skipped. */
enum { NO_CARD = 77 };

inline bool
have_card()
{
  int count;
  return cudaGetDeviceCount(&count) == cudaSuccess;
}

/* Copies of the host's arrays; all go with the object. Those that are told `back` are
 * copied to the host again by finish(). */
class Memory {
public:
  ~Memory()
  {
    for (const Piece &p : pieces)
      MUST(cudaFree(p.device));
  }

  void *bytes(size_t n)
  {
    void *p;
    MUST(cudaMalloc(&p, n ? n : 1));
    pieces.push_back({p, nullptr, n});
    return p;
  }

  template <class T> T *in(const T *host, size_t n)
  {
    if (!host)
      return nullptr;
    void *p = bytes(n * sizeof(T));
    MUST(cudaMemcpy(p, host, n * sizeof(T), cudaMemcpyHostToDevice));
    return static_cast<T *>(p);
  }

  template <class T> T *back(T *host, size_t n)
  {
    T *p = in(host, n);
    pieces.back().host = host;
    return p;
  }

  void finish()
  {
    MUST(cudaGetLastError());
    MUST(cudaDeviceSynchronize());
    for (const Piece &p : pieces)
      if (p.host)
        MUST(cudaMemcpy(p.host, p.device, p.size, cudaMemcpyDeviceToHost));
  }

private:
  struct Piece {
    void *device, *host;
    size_t size;
  };
  std::vector<Piece> pieces;
};

#endif
