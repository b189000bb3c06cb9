/* Tells ThreadSanitizer about GLib's locks. GLib is not instrumented, and its
 * mutexes and conditions are futexes of its own, so that what they order looks
 * like races. Linked into the tests of a TSan build, these stand before GLib's
 * functions and note who waits for whom. */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

#define REAL(name) ((__typeof__(&(name)))real(#name))

static void *
real(const char *name)
{
  return dlsym(RTLD_NEXT, name);
}

void
g_mutex_lock(GMutex *mutex)
{
  REAL(g_mutex_lock)(mutex);
  __tsan_acquire(mutex);
}

gboolean
g_mutex_trylock(GMutex *mutex)
{
  gboolean locked = REAL(g_mutex_trylock)(mutex);
  if (locked)
    __tsan_acquire(mutex);
  return locked;
}

void
g_mutex_unlock(GMutex *mutex)
{
  __tsan_release(mutex);
  REAL(g_mutex_unlock)(mutex);
}

void
g_cond_wait(GCond *cond, GMutex *mutex)
{
  __tsan_release(mutex);
  REAL(g_cond_wait)(cond, mutex);
  __tsan_acquire(mutex);
}

gboolean
g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
  __tsan_release(mutex);
  gboolean woken = REAL(g_cond_wait_until)(cond, mutex, end_time);
  __tsan_acquire(mutex);
  return woken;
}
