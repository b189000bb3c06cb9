/* moshi-bench: how long a frame takes, and how near that is to what the
 * machine's memory allows.
 *
 *   mimi     encodes and decodes; rows mimi-encode and mimi-decode
 *   lm       a whole step, and its depth transformer alone; lm-step, lm-depth
 *   kernels  checks every tier of every kernel, or times them with --bench
 *
 * Models are files (--model), or shapes with random weights (--shape). */
#include <stdio.h>
#include <string.h>

#include "../../kernels/check.h"
#include "../device/cores.h"
#include "../lm-session.h"
#include "report.h"
#include "shapes.h"
#include "tool.h"
#include "traffic.h"

/* Frames before the measured ones: caches, pages and the pool warm up. */
enum { WARM_UP = 4, MAX_FRAMES = 1000000 };

typedef struct {
  ToolModelOptions model;
  char *shape;
  int batch, frames, codebooks;
  gboolean json;
} Bench;

typedef struct {
  const Bench *options;
  MoshiModel *model;
  GArray *rows;
  double *ms; /* [frames] */
} Run;

static BenchRow *
add_row(Run *run, const char *bench)
{
  const Bench *o = run->options;
  BenchRow row = {.shape = o->shape ? o->shape : moshi_model_info(run->model)->path,
      .quantization = o->model.quantization ? o->model.quantization : "none",
      .threads = o->model.threads ? o->model.threads : moshi_cores(),
      .batch = o->batch};
  g_strlcpy(row.bench, bench, sizeof row.bench);
  g_strlcpy(row.device, moshi_model_device(run->model), sizeof row.device);
  g_array_append_val(run->rows, row);
  return &g_array_index(run->rows, BenchRow, run->rows->len - 1);
}

/* Steps of a frame after the start, in the middle of the measurement. */
static double
middle(const Run *run)
{
  return WARM_UP + run->options->frames / 2.0;
}

/* ------------------------------------------------------------------ Mimi */

static int
bench_encoder(Run *run, int codebooks, uint16_t *codes, float *pcm, MoshiError *error)
{
  const Bench *o = run->options;
  MimiEncoder *encoder = mimi_encoder_new(run->model, o->batch, codebooks, error);
  int status = encoder ? MOSHI_OK : error->status;
  for (int i = -WARM_UP; !status && i < o->frames; i++) {
    double began = bench_now_ms();
    status = mimi_encoder_step(encoder, pcm, NULL, codes, error);
    if (i >= 0)
      run->ms[i] = bench_now_ms() - began;
  }
  mimi_encoder_free(encoder);
  if (status)
    return status;
  BenchRow *row = add_row(run, "mimi-encode");
  int steps = moshi_model_mimi_config(run->model)->steps;
  row->bytes_per_frame =
      traffic_mimi_encode(run->model, codebooks, o->batch, steps * middle(run));
  bench_row_finish(row, run->ms, o->frames);
  return MOSHI_OK;
}

static int
bench_decoder(Run *run, int codebooks, uint16_t *codes, float *pcm, MoshiError *error)
{
  const Bench *o = run->options;
  MimiDecoder *decoder = mimi_decoder_new(run->model, o->batch, error);
  int status = decoder ? MOSHI_OK : error->status;
  for (int i = -WARM_UP; !status && i < o->frames; i++) {
    double began = bench_now_ms();
    status = mimi_decoder_step(decoder, codes, codebooks, NULL, pcm, error);
    if (i >= 0)
      run->ms[i] = bench_now_ms() - began;
  }
  mimi_decoder_free(decoder);
  if (status)
    return status;
  BenchRow *row = add_row(run, "mimi-decode");
  int steps = moshi_model_mimi_config(run->model)->steps;
  row->bytes_per_frame =
      traffic_mimi_decode(run->model, codebooks, o->batch, steps * middle(run));
  bench_row_finish(row, run->ms, o->frames);
  return MOSHI_OK;
}

static int
bench_mimi(Run *run, MoshiError *error)
{
  const Bench *o = run->options;
  const MoshiModelInfo *info = moshi_model_info(run->model);
  int codebooks = o->codebooks ? o->codebooks : info->default_codebooks;
  if (codebooks > info->codebooks)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--codebooks %d is too many; the model has %d", codebooks, info->codebooks);
  size_t samples = (size_t)o->batch * info->frame_size;
  float *pcm = g_new(float, samples);
  uint16_t *codes = g_new0(uint16_t, (size_t)o->batch * codebooks);
  GRand *rand = g_rand_new_with_seed(1);
  for (size_t i = 0; i < samples; i++)
    pcm[i] = g_rand_double_range(rand, -0.3, 0.3);
  g_rand_free(rand);
  int status = bench_encoder(run, codebooks, codes, pcm, error);
  if (!status)
    status = bench_decoder(run, codebooks, codes, pcm, error);
  g_free(pcm);
  g_free(codes);
  return status;
}

/* -------------------------------------------------------- language model */

static int
bench_step(Run *run, MoshiSession *session, MoshiError *error)
{
  const Bench *o = run->options;
  const MoshiModelInfo *info = moshi_model_info(run->model);
  int heard = o->batch * info->user_codebooks;
  int32_t *user = g_new(int32_t, MAX(heard, 1));
  int32_t *tokens = g_new(int32_t, o->batch * (1 + info->own_codebooks));
  GRand *rand = g_rand_new_with_seed(1);
  int status = MOSHI_OK;
  for (int i = -WARM_UP; !status && i < o->frames; i++) {
    for (int j = 0; j < heard; j++)
      user[j] = g_rand_int_range(rand, 0, info->lm_codebook_size);
    double began = bench_now_ms();
    status = moshi_session_step(session, user, NULL, tokens, NULL, error);
    if (i >= 0)
      run->ms[i] = bench_now_ms() - began;
  }
  g_rand_free(rand);
  g_free(user);
  g_free(tokens);
  if (status)
    return status;
  BenchRow *row = add_row(run, "lm-step");
  row->bytes_per_frame = traffic_lm_step(session, middle(run));
  bench_row_finish(row, run->ms, o->frames);
  return MOSHI_OK;
}

/* After a step, whose hidden state and text token it starts from. */
static int
bench_depth(Run *run, MoshiSession *session, MoshiError *error)
{
  const Bench *o = run->options;
  int status = MOSHI_OK;
  for (int i = -WARM_UP; !status && i < o->frames; i++) {
    double began = bench_now_ms();
    moshi_lm_depth_run(session, o->batch);
    status = session->d->ops->sync(session->d, error);
    if (i >= 0)
      run->ms[i] = bench_now_ms() - began;
  }
  if (status)
    return status;
  BenchRow *row = add_row(run, "lm-depth");
  row->bytes_per_frame = traffic_lm_depth(session);
  bench_row_finish(row, run->ms, o->frames);
  return MOSHI_OK;
}

static int
bench_lm(Run *run, MoshiError *error)
{
  MoshiSessionOptions options;
  moshi_session_options_init(&options, run->model);
  options.batch = run->options->batch;
  MoshiSession *session = moshi_session_new(run->model, &options, error);
  if (!session)
    return error->status;
  int status = bench_step(run, session, error);
  if (!status && moshi_model_info(run->model)->own_codebooks)
    status = bench_depth(run, session, error);
  moshi_session_free(session);
  return status;
}

/* ---------------------------------------------------------- command line */

static char *
describe_shapes(void)
{
  GString *text = g_string_new("Shapes:\n");
  for (const Shape *shape = bench_shapes; shape->name; shape++)
    g_string_append_printf(text, "  %-12s%s\n", shape->name, shape->about);
  return g_string_free(text, FALSE);
}

static int
parse(Bench *o, int argc, char **argv, MoshiError *error)
{
  const GOptionEntry entries[] = {
      {"shape", 's', 0, G_OPTION_ARG_STRING, &o->shape,
          "Random weights of a known shape instead of a model", "SHAPE"},
      {"batch", 'b', 0, G_OPTION_ARG_INT, &o->batch, "Streams at once (default: 1)",
          "N"},
      {"frames", 'n', 0, G_OPTION_ARG_INT, &o->frames,
          "Frames to measure (default: 50)", "N"},
      {"codebooks", 'k', 0, G_OPTION_ARG_INT, &o->codebooks,
          "Of Mimi (default: the model's)", "K"},
      {"json", 'j', 0, G_OPTION_ARG_NONE, &o->json, "One JSON object a row", NULL},
      {NULL}};
  GOptionContext *context = g_option_context_new("");
  GOptionGroup *group = g_option_group_new("main", "", "", NULL, NULL);
  g_option_group_add_entries(group, entries);
  tool_add_model_options(group, &o->model);
  g_option_context_set_main_group(context, group);
  char *shapes = describe_shapes();
  g_option_context_set_description(context, shapes);
  int status = tool_parse(context, argc, argv, error);
  g_option_context_free(context);
  g_free(shapes);
  if (status)
    return status;
  if (o->batch < 1 || o->frames < 1 || o->frames > MAX_FRAMES || o->codebooks < 0)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--batch and --frames are 1 or more, --frames at most %d", MAX_FRAMES);
  if (o->shape && o->model.model)
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "either --model or --shape, not both");
  if (o->shape && !bench_shape_find(o->shape))
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "there is no shape \"%s\"; see --help", o->shape);
  return MOSHI_OK;
}

static MoshiModel *
load(const Bench *o, unsigned parts, RandomWeights **weights, MoshiError *error)
{
  if (!o->shape)
    return tool_load_model(&o->model, parts, error);
  const MoshiModelOptions open = {
      .parts = parts, .device = o->model.device, .threads = o->model.threads};
  return tool_check_quantization(o->model.quantization, error)
             ? NULL
             : bench_random_model(weights, bench_shape_find(o->shape), &open, error);
}

static int
run_command(unsigned parts, int (*command)(Run *, MoshiError *), int argc, char **argv,
    MoshiError *error)
{
  Bench o = {.batch = 1, .frames = 50};
  RandomWeights *weights = NULL;
  Run run = {.options = &o, .rows = g_array_new(FALSE, FALSE, sizeof(BenchRow))};
  int status = parse(&o, argc, argv, error);
  if (!status && !(run.model = load(&o, parts, &weights, error)))
    status = error->status;
  if (!status) {
    run.ms = g_new(double, o.frames);
    status = command(&run, error);
  }
  if (!status) {
    int threads = g_array_index(run.rows, BenchRow, 0).threads;
    bench_rows_print(run.rows, bench_machine_gb_s(threads), o.json);
  }
  moshi_model_unref(run.model);
  bench_random_free(weights);
  g_array_unref(run.rows);
  g_free(run.ms);
  tool_model_options_clear(&o.model);
  g_free(o.shape);
  return status;
}

static void
print_help(void)
{
  printf("Usage: moshi-bench mimi|lm --model MODEL|--shape SHAPE [OPTION…]\n"
         "       moshi-bench kernels [--bench] [--json] [OPTION…] [NAME…]\n\n"
         "How long a frame takes, and how near that is to the machine's limit.\n"
         "moshi-bench COMMAND --help tells a command's options.\n");
}

int
main(int argc, char **argv)
{
  MoshiError error = {0};
  const char *name = argc > 1 ? argv[1] : "";
  int status;
  if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
    print_help();
    return 0;
  }
  if (!strcmp(name, "mimi"))
    status = run_command(MOSHI_PART_ENCODER | MOSHI_PART_DECODER, bench_mimi, argc - 1,
        argv + 1, &error);
  else if (!strcmp(name, "lm"))
    status = run_command(MOSHI_PART_LM, bench_lm, argc - 1, argv + 1, &error);
  else if (!strcmp(name, "kernels"))
    return moshi_check_kernels(argc - 2, argv + 2);
  else
    status = moshi_fail(&error, MOSHI_ERROR_ARGUMENT,
        "\"%s\" is not mimi, lm or kernels; see moshi-bench --help", name);
  return status ? tool_report("moshi-bench", &error) : 0;
}
