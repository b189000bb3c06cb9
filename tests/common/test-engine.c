/* Opening, sharing and cancelling the load of models. */
#include <glib.h>
#include <string.h>

#include "engine/model.h"
#include "moshi.h"

static const char *
tiny(void)
{
  return g_getenv("MOSHI_TEST_TINY");
}

static MoshiModel *
open_tiny(unsigned parts)
{
  MoshiError error = {0};
  MoshiModelOptions options = {.model = tiny(), .parts = parts};
  MoshiModel *m = moshi_model_open(&options, &error);
  if (!m)
    g_error("%s", error.message);
  return m;
}

static void
test_info(void)
{
  MoshiModel *m = open_tiny(MOSHI_PART_ENCODER | MOSHI_PART_LM);
  const MoshiModelInfo *info = moshi_model_info(m);
  g_assert_cmpint(info->sample_rate, ==, 24000);
  g_assert_cmpint(info->frame_size, ==, 1920);
  g_assert_cmpint(info->codebooks, ==, 8);
  g_assert_cmpint(info->default_codebooks, ==, 8);
  g_assert_cmpint(info->codebook_size, ==, 256);
  g_assert_cmpuint(strlen(info->codec_id), ==, 16);
  g_assert_cmpint(info->user_codebooks, ==, 8);
  g_assert_cmpint(info->own_codebooks, ==, 8);
  g_assert_cmpint(info->text_size, ==, 512);
  g_assert_cmpint(info->max_delay, ==, 1);
  g_assert_cmpfloat(info->temperature, ==, 0);
  g_assert_cmpstr(info->model_type, ==, "moshi");
  g_assert_true(g_str_has_prefix(moshi_model_device(m), "cpu"));
  moshi_model_unref(m);
}

/* A language model steps without its tokenizer; only text needs it. */
static void
test_no_tokenizer(void)
{
  MoshiError error = {0};
  MoshiModel *m = open_tiny(MOSHI_PART_LM);
  g_assert_cmpint(moshi_model_load(m, NULL, NULL, NULL), ==, 0);
  g_assert_null(moshi_text_new(m, &error));
  g_assert_nonnull(strstr(error.message, "MOSHI_PART_TEXT"));
  moshi_model_unref(m);
}

static void
test_shared(void)
{
  MoshiModel *a = open_tiny(MOSHI_PART_ENCODER), *b = open_tiny(MOSHI_PART_ENCODER);
  g_assert_null(moshi_model_encoder(a));
  g_assert_cmpint(moshi_model_load(a, NULL, NULL, NULL), ==, 0);
  g_assert_cmpint(moshi_model_load(b, NULL, NULL, NULL), ==, 0);
  g_assert_nonnull(moshi_model_encoder(a));
  g_assert_true(moshi_model_encoder(a) == moshi_model_encoder(b));
  g_assert_null(moshi_model_decoder(a));
  moshi_model_unref(a);
  /* The last user's weights are still whole. */
  MimiEncoder *encoder = mimi_encoder_new(b, 1, 8, NULL);
  float pcm[1920] = {0};
  uint16_t codes[8];
  g_assert_cmpint(mimi_encoder_step(encoder, pcm, NULL, codes, NULL), ==, 0);
  mimi_encoder_free(encoder);
  moshi_model_unref(b);
}

static int
cancel(void *cookie, double done)
{
  ++*(int *)cookie;
  return 1;
}

static int
rising(void *cookie, double done)
{
  double *last = cookie;
  g_assert_cmpfloat(done, >=, *last);
  g_assert_cmpfloat(done, <=, 1.0001);
  *last = done;
  return 0;
}

static void
test_cancel(void)
{
  MoshiError error = {0};
  int calls = 0;
  MoshiModel *m = open_tiny(MOSHI_PART_ENCODER | MOSHI_PART_DECODER | MOSHI_PART_LM);
  g_assert_cmpint(
      moshi_model_load(m, cancel, &calls, &error), ==, MOSHI_ERROR_CANCELLED);
  g_assert_cmpint(calls, ==, 1);
  g_assert_null(moshi_model_encoder(m));
  /* A cancelled load leaves nothing behind and can be done again. */
  double last = 0;
  g_assert_cmpint(moshi_model_load(m, rising, &last, &error), ==, 0);
  g_assert_cmpfloat(last, >, 0.99);
  moshi_model_unref(m);
}

static int
slow(void *cookie, double done)
{
  g_usleep(200);
  return g_atomic_int_get((int *)cookie);
}

static void *
load_thread(void *cookie)
{
  MoshiModel *m = open_tiny(MOSHI_PART_LM | MOSHI_PART_DECODER);
  int status = moshi_model_load(m, slow, cookie, NULL);
  g_assert_true(status == 0 || status == MOSHI_ERROR_CANCELLED);
  if (status) {
    moshi_model_unref(m);
    return NULL;
  }
  return m;
}

/* Everybody who asks at once gets the same weights; whoever gives up does not take the
 * load away from the others. */
static void
test_concurrent(void)
{
  enum { N = 6 };
  int go_on = 0, give_up = 0;
  GThread *threads[N];
  MoshiModel *models[N];
  for (int i = 0; i < N; i++)
    threads[i] = g_thread_new("load", load_thread, i % 2 ? &give_up : &go_on);
  g_usleep(2000);
  g_atomic_int_set(&give_up, 1);
  for (int i = 0; i < N; i++)
    models[i] = g_thread_join(threads[i]);
  for (int i = 0; i < N; i += 2) {
    g_assert_nonnull(models[i]);
    g_assert_true(moshi_model_lm(models[i]) == moshi_model_lm(models[0]));
  }
  for (int i = 0; i < N; i++)
    moshi_model_unref(models[i]);
}

static void
test_arguments(void)
{
  static const struct {
    MoshiModelOptions options;
    MoshiStatus status;
    const char *message;
  } cases[] = {
      {{.model = "/nonexistent", .parts = 0}, MOSHI_ERROR_ARGUMENT, "parts"},
      {{.model = "/nonexistent", .parts = 64}, MOSHI_ERROR_ARGUMENT, "parts"},
      {{.model = "/nonexistent", .parts = MOSHI_PART_TEXT}, MOSHI_ERROR_ARGUMENT,
          "parts"},
      {{.model = "/nonexistent", .parts = 1, .threads = -1}, MOSHI_ERROR_ARGUMENT,
          "threads"},
      {{.model = "/nonexistent", .parts = 1}, MOSHI_ERROR_NOT_FOUND, "/nonexistent"},
      {{.model = "/nonexistent", .parts = 1, .device = "tpu"}, MOSHI_ERROR_ARGUMENT,
          "tpu"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    MoshiError error = {0};
    g_assert_null(moshi_model_open(&cases[i].options, &error));
    g_assert_cmpint(error.status, ==, cases[i].status);
    g_assert_nonnull(strstr(error.message, cases[i].message));
    g_assert_null(moshi_model_open(&cases[i].options, NULL));
  }
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/engine/info", test_info);
  g_test_add_func("/engine/no-tokenizer", test_no_tokenizer);
  g_test_add_func("/engine/shared", test_shared);
  g_test_add_func("/engine/cancel", test_cancel);
  g_test_add_func("/engine/concurrent", test_concurrent);
  g_test_add_func("/engine/arguments", test_arguments);
  return g_test_run();
}
