/* A whole tier, written once over vectors of V_WIDTH floats: the including file has
 * brought its vec.h, and names the function that fills the table. */
#include "math.h"
#include "gemm.h"
#include "matvec.h"
#include "attention.h"
#include "rows.h"
#ifdef TIER_INTEGERS
#include TIER_INTEGERS
#endif
#ifdef TIER_EIGHT
#include TIER_EIGHT
#include "four_bits.h"
#endif
#ifdef ENCODE_LANES
#include "encode_q4_k.h"
#endif

#include "../tiers.h"

/* The rows that are not here stay those of the tier below. */
void
TIER_INIT(MoshiKernels *k)
{
  static void (*const matvecs[])(float *, size_t, const MoshiRows *, const float *,
      size_t, int, int, int) = {tier_matvec_f32, tier_matvec_f16, tier_matvec_bf16};
  static void (*const widens[])(float *, const MoshiRows *, int, int, int) = {
      widen_f32, widen_f16, widen_bf16};
  static void (*const acts[])(float *, const float *, size_t) = {
      act_none, act_elu, act_gelu, act_silu, act_relu, act_sigmoid, act_tanh};

  k->name = TIER_NAME;
  k->gemm = tier_gemm;
  memcpy(k->matvec, matvecs, sizeof matvecs);
#ifdef TIER_INTEGERS
  k->matvec[MOSHI_TYPE_I8] = tier_matvec_i8;
  k->matvec[MOSHI_TYPE_Q8_0] = tier_matvec_q8_0;
  k->matvec[MOSHI_TYPE_MLX8] = tier_matvec_mlx8;
#endif
#ifdef TIER_EIGHT
  four_bits_init(k);
#endif
#ifdef ENCODE_LANES
  k->encode_q4_k = encode_q4_k;
#endif
  memcpy(k->widen, widens, sizeof widens);
  memcpy(k->act, acts, sizeof acts);
  k->rms_norm = rms_norm;
  k->layer_norm = layer_norm;
  k->mul = mul;
  k->add = add;
  k->rope = rope;
  k->rope_halves = rope_halves;
  k->attention[MOSHI_KV_F32] = tier_attention_f32;
  k->attention[MOSHI_KV_BF16] = tier_attention_bf16;
  k->attention[MOSHI_KV_I8] = tier_attention_i8;
  k->argmin = argmin;
  k->argmax = argmax;
  k->softmax_exp = softmax_exp;
}
