/* A device: memory, weights on it, and the operations that nn/ is written in.
 *
 * All pointers in an operation's arguments are in the device's memory, except
 * where it says host. Operations are queued in order; only download() and
 * sync() wait. The CPU (cpu.c) runs them at once over kernels and a thread
 * pool. `rows` are the running slots' rows: a batch of n items, each of
 * `steps` rows, packed densely (masked slots are left out), with `slots[i]`
 * naming the slot whose state item i uses.
 */
#ifndef MOSHI_DEVICE_H
#define MOSHI_DEVICE_H

#include <stdbool.h>

#include "../../kernels/kernels.h"
#include "../moshi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MoshiDevice MoshiDevice;

/* A weight matrix [m.rows][m.cols] as the device holds it. */
typedef struct {
  MoshiRows m;
  bool packed; /* m.data are panels: of floats, F32 or BF16, or of rows of 4 bits
                  (kernels.h); else row-major as in the file */
} MoshiMatrix;

/* A codebook [entries][dim] of residual quantization. */
typedef struct {
  MoshiMatrix rows; /* row-major f32 */
  void *owned;      /* the host's rows, where the device keeps those */
  /* Of an encoder's: */
  MoshiMatrix search; /* the rows, packed as BF16 */
  float *half_norms;  /* [entries], |row|²/2 */
  /* [entries]: how far row·x by `search` may be from row·x by `rows`, both summed in
   * f32, for any x of length 1. */
  float *errors;
} MoshiCodebook;

/* [batch][steps][width] f32 with strides in elements. */
typedef struct {
  float *data;
  size_t batch_stride, step_stride;
} MoshiView;

/* y = residual + scale ⊙ act(W·x + bias); bias, scale, residual.data may be
 * NULL, residual may be y. x windows may overlap (convolution). Rows of a
 * matrix from first_row on, n_rows of them (0: all); first_row of a packed matrix of
 * floats is a multiple of MOSHI_PANEL. */
typedef struct {
  const MoshiMatrix *w;
  int first_row, n_rows;
  MoshiView x, y, residual;
  int batch, steps;
  const float *bias, *scale;
  MoshiAct act;
  /* Of a matrix of 2·n rows, not packed as floats: y[r] = act(u[r]) ⊙ u[n + r],
   * u = W·x, without bias, scale, residual and first_row. The same bits as of linear,
   * then gate. */
  bool gated;
} MoshiLinearOp;

typedef struct {
  bool rms; /* else layer norm */
  float eps;
  const float *weight, *bias; /* [dim] */
} MoshiNormOp;

/* Writes the steps' keys and values into the slots' rings and attends.
 * qkv [batch][steps][(n_heads + 2·n_kv_heads)·head_dim]; the rings of slot s are at
 * cache + s·slot_stride (bytes), [2][n_kv_heads] of moshi_ring_bytes. positions[i]
 * is the position of item i's first step (host). All steps of the call are
 * written before any query looks, and a query sees the keys that are still in
 * the ring and not later than itself: the reference's window (docs). */
typedef struct {
  const float *qkv;
  float *out; /* [batch][steps][n_heads·head_dim] */
  char *cache;
  size_t slot_stride;
  MoshiKv kv;
  int n_heads, n_kv_heads, head_dim, context;
  int batch, steps;
  const int *slots;         /* host */
  const int64_t *positions; /* host */
  /* [batch][steps][2][head_dim/2]: cosines and sines by which the steps' queries
   * and keys turn; NULL: no rotary embedding */
  const float *turn;
  bool concat_pairs; /* pairs (j, j + d/2) instead of (2j, 2j+1) */
} MoshiAttendOp;

/* Memory is handed out in steps of so many bytes. */
#define MOSHI_ALIGNMENT ((size_t)64)

static inline size_t
moshi_aligned(size_t bytes)
{
  return (bytes + MOSHI_ALIGNMENT - 1) & ~(MOSHI_ALIGNMENT - 1);
}

/* The ring of one head: [context][head_dim] of type kv, and behind them at a
 * multiple of the alignment I8's scales, [context]. */
static inline size_t
moshi_ring_scales(MoshiKv kv, int context, int head_dim)
{
  return moshi_aligned(context * head_dim * moshi_kv_size(kv));
}

static inline size_t
moshi_ring_bytes(MoshiKv kv, int context, int head_dim)
{
  const size_t scales = kv == MOSHI_KV_I8 ? context * sizeof(float) : 0;
  return moshi_ring_scales(kv, context, head_dim) + moshi_aligned(scales);
}

/* Takes bytes of a memory that is still being measured when it is NULL. *used
 * becomes SIZE_MAX, and stays it, once there are too many. */
static inline void *
moshi_place(void *memory, size_t *used, size_t bytes)
{
  void *p = memory ? (char *)memory + *used : NULL;
  if (bytes > PTRDIFF_MAX || *used > PTRDIFF_MAX - moshi_aligned(bytes))
    *used = SIZE_MAX;
  else
    *used += moshi_aligned(bytes);
  return p;
}

/* Attention of one-step queries over a fixed source (cross attention):
 * q [batch][n_heads·head_dim]; slot s's keys and values at kv + s·slot_stride,
 * [2][n_heads][length][head_dim]. */
typedef struct {
  const float *q;
  float *out;
  const float *kv;
  size_t slot_stride;
  int n_heads, head_dim, length;
  int batch;
  const int *slots; /* host */
} MoshiCrossOp;

/* One draw, made on the host before the step: how to sample a row. The random
 * numbers are those of a counter-based generator, so that equal seeds and
 * counters give equal draws on every device. */
typedef struct {
  float temperature; /* ≤ 0: argmax, lowest index on ties */
  int top_k;         /* 0: all */
  uint64_t seed, counter;
} MoshiDraw;

/* A change of one logit before its row is drawn from. */
typedef struct {
  int row, token;
  float penalty; /* divides what is ≥ 0, multiplies what is < 0 */
  float bonus;   /* added to that */
} MoshiEdit;

/* A kernel of a device, timed. */
typedef struct {
  const char *name, *type; /* "linear1" and "q4_k", "attend" and the type of its ring */
  int rows, cols, batch;   /* of attention: heads, keys */
  double bytes, seconds;   /* that are read once, and the time of one launch */
  double copy_gb_s;        /* what a copy in the device's memory reads and writes */
} MoshiTimed;

typedef struct {
  const char *name; /* "cpu", "cuda" */
  void (*close)(MoshiDevice *d);

  /* What alloc could give, all in all; NULL where the system promises more than it
   * has. */
  uint64_t (*available)(MoshiDevice *d);
  /* GB that a copy within its memory reads and writes in a second, measured now. */
  double (*copy_gb_s)(MoshiDevice *d); /* NULL: of the CPU */
  /* Seconds for which threads of the process have waited for results; NULL: of the
   * CPU. */
  double (*waited_s)(MoshiDevice *d);
  /* Zeroed memory; NULL when there is none. */
  void *(*alloc)(MoshiDevice *d, size_t bytes);
  void (*free)(MoshiDevice *d, void *p);
  void (*upload)(MoshiDevice *d, void *dst, const void *host, size_t bytes);
  void (*download)(MoshiDevice *d, void *host, const void *src, size_t bytes);
  /* From begin() to sync() the operations are one frame: the device is the calling
   * thread's, and may keep them back until a result is asked for. May be NULL. */
  void (*begin)(MoshiDevice *d);
  int (*sync)(MoshiDevice *d, MoshiError *error);

  /* Weights. rows_matrix may keep the host's pointers (the caller keeps the file
   * mapped); 0 or MOSHI_ERROR_MEMORY. */
  int (*rows_matrix)(MoshiDevice *d, MoshiMatrix *m, const MoshiRows *host);
  /* The same for what is multiplied with and not looked up: a device may pack it, and
   * the host's memory is not needed then. */
  int (*linear_matrix)(MoshiDevice *d, MoshiMatrix *m, const MoshiRows *host);
  /* Panels of `type`, F32 or BF16; calls `weights` from several threads. */
  int (*packed_matrix)(MoshiDevice *d, MoshiMatrix *m, MoshiType type, int rows,
      int cols, MoshiWeights weights, const void *ctx);
  void (*free_matrix)(MoshiDevice *d, MoshiMatrix *m);

  void (*linear)(MoshiDevice *d, const MoshiLinearOp *op);
  /* y and x: [n][dim], rows dense. y may be x. */
  void (*norm)(
      MoshiDevice *d, const MoshiNormOp *op, float *y, const float *x, int n, int dim);
  void (*act)(MoshiDevice *d, MoshiAct act, MoshiView y, MoshiView x, int batch,
      int steps, int width);
  /* y[n][hidden] = act(u[n][0…hidden)) ⊙ u[n][hidden…2·hidden). */
  void (*gate)(
      MoshiDevice *d, MoshiAct act, float *y, const float *u, int n, int hidden);
  /* y[i] += s ⊙ x[i] for n rows of dim; s NULL: 1; x_stride 0 adds one row to
   * all. */
  void (*add)(MoshiDevice *d, float *y, const float *x, size_t x_stride, const float *s,
      int n, int dim);
  void (*attend)(MoshiDevice *d, const MoshiAttendOp *op);
  void (*cross)(MoshiDevice *d, const MoshiCrossOp *op);

  /* Copies `width` floats between item i of a dense batch and slots[i] of a
   * state: load (state → dense) and store (dense → state). */
  void (*load)(MoshiDevice *d, float *dense, size_t dense_stride, const float *state,
      size_t state_stride, int width, const int *slots, int n);
  void (*store)(MoshiDevice *d, const float *dense, size_t dense_stride, float *state,
      size_t state_stride, int width, const int *slots, int n);

  /* y[i] += row tokens[i] of a table [·][dim] of any type (tokens on the
   * device, negative: nothing is added). */
  void (*embed)(MoshiDevice *d, float *y, size_t y_stride, const MoshiMatrix *table,
      const int32_t *tokens, size_t token_stride, int n);
  /* One level of residual quantization: codes[i·code_stride] = argmin over rows
   * of |row − residual|² (by half_norms[row] − row·residual), then residual[i] −=
   * row. scores: scratch [n][entries]. */
  void (*quantize)(MoshiDevice *d, const MoshiCodebook *book, float *residual,
      float *scores, int32_t *codes, size_t code_stride, int n);
  /* n changes of logits [·][size], no two of the same; edits: host. */
  void (*edit)(MoshiDevice *d, float *logits, int size, const MoshiEdit *edits, int n);
  /* tokens[i·token_stride] = drawn from logits [n][size] (see sampler.h). */
  void (*sample)(MoshiDevice *d, const float *logits, int n, int size,
      const MoshiDraw *draws, int32_t *tokens, size_t token_stride);
  /* y = b + coef·(a − b), n floats; y may be a. */
  void (*guide)(
      MoshiDevice *d, float *y, const float *a, const float *b, float coef, size_t n);
  void (*softmax)(MoshiDevice *d, float *y, const float *x, int n, int size);
  /* Times the device's own kernels on shapes of the 7B model, their sizes divided by
   * `shrink`; NULL: there are none but those of kernels/. */
  int (*bench)(MoshiDevice *d, int shrink,
      void (*report)(void *ctx, const MoshiTimed *timed), void *ctx, MoshiError *error);
} MoshiDeviceOps;

struct MoshiDevice {
  const MoshiDeviceOps *ops;
  char description[96];
};

static inline void
moshi_device_begin(MoshiDevice *d)
{
  if (d->ops->begin)
    d->ops->begin(d);
}

/* Opens the CPU with a pool of `threads` (0: the machine's cores). Devices of
 * equal thread count share a pool. */
MoshiDevice *moshi_device_cpu(int threads, MoshiError *error);
/* A CUDA card, by the module with its back end (cuda.c). */
MoshiDevice *moshi_device_cuda(int index, MoshiError *error);
/* "auto" (a card where there is one, else the CPU), "cpu", "cuda", "cuda:N". */
MoshiDevice *moshi_device_open(const char *name, int threads, MoshiError *error);

static inline void
moshi_device_close(MoshiDevice *d)
{
  if (d)
    d->ops->close(d);
}

#ifdef __cplusplus
}
#endif

#endif
