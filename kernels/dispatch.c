/* Finds out what the CPU can do, fills the table, and prepares weights. */
#include "reference.h"

#include "tiers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* Rising order: a later tier is the better one. */
static const struct {
  const char *name;
  unsigned bit;
} tiers[] = {
    {"avx2", MOSHI_CPU_AVX2},
    {"avx512", MOSHI_CPU_AVX512},
    {"neon", MOSHI_CPU_NEON},
    {"dotprod", MOSHI_CPU_DOTPROD},
};
enum { N_TIERS = sizeof tiers / sizeof *tiers };

unsigned
moshi_cpu_detect(void)
{
  unsigned mask = 0;
#if defined(__x86_64__) || defined(__i386__)
  /* These builtins also ask whether the system saves the registers (XGETBV).
   * clang 14 does not know the name "f16c". */
  unsigned a, b, c = 0, d;
  __get_cpuid(1, &a, &b, &c, &d);
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (c & bit_F16C))
    mask |= MOSHI_CPU_AVX2;
  if ((mask & MOSHI_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    mask |= MOSHI_CPU_AVX512;
#elif defined(__aarch64__)
  mask |= MOSHI_CPU_NEON; /* part of the architecture */
#if defined(__linux__)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
    mask |= MOSHI_CPU_DOTPROD;
#endif
#endif
  return mask;
}

unsigned
moshi_cpu_parse_mask(const char *text)
{
  unsigned mask = 0;

  if (!text)
    return ~0u;
  if (isdigit((unsigned char)*text))
    return (unsigned)strtoul(text, NULL, 0);
  while (*text) {
    const size_t length = strcspn(text, ",");
    for (int i = 0; i < N_TIERS; i++)
      if (strlen(tiers[i].name) == length && !strncmp(text, tiers[i].name, length))
        mask |= tiers[i].bit;
    text += length + (text[length] == ',');
  }
  return mask;
}

void
moshi_kernels_init(MoshiKernels *k, unsigned mask)
{
  mask &= moshi_cpu_detect();
  *k = moshi_kernels_reference;
#ifdef MOSHI_HAVE_AVX2
  if (mask & MOSHI_CPU_AVX2)
    moshi_avx2_init(k);
#endif
#ifdef MOSHI_HAVE_AVX512
  if (mask & MOSHI_CPU_AVX512)
    moshi_avx512_init(k);
#endif
#ifdef MOSHI_HAVE_NEON
  if (mask & MOSHI_CPU_NEON)
    moshi_neon_init(k);
  if (mask & MOSHI_CPU_DOTPROD)
    moshi_dotprod_init(k);
#endif
}

/* ---------------------------------------------------------------- weights */

size_t
moshi_panels_bytes(MoshiType type, int n_out, int n_in)
{
  const size_t panels = ((size_t)n_out + MOSHI_PANEL - 1) / MOSHI_PANEL;
  return panels * MOSHI_PANEL * moshi_rows_bytes(type, n_in);
}

enum { PACKED_AT_ONCE = 64 }; /* inputs */

/* Of one panel, its weights for inputs [k, k+count). */
static void
pack_some(
    void *panel, MoshiType type, const float (*rows)[PACKED_AT_ONCE], int k, int count)
{
  const size_t first = (size_t)k * MOSHI_PANEL;

  for (int i = 0; i < count; i++)
    for (int j = 0; j < MOSHI_PANEL; j++) {
      const size_t to = first + (size_t)i * MOSHI_PANEL + j;
      if (type == MOSHI_TYPE_F32)
        ((float *)panel)[to] = rows[j][i];
      else
        ((uint16_t *)panel)[to] = moshi_f32_to_bf16(rows[j][i]);
    }
}

void
moshi_pack_panels(void *panels, MoshiType type, int n_out, int n_in, int p0, int p1,
    MoshiWeights weights, const void *ctx)
{
  const size_t size = MOSHI_PANEL * moshi_rows_bytes(type, n_in);

  for (int p = p0; p < p1; p++)
    for (int k = 0; k < n_in; k += PACKED_AT_ONCE) {
      const int count = n_in - k < PACKED_AT_ONCE ? n_in - k : PACKED_AT_ONCE;
      float rows[MOSHI_PANEL][PACKED_AT_ONCE] = {{0}};
      for (int j = 0; j < MOSHI_PANEL && p * MOSHI_PANEL + j < n_out; j++)
        weights(ctx, p * MOSHI_PANEL + j, k, count, rows[j]);
      pack_some((char *)panels + p * size, type, rows, k, count);
    }
}

/* MLX packs its groups, of 32 columns at least, into whole words. */
static const struct {
  const char *name;
  int block, bytes;
} types[MOSHI_N_TYPES] = {
    [MOSHI_TYPE_F32] = {"f32", 1, 4},
    [MOSHI_TYPE_F16] = {"f16", 1, 2},
    [MOSHI_TYPE_BF16] = {"bf16", 1, 2},
    [MOSHI_TYPE_I8] = {"i8", 1, 1},
    [MOSHI_TYPE_Q8_0] = {"q8_0", 32, 34},
    [MOSHI_TYPE_Q4_0] = {"q4_0", 32, 18},
    [MOSHI_TYPE_Q4_K] = {"q4_k", 256, 144},
    [MOSHI_TYPE_MLX4] = {"mlx4", 32, 16},
    [MOSHI_TYPE_MLX8] = {"mlx8", 32, 32},
};

const char *
moshi_type_name(MoshiType type)
{
  return types[type].name;
}

int
moshi_type_block(MoshiType type)
{
  return types[type].block;
}

size_t
moshi_rows_bytes(MoshiType type, int cols)
{
  return (size_t)(cols / types[type].block) * types[type].bytes;
}

/* Of the scales, or of the biases, of one row. */
static size_t
scale_bytes(const MoshiRows *w)
{
  if (w->type == MOSHI_TYPE_I8)
    return sizeof(float);
  return w->group ? moshi_rows_bytes(w->scale_type, w->cols / w->group) : 0;
}

size_t
moshi_rows_size(const MoshiRows *w)
{
  const size_t scales = scale_bytes(w) * (w->biases ? 2 : 1);
  return w->rows * (moshi_rows_bytes(w->type, w->cols) + scales);
}

MoshiRows
moshi_rows_part(const MoshiRows *w, int first, int n)
{
  MoshiRows part = *w;
  part.rows = n;
  part.data = (const char *)w->data + first * moshi_rows_bytes(w->type, w->cols);
  if (w->scales)
    part.scales = (const char *)w->scales + first * scale_bytes(w);
  if (w->biases)
    part.biases = (const char *)w->biases + first * scale_bytes(w);
  return part;
}

/* ------------------------------------------------------------ half floats */

static float
from_bits(uint32_t bits)
{
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t
to_bits(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

float
moshi_bf16_to_f32(uint16_t h)
{
  return from_bits((uint32_t)h << 16);
}

uint16_t
moshi_f32_to_bf16(float x)
{
  const uint32_t bits = to_bits(x);
  if ((bits & 0x7fffffff) > 0x7f800000) /* NaN: keep it one */
    return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* f16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
float
moshi_f16_to_f32(uint16_t h)
{
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  const uint32_t exponent = h >> 10 & 31, fraction = h & 0x3ff;

  if (exponent == 0) /* subnormal: fraction · 2^-24 */
    return from_bits(sign | to_bits((float)fraction * 0x1p-24f));
  if (exponent == 31)
    return from_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
  return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t
moshi_f32_to_f16(float x)
{
  const uint32_t bits = to_bits(x), magnitude = bits & 0x7fffffff;
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);

  if (magnitude > 0x7f800000) /* NaN */
    return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= 0x477ff000) /* rounds to 65536 or more */
    return sign | 0x7c00;
  if (magnitude <
      0x38800000) { /* below 2^-14: a multiple of 2^-24, in magic rounding */
    const float shifted = from_bits(magnitude) + 0.5f;
    return (uint16_t)(sign | (to_bits(shifted) - to_bits(0.5f)));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return (uint16_t)(sign | ((rounded - (112u << 23)) >> 13));
}
