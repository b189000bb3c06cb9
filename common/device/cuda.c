/* CUDA cards, behind a module that is opened when somebody asks for one: nothing of
 * NVIDIA's is linked here, and a machine without a driver never notices.
 *
 * The module is libmoshi-cuda.so beside libmoshi, or what MOSHI_CUDA_MODULE names. It
 * stays open: a runtime of CUDA does not survive being unloaded. */
#include "../../kernels/cuda/module.h"

#include <dlfcn.h>
#include <glib.h>
#include <string.h>

#include "../error.h"

#define FILE_NAME "libmoshi-cuda.so"

static char *
module_path(void)
{
  const char *given = g_getenv("MOSHI_CUDA_MODULE");
  Dl_info here;

  if (given && *given)
    return g_strdup(given);
  if (!dladdr((void *)moshi_device_cuda, &here) || !here.dli_fname)
    return g_strdup(FILE_NAME);
  char *directory = g_path_get_dirname(here.dli_fname);
  char *path = g_build_filename(directory, FILE_NAME, NULL);
  g_free(directory);
  return path;
}

static MoshiCudaOpen
find_open(const char *path, MoshiError *error)
{
  if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
    moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "the CUDA back end is not installed: there is no %s; install it, or use device "
        "'cpu'",
        path);
    return NULL;
  }
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *interface = module ? dlsym(module, MOSHI_CUDA_INTERFACE_SYMBOL) : NULL;
  void *open = module ? dlsym(module, MOSHI_CUDA_OPEN_SYMBOL) : NULL;
  if (!module)
    moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "the CUDA back end cannot be opened: %s; use device 'cpu'", dlerror());
  else if (!open || !interface || strcmp(interface, MOSHI_CUDA_INTERFACE))
    moshi_fail(error, MOSHI_ERROR_NOT_FOUND,
        "%s is of another version than this library; install the two together, or use "
        "device 'cpu'",
        path);
  else
    return (MoshiCudaOpen)open;
  return NULL;
}

MoshiDevice *
moshi_device_cuda(int index, MoshiError *error)
{
  static GMutex lock;
  static MoshiCudaOpen found; /* under the lock: who has found none looks again */
  MoshiDevice *d = NULL;

  g_mutex_lock(&lock);
  if (!found) {
    char *path = module_path();
    found = find_open(path, error);
    g_free(path);
  }
  MoshiCudaOpen open = found;
  g_mutex_unlock(&lock);
  if (open)
    open(index, &d, error);
  return d;
}
