/* How many streams hold real time: every stream is a thread of its own that shares
 * its steps with the others, a frame of it is due every 80 ms, and streams begin at
 * any moment within those. The machine holds so many streams if 99 of 100 frames are
 * done before the stream's next one is due. */
#include <string.h>

#include "../device/cores.h"
#include "../error.h"
#include "bench.h"

enum { MAX_STREAMS = 4096 };

typedef struct {
  const BenchStreamKind *kind;
  void *stream;
  double first_due;
  int frames;
  double *delays; /* [frames], from due to done */
  MoshiError error;
} Talk;

typedef struct {
  BenchRun *run;
  const BenchStreamKind *kind;
  GPtrArray *streams; /* kept between tries */
} Search;

static void *
talk(void *data)
{
  Talk *t = data;
  for (int i = 0; i < t->frames && !t->error.status; i++) {
    double due = t->first_due + i * (double)BENCH_PERIOD_MS;
    bench_sleep_until(due);
    t->kind->frame(t->stream, &t->error);
    t->delays[i] = bench_now_ms() - due;
  }
  return NULL;
}

/* Opens streams up to n; their first frame is not measured. */
static int
open_streams(Search *s, int n, MoshiError *error)
{
  while ((int)s->streams->len < n) {
    void *stream = s->kind->open(s->run, s->streams->len, error);
    if (!stream)
      return error->status;
    g_ptr_array_add(s->streams, stream);
    if (s->kind->frame(stream, error))
      return error->status;
  }
  return MOSHI_OK;
}

/* Runs n streams for the wanted time; fills *row. */
static int
try_streams(Search *s, int n, BenchRow *row, MoshiError *error)
{
  int frames = s->run->options->seconds * 1000 / BENCH_PERIOD_MS;
  int status = open_streams(s, n, error);
  if (status)
    return status;
  Talk *talks = g_new0(Talk, n);
  GThread **threads = g_new0(GThread *, n);
  double *delays = g_new(double, (size_t)n *frames);
  GRand *rand = g_rand_new_with_seed(n);
  double start = bench_now_ms() + BENCH_PERIOD_MS, cpu = bench_cpu_ms();
  for (int i = 0; i < n; i++) {
    talks[i] = (Talk){.kind = s->kind,
        .stream = s->streams->pdata[i],
        .first_due = start + g_rand_double_range(rand, 0, BENCH_PERIOD_MS),
        .frames = frames,
        .delays = delays + (size_t)i * frames};
    threads[i] = g_thread_new("stream", talk, &talks[i]);
  }
  for (int i = 0; i < n; i++) {
    g_thread_join(threads[i]);
    if (talks[i].error.status && !status) {
      *error = talks[i].error;
      status = error->status;
    }
  }
  if (!status) {
    row->cpu_ms = (bench_cpu_ms() - cpu) / ((double)n * frames);
    row->streams = n;
    bench_row_finish(row, delays, n * frames);
    row->holds = row->ms_p99 <= BENCH_PERIOD_MS;
  }
  g_rand_free(rand);
  g_free(delays);
  g_free(threads);
  g_free(talks);
  return status;
}

/* A first guess, from what frames of a lone stream take. */
static int
guess(Search *s, int threads, MoshiError *error)
{
  enum { FRAMES = 8 };
  if (open_streams(s, 1, error))
    return 0;
  double began = bench_now_ms();
  for (int i = 0; i < FRAMES; i++)
    if (s->kind->frame(s->streams->pdata[0], error))
      return 0;
  double ms = (bench_now_ms() - began) / FRAMES;
  int at_once = MAX(moshi_cores() / threads, 1);
  return CLAMP((int)(at_once * BENCH_PERIOD_MS / ms), 1, MAX_STREAMS);
}

/* The largest number that holds, to 2 %: up or down from the guess in steps of a
 * quarter, then halving. */
static int
search(Search *s, BenchRow *best, MoshiError *error)
{
  int holds = 0, fails = MAX_STREAMS + 1, n = guess(s, best->threads, error);
  int status = n ? MOSHI_OK : error->status;
  BenchRow row = *best;
  while (!status && fails - holds > 1 + holds / 50) {
    status = try_streams(s, n, &row, error);
    if (row.holds)
      holds = n;
    else
      fails = n;
    if (row.holds || !holds)
      *best = row;
    if (fails > MAX_STREAMS)
      n = MIN(n + 1 + n / 4, MAX_STREAMS);
    else if (!holds)
      n = n - 1 - n / 4;
    else
      n = (holds + fails) / 2;
  }
  return status;
}

int
bench_streams(BenchRun *run, const BenchStreamKind *kind, MoshiError *error)
{
  const char *wanted = run->options->streams;
  uint64_t n = 0;
  if (strcmp(wanted, "auto") && tool_parse_u64("--streams", wanted, &n, error))
    return error->status;
  if (n > MAX_STREAMS)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--streams %s; 1 to %d can be tried, and auto searches", wanted, MAX_STREAMS);
  BenchRow *row = bench_add_row(run, kind->bench);
  Search s = {run, kind, g_ptr_array_new_with_free_func(kind->close)};
  int status = n ? try_streams(&s, n, row, error) : search(&s, row, error);
  if (!status)
    row->bytes_per_frame = row->streams * kind->bytes(run, s.streams->pdata[0]);
  g_ptr_array_unref(s.streams);
  return status;
}
