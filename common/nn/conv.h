/* A causal streaming convolution, plain or transposed, over channels-last
 * activations [time][channel]. Reference: moshi/modules/conv.py. */
#ifndef MOSHI_NN_CONV_H
#define MOSHI_NN_CONV_H

#include "loader.h"

typedef struct {
  /* given before loading */
  int in, out; /* channels */
  int kernel, stride, dilation;
  bool transposed, has_bias;
  /* made by loading */
  MoshiLinear linear;
  int context;   /* input rows remembered from step to step */
  size_t offset; /* of them in a slot's state, in floats */
} MoshiConv;

/* Where the convolutions of a stream remember their inputs: a row of floats for
 * each slot. `slots` [n] names the slots that run. */
typedef struct {
  float *state;
  size_t stride;
  const int *slots; /* host */
  int n;
} MoshiConvSlots;

/* Loads NAME.weight and NAME.bias, and takes room for the context at
 * *state_size, which grows. */
int moshi_conv_load(MoshiConv *c, MoshiLoader *l, size_t *state_size,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
void moshi_conv_free(MoshiConv *c, MoshiDevice *d);
/* Output rows that `rows` input rows give; rows is a multiple of a plain
 * convolution's stride. */
int moshi_conv_rows(const MoshiConv *c, int rows);
/* Floats of `window` and `taps` below, for one slot. */
size_t moshi_conv_window_size(const MoshiConv *c, int rows);
size_t moshi_conv_taps_size(const MoshiConv *c, int rows);

typedef struct {
  const MoshiConvSlots *slots;
  int rows;      /* input rows of each slot */
  float *window; /* [n][context + rows][in], of which the caller filled the rows */
  float *taps;   /* scratch for a dilated convolution */
  MoshiAct act;
  const float *residual; /* laid out as y, may be y; or NULL */
  float *y;              /* [n][output rows][out], y_stride from slot to slot */
  size_t y_stride;
} MoshiConvOp;

/* y = residual + act(conv(context ‖ rows)); the context moves on. */
void moshi_conv_step(const MoshiConv *c, MoshiDevice *d, const MoshiConvOp *op);

#endif
