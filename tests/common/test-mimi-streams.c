/* Streams of Mimi: a slot's result is bit for bit that of a stream of its own,
 * whatever runs beside it, with any number of threads, before and after resets. What
 * callers do wrong is refused and changes nothing. */
#include "mimi-vectors.h"

#include <math.h>
#include <string.h>

#define BATCH 4
#define FRAMES 40 /* the attention's ring of 20 steps wraps four times */
#define CODEBOOKS 8

/* Sounds of different kinds; values are exact in f32. */
static float *
make_sound(int kind)
{
  float *pcm = g_new(float, FRAMES *FRAME);
  uint32_t noise = 1 + kind;
  for (int i = 0; i < FRAMES * FRAME; i++) {
    noise = noise * 1664525u + 1013904223u;
    float tone = 0.3f * sinf(i * 0.01f * (1 + kind)) * (i / 4800 % 2);
    pcm[i] = tone + (noise >> 16) / 65536.0f * 0.1f * kind;
  }
  return pcm;
}

static uint16_t *
make_codes(int kind, int codebooks, int size)
{
  uint16_t *codes = g_new(uint16_t, FRAMES * codebooks);
  uint32_t noise = 7 + kind;
  for (int i = 0; i < FRAMES * codebooks; i++) {
    noise = noise * 1664525u + 1013904223u;
    codes[i] = (noise >> 16) % size;
  }
  return codes;
}

/* Whether slot s runs in round r: holes everywhere, rounds of none, and of all. */
static bool
runs(int s, int r)
{
  if (r % 13 == 5)
    return false;
  if (r % 13 == 6)
    return true;
  return ((r * 2654435761u) >> (8 + 3 * s)) % 3 != 0;
}

/* Slot 2 starts anew before round 30, slots 0 and 3 before round 41. */
static bool
resets(int s, int r)
{
  return (r == 30 && s == 2) || (r == 41 && (s == 0 || s == 3));
}

#define ROUNDS 90

/* Every slot goes through its own input at its own pace, from frame 0 again when it was
 * reset; compared with what the same input gave alone. Slots not running keep what is
 * in their output. */
static void
test_encode_batch(const void *data)
{
  MoshiModel *model = open_mimi_model("mimi-mini", GPOINTER_TO_INT(data));
  MoshiModel *other = open_mimi_model("mimi-mini", 1);
  MoshiError error = {0};
  float *sound[BATCH];
  uint16_t *alone[BATCH];
  for (int s = 0; s < BATCH; s++) {
    sound[s] = make_sound(s);
    alone[s] = encode_alone(other, sound[s], FRAMES, CODEBOOKS, NULL, 0);
  }
  MimiEncoder *e = mimi_encoder_new(model, BATCH, CODEBOOKS, &error);
  g_assert_nonnull(e);
  float *pcm = g_new(float, BATCH *FRAME);
  uint16_t codes[BATCH][CODEBOOKS];
  int at[BATCH] = {0};
  for (int r = 0; r < ROUNDS; r++) {
    uint8_t run[BATCH], reset[BATCH];
    for (int s = 0; s < BATCH; s++) {
      reset[s] = resets(s, r);
      if (reset[s])
        at[s] = 0;
      run[s] = runs(s, r) && at[s] < FRAMES;
      if (run[s])
        memcpy(pcm + s * FRAME, sound[s] + at[s] * FRAME, FRAME * sizeof *pcm);
      else
        for (int i = 0; i < FRAME; i++)
          pcm[s * FRAME + i] = 1e30f; /* is not read */
    }
    memset(codes, 0xee, sizeof codes);
    mimi_encoder_reset(e, reset);
    g_assert_cmpint(mimi_encoder_step(e, pcm, run, codes[0], &error), ==, 0);
    for (int s = 0; s < BATCH; s++) {
      if (run[s])
        g_assert_cmpmem(
            codes[s], sizeof codes[s], alone[s] + at[s]++ * CODEBOOKS, sizeof codes[s]);
      else
        g_assert_cmpint(codes[s][0], ==, 0xeeee);
    }
  }
  g_assert_cmpint(at[1], ==, FRAMES);
  for (int s = 0; s < BATCH; s++) {
    g_free(sound[s]);
    g_free(alone[s]);
  }
  g_free(pcm);
  mimi_encoder_free(e);
  moshi_model_unref(model);
  moshi_model_unref(other);
}

static void
test_decode_batch(const void *data)
{
  MoshiModel *model = open_mimi_model("mimi-mini", GPOINTER_TO_INT(data));
  MoshiModel *other = open_mimi_model("mimi-mini", 1);
  MoshiError error = {0};
  float *alone[BATCH];
  uint16_t *codes[BATCH], step[BATCH][CODEBOOKS];
  for (int s = 0; s < BATCH; s++) {
    codes[s] = make_codes(s, CODEBOOKS, moshi_model_info(model)->codebook_size);
    alone[s] = decode_alone(other, codes[s], FRAMES, CODEBOOKS);
  }
  MimiDecoder *d = mimi_decoder_new(model, BATCH, &error);
  g_assert_nonnull(d);
  float *pcm = g_new(float, BATCH *FRAME);
  int at[BATCH] = {0};
  for (int r = 0; r < ROUNDS; r++) {
    uint8_t run[BATCH], reset[BATCH];
    for (int s = 0; s < BATCH; s++) {
      reset[s] = resets(s, r);
      if (reset[s])
        at[s] = 0;
      run[s] = runs(s, r) && at[s] < FRAMES;
      memset(step[s], 0xff, sizeof step[s]); /* is not read */
      if (run[s])
        memcpy(step[s], codes[s] + at[s] * CODEBOOKS, sizeof step[s]);
      pcm[s * FRAME] = -77;
    }
    mimi_decoder_reset(d, reset);
    g_assert_cmpint(mimi_decoder_step(d, step[0], CODEBOOKS, run, pcm, &error), ==, 0);
    for (int s = 0; s < BATCH; s++) {
      if (run[s])
        g_assert_cmpmem(pcm + s * FRAME, FRAME * sizeof *pcm,
            alone[s] + at[s]++ * FRAME, FRAME * sizeof *pcm);
      else
        g_assert_cmpfloat(pcm[s * FRAME], ==, -77);
    }
  }
  g_assert_cmpint(at[1], ==, FRAMES);
  for (int s = 0; s < BATCH; s++) {
    g_free(codes[s]);
    g_free(alone[s]);
  }
  g_free(pcm);
  mimi_decoder_free(d);
  moshi_model_unref(model);
  moshi_model_unref(other);
}

/* Fewer codebooks are the first of more. */
static void
test_fewer_codebooks(void)
{
  MoshiModel *model = open_mimi_model("mimi-mini", 1);
  float *pcm = make_sound(2);
  int all = moshi_model_info(model)->codebooks;
  g_assert_cmpint(all, ==, 32);
  uint16_t *most = encode_alone(model, pcm, FRAMES, all, NULL, 0);
  for (int k = 1; k < all; k += 5) {
    uint16_t *codes = encode_alone(model, pcm, FRAMES, k, NULL, 0);
    for (int i = 0; i < FRAMES * k; i++)
      g_assert_cmpint(codes[i], ==, most[i / k * all + i % k]);
    g_free(codes);
  }
  g_free(most);
  g_free(pcm);
  moshi_model_unref(model);
}

typedef struct {
  MoshiModel *model;
  int kind;
  uint16_t *codes;
  float *pcm;
} Talker;

static gpointer
talk(gpointer data)
{
  Talker *t = data;
  float *sound = make_sound(t->kind);
  t->codes = encode_alone(t->model, sound, FRAMES, CODEBOOKS, NULL, 0);
  t->pcm = decode_alone(t->model, t->codes, FRAMES, CODEBOOKS);
  g_free(sound);
  return NULL;
}

/* Streams of one model in threads of their own, which share its pool. */
static void
test_many_threads(void)
{
  MoshiModel *model = open_mimi_model("mimi-mini", 2);
  Talker alone[BATCH], together[BATCH];
  GThread *threads[BATCH];
  for (int i = 0; i < BATCH; i++) {
    alone[i] = together[i] = (Talker){model, i};
    talk(&alone[i]);
  }
  for (int i = 0; i < BATCH; i++)
    threads[i] = g_thread_new("talker", talk, &together[i]);
  for (int i = 0; i < BATCH; i++) {
    g_thread_join(threads[i]);
    g_assert_cmpmem(together[i].codes, FRAMES * CODEBOOKS * 2, alone[i].codes,
        FRAMES * CODEBOOKS * 2);
    g_assert_cmpmem(together[i].pcm, FRAMES * FRAME * sizeof(float), alone[i].pcm,
        FRAMES * FRAME * sizeof(float));
    g_free(alone[i].codes);
    g_free(alone[i].pcm);
    g_free(together[i].codes);
    g_free(together[i].pcm);
  }
  moshi_model_unref(model);
}

/* A step that is refused leaves the stream as it was. */
static void
test_refused_codes(void)
{
  MoshiModel *model = open_mimi_model("mimi-mini", 1);
  MoshiError error = {0};
  uint16_t *codes = make_codes(0, CODEBOOKS, 64), bad[CODEBOOKS] = {0};
  float *alone = decode_alone(model, codes, FRAMES, CODEBOOKS), pcm[FRAME];
  MimiDecoder *d = mimi_decoder_new(model, 1, &error);
  static const uint16_t wrong[] = {64, 2048, 65535};
  for (int t = 0; t < FRAMES; t++) {
    bad[t % CODEBOOKS] = wrong[t % G_N_ELEMENTS(wrong)];
    g_assert_cmpint(mimi_decoder_step(d, bad, CODEBOOKS, NULL, pcm, &error), ==,
        MOSHI_ERROR_ARGUMENT);
    g_assert_nonnull(strstr(error.message, "the model's are below 64"));
    g_assert_cmpint(
        mimi_decoder_step(d, bad, 0, NULL, pcm, &error), ==, MOSHI_ERROR_ARGUMENT);
    g_assert_cmpint(
        mimi_decoder_step(d, bad, 33, NULL, pcm, &error), ==, MOSHI_ERROR_ARGUMENT);
    bad[t % CODEBOOKS] = 0;
    g_assert_cmpint(
        mimi_decoder_step(d, codes + t * CODEBOOKS, CODEBOOKS, NULL, pcm, &error), ==,
        0);
    g_assert_cmpmem(pcm, sizeof pcm, alone + t * FRAME, sizeof pcm);
  }
  mimi_decoder_free(d);
  g_free(codes);
  g_free(alone);
  moshi_model_unref(model);
}

static void
test_refused_streams(void)
{
  MoshiModel *model = open_mimi_model("mimi-mini", 1);
  static const int wrong[][2] = {
      {0, 8}, {-1, 8}, {G_MAXINT, 8}, {1, 0}, {1, 33}, {1, -8}};
  for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
    MoshiError error = {0};
    g_assert_null(mimi_encoder_new(model, wrong[i][0], wrong[i][1], &error));
    g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  }
  MoshiError error = {0};
  g_assert_null(mimi_decoder_new(model, 0, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_null(mimi_decoder_new(model, G_MAXINT, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  moshi_model_unref(model);
}

/* A part that was not asked for, or not loaded yet. */
static void
test_missing_part(void)
{
  MoshiError error = {0};
  char *path = g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), "mimi-mini", NULL);
  MoshiModelOptions options = {
      .model = path, .parts = MOSHI_PART_ENCODER, .device = "cpu"};
  MoshiModel *model = moshi_model_open(&options, &error);
  g_assert_nonnull(model);
  g_assert_null(mimi_encoder_new(model, 1, 8, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
  g_assert_null(mimi_decoder_new(model, 1, &error));
  g_assert_nonnull(strstr(error.message, "MOSHI_PART_DECODER"));
  MimiEncoder *e = mimi_encoder_new(model, 1, 8, &error);
  g_assert_nonnull(e);
  mimi_encoder_free(e);
  moshi_model_unref(model);
  g_free(path);
}

/* Samples that no sound has are silence, and do no lasting harm. */
static void
test_faulty_sound(void)
{
  MoshiModel *model = open_mimi_model("mimi-mini", 1);
  float *pcm = make_sound(3), *faulty = make_sound(3);
  for (int i = 5; i < FRAMES * FRAME; i += 997) {
    static const float faults[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e10f};
    faulty[i] = faults[i % G_N_ELEMENTS(faults)];
    pcm[i] = 0;
  }
  uint16_t *want = encode_alone(model, pcm, FRAMES, CODEBOOKS, NULL, 0);
  uint16_t *got = encode_alone(model, faulty, FRAMES, CODEBOOKS, NULL, 0);
  g_assert_cmpmem(got, FRAMES * CODEBOOKS * 2, want, FRAMES * CODEBOOKS * 2);
  g_free(want);
  g_free(got);
  g_free(pcm);
  g_free(faulty);
  moshi_model_unref(model);
}

static void
test_codec_id(void)
{
  static const char *const names[] = {"mimi-mini", "mimi-odd", "mimi-direct"};
  static const int codebooks[] = {32, 5, 3};
  char ids[3][17];
  for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
    MoshiError error;
    char *path = g_strdup_printf(
        "%s/%s/mimi.safetensors", g_getenv("MOSHI_TEST_VECTORS"), names[i]);
    MoshiCheckpoint *file = moshi_checkpoint_open(path, &error);
    g_assert_nonnull(file);
    g_assert_cmpint(mimi_count_codebooks(file), ==, codebooks[i]);
    mimi_codec_id(file, ids[i]);
    g_assert_cmpint(strspn(ids[i], "0123456789abcdef"), ==, 16);
    moshi_checkpoint_unref(file);
    g_free(path);
  }
  g_assert_cmpstr(ids[0], !=, ids[1]);
  g_assert_cmpstr(ids[1], !=, ids[2]);
  /* Ids are written into files: they must not change. */
  g_assert_cmpstr(ids[0], ==, "5f0b267c895d3a39");
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (int threads = 1; threads <= 2; threads++) {
    char name[64];
    g_snprintf(name, sizeof name, "/mimi/batch/encode/%d", threads);
    g_test_add_data_func(name, GINT_TO_POINTER(threads), test_encode_batch);
    g_snprintf(name, sizeof name, "/mimi/batch/decode/%d", threads);
    g_test_add_data_func(name, GINT_TO_POINTER(threads), test_decode_batch);
  }
  g_test_add_func("/mimi/fewer-codebooks", test_fewer_codebooks);
  g_test_add_func("/mimi/many-threads", test_many_threads);
  g_test_add_func("/mimi/refused/codes", test_refused_codes);
  g_test_add_func("/mimi/refused/streams", test_refused_streams);
  g_test_add_func("/mimi/refused/missing-part", test_missing_part);
  g_test_add_func("/mimi/faulty-sound", test_faulty_sound);
  g_test_add_func("/mimi/codec-id", test_codec_id);
  return g_test_run();
}
