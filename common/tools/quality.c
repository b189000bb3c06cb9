/* See quality.h. */
#include "quality.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../lm-session.h"
#include "products.h"
#include "rawfile.h"
#include "reformat.h"
#include "tool.h"

typedef struct {
  ToolModelOptions model;
  char *in;
  int frames;
  gboolean json;
} Options;

/* The draws of a talk: what was drawn from, and what was drawn. */
typedef struct {
  int frames, own, text_size, card; /* own: 1 + codes */
  const int32_t *user;              /* [frames][heard] */
  int heard;
  int32_t *drawn; /* [frames][own] */
  float *logits;  /* [frames][text_size + (own − 1)·card] */
} Talk;

static size_t
talk_width(const Talk *t)
{
  return t->text_size + (size_t)(t->own - 1) * t->card;
}

/* ------------------------------------------------------------ a talk, watched */

/* Stands in for the device's draw: notes what is drawn from, and in a forced talk
 * draws what the other talk drew. */
static struct {
  const MoshiDeviceOps *ops; /* the device's own */
  Talk *talk;
  const Talk *forced; /* NULL: its own draws */
  int frame, index;
} watch;

static void
watched_sample(MoshiDevice *d, const float *logits, int n, int size,
    const MoshiDraw *draws, int32_t *tokens, size_t token_stride)
{
  Talk *t = watch.talk;
  size_t before = watch.index ? t->text_size + (size_t)(watch.index - 1) * t->card : 0;
  int32_t *drawn = &t->drawn[watch.frame * t->own + watch.index];
  watch.ops->download(d, t->logits + watch.frame * talk_width(t) + before, logits,
      size * sizeof *logits);
  if (watch.forced) {
    *drawn = watch.forced->drawn[drawn - t->drawn];
    watch.ops->upload(d, tokens, drawn, sizeof *drawn);
  } else {
    watch.ops->sample(d, logits, n, size, draws, tokens, token_stride);
    watch.ops->download(d, drawn, tokens, sizeof *drawn);
  }
  watch.ops->sync(d, NULL);
  watch.index++;
}

static int
talk_run(Talk *t, const Talk *forced, MoshiModel *model,
    const MoshiSessionOptions *options, MoshiError *error)
{
  MoshiSession *session = moshi_session_new(model, options, error);
  if (!session)
    return error->status;
  int status = 0;
  int32_t *tokens = g_new(int32_t, t->own);
  MoshiDeviceOps ops = *session->d->ops;
  ops.sample = watched_sample;
  watch.ops = session->d->ops;
  watch.talk = t;
  watch.forced = forced;
  session->d->ops = &ops;
  for (watch.frame = 0; !status && watch.frame < t->frames; watch.frame++) {
    watch.index = 0;
    status = moshi_session_step(
        session, t->user + (size_t)watch.frame * t->heard, NULL, tokens, NULL, error);
  }
  session->d->ops = watch.ops;
  g_free(tokens);
  moshi_session_free(session);
  return status;
}

static int
talk_init(Talk *t, const MoshiModel *model, const int32_t *user, int frames,
    MoshiError *error)
{
  const MoshiLmConfig *c = moshi_model_lm_config(model);
  *t = (Talk){.frames = frames,
      .own = 1 + c->dep_q,
      .text_size = c->text_card_out,
      .card = c->card,
      .user = user,
      .heard = c->n_q - c->dep_q};
  t->drawn = g_try_malloc_n(frames, t->own * sizeof *t->drawn);
  t->logits = g_try_malloc_n(frames, talk_width(t) * sizeof *t->logits);
  return t->drawn && t->logits ? 0
                               : moshi_fail(error, MOSHI_ERROR_MEMORY,
                                     "no memory for the logits of %d frames", frames);
}

static void
talk_clear(Talk *t)
{
  g_free(t->drawn);
  g_free(t->logits);
  *t = (Talk){0};
}

/* -------------------------------------------------------------- the distance */

typedef struct {
  double error, power; /* sums of squares */
  double kl;           /* Σ of the draws, in nats */
  int draws, agree;
} Distance;

static int
best(const float *x, int n)
{
  int at = 0;
  for (int i = 1; i < n; i++)
    at = x[i] > x[at] ? i : at;
  return at;
}

/* log Σ exp */
static double
log_sum(const float *x, int n)
{
  double sum = 0, top = x[best(x, n)];
  for (int i = 0; i < n; i++)
    sum += exp(x[i] - top);
  return top + log(sum);
}

/* One draw: want is the reference's. Logits count up to a constant, as it makes no
 * difference to what is drawn. */
static void
add_draw(Distance *d, const float *want, const float *got, int n)
{
  double want_sum = log_sum(want, n), got_sum = log_sum(got, n), want_mean = 0,
         got_mean = 0;
  for (int i = 0; i < n; i++) {
    want_mean += want[i] / (double)n;
    got_mean += got[i] / (double)n;
  }
  for (int i = 0; i < n; i++) {
    double w = want[i] - want_mean, g = got[i] - got_mean;
    d->power += w * w;
    d->error += (g - w) * (g - w);
    d->kl += exp(want[i] - want_sum) * ((want[i] - want_sum) - (got[i] - got_sum));
  }
  d->agree += best(want, n) == best(got, n);
  d->draws++;
}

static void
print_distance(const Options *o, const char *what, const char *part, const Distance *d)
{
  if (!d->draws)
    return;
  double error = sqrt(d->error / d->power), kl = d->kl / d->draws,
         agree = (double)d->agree / d->draws;
  if (o->json)
    printf("{\"bench\": \"quality:%s\", \"of\": \"%s\", \"draws\": %d, "
           "\"logits_error\": %.3e, \"top1\": %.5f, \"kl\": %.3e}\n",
        what, part, d->draws, error, agree, MAX(kl, 0));
  else
    printf("%-10s %-6s logits off by %.5f %%, the same best %.2f %% of %d times, KL "
           "%.2e nats a draw\n",
        what, part, 100 * error, 100 * agree, d->draws, MAX(kl, 0));
}

static void
compare(const Options *o, const char *what, const Talk *want, const Talk *got)
{
  Distance text = {0}, audio = {0};
  for (int i = 0; i < want->frames; i++) {
    const float *a = want->logits + i * talk_width(want);
    const float *b = got->logits + i * talk_width(want);
    add_draw(&text, a, b, want->text_size);
    for (int k = 0; k + 1 < want->own; k++) {
      size_t at = want->text_size + (size_t)k * want->card;
      add_draw(&audio, a + at, b + at, want->card);
    }
  }
  print_distance(o, what, "text", &text);
  print_distance(o, what, "audio", &audio);
  fflush(stdout);
}

/* ---------------------------------------------------------------- the command */

static MoshiModelOptions
open_options(const Options *o)
{
  return (MoshiModelOptions){.model = o->model.model,
      .parts = MOSHI_PART_LM,
      .device = o->model.device,
      .threads = o->model.threads};
}

/* f NULL: the weights as they were. */
static int
measure(const Options *o, const char *what, const Format *f, const char *kv_type,
    const Talk *reference, MoshiError *error)
{
  const MoshiModelOptions open = open_options(o);
  Reformatted *weights = NULL;
  MoshiModel *model = reformat_model(&weights, f, &open, error);
  if (!model)
    return error->status;
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  options.kv_type = kv_type;
  Talk talk = {0};
  int status = 0;
  if (!f || reformat_count(weights)) {
    status = talk_init(&talk, model, reference->user, reference->frames, error);
    if (!status)
      status = talk_run(&talk, reference, model, &options, error);
    if (!status)
      compare(o, what, reference, &talk);
  }
  talk_clear(&talk);
  moshi_model_unref(model);
  reformat_free(weights);
  return status;
}

/* Codes to hear: the file's, or noise. */
static int32_t *
read_user(const Options *o, const MoshiModelInfo *info, int *frames, MoshiError *error)
{
  size_t row = MAX(info->user_codebooks, 1), got = 0;
  int32_t *user = g_new0(int32_t, row * *frames);
  GRand *rand = g_rand_new_with_seed(1);
  for (size_t i = 0; i < row * *frames; i++)
    user[i] = g_rand_int_range(rand, 0, info->lm_codebook_size);
  g_rand_free(rand);
  RawInput in = {0};
  int status = o->in ? raw_input_open(&in, o->in, error) : 0;
  if (o->in && !status)
    status = raw_input_read(&in, user, row * *frames * sizeof *user, &got, error);
  raw_input_close(&in);
  if (o->in)
    *frames = got / (row * sizeof *user);
  if (!status && !*frames)
    status = moshi_fail(
        error, MOSHI_ERROR_FORMAT, "%s: not one row of %zu codes", o->in, row);
  if (status)
    g_clear_pointer(&user, g_free);
  return user;
}

static int
measure_model(const Options *o, MoshiError *error)
{
  const MoshiModelOptions open = open_options(o);
  Reformatted *weights = NULL;
  MoshiModel *model = reformat_model(&weights, NULL, &open, error);
  if (!model)
    return error->status;
  int frames = o->frames;
  Talk reference = {0};
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  int32_t *user = read_user(o, moshi_model_info(model), &frames, error);
  int status = user ? talk_init(&reference, model, user, frames, error) : error->status;
  if (!status)
    status = talk_run(&reference, NULL, model, &options, error);
  moshi_model_unref(model);
  reformat_free(weights);
  for (const Format *f = formats; f->name && !status; f++)
    if (f->type != MOSHI_TYPE_F32)
      status = measure(o, f->name, f, NULL, &reference, error);
  if (!status)
    status = measure(o, "kv-bf16", NULL, "bf16", &reference, error);
  if (!status)
    status = measure(o, "kv-int8", NULL, "int8", &reference, error);
  talk_clear(&reference);
  g_free(user);
  return status;
}

int
bench_quality(int argc, char **argv, MoshiError *error)
{
  Options o = {.frames = 250};
  const GOptionEntry entries[] = {
      {"in", 'i', 0, G_OPTION_ARG_FILENAME, &o.in,
          "The user's codes, as moshi-replay lm takes them (default: noise)", "FILE"},
      {"frames", 'n', 0, G_OPTION_ARG_INT, &o.frames, "At most so many (default: 250)",
          "N"},
      {"json", 'j', 0, G_OPTION_ARG_NONE, &o.json, "One JSON object a row", NULL},
      {NULL}};
  GOptionContext *context = g_option_context_new("");
  GOptionGroup *group = g_option_group_new("main", "", "", NULL, NULL);
  g_option_group_add_entries(group, entries);
  tool_add_model_options(group, &o.model);
  g_option_context_set_main_group(context, group);
  g_option_context_set_summary(context,
      "What each format of weights costs: errors of random products against double "
      "precision, and with --model how far the model's logits are off, when it is made "
      "to say what it says in floats.");
  int status = tool_parse(context, argc, argv, error);
  g_option_context_free(context);
  if (!status && o.frames < 1)
    status = moshi_fail(error, MOSHI_ERROR_ARGUMENT, "--frames is 1 or more");
  if (!status && o.model.model)
    status = measure_model(&o, error);
  else if (!status)
    bench_products(o.json);
  tool_model_options_clear(&o.model);
  g_free(o.in);
  return status;
}
