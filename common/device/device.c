/* Devices by name. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#include "../error.h"

/* The number of "cuda" (0) and "cuda:N", −1 of anything else. */
static int
cuda_index(const char *name)
{
  if (strncmp(name, "cuda", 4))
    return -1;
  if (name[4] == '\0')
    return 0;
  const size_t digits = name[4] == ':' ? strspn(name + 5, "0123456789") : 0;
  return digits > 0 && digits < 8 && !name[5 + digits] ? atoi(name + 5) : -1;
}

/* The first card, where there is one that can be used. */
static MoshiDevice *
open_auto(int threads, MoshiError *error)
{
  MoshiError reason = {0};
  MoshiDevice *d = moshi_device_cuda(0, &reason);
  if (d)
    return d;
  moshi_log(MOSHI_LOG_DEBUG, "computing on the CPU: %s", reason.message);
  return moshi_device_cpu(threads, error);
}

MoshiDevice *
moshi_device_open(const char *name, int threads, MoshiError *error)
{
  if (!name || !strcmp(name, "auto"))
    return open_auto(threads, error);
  if (!strcmp(name, "cpu"))
    return moshi_device_cpu(threads, error);
  const int index = cuda_index(name);
  if (index >= 0)
    return moshi_device_cuda(index, error);
  moshi_fail(error, MOSHI_ERROR_ARGUMENT,
      "unknown device '%s'; use 'auto', 'cpu', 'cuda' or 'cuda:N'", name);
  return NULL;
}
