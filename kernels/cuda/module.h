/* What the module with the CUDA back end and the library that opens it agree on. */
#ifndef MOSHI_CUDA_MODULE_H
#define MOSHI_CUDA_MODULE_H

#include "../../common/device/device.h"

/* A module of another version of MoshiDeviceOps is not used. */
#define MOSHI_CUDA_TEXT_(x) #x
#define MOSHI_CUDA_TEXT(x) MOSHI_CUDA_TEXT_(x)
#define MOSHI_CUDA_INTERFACE                                                           \
  "moshi " MOSHI_CUDA_TEXT(MOSHI_VERSION_MAJOR) "." MOSHI_CUDA_TEXT(                   \
      MOSHI_VERSION_MINOR) "." MOSHI_CUDA_TEXT(MOSHI_VERSION_MICRO) " cuda 2"

#define MOSHI_CUDA_EXPORT __attribute__((visibility("default")))

/* Opens card `index`; 0 or a MoshiStatus. */
typedef int (*MoshiCudaOpen)(int index, MoshiDevice **device, MoshiError *error);

#define MOSHI_CUDA_OPEN_SYMBOL "moshi_cuda_open"
#define MOSHI_CUDA_INTERFACE_SYMBOL "moshi_cuda_interface"

#endif
