/* A whole tier, written once over vectors of V_WIDTH floats: the including file has
 * brought its vec.h, and names the function that fills the table. */
#include "math.h"
#include "gemm.h"
#include "matvec.h"
#include "attention.h"
#include "rows.h"

#include "../tiers.h"

void
TIER_INIT(MoshiKernels *k)
{
  *k = (MoshiKernels){
      .name = TIER_NAME,
      .gemm = tier_gemm,
      .matvec = {tier_matvec_f32, tier_matvec_f16, tier_matvec_bf16},
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .act = {act_none, act_elu, act_gelu, act_silu, act_relu, act_sigmoid, act_tanh},
      .mul = mul,
      .add = add,
      .rope = rope,
      .rope_halves = rope_halves,
      .attention = tier_attention,
      .argmin = argmin,
      .argmax = argmax,
      .softmax_exp = softmax_exp,
      .widen = {widen_f32, widen_f16, widen_bf16},
  };
}
