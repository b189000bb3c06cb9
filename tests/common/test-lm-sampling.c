/* Sampling: the frequencies of draws, seeds, top-k, and settings of each slot. */
#include <math.h>
#include <string.h>

#include "device/device.h"
#include "device/random.h"
#include "lm-vectors.h"

#define DRAWS 4000
#define BATCH 500

/* The first case's model; its first step has the same logits in every slot. */
static LmVector *
open_first(void)
{
  return open_lm_vector(&lm_cases[0], 1);
}

static MoshiSession *
new_session(const LmVector *v, int batch, MoshiSampling sampling)
{
  MoshiError error;
  MoshiSessionOptions options = lm_vector_options(v);
  options.batch = batch;
  options.sampling = sampling;
  MoshiSession *s = moshi_session_new(v->model, &options, &error);
  if (!s)
    g_error("%s", error.message);
  return s;
}

/* p[n]: the probabilities of the reference's sample_token. */
static void
probabilities(double *p, const float *logits, int n, double temperature, int top_k)
{
  double top = -INFINITY, sum = 0;
  for (int i = 0; i < n; i++)
    top = fmax(top, logits[i]);
  for (int i = 0; i < n; i++) {
    int larger = 0;
    for (int j = 0; j < n; j++)
      larger += logits[j] > logits[i];
    p[i] = top_k && larger >= top_k ? 0 : exp((logits[i] - top) / temperature);
    sum += p[i];
  }
  for (int i = 0; i < n; i++)
    p[i] /= sum;
}

/* Pearson's statistic over the values that are expected often enough. */
static double
chi_square(const int *counts, const double *p, int n, int draws, int *freedom)
{
  double chi = 0, rest = 1;
  int rest_count = draws;
  *freedom = 0;
  for (int i = 0; i < n; i++) {
    if (p[i] == 0)
      g_assert_cmpint(counts[i], ==, 0);
    if (p[i] * draws < 10)
      continue;
    chi += (counts[i] - p[i] * draws) * (counts[i] - p[i] * draws) / (p[i] * draws);
    rest -= p[i];
    rest_count -= counts[i];
    ++*freedom;
  }
  if (rest * draws >= 10)
    chi += (rest_count - rest * draws) * (rest_count - rest * draws) / (rest * draws);
  else
    --*freedom;
  return chi;
}

static void
check_frequencies(
    const int *counts, const float *logits, int n, double temperature, int top_k)
{
  double *p = g_new(double, n);
  int freedom;
  probabilities(p, logits, n, temperature, top_k);
  double chi = chi_square(counts, p, n, DRAWS, &freedom);
  /* Five standard deviations: the seeds are fixed, so this holds for ever. */
  g_test_message("chi-square %.1f, %d degrees of freedom", chi, freedom);
  g_assert_cmpint(freedom, >=, 3);
  g_assert_cmpfloat(chi, <, freedom + 5 * sqrt(2.0 * freedom));
  g_free(p);
}

static void
test_frequencies(void)
{
  const MoshiSampling sampling = {
      .temperature = 1.3f, .text_temperature = 0.7f, .top_k = 0, .text_top_k = 7};
  LmVector *v = open_first();
  MoshiSession *s = new_session(v, BATCH, sampling);
  const MoshiModelInfo *info = moshi_model_info(v->model);
  int own = 1 + v->n_own, size, *text_counts = g_new0(int, info->text_size);
  int32_t *user = g_new0(int32_t, BATCH * v->n_user);
  int32_t *tokens = g_new(int32_t, BATCH * own), *text = g_new(int32_t, BATCH);
  for (int done = 0; done < DRAWS; done += BATCH) {
    for (int slot = 0; slot < BATCH; slot++) {
      MoshiSampling own_seed = sampling;
      own_seed.seed = 1 + done + slot;
      moshi_session_set_sampling(s, slot, &own_seed);
    }
    moshi_session_reset(s, NULL);
    moshi_session_step(s, user, NULL, tokens, text, NULL);
    for (int slot = 0; slot < BATCH; slot++)
      text_counts[text[slot]]++;
  }
  const float *logits = moshi_session_text_logits(s, 0, &size);
  check_frequencies(text_counts, logits, size, 0.7, 7);
  g_free(text_counts);
  g_free(user);
  g_free(tokens);
  g_free(text);
  moshi_session_free(s);
  close_lm_vector(v);
}

/* The first code of the first frame; the text before it is greedy, so that its
 * logits are the same in every slot. */
static void
test_audio_frequencies(void)
{
  LmVector *v = open_first();
  const MoshiSampling sampling = {.temperature = 1.3f, .top_k = 0};
  MoshiSession *s = new_session(v, BATCH, sampling);
  const MoshiModelInfo *info = moshi_model_info(v->model);
  int own = 1 + v->n_own, card = info->lm_codebook_size, *counts = g_new0(int, card);
  int32_t *user = g_new0(int32_t, BATCH * v->n_user);
  int32_t *tokens = g_new(int32_t, BATCH * own);
  float *logits = g_new(float, card);
  for (int done = 0; done < DRAWS; done += BATCH) {
    for (int slot = 0; slot < BATCH; slot++) {
      MoshiSampling own_seed = sampling;
      own_seed.seed = 1 + done + slot;
      moshi_session_set_sampling(s, slot, &own_seed);
    }
    moshi_session_reset(s, NULL);
    /* The first step's codes of delay 0 are returned by the second. */
    moshi_session_step(s, user, NULL, tokens, NULL, NULL);
    memcpy(logits, moshi_session_audio_logits(s, 0), card * sizeof *logits);
    moshi_session_step(s, user, NULL, tokens, NULL, NULL);
    for (int slot = 0; slot < BATCH; slot++)
      counts[tokens[slot * own + 1]]++;
  }
  check_frequencies(counts, logits, card, 1.3, 0);
  g_free(counts);
  g_free(user);
  g_free(tokens);
  g_free(logits);
  moshi_session_free(s);
  close_lm_vector(v);
}

/* tokens[steps][own] of slot 0 of a session of its own. */
static int32_t *
run(const LmVector *v, MoshiSampling sampling, int steps)
{
  MoshiSession *s = new_session(v, 1, sampling);
  int32_t *all = g_new(int32_t, steps * (1 + v->n_own));
  for (int i = 0; i < steps; i++)
    moshi_session_step(
        s, v->user + i * v->n_user, NULL, all + i * (1 + v->n_own), NULL, NULL);
  moshi_session_free(s);
  return all;
}

static void
test_seeds(void)
{
  LmVector *v = open_first();
  const int steps = 40;
  size_t bytes = steps * (1 + v->n_own) * sizeof(int32_t);
  MoshiSampling sampling = {0.8f, 0.7f, 250, 25, 42};
  int32_t *first = run(v, sampling, steps), *again = run(v, sampling, steps);
  g_assert_cmpmem(first, bytes, again, bytes);
  sampling.seed = 43;
  int32_t *other = run(v, sampling, steps);
  g_assert_cmpint(memcmp(first, other, bytes), !=, 0);

  /* A reset starts the stream of draws anew. */
  MoshiSession *s = new_session(v, 1, (MoshiSampling){0.8f, 0.7f, 250, 25, 42});
  int32_t tokens[64];
  for (int i = 0; i < 10; i++)
    moshi_session_step(s, v->user, NULL, tokens, NULL, NULL);
  moshi_session_reset(s, NULL);
  for (int i = 0; i < steps; i++) {
    moshi_session_step(s, v->user + i * v->n_user, NULL, tokens, NULL, NULL);
    g_assert_cmpmem(tokens, bytes / steps, first + i * (1 + v->n_own), bytes / steps);
  }
  moshi_session_free(s);
  g_free(first);
  g_free(again);
  g_free(other);
  close_lm_vector(v);
}

/* The best of one is the best, at any temperature; and settings that make no
 * sense are greedy or without effect, never a crash. */
static void
test_greedy(void)
{
  static const MoshiSampling greedy[] = {
      {0.8f, 0.7f, 1, 1, 5},
      {0, 0, 250, 25, 5},
      {-1, -INFINITY, 0, 0, 5},
      {NAN, NAN, 3, 3, 5},
      {1e-30f, 1e-45f, 0, 0, 5},
  };
  LmVector *v = open_first();
  for (size_t i = 0; i < G_N_ELEMENTS(greedy); i++) {
    int32_t *tokens = run(v, greedy[i], v->steps);
    size_t bytes = v->steps * (1 + v->n_own) * sizeof *tokens;
    g_assert_cmpmem(tokens, bytes, v->out, bytes);
    g_free(tokens);
  }
  static const MoshiSampling odd[] = {
      {INFINITY, INFINITY, 0, 0, 5},
      {1e38f, 1e38f, -7, -7, UINT64_MAX},
      {0.5f, 0.5f, 2147483647, 2147483647, 5},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(odd); i++)
    g_free(run(v, odd[i], v->steps));
  close_lm_vector(v);
}

/* Settings are each slot's own, and change from one step to the next. */
static void
test_slots(void)
{
  LmVector *v = open_first();
  const MoshiSampling warm = {0.8f, 0.7f, 250, 25, 9}, cold = {0, 0, 0, 0, 9};
  MoshiSession *s = new_session(v, 2, warm);
  int own = 1 + v->n_own, differ = 0;
  int32_t user[64], tokens[128];
  moshi_session_set_sampling(s, 1, &cold);
  moshi_session_set_sampling(s, 2, &cold); /* no such slot: nothing happens */
  moshi_session_set_sampling(s, -1, &cold);
  for (int i = 0; i < 60; i++) {
    memcpy(user, v->user + i * v->n_user, v->n_user * sizeof *user);
    memcpy(user + v->n_user, user, v->n_user * sizeof *user);
    moshi_session_step(s, user, NULL, tokens, NULL, NULL);
    g_assert_cmpmem(
        tokens + own, own * sizeof *tokens, v->out + i * own, own * sizeof *tokens);
    differ += !!memcmp(tokens, v->out + i * own, own * sizeof *tokens);
  }
  g_assert_cmpint(differ, >, 40);
  moshi_session_free(s);
  close_lm_vector(v);
}

/* --------------------------------------------- what is said again, and padding */

/* The reference's formulas, word for word: apply_repetition_penalty() over the
 * tokens said so far, then prs[pad] *= exp(pad_mult) of what sample_f() gives. */
static void
adjusted(double *weights, const float *logits, int size, const MoshiModelInfo *info,
    const MoshiSampling *how, const GArray *said)
{
  bool *seen = g_new0(bool, size);
  double top = -INFINITY, sum = 0;
  for (int i = 0; i < size; i++)
    weights[i] = logits[i];
  for (int i = said->len - 1, left = how->repetition_context; i >= 0 && left > 0; i--) {
    const int32_t token = g_array_index(said, int32_t, i);
    if (token == info->text_padding || token == 0 || token == info->text_size)
      continue;
    left--;
    if (!seen[token] && how->repetition_penalty)
      weights[token] *= weights[token] >= 0 ? 1 / (double)how->repetition_penalty
                                            : how->repetition_penalty;
    seen[token] = true;
  }
  for (int i = 0; i < size; i++)
    top = fmax(top, weights[i]);
  if (!(how->text_temperature > 0)) /* greedy: the bonus has no say */
    for (int i = 0; i < size; i++)
      weights[i] = weights[i] == top;
  else {
    for (int i = 0; i < size; i++)
      sum += weights[i] = exp((weights[i] - top) / how->text_temperature);
    for (int i = 0; i < size; i++)
      weights[i] /= sum;
    weights[info->text_padding] *= exp(how->padding_bonus);
  }
  g_free(seen);
}

/* sample_topk() with k of how->text_top_k, by the largest p/e. */
static int32_t
expected_token(
    const double *weights, int size, const MoshiSampling *how, uint64_t counter)
{
  int32_t winner = 0;
  double most = -1;
  for (int i = 0; i < size; i++) {
    int larger = 0;
    for (int j = 0; j < size; j++)
      larger += weights[j] > weights[i];
    const double w = weights[i] / moshi_random_exponential(how->seed, counter, i);
    if ((!how->text_top_k || larger < how->text_top_k) && w > most) {
      most = w;
      winner = i;
    }
  }
  return winner;
}

/* Every text token of 150 steps; returns how many of them were padding. */
static int
check_text(const LmVector *v, const MoshiSampling *how, int *repeated)
{
  const MoshiModelInfo *info = moshi_model_info(v->model);
  MoshiSession *s = new_session(v, 1, *how);
  GArray *said = g_array_new(FALSE, FALSE, sizeof(int32_t));
  double *weights = g_new(double, info->text_size);
  int32_t tokens[64], text, last = -1;
  int size, padding = 0;
  *repeated = 0;
  for (int i = 0; i < 150; i++) {
    moshi_session_step(
        s, v->user + i % v->steps * v->n_user, NULL, tokens, &text, NULL);
    const float *logits = moshi_session_text_logits(s, 0, &size);
    adjusted(weights, logits, size, info, how, said);
    g_assert_cmpint(
        text, ==, expected_token(weights, size, how, (uint64_t)i * (1 + v->n_own)));
    g_array_append_val(said, text);
    padding += text == info->text_padding;
    *repeated += text == last;
    last = text;
  }
  g_array_unref(said);
  g_free(weights);
  moshi_session_free(s);
  return padding;
}

static void
test_text_tweaks(void)
{
  static const MoshiSampling cases[] = {
      {.text_temperature = 0.9f, .seed = 3},
      {.text_temperature = 0.9f, .seed = 3, .padding_bonus = 4},
      {.text_temperature = 0.9f, .seed = 3, .padding_bonus = -4},
      {.text_temperature = 0.5f, .text_top_k = 5, .seed = 4, .padding_bonus = 3},
      {.repetition_penalty = 1.5f, .repetition_context = 1},
      {.repetition_penalty = 2, .repetition_context = 200, .padding_bonus = 4},
      {.repetition_penalty = 1.1f, .repetition_context = 64},
      {.text_temperature = 0.3f,
          .text_top_k = 3,
          .seed = 5,
          .padding_bonus = 1,
          .repetition_penalty = 1.7f,
          .repetition_context = 7},
      {.text_temperature = 0.7f, .repetition_penalty = 2, .repetition_context = 0},
  };
  enum { N = G_N_ELEMENTS(cases) };
  LmVector *v = open_first();
  int padding[N], repeated[N];
  for (int i = 0; i < N; i++) {
    padding[i] = check_text(v, &cases[i], &repeated[i]);
    g_test_message("%d: %d of padding, %d repeated", i, padding[i], repeated[i]);
  }
  g_assert_cmpint(padding[1], >, padding[0]);
  g_assert_cmpint(padding[2], <=, padding[0]);
  close_lm_vector(v);
}

/* Values that make no sense are without effect; a context beyond the limit is
 * the limit. A reset forgets what was said. */
static void
test_text_tweaks_odd(void)
{
  static const MoshiSampling odd[] = {
      {.padding_bonus = NAN, .repetition_penalty = NAN, .repetition_context = 9},
      {.padding_bonus = INFINITY,
          .repetition_penalty = INFINITY,
          .repetition_context = 9},
      {.repetition_penalty = -1, .repetition_context = 9},
      {.repetition_penalty = 2, .repetition_context = -9},
  };
  LmVector *v = open_first();
  size_t bytes = v->steps * (1 + v->n_own) * sizeof(int32_t);
  for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
    int32_t *tokens = run(v, odd[i], v->steps);
    g_assert_cmpmem(tokens, bytes, v->out, bytes);
    g_free(tokens);
  }
  MoshiSampling how = {.repetition_penalty = 2, .repetition_context = 200};
  int32_t *most = run(v, how, v->steps), tokens[64];
  how.repetition_context = G_MAXINT;
  int32_t *beyond = run(v, how, v->steps);
  g_assert_cmpmem(most, bytes, beyond, bytes);
  g_assert_cmpint(memcmp(most, v->out, bytes), !=, 0);
  MoshiSession *s = new_session(v, 1, how);
  for (int i = 0; i < 2 * v->steps; i++) {
    if (i == v->steps)
      moshi_session_reset(s, NULL);
    const int step = i % v->steps;
    moshi_session_step(s, v->user + step * v->n_user, NULL, tokens, NULL, NULL);
    g_assert_cmpmem(
        tokens, bytes / v->steps, most + step * (1 + v->n_own), bytes / v->steps);
  }
  moshi_session_free(s);
  g_free(most);
  g_free(beyond);
  close_lm_vector(v);
}

/* Broken logits give some token of the vocabulary. */
static void
test_nan(void)
{
  MoshiError error;
  MoshiDevice *d = moshi_device_cpu(1, &error);
  float logits[4][5] = {{NAN, NAN, NAN, NAN, NAN}, {1, NAN, 3, INFINITY, 2},
      {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, {NAN, 1, NAN, NAN, NAN}};
  MoshiDraw draws[4];
  int32_t tokens[4];
  for (int top_k = 0; top_k <= 6; top_k++) {
    for (int i = 0; i < 4; i++)
      draws[i] = (MoshiDraw){.temperature = 1, .top_k = top_k, .seed = i};
    d->ops->sample(d, logits[0], 4, 5, draws, tokens, 1);
    for (int i = 0; i < 4; i++)
      g_assert_cmpint(tokens[i], >=, 0);
    for (int i = 0; i < 4; i++)
      g_assert_cmpint(tokens[i], <, 5);
    g_assert_cmpint(tokens[1], ==, 3);
    g_assert_cmpint(tokens[3], ==, 1);
  }
  moshi_device_close(d);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/lm/sampling/frequencies", test_frequencies);
  g_test_add_func("/lm/sampling/audio-frequencies", test_audio_frequencies);
  g_test_add_func("/lm/sampling/seeds", test_seeds);
  g_test_add_func("/lm/sampling/greedy", test_greedy);
  g_test_add_func("/lm/sampling/slots", test_slots);
  g_test_add_func("/lm/sampling/text-tweaks", test_text_tweaks);
  g_test_add_func("/lm/sampling/text-tweaks-odd", test_text_tweaks_odd);
  g_test_add_func("/lm/sampling/nan", test_nan);
  return g_test_run();
}
