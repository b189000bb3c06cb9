/* The language model against the reference: greedy tokens over whole vectors,
 * logits, hidden states and extra heads; and the token ring by hand. */
#include <math.h>
#include <string.h>

#include "lm-vectors.h"
#include "lm-session.h"

/* Of the largest magnitude in the row. */
#define RELATIVE 1e-5
/* Where activations are rounded to 16 bits, an error of 2^-16 of the largest of 256
 * in every product; measured are 1.8e-4. */
#define RELATIVE_INTEGERS 5e-4

static double
relative_error(const float *got, const float *want, int n)
{
  double largest = 0, error = 0;
  for (int i = 0; i < n; i++) {
    largest = fmax(largest, fabs(want[i]));
    /* A NaN must not pass. */
    if (!(fabs((double)got[i] - want[i]) <= error))
      error = fabs((double)got[i] - want[i]);
  }
  return error == 0 ? 0 : error / largest;
}

static void
assert_close(const LmVector *v, const float *got, const float *want, int n,
    const char *what, int step)
{
  const double error = relative_error(got, want, n);
  if (!(error <= (v->integers ? RELATIVE_INTEGERS : RELATIVE)))
    g_error("%s of step %d: off by %g of the largest", what, step, error);
}

static int
argmax(const float *x, int n)
{
  int best = 0;
  for (int i = 1; i < n; i++)
    if (x[i] > x[best])
      best = i;
  return best;
}

static void
check_numbers(const LmVector *v, const MoshiSession *s, int step)
{
  const MoshiModelInfo *info = moshi_model_info(v->model);
  int size, card = info->lm_codebook_size;
  const float *text = moshi_session_text_logits(s, 0, &size);
  const float *audio = moshi_session_audio_logits(s, 0);
  if (step < v->logit_steps) {
    assert_close(v, text, v->text_logits + step * size, size, "text logits", step);
    for (int k = 0; k < v->n_own; k++)
      assert_close(v, audio + k * card, v->audio_logits + (step * v->n_own + k) * card,
          card, "audio logits", step);
  }
  for (int k = 0; k < v->n_own; k++)
    g_assert_cmpint(argmax(audio + k * card, card), ==, v->audio[step * v->n_own + k]);
  /* These begin with the first step that returned tokens. */
  int row = step - info->max_delay, dim = s->w->config.main.dim;
  if (row >= 0 && row < v->logit_steps) {
    float *hidden = g_new(float, dim);
    s->d->ops->download(s->d, hidden, s->x, dim * sizeof *hidden);
    assert_close(v, hidden, v->hidden + row * dim, dim, "hidden state", step);
    g_free(hidden);
  }
  int heads = info->extra_heads * info->extra_head_size;
  g_assert_true(!v->extra_heads == !heads);
  if (heads && row >= 0)
    assert_close(v, moshi_session_extra_heads(s, 0), v->extra_heads + row * heads,
        heads, "extra heads", step);
}

static void
check_vector(const LmCase *c, int threads)
{
  LmVector *v = open_lm_vector(c, threads);
  MoshiSessionOptions options = lm_vector_options(v);
  MoshiError error;
  MoshiSession *s = moshi_session_new(v->model, &options, &error);
  if (!s)
    g_error("%s", error.message);
  g_assert_cmpint(moshi_model_info(v->model)->user_codebooks, ==, v->n_user);
  g_assert_cmpint(moshi_model_info(v->model)->own_codebooks, ==, v->n_own);
  int32_t tokens[1 + MOSHI_MAX_CODEBOOKS], text;
  for (int t = 0; t < v->steps; t++) {
    int status =
        moshi_session_step(s, v->user + t * v->n_user, NULL, tokens, &text, &error);
    if (status)
      g_error("step %d: %s", t, error.message);
    g_assert_cmpint(text, ==, v->text[t]);
    for (int k = 0; k <= v->n_own; k++)
      g_assert_cmpint(tokens[k], ==, v->out[t * (1 + v->n_own) + k]);
    check_numbers(v, s, t);
  }
  moshi_session_free(s);
  close_lm_vector(v);
}

static void
test_golden(gconstpointer data)
{
  check_vector(data, 1);
}

static void
test_golden_threads(gconstpointer data)
{
  check_vector(data, 2);
}

/* ------------------------------------------------- keys and values kept small */

/* The largest error of the logits, of the largest logit, while the tokens are the
 * reference's; *steps: how long they are, the vector's length at most. */
static double
small_kv_error(const LmVector *v, const char *kv_type, int *steps)
{
  MoshiSessionOptions options = lm_vector_options(v);
  options.kv_type = kv_type;
  MoshiError error;
  MoshiSession *s = moshi_session_new(v->model, &options, &error);
  if (!s)
    g_error("%s", error.message);
  int32_t tokens[1 + MOSHI_MAX_CODEBOOKS], text;
  double worst = 0;
  bool same = true;
  for (*steps = 0; same && *steps < v->steps; *steps += same) {
    const int32_t *want = v->out + *steps * (1 + v->n_own);
    int size;
    g_assert_cmpint(moshi_session_step(
                        s, v->user + *steps * v->n_user, NULL, tokens, &text, &error),
        ==, 0);
    const float *logits = moshi_session_text_logits(s, 0, &size);
    if (*steps < v->logit_steps)
      worst = MAX(worst, relative_error(logits, v->text_logits + *steps * size, size));
    same =
        text == v->text[*steps] && !memcmp(tokens, want, (1 + v->n_own) * sizeof *want);
  }
  moshi_session_free(s);
  return worst;
}

/* Rounded once, a bf16 is off by 2^-9 and an int8 by 2^-9 of the largest of its head,
 * on average; what a layer makes of that is measured, and held with some room. Where
 * the best two of random weights' logits lie closer than that, tokens part ways. */
static void
test_small_kv(gconstpointer data)
{
  const LmCase *c = data;
  const struct {
    const char *type;
    double tolerance;
  } types[] = {{"f32", c->integers ? RELATIVE_INTEGERS : RELATIVE}, {"bf16", 5e-3},
      {"int8", 1.5e-2}};
  LmVector *v = open_lm_vector(c, 1);
  for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
    int steps;
    double error = small_kv_error(v, types[i].type, &steps);
    g_test_message("%s: %d of %d steps have the reference's tokens; until then text "
                   "logits are off by at most %.2g of the largest",
        types[i].type, steps, v->steps, error);
    g_assert_cmpfloat(error, <=, types[i].tolerance);
  }
  close_lm_vector(v);
}

/* ------------------------------------------------------------ token ring */

/* A token that tells where it comes from: the reference's rows 1.. of own codes
 * are made in calls, the user's are given in them. */
static int32_t
label(int call, int row)
{
  return 100 * call + row;
}

/* The traces of the reference for delays 0, (0,d,d), (0,d,d): the input of each
 * call, −1 for an initial token, and what it returns. */
typedef struct {
  int delay;
  struct {
    int32_t input[7], output[4];
  } calls[4];
} RingTrace;

#define I (-1)
#define N MOSHI_TOKEN_NOT_READY
static const RingTrace ring_traces[] = {
    {1, {{{I, I, I, I, I, I, I}, {N, N, N, N}},
            {{0, 1, I, I, 104, I, I}, {0, 1, 102, 103}},
            {{100, 101, 102, 103, 204, 105, 106}, {100, 101, 202, 203}},
            {{200, 201, 202, 203, 304, 205, 206}, {200, 201, 302, 303}}}},
    {2, {{{I, I, I, I, I, I, I}, {N, N, N, N}}, {{0, 1, I, I, 104, I, I}, {N, N, N, N}},
            {{100, 101, I, I, 204, I, I}, {0, 1, 202, 203}},
            {{200, 201, 202, 203, 304, 105, 106}, {100, 101, 302, 303}}}},
};

static void
check_ring_call(MoshiLmTokens *ring, int slot, const RingTrace *trace, int call)
{
  int32_t user[3], input[7], generated[4], output[4];
  for (int k = 0; k < 3; k++)
    user[k] = label(call, 4 + k);
  for (int k = 0; k < 4; k++)
    generated[k] = label(call, k);
  moshi_lm_tokens_input(ring, slot, user, input);
  for (int r = 0; r < 7; r++) {
    int32_t want = trace->calls[call].input[r];
    g_assert_cmpint(input[r], ==, want != I ? want : r ? 9999 : 8888);
  }
  moshi_lm_tokens_output(ring, slot, generated, output);
  for (int r = 0; r < 4; r++)
    g_assert_cmpint(output[r], ==, trace->calls[call].output[r]);
}

static void
test_ring(void)
{
  for (size_t i = 0; i < G_N_ELEMENTS(ring_traces); i++) {
    const RingTrace *trace = &ring_traces[i];
    int d = trace->delay;
    MoshiLmConfig *config = g_new0(MoshiLmConfig, 1);
    *config = (MoshiLmConfig){.n_q = 6,
        .dep_q = 3,
        .card = 9999,
        .text_card = 8888,
        .delays = {0, 0, d, d, 0, d, d},
        .max_delay = d};
    MoshiLmTokens ring;
    g_assert_cmpint(moshi_lm_tokens_init(&ring, config, 2, NULL), ==, 0);
    /* Slots keep their own time: the second starts later, and then anew. */
    check_ring_call(&ring, 0, trace, 0);
    for (int call = 0; call < 3; call++) {
      check_ring_call(&ring, 1, trace, call);
      check_ring_call(&ring, 0, trace, call + 1);
    }
    moshi_lm_tokens_reset(&ring, 1);
    for (int call = 0; call < 4; call++)
      check_ring_call(&ring, 1, trace, call);
    moshi_lm_tokens_free(&ring);
    g_free(config);
  }
}

/* ------------------------------------------------------------ conditions */

static void
test_condition_index(void)
{
  /* int(sha256(text).hexdigest(), 16) % n_bins, from Python. */
  static const struct {
    const char *text;
    int n_bins, index;
  } hashes[] = {{"joyful", 13, 5}, {"joyful", 1000003, 7068}, {"", 31, 5},
      {"\xc3\xa9", 1000003, 243308}, {"very_good", 31, 15}};
  MoshiConditionerConfig *c = g_new0(MoshiConditionerConfig, 1);
  for (size_t i = 0; i < G_N_ELEMENTS(hashes); i++) {
    c->n_bins = hashes[i].n_bins;
    g_assert_cmpint(
        moshi_condition_index(c, hashes[i].text, NULL), ==, hashes[i].index);
  }
  strcpy(c->name, "mood");
  strcpy(c->values[0], "glad");
  strcpy(c->values[1], "sad");
  c->n_values = 2;
  MoshiError error;
  g_assert_cmpint(moshi_condition_index(c, "sad", &error), ==, 1);
  g_assert_cmpint(moshi_condition_index(c, "bad", &error), ==, MOSHI_ERROR_ARGUMENT);
  g_assert_cmpstr(error.message, ==,
      "condition \"mood\" cannot be \"bad\"; it takes one of: glad, sad");
  g_free(c);
}

/* ------------------------------------------------- models that do not fit */

typedef struct {
  const char *name, *old, *new, *message;
} Misfit;

static const Misfit misfits[] = {
    {"missing", "\"num_layers\": 3", "\"num_layers\": 4",
        "/model.safetensors: tensor \"transformer.layers.3.norm1.alpha\" of shape [64] "
        "is "
        "missing; the file does not belong to this configuration"},
    {"shape", "\"depformer_dim\": 32", "\"depformer_dim\": 40",
        "/model.safetensors: tensor \"depformer_in.0.weight\" has shape [32, 64], but "
        "the "
        "configuration wants [40, 64]"},
    {"card", "\"card\": 64", "\"card\": 65",
        "/model.safetensors: tensor \"emb.0.weight\" has shape [65, 64], but the "
        "configuration wants [66, 64]"},
    {"text-out", "\"dim\": 64", "\"text_card_out\": 202, \"dim\": 64",
        "/model.safetensors: text_card_out is 202, but only 201 text tokens can be "
        "embedded"},
    {"cross", "\"dim\": 64", "\"cross_attention\": true, \"dim\": 64",
        "/model.safetensors: cross_attention and the fuser's \"cross\" conditions need "
        "each other"},
};

static void
test_misfit(gconstpointer data)
{
  const Misfit *m = data;
  MoshiError error;
  char *dir = copy_test_model("lm-mini", m->old, m->new);
  MoshiModelOptions options = {.model = dir, .parts = MOSHI_PART_LM, .device = "cpu"};
  g_assert_null(moshi_model_open(&options, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MODEL);
  g_assert_true(g_str_has_prefix(error.message, dir));
  g_assert_cmpstr(error.message + strlen(dir), ==, m->message);
  remove_test_model(dir);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (int i = 0; i < n_lm_cases; i++) {
    const LmCase *c = &lm_cases[i];
    char *name = lm_case_path("/lm/golden", c);
    g_test_add_data_func(name, c, test_golden);
    g_free(name);
    name = lm_case_path("/lm/golden-2-threads", c);
    if (!strcmp(test_device(), "cpu"))
      g_test_add_data_func(name, c, test_golden_threads);
    g_free(name);
    name = lm_case_path("/lm/kv", c);
    g_test_add_data_func(name, c, test_small_kv);
    g_free(name);
  }
  for (size_t i = 0; i < G_N_ELEMENTS(misfits); i++) {
    char *name = g_strdup_printf("/lm/misfit/%s", misfits[i].name);
    g_test_add_data_func(name, &misfits[i], test_misfit);
    g_free(name);
  }
  g_test_add_func("/lm/token-ring", test_ring);
  g_test_add_func("/lm/condition-index", test_condition_index);
  return g_test_run();
}
