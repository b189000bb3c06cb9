/* See report.h. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

double
bench_now_ms(void)
{
  return g_get_monotonic_time() / 1e3;
}

static int
compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void
bench_row_finish(BenchRow *row, double *ms, int frames)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  qsort(ms, frames, sizeof *ms, compare);
  row->frames = frames;
  row->ms_min = ms[0];
  row->ms_median = ms[frames / 2];
  row->ms_p99 = ms[(frames * 99 + 99) / 100 - 1];
  row->peak_rss_mb = usage.ru_maxrss / 1024.0;
}

/* The part of the machine's bandwidth that the median frame reached. */
static double
fraction(const BenchRow *row, double machine_gb_s)
{
  double gb_s = row->bytes_per_frame / row->ms_median / 1e6;
  return row->ms_median > 0 && machine_gb_s > 0 ? gb_s / machine_gb_s : 0;
}

static void
print_string(const char *name, const char *text)
{
  printf("\"%s\": \"", name);
  for (; *text; text++)
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < 0x20)
      printf("\\u%04x", *text);
    else
      putchar(*text);
  printf("\", ");
}

static void
print_json(const BenchRow *row, double machine_gb_s)
{
  printf("{");
  print_string("bench", row->bench);
  print_string("shape", row->shape);
  print_string("quantization", row->quantization);
  print_string("device", row->device);
  printf(
      "\"threads\": %d, \"batch\": %d, \"frames\": %d, \"ms_min\": %.4f, "
      "\"ms_median\": %.4f, \"ms_p99\": %.4f, \"bytes_per_frame\": %.0f, "
      "\"machine_gb_s\": %.2f, \"bandwidth_fraction\": %.4f, \"peak_rss_mb\": %.1f}\n",
      row->threads, row->batch, row->frames, row->ms_min, row->ms_median, row->ms_p99,
      row->bytes_per_frame, machine_gb_s, fraction(row, machine_gb_s),
      row->peak_rss_mb);
}

static void
print_text(const BenchRow *row, double machine_gb_s)
{
  printf("%-12s %s, %s, batch %d: %.3f ms (min %.3f, p99 %.3f of %d frames), "
         "%.1f MB at %.1f GB/s, %.0f %% of the machine's, peak %.0f MB\n",
      row->bench, row->shape, row->device, row->batch, row->ms_median, row->ms_min,
      row->ms_p99, row->frames, row->bytes_per_frame / 1e6,
      row->bytes_per_frame / row->ms_median / 1e6, 100 * fraction(row, machine_gb_s),
      row->peak_rss_mb);
}

void
bench_rows_print(const GArray *rows, double machine_gb_s, bool json)
{
  if (!json)
    printf("the machine reads %.1f GB/s\n", machine_gb_s);
  for (guint i = 0; i < rows->len; i++)
    (json ? print_json : print_text)(&g_array_index(rows, BenchRow, i), machine_gb_s);
}

/* ------------------------------------------------------------- bandwidth */

enum { BUFFER_BYTES = 512 << 20, PASSES = 8, LANES = 8 };

typedef struct {
  const guint64 *data;
  size_t n;
  guint64 sum;
} Share;

static void *
read_share(void *arg)
{
  Share *s = arg;
  guint64 sum[LANES] = {0};
  for (size_t i = 0; i < s->n; i += LANES)
    for (int lane = 0; lane < LANES; lane++)
      sum[lane] += s->data[i + lane];
  for (int lane = 0; lane < LANES; lane++)
    s->sum += sum[lane];
  return NULL;
}

static double
timed_pass(Share *shares, GThread **workers, int threads)
{
  double began = bench_now_ms();
  for (int i = 1; i < threads; i++)
    workers[i] = g_thread_new("read", read_share, &shares[i]);
  read_share(&shares[0]);
  for (int i = 1; i < threads; i++)
    g_thread_join(workers[i]);
  return bench_now_ms() - began;
}

double
bench_machine_gb_s(int threads)
{
  size_t n = BUFFER_BYTES / sizeof(guint64) / threads / LANES * LANES;
  guint64 *data = g_try_new(guint64, n * threads);
  if (!data)
    return 0;
  for (size_t i = 0; i < n * threads; i++)
    data[i] = i;
  Share *shares = g_new0(Share, threads);
  GThread **workers = g_new0(GThread *, threads);
  for (int i = 0; i < threads; i++)
    shares[i] = (Share){.data = data + i * n, .n = n};
  double best = G_MAXDOUBLE;
  for (int pass = 0; pass < PASSES; pass++)
    best = MIN(best, timed_pass(shares, workers, threads));
  /* The sums are used, so that nobody leaves the reading out. */
  guint64 sum = 0;
  for (int i = 0; i < threads; i++)
    sum += shares[i].sum;
  g_free(shares);
  g_free(workers);
  g_free(data);
  return sum ? n * threads * sizeof(guint64) / best / 1e6 : 0;
}
