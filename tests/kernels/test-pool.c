/* The thread pool: every item once, whoever calls and however often. Meant to be
 * run under the thread sanitizer too. */
#include <glib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/cores.h"
#include "device/pool.h"

enum { ITEMS = 100 };

static void
count(void *ctx, int i)
{
  ((int *)ctx)[i]++; /* plain: no two threads may share an item */
}

static void
run_jobs(MoshiPool *pool, int jobs)
{
  for (int job = 0; job < jobs; job++) {
    int counts[ITEMS] = {0};
    const int n = job % (ITEMS + 1);
    moshi_pool_run(pool, n, count, counts);
    for (int i = 0; i < ITEMS; i++)
      g_assert_cmpint(counts[i], ==, i < n);
  }
}

static void
test_threads(gconstpointer data)
{
  const int threads = GPOINTER_TO_INT(data);
  MoshiPool *pool = moshi_pool_new(threads);

  g_assert_nonnull(pool);
  g_assert_cmpint(moshi_pool_threads(pool), ==, threads);
  run_jobs(pool, 2000);
  g_usleep(2000); /* time to park */
  run_jobs(pool, 500);
  moshi_pool_free(pool);
}

/* Equal counts share a pool, others do not. */
static void
test_sharing(void)
{
  MoshiPool *a = moshi_pool_new(2), *b = moshi_pool_new(2), *c = moshi_pool_new(3);
  MoshiPool *all = moshi_pool_new(0);

  g_assert_true(a == b);
  g_assert_true(a != c);
  g_assert_cmpint(moshi_pool_threads(all), ==, moshi_cores());
  g_assert_cmpint(moshi_cores(), >=, 1);
  moshi_pool_free(a);
  run_jobs(b, 100);
  moshi_pool_free(b);
  moshi_pool_free(c);
  moshi_pool_free(all);
  moshi_pool_free(NULL);
}

typedef struct {
  MoshiPool *pool;
  int counts[8][8];
} Nested;

typedef struct {
  Nested *nested;
  int row;
} Row;

static void
inner(void *ctx, int i)
{
  Row *row = ctx;
  row->nested->counts[row->row][i]++;
}

static void
outer(void *ctx, int i)
{
  Row row = {ctx, i};
  moshi_pool_run(row.nested->pool, 8, inner, &row);
}

static void
test_nested(void)
{
  Nested nested = {.pool = moshi_pool_new(4)};

  for (int round = 1; round <= 200; round++) {
    moshi_pool_run(nested.pool, 8, outer, &nested);
    for (int i = 0; i < 64; i++)
      g_assert_cmpint(nested.counts[i / 8][i % 8], ==, round);
  }
  moshi_pool_free(nested.pool);
}

static gpointer
call(gpointer data)
{
  run_jobs(data, 1000);
  return NULL;
}

/* Streams of several threads on one pool: one gets the workers, the others work
 * alone. */
static void
test_many_callers(void)
{
  MoshiPool *pool = moshi_pool_new(3);
  GThread *threads[6];

  for (int i = 0; i < 6; i++)
    threads[i] = g_thread_new("caller", call, pool);
  for (int i = 0; i < 6; i++)
    g_thread_join(threads[i]);
  moshi_pool_free(pool);
}

/* Pools come and go while others of the same size are in use. */
static gpointer
come_and_go(gpointer data)
{
  for (int i = 0; i < 50; i++) {
    MoshiPool *pool = moshi_pool_new(2);
    run_jobs(pool, 20);
    moshi_pool_free(pool);
  }
  return NULL;
}

static void
test_come_and_go(void)
{
  GThread *threads[3];
  for (int i = 0; i < 3; i++)
    threads[i] = g_thread_new("user", come_and_go, NULL);
  for (int i = 0; i < 3; i++)
    g_thread_join(threads[i]);
}

/* A child process has the pool but none of its workers. */
static void
test_fork(void)
{
  MoshiPool *pool = moshi_pool_new(4);

  /* Often, since a worker holds a lock for a moment after each job. */
  for (int i = 0; i < 100; i++) {
    int status = -1;
    run_jobs(pool, 1 + i % 3);
    const pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
      alarm(20); /* a hang is a failure */
      run_jobs(pool, 50);
      moshi_pool_free(pool);
      _exit(0);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  moshi_pool_free(pool);
}

/* Where threads cannot be made, for want of room for their stacks, the pool is
 * smaller and does its work. */
static void
test_few_threads(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  g_test_skip("sanitizers need the address space that this test takes away");
#else
  int status = -1;
  const pid_t child = fork();

  g_assert_cmpint(child, >=, 0);
  if (child == 0) {
    const struct rlimit none = {1 << 20, 1 << 20};
    alarm(20);
    g_assert_cmpint(setrlimit(RLIMIT_AS, &none), ==, 0);
    MoshiPool *pool = moshi_pool_new(64);
    if (!pool || moshi_pool_threads(pool) == 64)
      _exit(1);
    run_jobs(pool, 100);
    _exit(0);
  }
  g_assert_cmpint(waitpid(child, &status, 0), ==, child);
  g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_data_func("/pool/threads/1", GINT_TO_POINTER(1), test_threads);
  g_test_add_data_func("/pool/threads/2", GINT_TO_POINTER(2), test_threads);
  g_test_add_data_func("/pool/threads/64", GINT_TO_POINTER(64), test_threads);
  g_test_add_data_func("/pool/threads/128", GINT_TO_POINTER(128), test_threads);
  g_test_add_func("/pool/sharing", test_sharing);
  g_test_add_func("/pool/nested", test_nested);
  g_test_add_func("/pool/many-callers", test_many_callers);
  g_test_add_func("/pool/come-and-go", test_come_and_go);
  g_test_add_func("/pool/fork", test_fork);
  g_test_add_func("/pool/few-threads", test_few_threads);
  return g_test_run();
}
