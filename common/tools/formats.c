/* See formats.h. The layouts are in docs/model-files.md. */
#include "formats.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#define BLOCKS(NAME, ABOUT, TYPE, BLOCK, INSTEAD)                                      \
  {                                                                                    \
    .name = NAME, .about = ABOUT, .type = MOSHI_TYPE_##TYPE,                           \
    .dtype = MOSHI_DTYPE_##TYPE, .block = BLOCK, .instead = INSTEAD                    \
  }
#define MLX(NAME, ABOUT, TYPE, GROUP)                                                  \
  {                                                                                    \
    .name = NAME, .about = ABOUT, .type = MOSHI_TYPE_##TYPE, .dtype = MOSHI_DTYPE_U32, \
    .block = GROUP, .group = GROUP, .scales = ".scales", .biases = ".biases",          \
    .scale_dtype = MOSHI_DTYPE_BF16                                                    \
  }

const Format formats[] = {
    BLOCKS("f32", "32-bit floats", F32, 1, NULL),
    BLOCKS("f16", "16-bit floats", F16, 1, NULL),
    BLOCKS("bf16", "bfloat16", BF16, 1, NULL),
    {.name = "i8",
        .about = "PyTorch's int8",
        .type = MOSHI_TYPE_I8,
        .dtype = MOSHI_DTYPE_I8,
        .block = 1,
        .scales = "_scb",
        .scale_dtype = MOSHI_DTYPE_F32},
    BLOCKS("q8_0", "GGUF Q8_0", Q8_0, 32, NULL),
    BLOCKS("q4_0", "GGUF Q4_0", Q4_0, 32, NULL),
    BLOCKS("q4_k", "GGUF Q4_K", Q4_K, 256, "q4_0"),
    MLX("mlx8", "MLX 8 bits", MLX8, 64),
    MLX("mlx4", "MLX 4 bits", MLX4, 32),
    {0},
};

const Format *
format_find(const char *name)
{
  name = !strcmp(name, "none") ? "bf16"
         : !strcmp(name, "q8") ? "q8_0"
         : !strcmp(name, "q4") ? "q4_k"
                               : name;
  for (const Format *f = formats; f->name; f++)
    if (!strcmp(f->name, name))
      return f;
  return NULL;
}

const Format *
format_of_matrix(const Format *f, const char *name, int64_t cols)
{
  if (g_regex_match_simple("(^|_)emb(\\.[0-9]+)?\\.weight$", name, 0, 0) ||
      g_str_has_prefix(name, "condition_provider."))
    return NULL;
  while (f && cols % f->block)
    f = f->instead ? format_find(f->instead) : NULL;
  return f;
}

size_t
format_row_bytes(const Format *f, int64_t cols)
{
  return moshi_rows_bytes(f->type, cols);
}

size_t
format_scale_bytes(const Format *f, int64_t cols)
{
  return f->scales ? moshi_dtype_size(f->scale_dtype) * (f->group ? cols / f->group : 1)
                   : 0;
}

char *
format_beside(const char *name, const char *suffix)
{
  size_t stem = strlen(name);
  if (suffix[0] == '.' && g_str_has_suffix(name, ".weight"))
    stem -= strlen(".weight");
  return g_strdup_printf("%.*s%s", (int)stem, name, suffix);
}

/* ---------------------------------------------------------------- encoders */

/* moshi/utils/quantize.py: the largest magnitude of a row becomes 127. */
static void
encode_int8(const float *x, int64_t n, int8_t *q, float *scb)
{
  *scb = 0;
  for (int64_t i = 0; i < n; i++)
    *scb = MAX(*scb, fabsf(x[i]));
  for (int64_t i = 0; i < n; i++)
    q[i] = *scb > 0 ? (int8_t)rintf(127 * x[i] / *scb) : 0;
}

/* One group of MLX's affine quantization: the edge of the larger magnitude is met
 * exactly, and so is zero where the group has both signs. */
static void
encode_group(
    const float *x, int n, int bits, uint32_t *words, uint16_t *scale, uint16_t *bias)
{
  const float levels = (1 << bits) - 1;
  float low = x[0], high = x[0];
  for (int i = 1; i < n; i++) {
    low = MIN(low, x[i]);
    high = MAX(high, x[i]);
  }
  bool from_low = fabsf(low) > fabsf(high);
  float step = MAX((high - low) / levels, 1e-7f) * (from_low ? 1 : -1);
  float edge = from_low ? low : high, at = rintf(edge / step);
  *scale = moshi_f32_to_bf16(at != 0 ? edge / at : step);
  *bias = moshi_f32_to_bf16(at != 0 ? edge : 0);
  float s = moshi_bf16_to_f32(*scale), b = moshi_bf16_to_f32(*bias);
  for (int i = 0; i < n; i++) {
    uint32_t q = CLAMP(rintf((x[i] - b) / s), 0, levels);
    int place = i * bits % 32;
    words[i * bits / 32] = (place ? words[i * bits / 32] : 0) | q << place;
  }
}

void
format_encode(const Format *f, const float *x, int64_t cols, void *data, void *scales,
    void *biases)
{
  MoshiKernels k;
  switch (f->type) {
  case MOSHI_TYPE_F32:
    memcpy(data, x, cols * sizeof *x);
    return;
  case MOSHI_TYPE_F16:
  case MOSHI_TYPE_BF16:
    for (int64_t i = 0; i < cols; i++)
      ((uint16_t *)data)[i] =
          f->type == MOSHI_TYPE_F16 ? moshi_f32_to_f16(x[i]) : moshi_f32_to_bf16(x[i]);
    return;
  case MOSHI_TYPE_I8:
    encode_int8(x, cols, data, scales);
    return;
  case MOSHI_TYPE_MLX4:
  case MOSHI_TYPE_MLX8:
    for (int64_t g = 0; g < cols / f->group; g++)
      encode_group(x + g * f->group, f->group, f->type == MOSHI_TYPE_MLX4 ? 4 : 8,
          (uint32_t *)data + g * format_row_bytes(f, f->group) / sizeof(uint32_t),
          (uint16_t *)scales + g, (uint16_t *)biases + g);
    return;
  default:
    moshi_kernels_init(&k, ~0u);
    moshi_encode(&k, f->type, data, x, cols);
  }
}

/* ------------------------------------------------------------------ bounds */

/* Units in the last place, halved, of what scales and weights are stored as. */
#define HALF_F16 0x1p-11f
#define HALF_BF16 0x1p-8f

typedef struct {
  float low, high, extreme; /* the one of the largest magnitude */
} Range;

static Range
range_of(const float *x, int64_t n)
{
  Range r = {x[0], x[0], 0};
  for (int64_t i = 1; i < n; i++) {
    r.low = MIN(r.low, x[i]);
    r.high = MAX(r.high, x[i]);
  }
  r.extreme = -r.low > r.high ? r.low : r.high;
  return r;
}

/* From −8 to 7 steps, where −8 is the extreme: beyond 7 all is cut off. */
static void
half_steps_q4_0(const float *x, float *half)
{
  float step = range_of(x, 32).extreme / -8;
  for (int i = 0; i < 32; i++) {
    float beyond = step != 0 ? x[i] / step - 7 : 0;
    half[i] = fabsf(step) * MAX(0.5f, beyond) + 8 * fabsf(step) * HALF_F16;
  }
}

/* Eight ranges that reach from a least to 15 steps, both in 63rds of the largest. */
static void
half_steps_q4_k(const float *x, float *half)
{
  float step[8], least[8], steps = 0, leasts = 0;
  for (int g = 0; g < 8; g++) {
    Range r = range_of(x + 32 * g, 32);
    least[g] = MAX(-r.low, 0);
    step[g] = (r.high + least[g]) / 15;
    steps = MAX(steps, step[g]);
    leasts = MAX(leasts, least[g]);
  }
  for (int i = 0; i < 256; i++)
    half[i] = step[i / 32] / 2 + 15 * steps / 63 / 2 + leasts / 63 / 2 +
              (15 * steps + leasts) * HALF_F16;
}

/* The step is stretched or shrunk until zero is met, by half of itself at the end
 * that is farther from it. */
static void
half_steps_mlx(const Format *f, const float *x, float *half)
{
  Range r = range_of(x, f->group);
  float levels = f->type == MOSHI_TYPE_MLX4 ? 15 : 255,
        step = (r.high - r.low) / levels;
  for (int i = 0; i < f->group; i++)
    half[i] = step + (levels * step + fabsf(r.extreme)) * HALF_BF16;
}

void
format_half_steps(const Format *f, const float *x, int64_t cols, float *half)
{
  float whole = fabsf(range_of(x, cols).extreme) / 127 / 2;
  for (int64_t i = 0; i < cols; i += f->block)
    switch (f->type) {
    case MOSHI_TYPE_F16:
      half[i] = fabsf(x[i]) * HALF_F16;
      break;
    case MOSHI_TYPE_BF16:
      half[i] = fabsf(x[i]) * HALF_BF16;
      break;
    case MOSHI_TYPE_I8:
      half[i] = whole;
      break;
    case MOSHI_TYPE_Q8_0:
      for (int j = 0; j < 32; j++)
        half[i + j] = fabsf(range_of(x + i, 32).extreme) * (0.5f / 127 + HALF_F16);
      break;
    case MOSHI_TYPE_Q4_0:
      half_steps_q4_0(x + i, half + i);
      break;
    case MOSHI_TYPE_Q4_K:
      half_steps_q4_k(x + i, half + i);
      break;
    case MOSHI_TYPE_MLX4:
    case MOSHI_TYPE_MLX8:
      half_steps_mlx(f, x + i, half + i);
      break;
    default:
      half[i] = 0;
    }
}
