/* Devices by name. */
#include "device.h"

#include <string.h>

#include "../error.h"

static bool
is_cuda(const char *name)
{
  if (strncmp(name, "cuda", 4))
    return false;
  if (name[4] == '\0')
    return true;
  return name[4] == ':' && name[5] &&
         strspn(name + 5, "0123456789") == strlen(name + 5);
}

MoshiDevice *
moshi_device_open(const char *name, int threads, MoshiError *error)
{
  if (!name || !strcmp(name, "auto") || !strcmp(name, "cpu"))
    return moshi_device_cpu(threads, error);
  if (is_cuda(name))
    moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "device '%s': this build has no CUDA back end; use device 'cpu'", name);
  else
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "unknown device '%s'; use 'auto', 'cpu', 'cuda' or 'cuda:N'", name);
  return NULL;
}
