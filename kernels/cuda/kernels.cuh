/* The operations of device.h as kernels, grouped by file. A launcher queues its work
 * on a stream and returns; it looks at no memory of the device and does not wait.
 *
 * What an operation needs is one struct. A frame's operations are recorded as such
 * structs and captured once into a graph, which is launched again as long as the
 * structs stay equal, byte for byte. So a launcher's grid may depend on the struct
 * alone, and what changes from frame to frame (slots, positions, draws) is read by
 * the kernel from where the struct points to.
 *
 * All pointers are the device's. Sums of an output follow an order of its own operands
 * alone (kernels.h), so that a stream's tokens do not depend on who else is in the
 * batch.
 */
#ifndef MOSHI_CUDA_KERNELS_CUH
#define MOSHI_CUDA_KERNELS_CUH

#include "../../common/device/device.h"
#include "launch.h"

/* ------------------------------------------------- product.cu: matrix products */

/* MoshiLinearOp. n_out is that of y: all rows of w, or half of them if gated. The
 * weights are as moshi_cuda_rows() has them (layout.cuh) or, packed, panels of
 * moshi_pack_panels(). norm, not of packed weights: the rows of x go through an RMS
 * norm with this weight and eps first; the same bits as of moshi_cuda_norm, then the
 * product. normed: where that norm's rows go, dense; or NULL. scratch: of
 * moshi_cuda_linear_scratch() bytes, for tensor cores; or NULL: for any batch, the order
 * of sums that few rows have. */
typedef struct {
  MoshiRows w;
  MoshiView x, y, residual;
  const float *bias, *scale, *norm;
  float *normed, *scratch, eps;
  int packed, batch, steps, n_out, act, gated, unused;
} MoshiCudaLinear;

void moshi_cuda_linear(const MoshiCudaLinear *a, cudaStream_t stream);
/* What a product's scratch takes; 0: it has no use for any. */
size_t moshi_cuda_linear_scratch(const MoshiCudaLinear *a);
/* Of rows, with scratch. */
void moshi_cuda_tensor(const MoshiCudaLinear *a, cudaStream_t stream);
size_t moshi_cuda_tensor_scratch(const MoshiCudaLinear *a);
/* Of packed weights. */
void moshi_cuda_panels(const MoshiCudaLinear *a, cudaStream_t stream);

/* --------------------------------------------------------- attend.cu: attention */

/* MoshiAttendOp */
typedef struct {
  const float *qkv;
  float *out;
  char *cache;
  size_t slot_stride;
  const int *slots;
  const int64_t *positions;
  const float *turn;
  int kv, n_heads, n_kv_heads, head_dim, context, batch, steps, concat_pairs;
  float *scratch; /* moshi_cuda_attend_scratch() bytes, or NULL */
} MoshiCudaAttend;

size_t moshi_cuda_attend_scratch(const MoshiCudaAttend *a);
void moshi_cuda_attend(const MoshiCudaAttend *a, cudaStream_t stream);

/* MoshiCrossOp */
typedef struct {
  const float *q;
  float *out;
  const float *kv;
  size_t slot_stride;
  const int *slots;
  int n_heads, head_dim, length, batch;
} MoshiCudaCross;

void moshi_cuda_cross(const MoshiCudaCross *a, cudaStream_t stream);

/* ------------------------------------------------------------ sample.cu: tokens */

typedef struct {
  const float *logits; /* [n][size] */
  const MoshiDraw *draws;
  int32_t *tokens;
  size_t token_stride;
  int n, size;
} MoshiCudaSample;

void moshi_cuda_sample(const MoshiCudaSample *a, cudaStream_t stream);

/* --------------------------------------------- elementwise.cu: all that is small */

typedef struct {
  float *y;
  const float *x, *weight, *bias;
  int n, dim, rms;
  float eps;
} MoshiCudaNorm;

typedef struct {
  MoshiView y, x;
  int act, batch, steps, width;
} MoshiCudaAct;

typedef struct {
  float *y;
  const float *u;
  int act, n, hidden, unused;
} MoshiCudaGate;

typedef struct {
  float *y;
  const float *x, *s;
  size_t x_stride;
  int n, dim;
} MoshiCudaAdd;

/* Rows of `width` floats: y + i·y_stride = x + i·x_stride, where the row of the side
 * that is a state is slots[i]. */
typedef struct {
  float *y;
  const float *x;
  size_t y_stride, x_stride;
  const int *slots;
  int width, n, store, unused; /* store: y is the state, else x */
} MoshiCudaMove;

typedef struct {
  float *y;
  size_t y_stride;
  MoshiRows table;
  const int32_t *tokens;
  size_t token_stride;
  int n, unused;
} MoshiCudaEmbed;

/* The scores are the products of all rows with the residuals; rows are f32, as
 * moshi_cuda_rows() has them. */
typedef struct {
  const float *rows, *half_norms, *scores;
  float *residual;
  int32_t *codes;
  size_t code_stride;
  int n, entries, dim, unused;
} MoshiCudaQuantize;

typedef struct {
  float *y;
  const float *a, *b;
  size_t n;
  float coef;
  int unused;
} MoshiCudaGuide;

typedef struct {
  float *y;
  const float *x;
  int n, size;
} MoshiCudaSoftmax;

/* Edits of a row below 0 are none. */
typedef struct {
  float *logits;
  const MoshiEdit *edits;
  int n, size;
} MoshiCudaEdit;

/* A piece of the frame's block of arguments to where an upload() wants it. */
typedef struct {
  void *to;
  const void *from;
  size_t bytes;
} MoshiCudaCopy;

void moshi_cuda_norm(const MoshiCudaNorm *a, cudaStream_t stream);
void moshi_cuda_act(const MoshiCudaAct *a, cudaStream_t stream);
void moshi_cuda_gate(const MoshiCudaGate *a, cudaStream_t stream);
void moshi_cuda_add(const MoshiCudaAdd *a, cudaStream_t stream);
void moshi_cuda_move(const MoshiCudaMove *a, cudaStream_t stream);
void moshi_cuda_embed(const MoshiCudaEmbed *a, cudaStream_t stream);
void moshi_cuda_quantize(const MoshiCudaQuantize *a, cudaStream_t stream);
void moshi_cuda_guide(const MoshiCudaGuide *a, cudaStream_t stream);
void moshi_cuda_softmax(const MoshiCudaSoftmax *a, cudaStream_t stream);
void moshi_cuda_edit(const MoshiCudaEdit *a, cudaStream_t stream);
void moshi_cuda_copy(const MoshiCudaCopy *a, cudaStream_t stream);

/* Whether kernels wait for those before them (launch.h), which the code that the
 * current card runs says: that of older cards does not, nor what the driver makes of
 * its PTX for a card of today. */
bool moshi_cuda_can_chain(void);

#endif
