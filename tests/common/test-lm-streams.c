/* Slots of a session: each is a conversation of its own, bit for bit, whatever
 * runs beside it; resets; a smaller context; and what a caller can do wrong. */
#include <string.h>

#include "lm-vectors.h"

#define BATCH 4
#define STEPS 48
#define RESET_AT 30 /* of slot 2, in calls */

/* What one slot gave, step by step of its own. */
typedef struct {
  int steps, n_own, n_logits;
  int32_t *tokens, *text;
  float *logits; /* text and audio */
} Trace;

static Trace *
trace_new(const LmVector *v, int steps)
{
  const MoshiModelInfo *info = moshi_model_info(v->model);
  Trace *t = g_new0(Trace, 1);
  t->n_own = 1 + v->n_own;
  t->n_logits = 4096 + v->n_own * info->lm_codebook_size;
  t->tokens = g_new0(int32_t, steps * t->n_own);
  t->text = g_new0(int32_t, steps);
  t->logits = g_new0(float, steps * t->n_logits);
  return t;
}

static void
trace_free(Trace *t)
{
  g_free(t->tokens);
  g_free(t->text);
  g_free(t->logits);
  g_free(t);
}

static void
trace_add(Trace *t, const LmVector *v, const MoshiSession *s, int slot,
    const int32_t *tokens, const int32_t *text)
{
  int size, step = t->steps++;
  const float *logits = moshi_session_text_logits(s, slot, &size);
  memcpy(
      t->tokens + step * t->n_own, tokens + slot * t->n_own, t->n_own * sizeof *tokens);
  t->text[step] = text[slot];
  memcpy(t->logits + step * t->n_logits, logits, size * sizeof *logits);
  logits = moshi_session_audio_logits(s, slot);
  if (logits)
    memcpy(t->logits + step * t->n_logits + size, logits,
        v->n_own * moshi_model_info(v->model)->lm_codebook_size * sizeof *logits);
}

static void
assert_same(const Trace *a, const Trace *b, int steps)
{
  g_assert_cmpint(steps, <=, MIN(a->steps, b->steps));
  g_assert_cmpmem(a->tokens, steps * a->n_own * sizeof *a->tokens, b->tokens,
      steps * b->n_own * sizeof *b->tokens);
  g_assert_cmpmem(a->text, steps * sizeof *a->text, b->text, steps * sizeof *b->text);
  g_assert_cmpmem(a->logits, steps * a->n_logits * sizeof *a->logits, b->logits,
      steps * b->n_logits * sizeof *b->logits);
}

/* Of all sessions, as one of the tests below has it. */
static const char *kv_type;

static MoshiSession *
new_session(const LmVector *v, int batch, uint64_t seed)
{
  MoshiError error;
  MoshiSessionOptions options = lm_vector_options(v);
  options.batch = batch;
  options.kv_type = kv_type;
  options.sampling = (MoshiSampling){.temperature = 0.9f,
      .text_temperature = 0.8f,
      .top_k = 20,
      .text_top_k = 10,
      .seed = seed};
  MoshiSession *s = moshi_session_new(v->model, &options, &error);
  if (!s)
    g_error("%s", error.message);
  return s;
}

/* What slot hears in its step-th step. */
static const int32_t *
heard(const LmVector *v, int slot, int step)
{
  return v->user + (step + 11 * slot) % v->steps * v->n_user;
}

static Trace *
run_alone(const LmVector *v, int slot, int steps)
{
  MoshiSession *s = new_session(v, 1, 100 + slot);
  Trace *t = trace_new(v, steps);
  int32_t tokens[64], text;
  for (int i = 0; i < steps; i++) {
    g_assert_cmpint(
        moshi_session_step(s, heard(v, slot, i), NULL, tokens, &text, NULL), ==, 0);
    trace_add(t, v, s, 0, tokens, &text);
  }
  moshi_session_free(s);
  return t;
}

static bool
runs(int slot, int call)
{
  switch (slot) {
  case 0:
    return true;
  case 1:
    return call % 2;
  case 2:
    return call * 2654435761u >> 30;
  default:
    return call >= 9;
  }
}

static void
test_batch(gconstpointer data)
{
  LmVector *v = open_lm_vector(data, 2);
  MoshiSession *s = new_session(v, BATCH, 100);
  Trace *together[BATCH], *before_reset = NULL;
  int own = 1 + v->n_own;
  int32_t *user = g_new(int32_t, BATCH * v->n_user + 1);
  int32_t *tokens = g_new(int32_t, BATCH * own), text[BATCH];
  for (int slot = 0; slot < BATCH; slot++)
    together[slot] = trace_new(v, STEPS);
  for (int call = 0; call < STEPS; call++) {
    uint8_t run[BATCH];
    if (call == RESET_AT) {
      moshi_session_reset(s, (const uint8_t[BATCH]){0, 0, 1, 0});
      before_reset = together[2];
      together[2] = trace_new(v, STEPS);
    }
    for (int slot = 0; slot < BATCH; slot++) {
      run[slot] = runs(slot, call);
      for (int k = 0; k < v->n_user; k++) /* nobody reads what does not run */
        user[slot * v->n_user + k] =
            run[slot] ? heard(v, slot, together[slot]->steps)[k] : 12345678;
    }
    g_assert_cmpint(moshi_session_step(s, user, run, tokens, text, NULL), ==, 0);
    for (int slot = 0; slot < BATCH; slot++) {
      if (run[slot])
        trace_add(together[slot], v, s, slot, tokens, text);
      for (int r = 0; r < own && !run[slot]; r++)
        g_assert_cmpint(tokens[slot * own + r], ==, MOSHI_TOKEN_NOT_READY);
    }
  }
  for (int slot = 0; slot < BATCH; slot++) {
    Trace *alone = run_alone(v, slot, STEPS);
    assert_same(together[slot], alone, together[slot]->steps);
    if (slot == 2) {
      assert_same(before_reset, alone, before_reset->steps);
      trace_free(before_reset);
    }
    trace_free(alone);
    trace_free(together[slot]);
  }
  g_free(user);
  g_free(tokens);
  moshi_session_free(s);
  close_lm_vector(v);
}

/* The same with rings that are not f32, past their wrap. */
static void
test_batch_kv(gconstpointer data)
{
  kv_type = data;
  test_batch(&lm_cases[0]);
  kv_type = NULL;
}

/* Nothing runs: nothing happens. */
static void
test_nobody(void)
{
  LmVector *v = open_lm_vector(&lm_cases[0], 1);
  MoshiSession *s = new_session(v, 1, 100);
  Trace *alone = run_alone(v, 0, 8), *t = trace_new(v, 8);
  int32_t tokens[64], text;
  for (int i = 0; i < 8; i++) {
    const uint8_t none = 0;
    g_assert_cmpint(
        moshi_session_step(s, heard(v, 0, 0), &none, tokens, &text, NULL), ==, 0);
    g_assert_cmpint(text, ==, MOSHI_TOKEN_NOT_READY);
    moshi_session_step(s, heard(v, 0, i), NULL, tokens, &text, NULL);
    trace_add(t, v, s, 0, tokens, &text);
  }
  assert_same(t, alone, 8);
  trace_free(t);
  trace_free(alone);
  moshi_session_free(s);
  close_lm_vector(v);
}

/* --------------------------------------------------------------- context */

/* A session's context is as good as the configuration's, however keys are kept. */
static void
test_context(gconstpointer data)
{
  LmVector *v = open_lm_vector(&lm_cases[0], 1);
  char *dir = copy_test_model("lm-mini", "\"context\": 40", "\"context\": 6");
  MoshiModel *small = open_test_model(dir, 1);
  MoshiSessionOptions options = lm_vector_options(v);
  options.context = 6;
  options.kv_type = data;
  MoshiSession *a = moshi_session_new(v->model, &options, NULL);
  options.context = 0;
  MoshiSession *b = moshi_session_new(small, &options, NULL);
  MoshiSession *whole = moshi_session_new(v->model, &options, NULL);
  g_assert_true(a && b && whole);
  int differ = 0;
  for (int i = 0; i < 60; i++) {
    int32_t tokens[3][64];
    moshi_session_step(a, v->user + i * v->n_user, NULL, tokens[0], NULL, NULL);
    moshi_session_step(b, v->user + i * v->n_user, NULL, tokens[1], NULL, NULL);
    moshi_session_step(whole, v->user + i * v->n_user, NULL, tokens[2], NULL, NULL);
    g_assert_cmpmem(tokens[0], (1 + v->n_own) * sizeof(int32_t), tokens[1],
        (1 + v->n_own) * sizeof(int32_t));
    differ += !!memcmp(tokens[0], tokens[2], (1 + v->n_own) * sizeof(int32_t));
  }
  g_assert_cmpint(differ, >, 10);
  moshi_session_free(a);
  moshi_session_free(b);
  moshi_session_free(whole);
  moshi_model_unref(small);
  remove_test_model(dir);
  close_lm_vector(v);
}

/* More memory than any machine has is refused in words, at once. */
static void
test_memory(void)
{
  char *dir = copy_test_model("lm-mini", "\"context\": 40", "\"context\": 1048576");
  MoshiModel *model = open_test_model(dir, 1);
  MoshiSessionOptions options;
  MoshiError error;
  moshi_session_options_init(&options, model);
  options.batch = 4096;
  g_assert_null(moshi_session_new(model, &options, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MEMORY);
  g_assert_true(g_str_has_prefix(error.message,
      "the attention of 4096 streams over 1048576 steps needs 6597.1 GB of memory"));
  g_assert_true(g_str_has_suffix(error.message,
      "can be had; lower \"context\" or the number of streams, or take "
      "\"kv-type\" bf16 or int8"));
  options.context = 40;
  MoshiSession *s = moshi_session_new(model, &options, &error);
  g_assert_nonnull(s);
  moshi_session_free(s);
  moshi_model_unref(model);
  remove_test_model(dir);
}

/* -------------------------------------------------------------- mistakes */

static void
refuse(const LmVector *v, const MoshiSessionOptions *options, const char *message)
{
  MoshiError error = {0};
  g_assert_null(moshi_session_new(v->model, options, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_cmpstr(error.message, ==, message);
  g_assert_null(moshi_session_new(v->model, options, NULL));
}

static void
test_options(void)
{
  LmVector *v = open_lm_vector(&lm_cases[0], 1);
  MoshiSessionOptions options = lm_vector_options(v);
  options.batch = 0;
  refuse(v, &options, "a session of 0 streams; 1 to 4096 can be had");
  options.batch = 1;
  options.context = 41;
  refuse(v, &options, "context is 41; the model has 1 to 40, and 0 means all");
  options.context = -1;
  refuse(v, &options, "context is -1; the model has 1 to 40, and 0 means all");
  options.context = 0;
  options.kv_type = "int4";
  refuse(v, &options,
      "kv-type is \"int4\"; keys and values can be kept as f32, bf16 or int8");
  options.kv_type = "";
  refuse(
      v, &options, "kv-type is \"\"; keys and values can be kept as f32, bf16 or int8");
  options.kv_type = NULL;
  options.cfg_coef = 2;
  refuse(v, &options,
      "cfg_coef is 2, but the model has no conditions to guide by; leave it at 1");
  options.cfg_coef = 2000;
  refuse(v, &options,
      "cfg_coef is 2000; it lies between -1000 and 1000, and 1 means none");
  options.cfg_coef = 1;
  MoshiCondition mood = {.name = "mood", .value = "glad"};
  options.conditions = &mood;
  options.n_conditions = 1;
  refuse(v, &options, "the model has no condition \"mood\"; it has: none");
  close_lm_vector(v);
}

static void
test_conditions(void)
{
  const LmCase *c = lm_cases;
  while (strcmp(c->checkpoint, "tts-mini"))
    c++;
  LmVector *v = open_lm_vector(c, 1);
  MoshiSessionOptions options = lm_vector_options(v);
  float data[24] = {0};
  MoshiCondition one[2] = {{.name = "control", .value = "no"}};
  options.conditions = one;
  options.n_conditions = 1;
  refuse(v, &options, "condition \"control\" cannot be \"no\"; it takes one of: ok");
  one[0].value = "ok";
  one[1] = one[0];
  options.n_conditions = 2;
  refuse(v, &options, "condition \"control\" was given twice");
  one[1] = (MoshiCondition){.name = "speaker_wavs", .value = "somebody"};
  refuse(v, &options,
      "condition \"speaker_wavs\" is a tensor: it takes data, not a value");
  one[1] =
      (MoshiCondition){.name = "speaker_wavs", .data = data, .length = 1, .size = 23};
  refuse(v, &options,
      "condition \"speaker_wavs\" has rows of 23 numbers, the model takes 24");
  one[1].size = 24;
  one[1].length = 0;
  refuse(v, &options, "condition \"speaker_wavs\" has 0 rows; 1 to 45000 can be had");
  one[1] = (MoshiCondition){.value = "ok"};
  refuse(v, &options,
      "the model has no condition \"\"; it has: speaker_wavs, cfg, control");
  one[0].data = data;
  refuse(v, &options, "condition \"control\" takes a value, not a tensor");
  close_lm_vector(v);
}

/* A code out of range changes nothing: the stream goes on as if never asked. */
static void
test_codes(void)
{
  static const int32_t wrong[] = {-2, 65, -2147483647 - 1, 2147483647};
  LmVector *v = open_lm_vector(&lm_cases[0], 1);
  MoshiSession *s = new_session(v, 1, 100);
  Trace *alone = run_alone(v, 0, 12), *t = trace_new(v, 12);
  int32_t tokens[64], text, bad[8];
  for (int i = 0; i < 12; i++) {
    MoshiError error;
    memcpy(bad, heard(v, 0, i), sizeof bad);
    bad[i % 8] = wrong[i % 4];
    tokens[0] = 77;
    g_assert_cmpint(moshi_session_step(s, bad, NULL, tokens, &text, &error), ==,
        MOSHI_ERROR_ARGUMENT);
    g_assert_cmpint(tokens[0], ==, 77);
    g_assert_true(g_str_has_suffix(error.message, "the model takes -1 (none) to 64"));
    moshi_session_step(s, heard(v, 0, i), NULL, tokens, &text, &error);
    trace_add(t, v, s, 0, tokens, &text);
  }
  assert_same(t, alone, 12);
  trace_free(t);
  trace_free(alone);
  moshi_session_free(s);
  close_lm_vector(v);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (int i = 0; i < n_lm_cases; i++) {
    const LmCase *c = &lm_cases[i];
    char *name = lm_case_path("/lm/batch", c);
    g_test_add_data_func(name, c, test_batch);
    g_free(name);
  }
  g_test_add_data_func("/lm/batch-kv/bf16", "bf16", test_batch_kv);
  g_test_add_data_func("/lm/batch-kv/int8", "int8", test_batch_kv);
  g_test_add_func("/lm/nobody-runs", test_nobody);
  g_test_add_data_func("/lm/context/f32", "f32", test_context);
  g_test_add_data_func("/lm/context/bf16", "bf16", test_context);
  g_test_add_data_func("/lm/context/int8", "int8", test_context);
  g_test_add_func("/lm/memory", test_memory);
  g_test_add_func("/lm/options", test_options);
  g_test_add_func("/lm/conditions", test_conditions);
  g_test_add_func("/lm/codes", test_codes);
  return g_test_run();
}
