/* Replays the inputs of a fuzz target: each file of the directories named, and
 * each file cut at every power of two, so that a corpus is worth more. Exit code
 * 77 (skipped) when there is no input. */
#include <glib.h>
#include <stdio.h>

#include "fuzz.h"

static size_t
replay_file(const char *path)
{
  char *data;
  gsize size;
  if (!g_file_get_contents(path, &data, &size, NULL))
    return 0;
  for (gsize n = 1; n < size; n *= 2) {
    /* An exact copy: a read past its end is a read past the allocation's. */
    void *part = g_memdup2(data, n);
    LLVMFuzzerTestOneInput(part, n);
    g_free(part);
  }
  LLVMFuzzerTestOneInput((const uint8_t *)data, size);
  g_free(data);
  return 1;
}

int
main(int argc, char **argv)
{
  size_t n = 0;
  for (int i = 1; i < argc; i++) {
    GDir *dir = g_dir_open(argv[i], 0, NULL);
    const char *name;
    if (!dir)
      n += replay_file(argv[i]);
    while (dir && (name = g_dir_read_name(dir))) {
      char *path = g_build_filename(argv[i], name, NULL);
      n += replay_file(path);
      g_free(path);
    }
    if (dir)
      g_dir_close(dir);
  }
  printf("%zu inputs\n", n);
  return n ? 0 : 77;
}
