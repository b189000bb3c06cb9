/* What the machine can do: the speed at which so many threads read memory
 * together, and their peak of fused multiply-adds. Kernels and models are held
 * against these, measured in the same run. */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
  HALF = 128 << 20, /* bytes read at a time, one half while the other is forgotten */
  MAX_THREADS = 1024,
  READS = 24,
  FEW_READS = 2,
  CHAINS = 12, /* independent sums: they hide the latency of one */
  STEPS = 5000,
  MULTIPLIES = 100,
  HUGE_PAGE = 2 << 20,
};

/* The widest registers, where the compiler is not told of them for the file. */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
#define KEEP(x) __asm__ volatile("" ::"x"(x))
#else
#define AVX2
#define KEEP(x) __asm__ volatile("" ::"w"(x))
#endif

#if defined(__x86_64__)
typedef float Lanes __attribute__((vector_size(32)));
typedef float WideLanes __attribute__((vector_size(64)));
#else
typedef float Lanes __attribute__((vector_size(16)));
#endif

typedef struct Machine Machine;

typedef struct {
  Machine *machine;
  int index;
} Worker;

struct Machine {
  int threads;
  const char *store;
  void (*piece)(Worker *w, int time);
  int times;
  pthread_barrier_t barrier;
  double *began, *ended; /* [threads] */
  double best;           /* seconds of the fastest piece, of all threads */
};

static double
now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* -------------------------------------------------------------- the pieces */

/* Bytes of a half that each thread reads. */
static size_t
share(int threads)
{
  return HALF / threads / 1024 * 1024;
}

/* Four parts of its share beside each other, which come faster than one. */
AVX2 static void
read_piece(Worker *w, int time)
{
  const Machine *m = w->machine;
  const size_t bytes = share(m->threads), part = bytes / 4 / sizeof(Lanes);
  const char *half = m->store + (size_t)time % 2 * HALF;
  const Lanes *x = (const Lanes *)(half + (size_t)w->index * bytes);
  enum { LINE = 64 / sizeof *x, AHEAD = 8 * LINE };
  Lanes sums[4] = {{0}};

  for (size_t i = 0; i < part; i += LINE)
    for (int j = 0; j < 4; j++) {
      __builtin_prefetch(x + j * part + i + AHEAD);
      for (int k = 0; k < LINE; k++)
        sums[j] += x[j * part + i + k];
    }
  const Lanes sum = sums[0] + sums[1] + sums[2] + sums[3];
  KEEP(sum);
}

AVX2 static void
multiply_piece(Worker *w, int time)
{
  Lanes sums[CHAINS], f;

  (void)w, (void)time;
  for (size_t i = 0; i < sizeof f / sizeof f[0]; i++)
    f[i] = 0.5f;
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++)
    sums[j] = f;
  for (int i = 0; i < STEPS; i++)
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++)
#if defined(__x86_64__)
      __asm__("vfmadd231ps %1, %1, %0" : "+x"(sums[j]) : "x"(f));
#elif defined(__aarch64__)
      __asm__("fmla %0.4s, %1.4s, %1.4s" : "+w"(sums[j]) : "w"(f));
#else
      sums[j] += sums[j] * f;
#endif
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++)
    KEEP(sums[j]);
}

#if defined(__x86_64__)
AVX512 static void
multiply_piece_wide(Worker *w, int time)
{
  WideLanes sums[CHAINS], f;

  (void)w, (void)time;
  for (size_t i = 0; i < sizeof f / sizeof f[0]; i++)
    f[i] = 0.5f;
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++)
    sums[j] = f;
  for (int i = 0; i < STEPS; i++)
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++)
      __asm__("vfmadd231ps %1, %1, %0" : "+v"(sums[j]) : "v"(f));
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++)
    __asm__ volatile("" ::"v"(sums[j]));
}
#endif

/* ------------------------------------------------------------- all threads */

static void
keep_best(Machine *m)
{
  double began = m->began[0], ended = m->ended[0];
  for (int i = 1; i < m->threads; i++) {
    began = m->began[i] < began ? m->began[i] : began;
    ended = m->ended[i] > ended ? m->ended[i] : ended;
  }
  if (ended - began < m->best)
    m->best = ended - began;
}

static void *
work(void *data)
{
  Worker *w = data;
  Machine *m = w->machine;

  for (int time = 0; time < m->times; time++) {
    pthread_barrier_wait(&m->barrier);
    m->began[w->index] = now();
    m->piece(w, time);
    m->ended[w->index] = now();
    pthread_barrier_wait(&m->barrier);
    if (w->index == 0)
      keep_best(m);
  }
  return NULL;
}

/* Seconds of the fastest of `times` pieces that all threads do at once; the
 * best of many short ones, as a busy machine interrupts long ones. */
static double
fastest(Machine *m)
{
  Worker *workers = calloc(m->threads, sizeof *workers);
  pthread_t *ids = calloc(m->threads, sizeof *ids);
  m->began = calloc(m->threads, sizeof *m->began);
  m->ended = calloc(m->threads, sizeof *m->ended);
  m->best = 1e9;
  int running = workers && ids && m->began && m->ended;
  pthread_barrier_init(&m->barrier, NULL, m->threads);
  for (; running && running < m->threads; running++) {
    workers[running] = (Worker){m, running};
    if (pthread_create(&ids[running], NULL, work, &workers[running]))
      abort(); /* a tool: the others wait for this one */
  }
  if (running) {
    workers[0] = (Worker){m, 0};
    work(&workers[0]);
  }
  for (int i = 1; i < running; i++)
    pthread_join(ids[i], NULL);
  pthread_barrier_destroy(&m->barrier);
  free(workers);
  free(ids);
  free(m->began);
  free(m->ended);
  return m->best;
}

/* Two halves for read_piece; NULL without memory. */
static char *
new_store(int threads)
{
  char *store;

  if (threads < 1 || threads > MAX_THREADS ||
      posix_memalign((void **)&store, HUGE_PAGE, 2 * (size_t)HALF))
    return NULL;
#ifdef MADV_HUGEPAGE /* as the device keeps weights */
  madvise(store, 2 * (size_t)HALF, MADV_HUGEPAGE);
#endif
  for (size_t i = 0; i < 2 * HALF / sizeof(float); i++)
    ((float *)store)[i] = 0x1p-8f;
  return store;
}

/* The best of so many reads. */
static double
read_gb_s(int threads, const char *store, int times)
{
  Machine m = {.threads = threads, .store = store, .piece = read_piece, .times = times};
  return 1e-9 * threads * share(threads) / fastest(&m);
}

double
moshi_check_read_gb_s(int threads)
{
  char *store = new_store(threads);
  const double gb_s = store ? read_gb_s(threads, store, READS) : 0;

  free(store);
  return gb_s;
}

void
moshi_check_answer_reads(int threads, int in, int out)
{
  char *store = new_store(threads), byte;

  while (read(in, &byte, 1) == 1) {
    const double gb_s = store ? read_gb_s(threads, store, FEW_READS) : 0;
    if (write(out, &gb_s, sizeof gb_s) != sizeof gb_s)
      break;
  }
  free(store);
}

double
moshi_check_gflop_s(int threads)
{
  Machine m = {.threads = threads, .piece = multiply_piece, .times = MULTIPLIES};
  const double gflop = 2e-9 * threads * (double)STEPS * CHAINS;
  double best;

  if (threads < 1 || threads > MAX_THREADS)
    return 0;
  best = gflop * (sizeof(Lanes) / sizeof(float)) / fastest(&m);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    m.piece = multiply_piece_wide;
    best = fmax(best, gflop * (sizeof(WideLanes) / sizeof(float)) / fastest(&m));
  }
#endif
  return best;
}
