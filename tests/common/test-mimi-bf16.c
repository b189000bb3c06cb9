/* Mimi with its matrices rounded to bf16: the very same as the exact codec over a
 * checkpoint whose matrices have been rounded before. Codebooks, norms and biases are
 * never rounded. */
#include <glib/gstdio.h>
#include <string.h>

#include "../../kernels/kernels.h"
#include "files/checkpoint.h"
#include "mimi-vectors.h"

static bool
is_rounded(const MoshiTensor *t)
{
  return t->n_dims > 1 && !strstr(t->name, "_codebook") && !strstr(t->name, "upsample");
}

/* In place, in a safetensors file. */
static void
round_matrices(char *file, size_t size)
{
  MoshiError error;
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(file, size, "rounded", &error);
  g_assert_nonnull(c);
  int n = 0;
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(c, i)); i++) {
    if (!is_rounded(t))
      continue;
    g_assert_cmpint(t->dtype, ==, MOSHI_DTYPE_F32);
    n++;
    for (size_t at = 0; at < t->bytes; at += sizeof(float)) {
      char *weight = (char *)t->data + at;
      float x;
      memcpy(&x, weight, sizeof x);
      x = moshi_bf16_to_f32(moshi_f32_to_bf16(x));
      memcpy(weight, &x, sizeof x);
    }
  }
  g_assert_cmpint(n, >, 0);
  moshi_checkpoint_unref(c);
}

/* A copy of a model of the vectors' directory with rounded matrices. */
static char *
make_rounded(const char *name)
{
  char *from = g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), name, NULL);
  char *to = g_dir_make_tmp("moshi-bf16-XXXXXX", NULL);
  static const char *const files[] = {"mimi.safetensors", "mimi_config.json"};
  for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
    char *source = g_build_filename(from, files[i], NULL);
    char *copy = g_build_filename(to, files[i], NULL);
    char *data;
    gsize size;
    g_assert_true(g_file_get_contents(source, &data, &size, NULL));
    if (i == 0)
      round_matrices(data, size);
    g_assert_true(g_file_set_contents(copy, data, size, NULL));
    g_free(data);
    g_free(source);
    g_free(copy);
  }
  g_free(from);
  return to;
}

static void
remove_rounded(char *dir)
{
  char *files[] = {g_build_filename(dir, "mimi.safetensors", NULL),
      g_build_filename(dir, "mimi_config.json", NULL)};
  for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
    g_remove(files[i]);
    g_free(files[i]);
  }
  g_rmdir(dir);
  g_free(dir);
}

static MoshiModel *
open_as(const char *name, const char *weights)
{
  MoshiError error;
  char *path = g_canonicalize_filename(name, g_getenv("MOSHI_TEST_VECTORS"));
  MoshiModelOptions options = {.model = path,
      .parts = MOSHI_PART_ENCODER | MOSHI_PART_DECODER,
      .device = "cpu",
      .threads = 2,
      .mimi_weights = weights};
  MoshiModel *model = moshi_model_open(&options, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s: %s", path, error.message);
  g_free(path);
  return model;
}

typedef struct {
  uint16_t *codes;
  float *latent, *pcm;
} Result;

static Result
run(const char *name, const char *weights, const MimiVector *v)
{
  MoshiModel *model = open_as(name, weights);
  Result r = {.latent = g_new(float, v->frames * v->dimension)};
  r.codes =
      encode_alone(model, v->pcm, v->frames, v->codebooks, r.latent, v->dimension);
  r.pcm = decode_alone(model, v->codes, v->frames, v->codebooks);
  moshi_model_unref(model);
  return r;
}

static void
result_clear(Result *r)
{
  g_free(r->codes);
  g_free(r->latent);
  g_free(r->pcm);
}

static void
test_rounded(const void *data)
{
  const char *name = data;
  char *vector = g_strdup_printf("%s.synth", name), *rounded = make_rounded(name);
  MimiVector *v = open_mimi_vector(vector);
  size_t latent = (size_t)v->frames * v->dimension, pcm = (size_t)v->frames * FRAME;
  Result want = run(rounded, "f32", v), got = run(name, "bf16", v);
  Result exact = run(name, NULL, v);

  g_assert_cmpmem(
      got.latent, latent * sizeof(float), want.latent, latent * sizeof(float));
  g_assert_cmpmem(got.codes, v->frames * v->codebooks * 2, want.codes,
      v->frames * v->codebooks * 2);
  g_assert_cmpmem(got.pcm, pcm * sizeof(float), want.pcm, pcm * sizeof(float));
  /* It is not what it would be without: rounding to 8 bits is heard. */
  double snr = snr_db(exact.pcm, got.pcm, pcm);
  g_test_message("bf16: %.1f dB", snr);
  g_assert_cmpfloat(snr, >, 20);
  g_assert_cmpfloat(snr, <, 90);

  result_clear(&want);
  result_clear(&got);
  result_clear(&exact);
  close_mimi_vector(v);
  remove_rounded(rounded);
  g_free(vector);
}

/* A file that holds bf16 loses nothing. */
static void
test_lossless(void)
{
  MimiVector *v = open_mimi_vector("mimi-odd.synth");
  size_t pcm = (size_t)v->frames * FRAME * sizeof(float);
  Result exact = run("mimi-odd", "f32", v), got = run("mimi-odd", "bf16", v);
  g_assert_cmpmem(exact.pcm, pcm, got.pcm, pcm);
  result_clear(&exact);
  result_clear(&got);
  close_mimi_vector(v);
}

static void
test_unknown(void)
{
  MoshiError error;
  MoshiModelOptions options = {
      .parts = MOSHI_PART_ENCODER, .device = "cpu", .mimi_weights = "int4"};
  g_assert_null(moshi_model_open(&options, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_nonnull(strstr(error.message, "\"int4\""));
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_data_func("/mimi-bf16/mimi-mini", "mimi-mini", test_rounded);
  g_test_add_func("/mimi-bf16/lossless", test_lossless);
  g_test_add_func("/mimi-bf16/unknown", test_unknown);
  return g_test_run();
}
