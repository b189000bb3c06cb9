/* The rows that moshi-bench prints, and the machine they are held against. */
#ifndef MOSHI_REPORT_H
#define MOSHI_REPORT_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
  char bench[32]; /* "mimi-encode", "lm-step", … */
  const char *shape, *quantization;
  char device[96];
  int threads, batch, frames;
  double ms_min, ms_median, ms_p99, ms_max; /* of one frame of the whole batch */
  double cpu_ms;                            /* of all cores, for such a frame */
  double host_ms;         /* mean without waiting for the device; 0: that is the host */
  double bytes_per_frame; /* of weights and cache that a frame touches */
  /* Of the machine, beside the frames: GB/s in their middle, and the middle of
   * 1/(ms·GB/s) of each; 0 where there is one figure for all rows. */
  double machine_gb_s, share;
  double peak_rss_mb;  /* of the process so far */
  int context, filled; /* steps of attention; 0 where there are none */
  const char *kv_type; /* of its keys and values */
  /* Sessions that run at once, each with a frame every 80 ms; 0: one, as fast as it
   * can. Times are then from when a frame is due, and bytes those of all. */
  int streams;
  bool holds;
  int busy;        /* processes that worked beside it */
  double quiet_ms; /* the median without them */
} BenchRow;

enum { BENCH_PERIOD_MS = 80 };

double bench_now_ms(void);
void bench_sleep_until(double ms);
/* Of the process, on all cores. */
double bench_cpu_ms(void);
/* Sorts ms and fills frames, times and peak_rss_mb. */
void bench_row_finish(BenchRow *row, double *ms, int frames);
/* What so many threads read together from memory, measured in a process of its own,
 * whose memory does not count here. Begun before there are other threads. NULL where
 * there can be none, and then 0 GB/s. */
typedef struct BenchMeter BenchMeter;
BenchMeter *bench_meter_new(int threads);
double bench_meter_gb_s(const BenchMeter *meter);
void bench_meter_free(BenchMeter *meter);
/* The middle one of n numbers, which are sorted. */
double bench_median(double *x, int n);
/* machine_gb_s: of rows that have none of their own. */
void bench_rows_print(const GArray *rows, double machine_gb_s, bool json);

#endif
