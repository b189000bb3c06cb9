/* The language model's weights, for its sessions. */
#ifndef MOSHI_LM_WEIGHTS_H
#define MOSHI_LM_WEIGHTS_H

#include "conditioners.h"
#include "lm.h"
#include "nn/embedding.h"
#include "nn/transformer.h"

struct MoshiLmWeights {
  MoshiLmConfig config; /* a copy with its own conditioners */
  MoshiEmbedding text_emb;
  MoshiEmbedding *emb; /* [n_q] */
  MoshiTransformer main;
  MoshiNorm out_norm;
  MoshiLinear text_linear;
  MoshiLinear *extra_heads; /* [extra_heads] */
  /* The depth transformer; arrays are NULL without one. */
  MoshiLinear *depth_in; /* [n_in_sets] */
  MoshiEmbedding depth_text_emb;
  MoshiEmbedding *depth_emb; /* [dep_q − 1] */
  MoshiTransformer depth;
  MoshiNorm *depth_norms; /* [dep_q], NULL without norms */
  MoshiLinear *linears;   /* [dep_q] */
  MoshiConditioner *conditioners;
};

#endif
