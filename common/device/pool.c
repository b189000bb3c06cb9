/* Parked workers. A job is offered by setting the OPEN bit; a worker joins it
 * by counting itself into the same word, so that the caller, once no item is
 * left, closes the job and waits only for workers that did join. One that the
 * system wakes too late finds the job closed and nobody waiting for it: a busy
 * machine costs time, never a stall. A child of fork() has no workers and works
 * alone. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "cores.h"

/* state: generation << 32 | OPEN | workers inside */
#define OPEN 0x80000000u
#define INSIDE 0x7fffffffu
#define GENERATION(state) ((uint32_t)((state) >> 32))

enum {
  MAX_THREADS = 256,
  LOOKS = 32, /* at the state, between two at the clock */
  /* How long a worker looks out for the next job before it parks, in ns: longer than
   * the work between two jobs of a frame that is one thread's (sampling is the
   * longest), and than it takes to wake a core that sleeps. So of a frame's jobs only
   * the first waits for that. It costs a core 0.2 % of its time. */
  WORKER_SPIN = 200000,
  /* The same for a caller whose workers are late: they may need this very core. */
  CALLER_SPIN = 20000,
};

struct MoshiPool {
  int wanted, n_workers, references;
  MoshiPool *next_pool;
  pthread_t *workers;

  atomic_flag busy;
  _Alignas(64) _Atomic uint64_t state;
  _Alignas(64) atomic_int next;
  int n;
  void (*job)(void *ctx, int i);
  void *ctx;

  pthread_mutex_t lock;
  pthread_cond_t wake, left;
  atomic_int parked;
  atomic_bool waiting, stop;
};

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static MoshiPool *pools;

static inline void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t
now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void
do_items(MoshiPool *pool)
{
  const int n = pool->n;
  int i;
  while ((i = atomic_fetch_add(&pool->next, 1)) < n)
    pool->job(pool->ctx, i);
}

/* Whether there is a job that this worker has not seen yet (or an end). */
static bool
called(MoshiPool *pool, uint32_t seen)
{
  const uint64_t state = atomic_load(&pool->state);
  return ((state & OPEN) && GENERATION(state) != seen) || atomic_load(&pool->stop);
}

static void
wait_for_call(MoshiPool *pool, uint32_t seen)
{
  const int64_t end = now_ns() + WORKER_SPIN;
  do
    for (int i = 0; i < LOOKS; i++) {
      if (called(pool, seen))
        return;
      relax();
    }
  while (now_ns() < end);
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->parked, 1); /* before the look that follows: see run */
  while (!called(pool, seen))
    pthread_cond_wait(&pool->wake, &pool->lock);
  atomic_fetch_sub(&pool->parked, 1);
  pthread_mutex_unlock(&pool->lock);
}

static bool
join(MoshiPool *pool, uint32_t *seen)
{
  uint64_t state = atomic_load(&pool->state);
  do {
    if (!(state & OPEN) || GENERATION(state) == *seen)
      return false;
  } while (!atomic_compare_exchange_weak(&pool->state, &state, state + 1));
  *seen = GENERATION(state);
  return true;
}

static void
leave(MoshiPool *pool)
{
  const uint64_t state = atomic_fetch_sub(&pool->state, 1) - 1;
  if ((state & (OPEN | INSIDE)) == 0 && atomic_load(&pool->waiting)) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->lock);
  }
}

static void *
work(void *data)
{
  MoshiPool *pool = data;
  uint32_t seen = 0;

  while (!atomic_load(&pool->stop)) {
    wait_for_call(pool, seen);
    if (join(pool, &seen)) {
      do_items(pool);
      leave(pool);
    }
  }
  return NULL;
}

static void
call_workers(MoshiPool *pool, int wanted)
{
  const int parked = atomic_load(&pool->parked);
  if (parked == 0)
    return;
  pthread_mutex_lock(&pool->lock);
  if (wanted >= parked)
    pthread_cond_broadcast(&pool->wake);
  else
    for (int i = 0; i < wanted; i++)
      pthread_cond_signal(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
}

static bool
empty(MoshiPool *pool)
{
  return (atomic_load(&pool->state) & INSIDE) == 0;
}

static void
wait_for_workers(MoshiPool *pool)
{
  const int64_t end = now_ns() + CALLER_SPIN;
  do
    for (int i = 0; i < LOOKS; i++) {
      if (empty(pool))
        return;
      relax();
    }
  while (now_ns() < end);
  pthread_mutex_lock(&pool->lock);
  atomic_store(&pool->waiting, true);
  while (!empty(pool))
    pthread_cond_wait(&pool->left, &pool->lock);
  atomic_store(&pool->waiting, false);
  pthread_mutex_unlock(&pool->lock);
}

void
moshi_pool_run(MoshiPool *pool, int n, void (*job)(void *ctx, int i), void *ctx)
{
  if (n <= 1 || pool->n_workers == 0 || atomic_flag_test_and_set(&pool->busy)) {
    for (int i = 0; i < n; i++)
      job(ctx, i);
    return;
  }
  pool->n = n;
  pool->job = job;
  pool->ctx = ctx;
  atomic_store(&pool->next, 0);
  const uint64_t generation = GENERATION(atomic_load(&pool->state)) + 1;
  atomic_store(&pool->state, generation << 32 | OPEN);
  /* A worker counts itself as parked before its last look at the state, and we
   * look at that count after the store: one of the two sees the other. */
  call_workers(pool, n - 1);
  do_items(pool);
  atomic_fetch_and(&pool->state, ~(uint64_t)OPEN);
  wait_for_workers(pool);
  atomic_flag_clear(&pool->busy);
}

int
moshi_pool_threads(const MoshiPool *pool)
{
  return pool->n_workers + 1;
}

/* ------------------------------------------------------------- the table */

static void
stop_workers(MoshiPool *pool)
{
  atomic_store(&pool->stop, true);
  pthread_mutex_lock(&pool->lock);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 0; i < pool->n_workers; i++)
    pthread_join(pool->workers[i], NULL);
}

static void
destroy(MoshiPool *pool)
{
  stop_workers(pool);
  pthread_cond_destroy(&pool->left);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  free(pool->workers);
  free(pool);
}

/* A machine that gives fewer threads than asked for gets a smaller pool. */
static MoshiPool *
create(int threads)
{
  void *memory = NULL;
  if (posix_memalign(&memory, 64, sizeof(MoshiPool)))
    return NULL;
  MoshiPool *pool = memory;
  *pool = (MoshiPool){.wanted = threads, .references = 1, .busy = ATOMIC_FLAG_INIT};
  pool->workers = calloc(threads, sizeof *pool->workers);
  if (!pool->workers) {
    free(pool);
    return NULL;
  }
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->left, NULL);
  for (int i = 0; i < threads - 1; i++) {
    if (pthread_create(&pool->workers[i], NULL, work, pool))
      break;
    pool->n_workers = i + 1;
  }
  return pool;
}

static void
before_fork(void)
{
  pthread_mutex_lock(&pools_lock);
}

static void
after_fork(void)
{
  pthread_mutex_unlock(&pools_lock);
}

/* A worker that the child does not have may have held a lock. */
static void
after_fork_in_child(void)
{
  for (MoshiPool *pool = pools; pool; pool = pool->next_pool) {
    pool->n_workers = 0;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->left, NULL);
  }
  pthread_mutex_unlock(&pools_lock);
}

static void
watch_forks(void)
{
  pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

MoshiPool *
moshi_pool_new(int threads)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  if (threads <= 0)
    threads = moshi_cores();
  if (threads > MAX_THREADS)
    threads = MAX_THREADS;

  pthread_mutex_lock(&pools_lock);
  MoshiPool *pool = pools;
  while (pool && pool->wanted != threads)
    pool = pool->next_pool;
  if (pool) {
    pool->references++;
  } else if ((pool = create(threads))) {
    pool->next_pool = pools;
    pools = pool;
  }
  pthread_mutex_unlock(&pools_lock);
  return pool;
}

void
moshi_pool_free(MoshiPool *pool)
{
  if (!pool)
    return;
  pthread_mutex_lock(&pools_lock);
  const bool last = --pool->references == 0;
  if (last) {
    MoshiPool **link = &pools;
    while (*link != pool)
      link = &(*link)->next_pool;
    *link = pool->next_pool;
  }
  pthread_mutex_unlock(&pools_lock);
  if (last)
    destroy(pool);
}
