/* Conditions: what a model is told once, before a talk starts. Each is a
 * lookup table or a tensor, projected to the model's width; a fuser adds some
 * to every step's input and gives others to cross attention.
 * Reference: moshi/conditioners/{base,text,tensors}.py. */
#ifndef MOSHI_CONDITIONERS_H
#define MOSHI_CONDITIONERS_H

#include "nn/loader.h"

typedef struct {
  MoshiLinear embed;       /* [n_bins + 1][dim] of a lookup table */
  MoshiLinear output_proj; /* [model dim][dim] */
  float *padding;          /* [model dim], device */
} MoshiConditioner;

int moshi_conditioner_load(MoshiConditioner *c, MoshiLoader *l,
    const MoshiConditionerConfig *config, int model_dim);
void moshi_conditioner_free(MoshiConditioner *c, MoshiDevice *d);

/* What the fuser makes of the conditions, on the host. */
typedef struct {
  float *sum;   /* [dim], or NULL */
  float *cross; /* [cross_length][dim], or NULL */
  int cross_length;
} MoshiFused;

/* null_branch: that of classifier-free guidance. *fused must be cleared in any
 * case. */
int moshi_conditions_fuse(MoshiFused *fused, const MoshiLmConfig *config,
    const MoshiConditioner *conditioners, MoshiDevice *d,
    const MoshiCondition *conditions, int n_conditions, bool null_branch,
    MoshiError *error);
void moshi_fused_clear(MoshiFused *fused);

/* The row of a lookup table for a value: its place among the possible ones, or
 * a hash of it where there is no list. Negative after an error. */
int moshi_condition_index(
    const MoshiConditionerConfig *config, const char *value, MoshiError *error);
/* The conditions are known, given once, and of the kind that the model wants. */
int moshi_conditions_check(const MoshiLmConfig *config,
    const MoshiCondition *conditions, int n_conditions, MoshiError *error);

#endif
