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
  double ms_min, ms_median, ms_p99; /* of one frame of the whole batch */
  double bytes_per_frame;           /* of weights and cache that a frame touches */
  double peak_rss_mb;               /* of the process so far */
} BenchRow;

double bench_now_ms(void);
/* Sorts ms and fills frames, times and peak_rss_mb. */
void bench_row_finish(BenchRow *row, double *ms, int frames);
/* machine_gb_s: what the machine reads in the same run; see below. */
void bench_rows_print(const GArray *rows, double machine_gb_s, bool json);

/* Bytes a second that so many threads read together from memory, in GB: the
 * best of several passes over a buffer larger than any cache. 0 without memory. */
double bench_machine_gb_s(int threads);

#endif
