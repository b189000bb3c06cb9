/* Mimi against the reference implementation: every golden vector, with one
 * thread and two. Codes are equal but for near-ties of the reference itself;
 * decoded sound is as near as two exact f32 implementations are.
 *
 * With MOSHI_TEST_MIMI_FULL, the directory of a checkpoint of the released
 * sizes, its vectors are run instead. */
#include "mimi-vectors.h"

#include <stdio.h>

typedef struct {
  const char *model, *vector;
  int threads;
} Case;

static const char *const small[][2] = {
    {"mimi-mini", "mimi-mini.synth"},
    {"mimi-mini", "mimi-mini.k1"},
    {"mimi-mini", "mimi-mini.k4-tail"},
    {"mimi-mini", "mimi-mini.k32"},
    {"mimi-mini", "mimi-mini.frame1"},
    {"mimi-odd", "mimi-odd.synth"},
    {"mimi-direct", "mimi-direct.synth"},
    {"dialect-mimi", "dialect-mimi.synth"},
    {"dialect-transformers", "dialect-mimi.synth"},
};
static const char *const full[] = {"mimi-full.speech", "mimi-full.synth"};

/* Where the reference's best and second-best distances are this near, relative to the
 * distance, its own choice is a matter of rounding; it changes the later levels of the
 * same quantizer in that frame. Codebook 0 is a quantizer of its own. */
#define NEAR_TIE 1e-5f

static void
compare_codes(const MimiVector *v, const uint16_t *codes)
{
  int ties = 0;
  for (int t = 0; t < v->frames; t++) {
    bool excused = false;
    for (int k = 0; k < v->codebooks; k++) {
      int i = t * v->codebooks + k;
      if (k == 1)
        excused = false;
      if (codes[i] == v->codes[i] || excused)
        continue;
      if (v->margin[i] >= NEAR_TIE * v->dist[i])
        g_error("frame %d codebook %d: code %d, the reference's is %d; its margin is "
                "%g of %g",
            t, k, codes[i], v->codes[i], v->margin[i], v->dist[i]);
      excused = true;
      ties++;
    }
  }
  if (ties)
    g_test_message("%d near-ties in %d codes", ties, v->frames * v->codebooks);
}

static void
compare_floats(const char *what, const float *want, const float *got, size_t n)
{
  double snr = snr_db(want, got, n);
  g_test_message("%s: %.1f dB", what, snr);
  g_assert_cmpfloat(snr, >=, 110);
}

static void
test_encode(const void *data)
{
  const Case *c = data;
  MimiVector *v = open_mimi_vector(c->vector);
  MoshiModel *model = open_mimi_model(c->model, c->threads);
  float *latent = g_new(float, v->frames * v->dimension);
  uint16_t *codes =
      encode_alone(model, v->pcm, v->frames, v->codebooks, latent, v->dimension);
  compare_codes(v, codes);
  compare_floats("latent", v->latent, latent, v->latent_frames * v->dimension);
  g_free(latent);
  g_free(codes);
  moshi_model_unref(model);
  close_mimi_vector(v);
}

static void
test_decode(const void *data)
{
  const Case *c = data;
  MimiVector *v = open_mimi_vector(c->vector);
  MoshiModel *model = open_mimi_model(c->model, c->threads);
  float *pcm = decode_alone(model, v->codes, v->frames, v->codebooks);
  compare_floats(
      "sound", v->pcm_dec, pcm + v->pcm_dec_from, v->frames * FRAME - v->pcm_dec_from);
  g_free(pcm);
  if (v->rand_codes) {
    pcm = decode_alone(model, v->rand_codes, v->rand_frames, v->codebooks);
    compare_floats("random codes", v->pcm_rand, pcm, v->rand_frames * FRAME);
    g_free(pcm);
  }
  moshi_model_unref(model);
  close_mimi_vector(v);
}

static void
add(const char *model, const char *vector)
{
  const int most = g_getenv("MOSHI_TEST_DEVICE") ? 1 : 2; /* threads are the CPU's */
  for (int threads = 1; threads <= most; threads++) {
    Case *c = g_new(Case, 1);
    *c = (Case){model, vector, threads};
    char name[512];
    snprintf(name, sizeof name, "/mimi/encode/%s/%s/%d", model, vector, threads);
    g_test_add_data_func(name, c, test_encode);
    snprintf(name, sizeof name, "/mimi/decode/%s/%s/%d", model, vector, threads);
    g_test_add_data_func_full(name, c, test_decode, g_free);
  }
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  const char *directory = g_getenv("MOSHI_TEST_MIMI_FULL");
  for (size_t i = 0; directory && i < G_N_ELEMENTS(full); i++)
    add(directory, full[i]);
  for (size_t i = 0; !directory && i < G_N_ELEMENTS(small); i++)
    add(small[i][0], small[i][1]);
  return g_test_run();
}
