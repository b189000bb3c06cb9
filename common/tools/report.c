/* See report.h. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kernels/check.h"

double
bench_now_ms(void)
{
  return g_get_monotonic_time() / 1e3;
}

void
bench_sleep_until(double ms)
{
  double left = ms - bench_now_ms();
  if (left > 0)
    g_usleep(left * 1000);
}

double
bench_cpu_ms(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double
bench_median(double *x, int n)
{
  qsort(x, n, sizeof *x, compare);
  return x[n / 2];
}

void
bench_row_finish(BenchRow *row, double *ms, int frames)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  row->frames = frames;
  row->ms_median = bench_median(ms, frames);
  row->ms_min = ms[0];
  row->ms_p99 = ms[(frames * 99 + 99) / 100 - 1];
  row->ms_max = ms[frames - 1];
  row->peak_rss_mb = usage.ru_maxrss / 1024.0;
}

/* The median frame's, or what so many streams want all the time. */
static double
row_gb_s(const BenchRow *row)
{
  return row->bytes_per_frame / (row->streams ? BENCH_PERIOD_MS : row->ms_median) / 1e6;
}

static double
fraction(const BenchRow *row, double machine_gb_s)
{
  return row->share > 0 ? row->bytes_per_frame * row->share / 1e6
                        : row_gb_s(row) / machine_gb_s;
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
  printf("\"threads\": %d, \"batch\": %d, \"frames\": %d, \"ms_min\": %.4f, "
         "\"ms_median\": %.4f, \"ms_p99\": %.4f, \"bytes_per_frame\": %.0f, "
         "\"machine_gb_s\": %.2f, \"bandwidth_fraction\": %.4f, \"peak_rss_mb\": %.1f, "
         "\"ms_max\": %.4f, \"cpu_ms\": %.4f",
      row->threads, row->batch, row->frames, row->ms_min, row->ms_median, row->ms_p99,
      row->bytes_per_frame, machine_gb_s, fraction(row, machine_gb_s), row->peak_rss_mb,
      row->ms_max, row->cpu_ms);
  if (row->host_ms > 0)
    printf(", \"host_ms\": %.4f", row->host_ms);
  if (row->context)
    printf(", \"context\": %d, \"filled\": %d, \"kv_type\": \"%s\"", row->context,
        row->filled, row->kv_type);
  if (row->streams)
    printf(", \"streams\": %d, \"holds\": %s", row->streams,
        row->holds ? "true" : "false");
  if (row->busy)
    printf(", \"busy\": %d, \"worst_to_quiet\": %.2f", row->busy,
        row->ms_max / row->quiet_ms);
  printf("}\n");
}

static void
print_text(const BenchRow *row, double machine_gb_s)
{
  printf("%-12s %s, %s, %s, batch %d: ", row->bench, row->shape, row->quantization,
      row->device, row->batch);
  if (row->busy)
    printf("beside %d processes, the worst frame %.2f times a quiet one, ", row->busy,
        row->ms_max / row->quiet_ms);
  if (row->streams)
    printf("%d streams %s 80 ms, done after ", row->streams,
        row->holds ? "hold" : "do not hold");
  if (row->host_ms > 0)
    printf("%.3f ms of the host, ", row->host_ms);
  printf("%.3f ms (min %.3f, p99 %.3f of %d frames), %.3f ms of the processor, %.1f MB "
         "at %.1f GB/s, %.0f %% of the machine's %.1f, peak %.0f MB\n",
      row->ms_median, row->ms_min, row->ms_p99, row->frames, row->cpu_ms,
      row->bytes_per_frame / 1e6, row_gb_s(row), 100 * fraction(row, machine_gb_s),
      machine_gb_s, row->peak_rss_mb);
}

struct BenchMeter {
  pid_t child;
  int ask, answer;
};

BenchMeter *
bench_meter_new(int threads)
{
  int ask[2], answer[2];
  if (pipe(ask))
    return NULL;
  if (pipe(answer)) {
    close(ask[0]);
    close(ask[1]);
    return NULL;
  }
  pid_t child = fork();
  if (child == 0) {
    close(ask[1]);
    close(answer[0]);
    moshi_check_answer_reads(threads, ask[0], answer[1]);
    _exit(0);
  }
  close(ask[0]);
  close(answer[1]);
  BenchMeter *meter = g_new(BenchMeter, 1);
  *meter = (BenchMeter){child, ask[1], answer[0]};
  return meter;
}

double
bench_meter_gb_s(const BenchMeter *meter)
{
  double gb_s;
  if (!meter || write(meter->ask, "", 1) != 1 ||
      read(meter->answer, &gb_s, sizeof gb_s) != sizeof gb_s)
    return 0;
  return gb_s;
}

void
bench_meter_free(BenchMeter *meter)
{
  if (!meter)
    return;
  close(meter->ask);
  close(meter->answer);
  if (meter->child > 0)
    waitpid(meter->child, NULL, 0);
  g_free(meter);
}

void
bench_rows_print(const GArray *rows, double machine_gb_s, bool json)
{
  for (guint i = 0; i < rows->len; i++) {
    const BenchRow *row = &g_array_index(rows, BenchRow, i);
    (json ? print_json : print_text)(
        row, row->machine_gb_s > 0 ? row->machine_gb_s : machine_gb_s);
  }
}
