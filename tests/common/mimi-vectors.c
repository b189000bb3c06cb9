/* Reading golden vectors of Mimi. */
#include "mimi-vectors.h"

#include <math.h>
#include <string.h>

#include "nn/loader.h"

static const MoshiTensor *
find(const MoshiCheckpoint *file, const char *name, int n_dims, MoshiDtype dtype)
{
  const MoshiTensor *t = moshi_checkpoint_find(file, name);
  if (t) {
    g_assert_cmpint(t->n_dims, ==, n_dims);
    g_assert_cmpint(t->dtype, ==, dtype);
  }
  return t;
}

static float *
read_floats(const MoshiCheckpoint *file, const char *name, int64_t *n)
{
  const MoshiTensor *t = find(file, name, 1, MOSHI_DTYPE_F32);
  if (!t)
    return NULL;
  *n = t->dims[0];
  return g_memdup2(t->data, t->bytes);
}

/* [rows][columns] of the file becomes [columns][rows]. */
static float *
read_transposed(const MoshiCheckpoint *file, const char *name, int *rows, int *columns)
{
  const MoshiTensor *t = find(file, name, 2, MOSHI_DTYPE_F32);
  g_assert_nonnull(t);
  *rows = t->dims[0];
  *columns = t->dims[1];
  float *out = g_new(float, *rows **columns);
  for (int i = 0; i < *rows * *columns; i++)
    out[i % *columns * *rows + i / *columns] = moshi_tensor_at(t, i);
  return out;
}

/* [codebooks][frames] of the file becomes [frames][codebooks]. */
static uint16_t *
read_codes(const MoshiCheckpoint *file, const char *name, int *codebooks, int *frames)
{
  const MoshiTensor *t = find(file, name, 2, MOSHI_DTYPE_I32);
  if (!t)
    return NULL;
  int rows = t->dims[0], columns = t->dims[1];
  uint16_t *out = g_new(uint16_t, rows * columns);
  for (int i = 0; i < rows * columns; i++) {
    int32_t code;
    memcpy(&code, (const char *)t->data + 4 * i, sizeof code);
    out[i % columns * rows + i / columns] = code;
  }
  *codebooks = rows;
  *frames = columns;
  return out;
}

static float *
read_pcm(const MoshiCheckpoint *file, int frames)
{
  const MoshiTensor *t = find(file, "pcm", 1, MOSHI_DTYPE_I16);
  g_assert_nonnull(t);
  g_assert_cmpint(t->dims[0], <=, frames * FRAME);
  float *pcm = g_new0(float, frames *FRAME);
  for (int64_t i = 0; i < t->dims[0]; i++) {
    int16_t x;
    memcpy(&x, (const char *)t->data + 2 * i, sizeof x);
    pcm[i] = x / 32768.0f;
  }
  return pcm;
}

MimiVector *
open_mimi_vector(const char *name)
{
  MoshiError error;
  char *path =
      g_strdup_printf("%s/%s.safetensors", g_getenv("MOSHI_TEST_VECTORS"), name);
  MoshiCheckpoint *file = moshi_checkpoint_open(path, &error);
  if (!file)
    g_error("%s", error.message);
  MimiVector *v = g_new0(MimiVector, 1);
  int rows, columns;
  int64_t n = 0;
  v->codes = read_codes(file, "codes", &v->codebooks, &v->frames);
  v->pcm = read_pcm(file, v->frames);
  v->dist = read_transposed(file, "dist", &rows, &columns);
  v->margin = read_transposed(file, "margin", &rows, &columns);
  v->latent = read_transposed(file, "latent", &v->dimension, &v->latent_frames);
  v->pcm_dec = read_floats(file, "pcm_dec", &n);
  v->pcm_dec_from = v->frames * FRAME - n;
  v->rand_codes = read_codes(file, "rand_codes", &rows, &v->rand_frames);
  v->pcm_rand = read_floats(file, "pcm_rand", &n);
  moshi_checkpoint_unref(file);
  g_free(path);
  return v;
}

void
close_mimi_vector(MimiVector *v)
{
  void *parts[] = {v->pcm, v->codes, v->dist, v->margin, v->latent, v->pcm_dec,
      v->rand_codes, v->pcm_rand};
  for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
    g_free(parts[i]);
  g_free(v);
}

MoshiModel *
open_mimi_model(const char *name, int threads)
{
  MoshiError error;
  char *path = g_canonicalize_filename(name, g_getenv("MOSHI_TEST_VECTORS"));
  MoshiModelOptions options = {.model = path,
      .parts = MOSHI_PART_ENCODER | MOSHI_PART_DECODER,
      .device = g_getenv("MOSHI_TEST_DEVICE") ? g_getenv("MOSHI_TEST_DEVICE") : "cpu",
      .threads = threads};
  MoshiModel *model = moshi_model_open(&options, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s: %s", path, error.message);
  g_free(path);
  return model;
}

uint16_t *
encode_alone(MoshiModel *model, const float *pcm, int frames, int codebooks,
    float *latent, int dimension)
{
  MoshiError error = {0};
  uint16_t *codes = g_new(uint16_t, frames * codebooks);
  MimiEncoder *e = mimi_encoder_new(model, 1, codebooks, &error);
  g_assert_cmpstr(error.message, ==, "");
  for (int t = 0; t < frames; t++) {
    mimi_encoder_step(e, pcm + t * FRAME, NULL, codes + t * codebooks, &error);
    g_assert_cmpstr(error.message, ==, "");
    if (latent)
      mimi_encoder_latent(e, 0, latent + t * dimension);
  }
  mimi_encoder_free(e);
  return codes;
}

float *
decode_alone(MoshiModel *model, const uint16_t *codes, int frames, int codebooks)
{
  MoshiError error = {0};
  float *pcm = g_new(float, frames *FRAME);
  MimiDecoder *d = mimi_decoder_new(model, 1, &error);
  g_assert_cmpstr(error.message, ==, "");
  for (int t = 0; t < frames; t++) {
    mimi_decoder_step(
        d, codes + t * codebooks, codebooks, NULL, pcm + t * FRAME, &error);
    g_assert_cmpstr(error.message, ==, "");
  }
  mimi_decoder_free(d);
  return pcm;
}

double
snr_db(const float *x, const float *y, size_t n)
{
  double signal = 0, noise = 0;
  for (size_t i = 0; i < n; i++) {
    signal += (double)x[i] * x[i];
    noise += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
  }
  return 10 * log10(signal / noise);
}
