/* A causal streaming transformer: weights, and the state of a batch of slots.
 * Reference: moshi/modules/transformer.py. */
#ifndef MOSHI_NN_TRANSFORMER_H
#define MOSHI_NN_TRANSFORMER_H

#include "loader.h"

typedef struct {
  MoshiNorm norm1, norm2, norm_cross;
  MoshiLinear *in_proj, *out_proj; /* [n_sets] */
  MoshiLinear *linear1, *linear2;  /* [n_sets]: gated: linear_in, linear_out */
  /* layer scale, or NULL */
  float *scale1, *scale2, *scale_cross;
  MoshiLinear cross_in, cross_out;
} MoshiTransformerLayer;

typedef struct {
  MoshiTransformerConfig config;
  int n_sets;         /* weight sets (depth transformer); 1 elsewhere */
  int *hidden;        /* [n_sets] */
  bool packed;        /* f32 panels (Mimi) instead of the file's rows */
  float *frequencies; /* host, [head_dim/2] of the rotary embedding, or NULL */
  float *periods;     /* host, [dim/2] of the sinusoidal embedding, or NULL */
  MoshiTransformerLayer *layers;
} MoshiTransformer;

/* prefix: of "….layers.N". hidden: [n_sets] or NULL for config->hidden.
 * per_step: names of the MLP carry the set ("gating.K"). With l->device NULL
 * only checks. *t must be freed in any case. */
int moshi_transformer_load(MoshiTransformer *t, MoshiLoader *l,
    const MoshiTransformerConfig *config, int n_sets, const int *hidden, bool per_step,
    bool packed, const char *prefix);
/* d may be NULL after a mere check. */
void moshi_transformer_free(MoshiTransformer *t, MoshiDevice *d);

static inline int
moshi_head_dim(const MoshiTransformerConfig *c)
{
  return c->dim / c->n_heads;
}

static inline int
moshi_kv_heads(const MoshiTransformerConfig *c)
{
  return c->n_heads / c->kv_repeat;
}

/* Of queries, keys and values side by side. */
static inline int
moshi_qkv_width(const MoshiTransformerConfig *c)
{
  return (c->n_heads + 2 * moshi_kv_heads(c)) * moshi_head_dim(c);
}

/* Ring and position of every slot, and scratch for `batch` slots of `steps`
 * rows. */
typedef struct {
  int batch, steps, context;
  MoshiKv kv;
  int64_t *positions; /* [batch], host: steps done since the slot's start */
  char *cache;        /* [n_layers][batch] times a slot of MoshiAttendOp */
  size_t slot_stride, layer_stride; /* bytes */
  float *h, *qkv, *attended, *u;    /* scratch */
  float *sin, *sin_host;            /* scratch of the sinusoidal embedding, or NULL */
  float *turn, *turn_host;          /* scratch of the rotary embedding, or NULL */
  float *cross; /* [n_layers][batch][2][n_heads][length][head_dim] or NULL */
  int cross_length;
  size_t cross_slot_stride, cross_layer_stride;
  int64_t *row_positions; /* host scratch, [batch] */
  void *memory;           /* of all but `cross`; NULL: somebody else's */
} MoshiTransformerState;

/* Of keys and values; SIZE_MAX where the product overflows. */
size_t moshi_transformer_cache_bytes(
    const MoshiTransformerConfig *config, MoshiKv kv, int batch, int context);
/* context: size of the ring, steps ≤ context. *s must be freed in any case. */
int moshi_transformer_state_init(MoshiTransformerState *s, const MoshiTransformer *t,
    MoshiDevice *d, int batch, int steps, int context, MoshiError *error);
/* The same in memory of the caller's: plan, then place (device.h) it twice, where
 * the bytes are counted and where they are; SIZE_MAX is too many. */
int moshi_transformer_state_plan(MoshiTransformerState *s, const MoshiTransformer *t,
    int batch, int steps, int context, MoshiKv kv, MoshiError *error);
void moshi_transformer_state_place(
    MoshiTransformerState *s, const MoshiTransformer *t, void *memory, size_t *used);
void moshi_transformer_state_free(MoshiTransformerState *s, MoshiDevice *d);
void moshi_transformer_state_reset(MoshiTransformerState *s, int slot);
/* Projects the cross-attention source [length][dim] (device) of one slot; all
 * slots have sources of one length. They outlive resets. */
int moshi_transformer_set_cross(const MoshiTransformer *t, MoshiTransformerState *s,
    MoshiDevice *d, int slot, const float *source, int length, MoshiError *error);

/* x [n][steps][dim], dense, becomes the output; slots [n] name the states,
 * whose positions advance by `steps`. set: the weight set. */
void moshi_transformer_step(const MoshiTransformer *t, MoshiTransformerState *s,
    MoshiDevice *d, float *x, int steps, const int *slots, int n, int set);

#endif
