/* For TSan, preloaded: what GLib's locks order. GLib is built without TSan and
 * makes its locks of futexes, so TSan would take everything they guard for a
 * race. */
#define _GNU_SOURCE
#include <dlfcn.h>

/* TSan's, absent in programs without it. */
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

static void
acquire(void *lock)
{
  if (__tsan_acquire)
    __tsan_acquire(lock);
}

static void
release(void *lock)
{
  if (__tsan_release)
    __tsan_release(lock);
}

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

typedef void (*Lock)(void *);
typedef void (*Wait)(void *, void *);
typedef int (*TryLock)(void *);
typedef int (*WaitUntil)(void *, void *, long long);

void g_mutex_lock(void *mutex);
void g_mutex_unlock(void *mutex);
int g_mutex_trylock(void *mutex);
void g_cond_wait(void *cond, void *mutex);
int g_cond_wait_until(void *cond, void *mutex, long long end);

void
g_mutex_lock(void *mutex)
{
  REAL(Lock, "g_mutex_lock")(mutex);
  acquire(mutex);
}

void
g_mutex_unlock(void *mutex)
{
  release(mutex);
  REAL(Lock, "g_mutex_unlock")(mutex);
}

int
g_mutex_trylock(void *mutex)
{
  int taken = REAL(TryLock, "g_mutex_trylock")(mutex);
  if (taken)
    acquire(mutex);
  return taken;
}

void
g_cond_wait(void *cond, void *mutex)
{
  release(mutex);
  REAL(Wait, "g_cond_wait")(cond, mutex);
  acquire(mutex);
}

int
g_cond_wait_until(void *cond, void *mutex, long long end)
{
  release(mutex);
  int signalled = REAL(WaitUntil, "g_cond_wait_until")(cond, mutex, end);
  acquire(mutex);
  return signalled;
}
