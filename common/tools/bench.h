/* moshi-bench: the options of a run, its rows, and the commands that fill them. */
#ifndef MOSHI_BENCH_H
#define MOSHI_BENCH_H

#include "../lm-session.h"
#include "report.h"
#include "tool.h"

/* Frames before the measured ones: caches, pages and the pool warm up. */
enum { BENCH_WARM_UP = 4 };

typedef struct {
  ToolModelOptions model;
  char *shape;
  char *batches; /* numbers, one run for each; NULL: 1 */
  int batch;     /* of this run */
  int frames, codebooks;
  int context, filled; /* steps of attention, and how many are there already */
  char *kv_type;       /* NULL: f32 */
  char *streams;       /* NULL; "auto" or a number */
  int seconds;         /* that a number of streams is tried */
  int busy;            /* processes that work beside it, in a second pass */
  gboolean json;
} BenchOptions;

typedef struct {
  const BenchOptions *options;
  MoshiModel *model;
  int codebooks; /* of Mimi */
  double began;  /* when the model was looked for, in ms */
  BenchMeter *meter;
  GArray *rows; /* BenchRow */
} BenchRun;

BenchRow *bench_add_row(BenchRun *run, const char *bench);
/* Times the options' frames of one stream, and adds their row; NULL after a failure. */
BenchRow *bench_frames(BenchRun *run, const char *bench,
    int (*frame)(void *stream, MoshiError *error), void *stream, MoshiError *error);
/* Steps at which the middle frame of the measured ones is. */
double bench_middle(const BenchRun *run);

/* A kind of stream; `number` tells those of a run apart. */
typedef struct {
  const char *bench; /* of the row that tells how many the machine holds */
  void *(*open)(const BenchRun *run, int number, MoshiError *error);
  int (*frame)(void *stream, MoshiError *error); /* of all its batch */
  void (*close)(void *stream);
  double (*bytes)(const BenchRun *run, const void *stream); /* per frame */
} BenchStreamKind;

extern const BenchStreamKind bench_codec_streams; /* encode and decode noise */
extern const BenchStreamKind bench_lm_streams;    /* hear noise */

/* Rows mimi-encode and mimi-decode. */
int bench_mimi(BenchRun *run, MoshiError *error);
/* Rows lm-step and lm-depth. */
int bench_lm(BenchRun *run, MoshiError *error);
/* Row start: from looking for the model to the first token. */
int bench_start(BenchRun *run, MoshiError *error);
/* Times a device's own kernels. */
int bench_card(int argc, char **argv, MoshiError *error);
/* The row of the kind: how many streams the machine holds. */
int bench_streams(BenchRun *run, const BenchStreamKind *kind, MoshiError *error);

#endif
