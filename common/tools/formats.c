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
    moshi_encode(f->type, data, x, cols);
  }
}
