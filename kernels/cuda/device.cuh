/* The CUDA device, shared between its files.
 *
 * An operation is not launched but recorded, as the struct of its launcher; host
 * arguments (slots, positions, draws, what is uploaded) go to a block of arguments
 * that is copied to the device once. When a result is asked for, the records are
 * looked up among those that were captured as a graph: equal ones are one launch. So
 * a frame costs one copy in, one graph, one copy out and one synchronisation, and
 * nothing is captured again when positions, temperatures or seeds change.
 *
 * Between begin() and sync() the device belongs to the calling thread. Outside of a
 * frame every operation is flushed at once. */
#ifndef MOSHI_CUDA_DEVICE_CUH
#define MOSHI_CUDA_DEVICE_CUH

#include <mutex>

#include "kernels.cuh"

/* Memory that grows, without exceptions. */
typedef struct {
  char *data;
  size_t used, size;
} MoshiCudaBytes;

/* A piece of the block of arguments: pinned, and its copy on the device. */
typedef struct {
  char *host, *device;
  size_t used, size;
} MoshiCudaChunk;

typedef struct {
  const void *host; /* where the caller had it */
  size_t bytes;
  char *copy, *device;
} MoshiCudaPushed;

/* Records that were run once, and later captured. */
typedef struct {
  char *records;
  size_t bytes;
  cudaGraphExec_t exec; /* NULL: not captured yet */
  bool refused;         /* it cannot be captured */
  uint64_t last_used;
} MoshiCudaGraph;

enum {
  MOSHI_CUDA_MAX_CHUNKS = 16,
  MOSHI_CUDA_MAX_GRAPHS = 160, /* a batch of 128 that grows by one, and more */
  MOSHI_CUDA_PUSHED = 8,
  MOSHI_CUDA_MAX_RETIRED = 8,
};

typedef struct {
  MoshiDevice base;
  int index;
  char name[64]; /* "cuda:0 (NVIDIA H200)" */
  cudaStream_t stream;
  std::recursive_mutex *lock;
  bool in_frame, use_graphs;
  bool use_chains;   /* kernels may start early (launch.h) */
  cudaError_t error; /* the first that is not a refused allocation; stays */

  MoshiCudaBytes records;
  size_t last; /* where the last of them begins */
  MoshiCudaChunk chunks[MOSHI_CUDA_MAX_CHUNKS];
  int n_chunks;
  MoshiCudaPushed pushed[MOSHI_CUDA_PUSHED];
  int n_pushed;
  MoshiCudaBytes results; /* pinned: what is downloaded */
  void *scratch;
  size_t scratch_bytes;
  void *retired[MOSHI_CUDA_MAX_RETIRED]; /* scratch that records may still name */
  int n_retired;

  MoshiCudaGraph graphs[MOSHI_CUDA_MAX_GRAPHS];
  int n_graphs;
  uint64_t uses;
} MoshiCuda;

static inline MoshiCuda *
moshi_cuda(MoshiDevice *d)
{
  return reinterpret_cast<MoshiCuda *>(d);
}

/* ---------------------------------------------------------------- device.cu */

int moshi_cuda_fail(MoshiError *error, MoshiStatus status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Remembers the first error; returns whether there is none. */
bool moshi_cuda_check(MoshiCuda *d, cudaError_t error);
/* Device memory; NULL when there is none, or when less than the reserve would be left.
 * working: what frames need besides their sessions' memory, which the reserve is for. */
void *moshi_cuda_alloc(MoshiCuda *d, size_t bytes, bool working);

/* --------------------------------------------------------------- weights.cu */

int moshi_cuda_rows_matrix(MoshiDevice *base, MoshiMatrix *m, const MoshiRows *host);
int moshi_cuda_packed_matrix(MoshiDevice *base, MoshiMatrix *m, MoshiType type,
    int rows, int cols, MoshiWeights weights, const void *ctx);
void moshi_cuda_free_matrix(MoshiDevice *base, MoshiMatrix *m);

/* ------------------------------------------------------------ operations.cu */

/* Fills the table's operations. */
void moshi_cuda_operations(MoshiDeviceOps *ops);

/* ----------------------------------------------------------------- frame.cu */

typedef enum {
  MOSHI_CUDA_LINEAR,
  MOSHI_CUDA_ATTEND,
  MOSHI_CUDA_CROSS,
  MOSHI_CUDA_SAMPLE,
  MOSHI_CUDA_NORM,
  MOSHI_CUDA_ACT,
  MOSHI_CUDA_GATE,
  MOSHI_CUDA_ADD,
  MOSHI_CUDA_MOVE,
  MOSHI_CUDA_EMBED,
  MOSHI_CUDA_QUANTIZE,
  MOSHI_CUDA_GUIDE,
  MOSHI_CUDA_SOFTMAX,
  MOSHI_CUDA_EDIT,
  MOSHI_CUDA_COPY,
  MOSHI_CUDA_DOWNLOAD,
  MOSHI_CUDA_N_KINDS
} MoshiCudaKind;

/* Appends a record; its struct is zero and is to be filled field by field (bytes of
 * padding are compared too). NULL after a failure. */
void *moshi_cuda_record(MoshiCuda *d, MoshiCudaKind kind);
/* The struct of the last record, if it is of this kind; else NULL. */
const void *moshi_cuda_last(const MoshiCuda *d, MoshiCudaKind kind);
/* Takes the last record back. */
void moshi_cuda_drop(MoshiCuda *d);
/* A copy on the device of `bytes` of the host's, there when the records run; NULL
 * after a failure. */
void *moshi_cuda_push(MoshiCuda *d, const void *host, size_t bytes);
/* Takes what nearly every frame needs, before there are frames. */
bool moshi_cuda_frame_init(MoshiCuda *d);
/* Room for a launcher's scratch. */
float *moshi_cuda_scratch(MoshiCuda *d, size_t bytes);
/* Runs what is recorded and waits for it. */
void moshi_cuda_flush(MoshiCuda *d);
/* How long flushes have waited, on all cards. */
uint64_t moshi_cuda_waited_ns(void);
/* Appends a copy to the host, which is at the returned offset of `results` after a
 * flush. */
size_t moshi_cuda_result(MoshiCuda *d, const void *src, size_t bytes);
void moshi_cuda_frame_free(MoshiCuda *d);

#endif
