/* Functions on a vector of floats. Each works lane by lane, so that a value's result does
 * not depend on its neighbours. Included by one file a tier, after its vec.h. */
#include "../kernels.h"

/* Splits x = n·ln 2 + r, |r| ≤ ln 2 / 2, and returns e^r − 1; *n is integral.
 * The polynomial is a minimax fit of (e^r − 1 − r)/r², good to 2^-31 of r. */
INLINE V
reduce_exp(V x, V *n)
{
  const V whole = v_round(v_mul(x, v_set(0x1.715476p+0f)));
  V r = v_fnma(whole, v_set(0x1.62e400p-1f), x); /* ln 2, high part */
  r = v_fnma(whole, v_set(0x1.7f7d1cp-20f), r);
  V q = v_set(0x1.a1a18cp-13f);
  q = v_fma(q, r, v_set(0x1.6d748cp-10f));
  q = v_fma(q, r, v_set(0x1.111090p-7f));
  q = v_fma(q, r, v_set(0x1.5554aep-5f));
  q = v_fma(q, r, v_set(0x1.555556p-3f));
  q = v_fma(q, r, v_set(0.5f));
  *n = whole;
  return v_fma(v_mul(r, r), q, r);
}

/* x held in [low,high]; NaN stays (max and min return their second operand). */
INLINE V
clamp(V x, float low, float high)
{
  return v_min(v_set(high), v_max(v_set(low), x));
}

/* e^x, 1 ulp; 2^n in two factors reaches the denormals and infinity. */
INLINE V
exp_v(V x)
{
  V n;
  const V m = reduce_exp(clamp(x, -104, 89), &n);
  const V half = v_floor(v_mul(n, v_set(0.5f)));
  const V p = v_add(m, v_set(1));
  return v_mul(v_mul(p, v_power_of_two(half)), v_power_of_two(v_sub(n, half)));
}

/* e^x − 1 for x ≤ 0, 2 ulp: 2^n·(e^r − 1) + (2^n − 1), which for n = 0 is exact
 * about 0. */
INLINE V
expm1_negative(V x)
{
  V n;
  const V m = reduce_exp(clamp(x, -40, 0), &n);
  const V scale = v_power_of_two(n);
  return v_fma(m, scale, v_sub(scale, v_set(1)));
}

/* erf(x), 2 ulp: x·P(x²) near 0, else 1 − e^Q(|x|), Q a fit of ln erfc. */
INLINE V
erf_v(V x)
{
  const V a = v_abs(x), s = v_mul(x, x);
  V p = v_set(0x1.5f0bacp-14f);
  p = v_fma(p, s, v_set(-0x1.aae7e0p-11f));
  p = v_fma(p, s, v_set(0x1.54daaap-8f));
  p = v_fma(p, s, v_set(-0x1.b81076p-6f));
  p = v_fma(p, s, v_set(0x1.ce2e20p-4f));
  p = v_fma(p, s, v_set(-0x1.812744p-2f));
  p = v_fma(p, s, v_set(0x1.20dd76p+0f));

  const V t = v_min(v_set(4.05f), a);
  V q = v_set(-0x1.63095cp-16f);
  q = v_fma(q, t, v_set(0x1.c85bf2p-12f));
  q = v_fma(q, t, v_set(-0x1.1196d2p-8f));
  q = v_fma(q, t, v_set(0x1.9bb50cp-6f));
  q = v_fma(q, t, v_set(-0x1.bb926cp-4f));
  q = v_fma(q, t, v_set(-0x1.444470p-1f));
  q = v_fma(q, t, v_set(-0x1.212846p+0f));
  q = v_fma(q, t, v_set(0x1.70d550p-13f));
  const V outer = v_sign(v_neg(expm1_negative(q)), x);
  return v_if_greater(a, v_set(0.92f), outer, v_mul(x, p));
}

/* −m/(m + 2) with m = e^(−2|x|) − 1, and the sign of x. */
INLINE V
tanh_v(V x)
{
  const V a = v_abs(x), m = expm1_negative(v_neg(v_add(a, a)));
  return v_sign(v_div(v_neg(m), v_add(m, v_set(2))), x);
}

INLINE V
apply(MoshiAct act, V x)
{
  switch (act) {
  case MOSHI_ACT_ELU:
    return v_if_greater(x, v_set(0), x, expm1_negative(x));
  case MOSHI_ACT_GELU: {
    const V erf = erf_v(v_mul(x, v_set(0x1.6a09e6p-1f)));
    return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1), erf));
  }
  case MOSHI_ACT_SILU:
    return v_div(x, v_add(v_set(1), exp_v(v_neg(x))));
  case MOSHI_ACT_RELU: /* NaN is not > 0 */
    return v_if_greater(x, v_set(0), x, v_set(0));
  case MOSHI_ACT_SIGMOID:
    return v_div(v_set(1), v_add(v_set(1), exp_v(v_neg(x))));
  case MOSHI_ACT_TANH:
    return tanh_v(x);
  default:
    return x;
  }
}
