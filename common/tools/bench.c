/* moshi-bench: how long a frame takes, and how near that is to what the
 * machine's memory allows.
 *
 *   mimi     encodes and decodes; rows mimi-encode and mimi-decode
 *   lm       a whole step, and its depth transformer alone; lm-step, lm-depth
 *   start    from looking for a model to the first token; start
 *   kernels  checks every tier of every kernel, or times them with --bench
 *   quality  what each format of weights does to products and to a model
 *
 * With --streams it tells how many streams hold real time: rows mimi-streams,
 * lm-streams. Models are files (--model), or shapes with random weights (--shape). */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kernels/check.h"
#include "../device/cores.h"
#include "../engine/model.h"
#include "../error.h"
#include "bench.h"
#include "quality.h"
#include "random.h"

enum { MAX_FRAMES = 1000000, MAX_BATCH = 4096, MAX_SECONDS = 3600, MAX_BUSY = 256 };

/* What was done to the weights of the model's file, or of its shape. */
static const char *
quantization_of(const BenchRun *run)
{
  const ToolModelOptions *o = &run->options->model;
  if (moshi_model_info(run->model)->frame_size && o->weights)
    return o->weights;
  return o->quantization ? o->quantization : "none";
}

BenchRow *
bench_add_row(BenchRun *run, const char *bench)
{
  const BenchOptions *o = run->options;
  const MoshiModelInfo *info = moshi_model_info(run->model);
  BenchRow row = {.shape = o->shape ? o->shape : info->path,
      .quantization = quantization_of(run),
      .threads = o->model.threads ? o->model.threads : moshi_cores(),
      .batch = o->batch,
      .context = o->context ? o->context : info->context,
      .filled = o->filled,
      .kv_type = o->kv_type ? o->kv_type : "f32"};
  g_strlcpy(row.bench, bench, sizeof row.bench);
  g_strlcpy(row.device, moshi_model_device(run->model), sizeof row.device);
  g_array_append_val(run->rows, row);
  return &g_array_index(run->rows, BenchRow, run->rows->len - 1);
}

double
bench_middle(const BenchRun *run)
{
  return BENCH_WARM_UP + run->options->frames / 2.0;
}

static double
waited_ms(const BenchRun *run)
{
  MoshiDevice *d = moshi_model_get_device(run->model);
  return d->ops->waited_s ? 1e3 * d->ops->waited_s(d) : 0;
}

/* The machine's speed beside the frames. It may change from one second to the next, as
 * others share its memory, so that each frame is held against the better one of the
 * reads before and after it. */
typedef struct {
  const BenchRun *run;
  double *gb_s;   /* for each frame */
  int known;      /* frames that have theirs */
  double last;    /* GB/s */
  double read_ms; /* when that was */
} Beside;

/* After `frames` of them. */
static void
read_beside(Beside *b, int frames)
{
  enum { PARK_US = 1000, APART_MS = 100 };
  bool last = frames == b->run->options->frames;
  if (frames && !last && bench_now_ms() - b->read_ms < APART_MS)
    return;
  g_usleep(PARK_US); /* the workers of the pool still look for work */
  double now = bench_meter_gb_s(b->run->meter);
  for (; b->known < frames; b->known++)
    b->gb_s[b->known] = MAX(b->last, now);
  b->last = now;
  b->read_ms = bench_now_ms();
}

/* ms: not yet sorted. */
static void
set_machine(BenchRow *row, const Beside *b, const double *ms, int frames)
{
  double *shares = g_new(double, frames);
  for (int i = 0; i < frames; i++)
    shares[i] = b->gb_s[i] > 0 ? 1 / (ms[i] * b->gb_s[i]) : 0;
  row->share = bench_median(shares, frames);
  row->machine_gb_s = bench_median(b->gb_s, frames);
  g_free(shares);
}

BenchRow *
bench_frames(BenchRun *run, const char *bench,
    int (*frame)(void *stream, MoshiError *error), void *stream, MoshiError *error)
{
  int frames = run->options->frames, status = MOSHI_OK;
  double *ms = g_new(double, frames), cpu = 0, waited = 0, sum = 0;
  Beside beside = {.run = run, .gb_s = g_new0(double, frames)};
  bool held =
      !moshi_model_get_device(run->model)->ops->copy_gb_s && !run->options->busy;
  double start = bench_now_ms();
  for (int i = -BENCH_WARM_UP; !status && i < frames; i++) {
    if (held && i >= 0)
      read_beside(&beside, i);
    if (i == 0)
      waited = waited_ms(run);
    if (run->options->busy)
      bench_sleep_until(start + i * (double)BENCH_PERIOD_MS);
    double began = bench_now_ms(), cpu_began = bench_cpu_ms();
    status = frame(stream, error);
    if (i < 0)
      continue;
    sum += ms[i] = bench_now_ms() - began;
    cpu += bench_cpu_ms() - cpu_began;
  }
  waited = waited_ms(run) - waited;
  BenchRow *row = status ? NULL : bench_add_row(run, bench);
  if (row) {
    row->cpu_ms = cpu / frames;
    row->host_ms = waited > 0 ? (sum - waited) / frames : 0;
    if (held) {
      read_beside(&beside, frames);
      set_machine(row, &beside, ms, frames);
    }
    bench_row_finish(row, ms, frames);
  }
  g_free(beside.gb_s);
  g_free(ms);
  return row;
}

/* ---------------------------------------------------------- command line */

static char *
describe(void)
{
  GString *text = g_string_new("Shapes:\n");
  for (const Shape *shape = bench_shapes; shape->name; shape++)
    g_string_append_printf(text, "  %-16s%s\n", shape->name, shape->about);
  g_string_append(text, "\nFormats of a shape's language model, for --quantization, "
                        "beside none, q8 and q4:\n");
  for (const Format *f = formats; f->name; f++)
    g_string_append_printf(text, "  %-16s%s\n", f->name, f->about);
  return g_string_free(text, FALSE);
}

static int
parse(BenchOptions *o, int argc, char **argv, MoshiError *error)
{
  const GOptionEntry entries[] = {
      {"shape", 's', 0, G_OPTION_ARG_STRING, &o->shape,
          "Random weights of a known shape instead of a model", "SHAPE"},
      {"batch", 'b', 0, G_OPTION_ARG_STRING, &o->batches,
          "Streams at once (default: 1); one after the other, where there are several",
          "N,N"},
      {"frames", 'n', 0, G_OPTION_ARG_INT, &o->frames,
          "Frames to measure (default: 50)", "N"},
      {"codebooks", 'k', 0, G_OPTION_ARG_INT, &o->codebooks,
          "Of Mimi (default: the model's)", "K"},
      {"context", 'c', 0, G_OPTION_ARG_INT, &o->context,
          "Steps of attention of the language model (default: the model's)", "N"},
      {"kv-type", 0, 0, G_OPTION_ARG_STRING, &o->kv_type,
          "Keep keys and values as f32 (default), bf16 or int8", "TYPE"},
      {"filled", 'f', 0, G_OPTION_ARG_INT, &o->filled,
          "Steps that were done before the measured ones (default: 0)", "N"},
      {"streams", 0, 0, G_OPTION_ARG_STRING, &o->streams,
          "Instead of timing one session: try N of them, each with a thread and a "
          "frame "
          "due every 80 ms; auto finds how many are done in time 99 times of 100",
          "N|auto"},
      {"seconds", 0, 0, G_OPTION_ARG_INT, &o->seconds,
          "To try a number of streams for (default: 5)", "N"},
      {"busy", 0, 0, G_OPTION_ARG_INT, &o->busy,
          "A frame each 80 ms, as it is live; then once more beside N processes that "
          "work all the time",
          "N"},
      {"json", 'j', 0, G_OPTION_ARG_NONE, &o->json, "One JSON object a row", NULL},
      {NULL}};
  GOptionContext *context = g_option_context_new("");
  GOptionGroup *group = g_option_group_new("main", "", "", NULL, NULL);
  g_option_group_add_entries(group, entries);
  tool_add_model_options(group, &o->model);
  g_option_context_set_main_group(context, group);
  char *description = describe();
  g_option_context_set_description(context, description);
  int status = tool_parse(context, argc, argv, error);
  g_option_context_free(context);
  g_free(description);
  if (status)
    return status;
  if (o->frames < 1 || o->frames > MAX_FRAMES || o->codebooks < 0)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--frames is 1 to %d, --codebooks 0 or more", MAX_FRAMES);
  if (o->context < 0 || o->filled < 0 || o->seconds < 1 || o->seconds > MAX_SECONDS)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--context and --filled are 0 or more, --seconds is 1 to %d", MAX_SECONDS);
  if (o->busy < 0 || o->busy > MAX_BUSY)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT, "--busy is 0 to %d", MAX_BUSY);
  if (o->shape && o->model.model)
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "either --model or --shape, not both");
  if (o->shape && !bench_shape_find(o->shape))
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "there is no shape \"%s\"; see --help", o->shape);
  return MOSHI_OK;
}

/* Random weights may be of every format, also of those that nobody converts to. */
static MoshiModel *
load_shape(
    const BenchOptions *o, unsigned parts, RandomWeights **weights, MoshiError *error)
{
  const MoshiModelOptions open = {.parts = parts,
      .device = o->model.device,
      .threads = o->model.threads,
      .mimi_weights = o->model.weights};
  const char *name = o->model.quantization ? o->model.quantization : "none";
  const Format *format = format_find(name);
  if (format)
    return bench_random_model(
        weights, bench_shape_find(o->shape), format, &open, error);
  moshi_fail(error, MOSHI_ERROR_ARGUMENT,
      "--quantization %s is not known; a --shape can have none, q8, q4 or one of the "
      "formats in --help",
      name);
  return NULL;
}

static MoshiModel *
load(const BenchOptions *o, unsigned parts, RandomWeights **weights, MoshiError *error)
{
  return o->shape ? load_shape(o, parts, weights, error)
                  : tool_load_model(&o->model, parts, error);
}

static int
mimi(BenchRun *run, MoshiError *error)
{
  const BenchOptions *o = run->options;
  const MoshiModelInfo *info = moshi_model_info(run->model);
  run->codebooks = o->codebooks ? o->codebooks : info->default_codebooks;
  if (run->codebooks > info->codebooks)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--codebooks %d is too many; the model has %d", run->codebooks,
        info->codebooks);
  return o->streams ? bench_streams(run, &bench_codec_streams, error)
                    : bench_mimi(run, error);
}

static int
lm(BenchRun *run, MoshiError *error)
{
  return run->options->streams ? bench_streams(run, &bench_lm_streams, error)
                               : bench_lm(run, error);
}

/* The command for each batch. */
static int
run_batches(BenchRun *run, BenchOptions *o, int (*command)(BenchRun *, MoshiError *),
    MoshiError *error)
{
  char **batches = g_strsplit(o->batches ? o->batches : "1", ",", -1);
  int status = 0;
  for (int i = 0; !status && batches[i]; i++) {
    uint64_t batch = 0;
    status = tool_parse_u64("--batch", batches[i], &batch, error);
    if (!status && (batch < 1 || batch > MAX_BATCH))
      status = moshi_fail(error, MOSHI_ERROR_ARGUMENT, "--batch is 1 to %d", MAX_BATCH);
    o->batch = batch;
    if (!status)
      status = command(run, error);
  }
  g_strfreev(batches);
  return status;
}

/* Again, beside processes that want the processor all the time. */
static int
run_busy(BenchRun *run, BenchOptions *o, int (*command)(BenchRun *, MoshiError *),
    MoshiError *error)
{
  pid_t busy[MAX_BUSY];
  guint quiet = run->rows->len;
  for (int i = 0; i < run->options->busy; i++) {
    busy[i] = fork();
    if (busy[i] == 0)
      for (volatile int work = 0;; work++)
        if (getppid() == 1) /* nobody is left to end it */
          _exit(0);
  }
  int status = run_batches(run, o, command, error);
  for (int i = 0; i < run->options->busy; i++)
    if (busy[i] > 0 && !kill(busy[i], SIGKILL))
      waitpid(busy[i], NULL, 0);
  for (guint i = quiet; !status && i < run->rows->len; i++) {
    BenchRow *row = &g_array_index(run->rows, BenchRow, i);
    row->busy = run->options->busy;
    row->quiet_ms = g_array_index(run->rows, BenchRow, i - quiet).ms_median;
  }
  return status;
}

/* Of the model's device, now. */
static double
device_gb_s(const BenchRun *run)
{
  MoshiDevice *d = moshi_model_get_device(run->model);
  return d->ops->copy_gb_s ? d->ops->copy_gb_s(d) : bench_meter_gb_s(run->meter);
}

static int
run_command(unsigned parts, int (*command)(BenchRun *, MoshiError *), int argc,
    char **argv, MoshiError *error)
{
  BenchOptions o = {.frames = 50, .seconds = 5};
  RandomWeights *weights = NULL;
  BenchRun run = {.options = &o, .rows = g_array_new(FALSE, FALSE, sizeof(BenchRow))};
  int status = parse(&o, argc, argv, error);
  if (!status)
    run.meter = bench_meter_new(o.model.threads ? o.model.threads : moshi_cores());
  run.began = bench_now_ms();
  if (!status && !(run.model = load(&o, parts, &weights, error)))
    status = error->status;
  if (!status)
    status = run_batches(&run, &o, command, error);
  if (!status && o.busy)
    status = run_busy(&run, &o, command, error);
  if (run.rows->len) /* also those before a batch for which there is no memory */
    bench_rows_print(run.rows, device_gb_s(&run), o.json);
  bench_meter_free(run.meter);
  moshi_model_unref(run.model);
  bench_random_free(weights);
  g_array_unref(run.rows);
  tool_model_options_clear(&o.model);
  g_free(o.shape);
  g_free(o.batches);
  g_free(o.kv_type);
  g_free(o.streams);
  return status;
}

static void
print_help(void)
{
  printf(
      "Usage: moshi-bench mimi|lm|start --model MODEL|--shape SHAPE [OPTION…]\n"
      "       moshi-bench kernels [--bench] [--json] [OPTION…] [NAME…]\n"
      "       moshi-bench kernels --device DEVICE [--json] [--shrink N]\n"
      "       moshi-bench quality [--model MODEL] [OPTION…]\n\n"
      "How long a frame takes, and how near that is to the machine's limit; and what "
      "formats of weights cost in quality.\n"
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
    status = run_command(
        MOSHI_PART_ENCODER | MOSHI_PART_DECODER, mimi, argc - 1, argv + 1, &error);
  else if (!strcmp(name, "lm"))
    status = run_command(MOSHI_PART_LM, lm, argc - 1, argv + 1, &error);
  else if (!strcmp(name, "start"))
    status = run_command(MOSHI_PART_LM, bench_start, argc - 1, argv + 1, &error);
  else if (!strcmp(name, "kernels") && argc > 2 &&
           g_str_has_prefix(argv[2], "--device"))
    status = bench_card(argc - 1, argv + 1, &error);
  else if (!strcmp(name, "kernels"))
    return moshi_check_kernels(argc - 2, argv + 2);
  else if (!strcmp(name, "quality"))
    status = bench_quality(argc - 1, argv + 1, &error);
  else
    status = moshi_fail(&error, MOSHI_ERROR_ARGUMENT,
        "\"%s\" is not mimi, lm, start, kernels or quality; see moshi-bench --help",
        name);
  return status ? tool_report("moshi-bench", &error) : 0;
}
