/* SEANet, the convolutional ends of Mimi: PCM to 25 Hz vectors and back.
 * Reference: moshi/modules/seanet.py. */
#ifndef MOSHI_MIMI_SEANET_H
#define MOSHI_MIMI_SEANET_H

#include "nn/conv.h"

typedef enum {
  MIMI_LAYER_CONV,     /* y = conv(x) */
  MIMI_LAYER_ELU_CONV, /* y = conv(ELU(x)) */
  MIMI_LAYER_RESIDUAL, /* y = x + pointwise(ELU(conv(ELU(x)))) */
} MimiLayerKind;

typedef struct {
  MimiLayerKind kind;
  MoshiConv conv, pointwise;
} MimiLayer;

/* Layers of nearby rates, worked off block by block. */
typedef struct {
  int first, end; /* layers */
  int last_move;  /* the last that is not a residual, which works in place */
  int hop;        /* fewest input rows that give whole output rows */
} MimiSection;

typedef struct {
  int n_layers, n_sections;
  MimiLayer *layers;
  MimiSection *sections;
  int in, out; /* channels at the ends */
} MimiSeanet;

/* Contexts take room at *state_size, which grows. */
int mimi_seanet_load_encoder(
    MimiSeanet *s, MoshiLoader *l, const MimiConfig *config, size_t *state_size);
int mimi_seanet_load_decoder(
    MimiSeanet *s, MoshiLoader *l, const MimiConfig *config, size_t *state_size);
void mimi_seanet_free(MimiSeanet *s, MoshiDevice *d);

/* Where the steps of a batch are worked out; holds nothing between steps. */
typedef struct {
  float *memory;
  float **rows; /* [n_sections + 1]: [n][rows][channels] between sections */
  int *n_rows;  /* [n_sections + 1], of a frame */
  int *block;   /* [n_sections]: rows of a block of `n` slots */
  bool whole;   /* sections in one block: the device wants few operations, and its
                   cache holds a whole section */
  int n;
  float *block_memory;               /* of a block: */
  float *x, *window, *hidden, *taps; /* of the section that is worked off */
} MimiSeanetWork;

/* For `batch` slots of `rows` input rows. */
int mimi_seanet_work_init(MimiSeanetWork *w, const MimiSeanet *s, MoshiDevice *d,
    int batch, int rows, MoshiError *error);
void mimi_seanet_work_free(MimiSeanetWork *w, MoshiDevice *d);
/* Where the caller puts a frame's input [n][rows][in] and finds the output; the input
 * does not survive. */
float *mimi_seanet_input(const MimiSeanetWork *w);
float *mimi_seanet_output(const MimiSeanetWork *w, const MimiSeanet *s);
void mimi_seanet_step(const MimiSeanet *s, MimiSeanetWork *w, MoshiDevice *d,
    const MoshiConvSlots *slots);

#endif
