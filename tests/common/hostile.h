/* Files of weights, made in memory, that are to be read or refused. */
#ifndef MOSHI_TESTS_HOSTILE_H
#define MOSHI_TESTS_HOSTILE_H

#include <glib.h>
#include <string.h>

#include "files/checkpoint.h"

/* The bytes are accepted (message NULL), or refused with words that hold the
 * message. They are copied, so that a sanitizer sees where they end. */
static inline void
expect_checkpoint(const char *what, const void *data, size_t size, const char *message)
{
  MoshiError error = {0};
  void *exact = g_memdup2(data, size);
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(exact, size, "m", &error);
  if (!message && !c)
    g_error("%s: refused: %s", what, error.message);
  if (message && c)
    g_error("%s: accepted", what);
  if (message && !strstr(error.message, message))
    g_error("%s: says \"%s\"", what, error.message);
  if (message)
    g_assert_cmpint(error.status, <=, MOSHI_ERROR_FORMAT);
  moshi_checkpoint_unref(c);
  g_free(exact);
}

#endif
