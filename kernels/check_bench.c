/* Times the kernels at the shapes of Mimi and of a 1B language model, beside what
 * the machine can do: the speed at which as many threads read memory, and their
 * peak of fused multiply-adds. Weights come from a store larger than the caches, a
 * different part each call, as they do in a frame; every thread works for itself,
 * on rows of its own. */
#include "check.h"
#include "check_inner.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum {
  STORE = 48 << 20, /* floats */
  WORK = 4 << 20,   /* floats of activations, input and output each */
  TIMES = 2000,
  MAX_THREADS = 256,
  HUGE_PAGE = 2 << 20,
};
#define SECONDS 0.3

typedef struct {
  const char *kernel;
  int m, n, k; /* rows, outputs, inputs; elsewhere n elements */
  MoshiAct act;
} Case;

typedef struct {
  const MoshiKernels *k;
  float *store, *x, *y;
  size_t next; /* place in the store */
  int threads;
  double gb_s, gflop_s; /* of the machine, with so many threads */
} Bench;

static double
now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* ------------------------------------------------------------------ cases */

static const Case cases[] = {
    /* Mimi's encoder: every product of a frame */
    {"gemm", 1920, 64, 7},
    {"gemm", 1920, 32, 192, MOSHI_ACT_ELU},
    {"gemm", 1920, 64, 32},
    {"gemm", 480, 128, 512},
    {"gemm", 480, 64, 384, MOSHI_ACT_ELU},
    {"gemm", 480, 128, 64},
    {"gemm", 96, 256, 1280},
    {"gemm", 96, 128, 768, MOSHI_ACT_ELU},
    {"gemm", 96, 256, 128},
    {"gemm", 16, 512, 3072},
    {"gemm", 16, 256, 1536, MOSHI_ACT_ELU},
    {"gemm", 16, 512, 256},
    {"gemm", 2, 1024, 8192},
    {"gemm", 2, 512, 3072},
    {"gemm", 2, 1536, 512},
    {"gemm", 2, 2048, 512, MOSHI_ACT_GELU},
    {"gemm", 2, 512, 2048},
    {"gemm", 1, 512, 2048},
    {"gemm", 1, 2048, 256},
    /* its decoder, where it differs */
    {"gemm", 2, 1024, 3584},
    {"gemm", 2, 4096, 2048},
    {"gemm", 16, 1536, 1024},
    {"gemm", 96, 640, 512},
    {"gemm", 480, 256, 256},
    {"gemm", 1920, 1, 192},
    /* with weights in bf16 */
    {"gemm_bf16", 480, 128, 512},
    {"gemm_bf16", 96, 256, 1280},
    {"gemm_bf16", 16, 512, 3072},
    {"gemm_bf16", 2, 1024, 8192},
    {"gemm_bf16", 2, 2048, 512, MOSHI_ACT_GELU},
    {"gemm_bf16", 1, 2048, 256},
    /* a language model's */
    {"matvec_f32", 1, 2048, 2048},
    {"matvec_f16", 1, 2048, 2048},
    {"matvec_bf16", 1, 2048, 2048},
    {"matvec_bf16", 2, 2048, 2048},
    {"matvec_bf16", 4, 2048, 2048},
    {"matvec_bf16", 16, 2048, 2048},
    {"matvec_bf16", 1, 11264, 2048},
    {"matvec_i8", 1, 4096, 4096},
    {"matvec_i8", 4, 4096, 4096},
    {"matvec_i8", 8, 4096, 4096},
    {"matvec_i8", 16, 4096, 4096},
    {"matvec_q8_0", 1, 4096, 4096},
    {"matvec_q8_0", 4, 4096, 4096},
    {"matvec_q8_0", 8, 4096, 4096},
    {"matvec_q8_0", 16, 4096, 4096},
    {"matvec_q4_0", 1, 4096, 4096},
    {"matvec_q4_0", 4, 4096, 4096},
    {"matvec_q4_0", 8, 4096, 4096},
    {"matvec_q4_0", 16, 4096, 4096},
    {"matvec_q4_k", 1, 4096, 4096},
    {"matvec_q4_k", 4, 4096, 4096},
    {"matvec_q4_k", 8, 4096, 4096},
    {"matvec_q4_k", 16, 4096, 4096},
    {"matvec_mlx4", 1, 4096, 4096},
    {"matvec_mlx4", 4, 4096, 4096},
    {"matvec_mlx4", 8, 4096, 4096},
    {"matvec_mlx4", 16, 4096, 4096},
    {"matvec_mlx8", 1, 4096, 4096},
    {"matvec_mlx8", 4, 4096, 4096},
    {"matvec_mlx8", 8, 4096, 4096},
    {"matvec_mlx8", 16, 4096, 4096},
    {"matvec_q8_0", 1, 5632, 1024},
    {"matvec_q4_k", 1, 5632, 1024},
    {"rms_norm", 1, 2048, 0},
    {"layer_norm", 1, 512, 0},
    {"act_elu", 1, 16384, 0, MOSHI_ACT_ELU},
    {"act_gelu", 1, 16384, 0, MOSHI_ACT_GELU},
    {"act_silu", 1, 16384, 0, MOSHI_ACT_SILU},
    {"act_tanh", 1, 16384, 0, MOSHI_ACT_TANH},
    {"add", 1, 16384, 0},
    {"mul", 1, 16384, 0},
    {"attention_f32", 1, 64, 250},
    {"attention_f32", 1, 128, 3000},
    {"attention_bf16", 1, 128, 3000},
    {"attention_i8", 1, 128, 3000},
    {"argmin", 1, 2048, 0},
    {"softmax_exp", 1, 2048, 0},
};

static const float *
weights(Bench *b, size_t floats)
{
  if (b->next + floats > STORE)
    b->next = 0;
  b->next += floats;
  return b->store + b->next - floats;
}

/* What a kernel's name ends in. */
static MoshiType
stored_as(const Case *c)
{
  for (MoshiType type = 0; type < MOSHI_N_TYPES; type++) {
    const char *name = moshi_type_name(type);
    const size_t length = strlen(c->kernel), tail = strlen(name);
    if (tail < length && !strcmp(c->kernel + length - tail, name) &&
        c->kernel[length - tail - 1] == '_')
      return type;
  }
  return MOSHI_TYPE_F32;
}

static void
run_gemm(Bench *b, const Case *c)
{
  const MoshiGemm g = {
      .in = b->x,
      .in_step = c->k,
      .batch = 1,
      .steps = c->m,
      .n_in = c->k,
      .type = stored_as(c),
      .panels = weights(b, moshi_panels_bytes(stored_as(c), c->n, c->k) / 4),
      .n_out = c->n,
      .act = c->act,
      .out = b->y,
      .out_step = c->n,
  };
  b->k->gemm(&g, 0, c->m, 0, (c->n + MOSHI_PANEL - 1) / MOSHI_PANEL);
}

/* Of the weights, as products want them. */
static size_t
matvec_bytes(const Case *c)
{
  const MoshiType type = stored_as(c);
  const MoshiRows rows = {
      .type = type, .rows = c->n, .cols = c->k, .scale_type = MOSHI_TYPE_BF16};
  const size_t packed = moshi_row_panels_bytes(&rows);
  return packed ? packed : c->n * moshi_rows_bytes(type, c->k);
}

static void
run_matvec(Bench *b, const Case *c)
{
  const MoshiType type = stored_as(c);
  MoshiRows w = {.type = type, .rows = c->n, .cols = c->k};
  w.scale_type = MOSHI_TYPE_BF16; /* as MLX files have them */
  if (type == MOSHI_TYPE_MLX8) {
    w.group = 64;
    w.scales = weights(b, (size_t)c->n * (c->k / w.group) / 2);
    w.biases = weights(b, (size_t)c->n * (c->k / w.group) / 2);
  } else if (type == MOSHI_TYPE_I8) {
    w.scales = weights(b, c->n);
  }
  w.data = weights(b, matvec_bytes(c) / 4);
  (b->k->matvec_panels[type] ? b->k->matvec_panels[type] : b->k->matvec[type])(
      b->y, c->n, &w, b->x, c->k, 0, c->n, c->m);
}

static MoshiKv
kept_as(const Case *c)
{
  return strstr(c->kernel, "bf16") ? MOSHI_KV_BF16
         : strstr(c->kernel, "i8") ? MOSHI_KV_I8
                                   : MOSHI_KV_F32;
}

static void
run_attention(Bench *b, const Case *c)
{
  const MoshiKv kv = kept_as(c);
  const size_t bytes = (size_t)c->n * c->k * moshi_kv_size(kv);
  const char *ring = (const char *)weights(b, bytes / 2);
  b->k->attention[kv](&(MoshiAttention){.q = b->x,
      .k = ring,
      .v = ring + bytes,
      .k_scales = b->x,
      .v_scales = b->x,
      .stride = c->n,
      .d = c->n,
      .capacity = c->k,
      .first = c->k / 3,
      .count = c->k,
      .scale = 0.1f,
      .out = b->y});
}

static void
run_case(Bench *b, const Case *c)
{
  if (!strncmp(c->kernel, "gemm", 4))
    run_gemm(b, c);
  else if (!strncmp(c->kernel, "matvec", 6))
    run_matvec(b, c);
  else if (!strncmp(c->kernel, "attention", 9))
    run_attention(b, c);
  else if (!strcmp(c->kernel, "rms_norm"))
    b->k->rms_norm(b->y, b->x, b->store, c->n, 1e-8f);
  else if (!strcmp(c->kernel, "layer_norm"))
    b->k->layer_norm(b->y, b->x, b->store, b->store, c->n, 1e-5f);
  else if (!strncmp(c->kernel, "act", 3))
    b->k->act[c->act](b->y, b->x, c->n);
  else if (!strcmp(c->kernel, "add"))
    b->k->add(b->y, b->x, NULL, c->n);
  else if (!strcmp(c->kernel, "mul"))
    b->k->mul(b->y, b->x, b->store, c->n);
  else if (!strcmp(c->kernel, "argmin"))
    b->k->argmin(b->x, c->n);
  else
    b->k->softmax_exp(b->y, b->x, c->n, 1);
}

static double
bytes_of(const Case *c)
{
  if (!strncmp(c->kernel, "gemm", 4))
    return moshi_panels_bytes(stored_as(c), c->n, c->k) + 4.0 * c->m * (c->n + c->k);
  if (!strncmp(c->kernel, "matvec", 6)) {
    const MoshiType type = stored_as(c);
    const int groups = type == MOSHI_TYPE_MLX8 ? c->k / 64 : 0;
    return matvec_bytes(c) + 4.0 * c->n * groups + 4.0 * c->m * (c->n + c->k);
  }
  return c->k ? 2.0 * moshi_kv_size(kept_as(c)) * c->n * c->k : 8.0 * c->n;
}

/* ---------------------------------------------------------------- results */

static int
ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static long
peak_rss_mb(void)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

static void
report(const Bench *b, const Case *c, const double *times, int n, bool json)
{
  const double bytes = bytes_of(c), each = b->threads / times[n / 2];
  const double gb_s = 1e-9 * bytes * each;
  const double gflop_s = c->k ? 2e-9 * c->m * c->n * c->k * each : 0;
  char shape[64];

  if (c->k)
    snprintf(shape, sizeof shape, "%dx%dx%d", c->m, c->n, c->k);
  else
    snprintf(shape, sizeof shape, "%d", c->n);
  if (json)
    printf(
        "{\"bench\":\"kernel:%s\",\"shape\":\"%s\",\"quantization\":\"%s\","
        "\"device\":\"cpu (%s)\",\"threads\":%d,\"batch\":%d,\"frames\":%d,"
        "\"ms_min\":%.6f,\"ms_median\":%.6f,\"ms_p99\":%.6f,\"bytes_per_frame\":%.0f,"
        "\"machine_gb_s\":%.2f,\"bandwidth_fraction\":%.4f,\"gflop_s\":%.2f,"
        "\"machine_gflop_s\":%.2f,\"peak_rss_mb\":%ld}\n",
        c->kernel, shape, moshi_type_name(stored_as(c)), b->k->name, b->threads, c->m,
        n, times[0] * 1e3, times[n / 2] * 1e3, times[n * 99 / 100] * 1e3, bytes,
        b->gb_s, gb_s / b->gb_s, gflop_s, b->gflop_s, peak_rss_mb());
  else
    printf("%-12s %-15s %9.2f us min %9.2f median %7.2f GB/s (%3.0f%%) %7.2f GFLOP/s "
           "(%3.0f%%)\n",
        c->kernel, shape, times[0] * 1e6, times[n / 2] * 1e6, gb_s,
        100 * gb_s / b->gb_s, gflop_s, 100 * gflop_s / b->gflop_s);
}

/* What the other threads do as long as the first is timed. */
typedef struct {
  Bench bench;
  const Case *c;
  atomic_bool *stop;
} Other;

static void *
keep_on(void *data)
{
  Other *other = data;
  while (!atomic_load_explicit(other->stop, memory_order_relaxed))
    run_case(&other->bench, other->c);
  return NULL;
}

static void
time_case(Bench *b, const Case *c, bool json)
{
  double times[TIMES];
  Other others[MAX_THREADS];
  pthread_t ids[MAX_THREADS];
  atomic_bool stop = false;
  int n = 0, running = 1;

  for (; running < b->threads; running++) {
    others[running] = (Other){*b, c, &stop};
    others[running].bench.next = (size_t)STORE / b->threads * running;
    others[running].bench.x += 2 * (size_t)WORK * running;
    others[running].bench.y += 2 * (size_t)WORK * running;
    if (pthread_create(&ids[running], NULL, keep_on, &others[running]))
      break;
  }
  const double start = now();
  run_case(b, c);
  while (n < TIMES && (n < 5 || now() - start < SECONDS)) {
    const double begin = now();
    run_case(b, c);
    times[n++] = now() - begin;
  }
  atomic_store(&stop, true);
  for (int i = 1; i < running; i++)
    pthread_join(ids[i], NULL);
  qsort(times, n, sizeof *times, ascending);
  if (running == b->threads)
    report(b, c, times, n, json);
}

void
check_bench(
    const MoshiKernels *k, int threads, bool json, char *const *filters, int n_filters)
{
  Bench b = {.k = k, .threads = threads};
  const size_t floats = STORE + 2 * (size_t)WORK * threads;
  float *memory;

  if (threads < 1 || threads > MAX_THREADS ||
      posix_memalign((void **)&memory, HUGE_PAGE, floats * sizeof *memory)) {
    fprintf(stderr, "kernels: no memory to time in with %d threads\n", threads);
    return;
  }
#ifdef MADV_HUGEPAGE /* as the device keeps packed weights */
  madvise(memory, floats * sizeof *memory, MADV_HUGEPAGE);
#endif
  for (size_t i = 0; i < floats; i++)
    memory[i] = (float)(i % 251) * 0x1p-8f - 0.5f;
  b.store = memory;
  b.x = memory + STORE;
  b.y = b.x + WORK;
  b.gb_s = moshi_check_read_gb_s(threads);
  b.gflop_s = moshi_check_gflop_s(threads);
  if (!json)
    printf("# %s, %d thread%s; the machine reads %.1f GB/s and does %.1f GFLOP/s\n",
        k->name, threads, threads > 1 ? "s" : "", b.gb_s, b.gflop_s);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (check_matches(cases[i].kernel, filters, n_filters))
      time_case(&b, &cases[i], json);
  free(memory);
}
