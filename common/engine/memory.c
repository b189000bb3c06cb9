/* The memory that weights could have: what the system calls available, and the limits
 * of the control group. */
#include "memory.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "../error.h"

/* A file of one number, such as a control group's; G_MAXUINT64 when there is none. */
static guint64
read_number(const char *path)
{
  char *text = NULL;
  guint64 n = G_MAXUINT64;
  if (g_file_get_contents(path, &text, NULL, NULL) && g_ascii_isdigit(text[0]))
    n = g_ascii_strtoull(text, NULL, 10);
  g_free(text);
  return n;
}

/* MemAvailable counts the page cache, where mapped weights live. */
static guint64
system_available(void)
{
  char *text = NULL;
  guint64 n = G_MAXUINT64;
  if (g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) {
    const char *line = strstr(text, "MemAvailable:");
    if (line)
      n = g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024;
  }
  g_free(text);
  return n;
}

uint64_t
moshi_memory_available(void)
{
  guint64 available = system_available();
  available = MIN(available, read_number("/sys/fs/cgroup/memory.max"));
  return MIN(available, read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
}

int
moshi_memory_check(size_t bytes, const char *path, MoshiError *error)
{
  guint64 available = moshi_memory_available();
  if (bytes <= available)
    return 0;
  return moshi_fail(error, MOSHI_ERROR_MEMORY,
      "%s: its weights need %.1f GB of memory and %.1f GB can be had; use a smaller or "
      "quantised model, or a machine with more memory",
      path, bytes / 1e9, available / 1e9);
}
