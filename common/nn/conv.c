/* Streaming convolutions as matrix products.
 *
 * The context of a convolution, the P last input rows of the step before, is
 * put in front of the step's own rows; in [time][channel] layout the inputs of
 * output t are then one contiguous window of kernel·in floats which starts
 * stride·in floats after that of output t−1. So every convolution is one
 * product of overlapping windows and the weights W[o][i][j], packed as rows
 * [o][j·in + i]; P = kernel − stride.
 *
 * A transposed convolution adds W[i][o][j]·x[t][i] to output t·stride + j. Seen
 * from the outputs, the stride·out values of step t are a product too, over the
 * window of the last ceil(kernel / stride) input rows. What is remembered is
 * input rows again, not partial sums as in the reference: the bias is added
 * once an output by construction.
 *
 * The taps of a dilated convolution are not adjacent rows; they are gathered
 * first. No published codec has one. */
#include "conv.h"

#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Input rows that an output of the product sees. */
static int
window_rows(const MoshiConv *c)
{
  return c->transposed ? (c->kernel + c->stride - 1) / c->stride : c->kernel;
}

typedef struct {
  const MoshiConv *conv;
  const MoshiTensor *weight;
} PackContext;

/* weight [out][in][kernel] */
static void
conv_weights(const void *ctx, int row, int col, int count, float *to)
{
  const PackContext *p = ctx;
  const MoshiConv *c = p->conv;
  for (int end = col + count, n; col < end; col += n, to += n) {
    int j = col / c->in, i = col % c->in;
    n = MIN(end - col, c->in - i);
    moshi_tensor_floats(
        p->weight, ((size_t)row * c->in + i) * c->kernel + j, c->kernel, n, to);
  }
}

/* weight [in][out][kernel]; window rows are oldest first. */
static void
transposed_weights(const void *ctx, int row, int col, int count, float *to)
{
  const PackContext *p = ctx;
  const MoshiConv *c = p->conv;
  int r = row / c->out, o = row % c->out;
  for (int end = col + count, n; col < end; col += n, to += n) {
    int age = window_rows(c) - 1 - col / c->in, i = col % c->in;
    int j = r + age * c->stride;
    n = MIN(end - col, c->in - i);
    if (j < c->kernel)
      moshi_tensor_floats(p->weight, ((size_t)i * c->out + o) * c->kernel + j,
          (size_t)c->out * c->kernel, n, to);
    else
      memset(to, 0, n * sizeof *to);
  }
}

static int
pack_weight(MoshiConv *c, MoshiLoader *l, const char *name, const MoshiTensor *weight)
{
  PackContext ctx = {c, weight};
  int rows = c->transposed ? c->stride * c->out : c->out;
  if (l->device->ops->packed_matrix(l->device, &c->linear.w,
          moshi_packed_type(l, weight), rows, window_rows(c) * c->in,
          c->transposed ? transposed_weights : conv_weights, &ctx))
    return moshi_load_no_memory(l, name);
  return 0;
}

/* A transposed convolution's product has stride·out outputs. */
static int
upload_bias(MoshiConv *c, MoshiLoader *l, const char *name, const MoshiTensor *bias)
{
  int n = (c->transposed ? c->stride : 1) * c->out;
  float *host = g_try_new(float, n);
  c->linear.bias = host ? l->device->ops->alloc(l->device, n * sizeof(float)) : NULL;
  if (!c->linear.bias) {
    g_free(host);
    return moshi_load_no_memory(l, name);
  }
  for (int i = 0; i < n; i++)
    host[i] = moshi_tensor_at(bias, i % c->out);
  l->device->ops->upload(l->device, c->linear.bias, host, n * sizeof(float));
  g_free(host);
  return 0;
}

int
moshi_conv_load(
    MoshiConv *c, MoshiLoader *l, size_t *state_size, const char *format, ...)
{
  char prefix[256], name[sizeof prefix + 8];
  va_list args;
  va_start(args, format);
  vsnprintf(prefix, sizeof prefix, format, args);
  va_end(args);

  c->context = c->transposed ? window_rows(c) - 1
                             : (c->kernel - 1) * c->dilation + 1 - c->stride;
  c->offset = *state_size;
  *state_size += (size_t)c->context * c->in;

  int64_t dims[] = {
      c->transposed ? c->in : c->out, c->transposed ? c->out : c->in, c->kernel};
  snprintf(name, sizeof name, "%s.weight", prefix);
  const MoshiTensor *weight = moshi_load_tensor(l, name, 3, dims);
  if (weight && l->device)
    pack_weight(c, l, name, weight);
  if (!c->has_bias)
    return l->status;
  int64_t n_out = c->out;
  snprintf(name, sizeof name, "%s.bias", prefix);
  const MoshiTensor *bias = moshi_load_tensor(l, name, 1, &n_out);
  if (bias && l->device)
    upload_bias(c, l, name, bias);
  return l->status;
}

void
moshi_conv_free(MoshiConv *c, MoshiDevice *d)
{
  moshi_linear_free(d, &c->linear);
}

int
moshi_conv_rows(const MoshiConv *c, int rows)
{
  return c->transposed ? rows * c->stride : rows / c->stride;
}

size_t
moshi_conv_window_size(const MoshiConv *c, int rows)
{
  return (size_t)(c->context + rows) * c->in;
}

size_t
moshi_conv_taps_size(const MoshiConv *c, int rows)
{
  return c->dilation > 1 ? (size_t)rows * c->kernel * c->in : 0;
}

/* taps [n][rows][kernel][in] of a dilated convolution. */
static MoshiView
gather_taps(const MoshiConv *c, MoshiDevice *d, const MoshiConvOp *op, MoshiView x)
{
  size_t row = (size_t)c->kernel * c->in;
  for (int j = 0; j < c->kernel; j++) {
    MoshiView to = {op->taps + (size_t)j * c->in, row * op->rows, row};
    MoshiView from = {
        x.data + (size_t)j * c->dilation * c->in, x.batch_stride, (size_t)c->in};
    d->ops->act(d, MOSHI_ACT_NONE, to, from, op->slots->n, op->rows, c->in);
  }
  return (MoshiView){op->taps, row * op->rows, row * c->stride};
}

void
moshi_conv_step(const MoshiConv *c, MoshiDevice *d, const MoshiConvOp *op)
{
  const MoshiConvSlots *s = op->slots;
  size_t window = moshi_conv_window_size(c, op->rows);
  int width = c->context * c->in;
  if (width)
    d->ops->load(
        d, op->window, window, s->state + c->offset, s->stride, width, s->slots, s->n);

  size_t hop = (size_t)(c->transposed ? 1 : c->stride) * c->in;
  size_t out = (size_t)(c->transposed ? c->stride : 1) * c->out;
  MoshiView x = {op->window, window, hop};
  if (c->dilation > 1)
    x = gather_taps(c, d, op, x);
  MoshiLinearOp product = {.w = &c->linear.w,
      .x = x,
      .y = {op->y, op->y_stride, out},
      .residual = {(float *)op->residual, op->y_stride, out},
      .batch = s->n,
      .steps = c->transposed ? op->rows : op->rows / c->stride,
      .bias = c->linear.bias,
      .act = op->act};
  d->ops->linear(d, &product);

  if (width)
    d->ops->store(d, op->window + (size_t)op->rows * c->in, window,
        s->state + c->offset, s->stride, width, s->slots, s->n);
}
