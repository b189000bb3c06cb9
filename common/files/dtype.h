/* How the elements of a tensor are stored in a file. */
#ifndef MOSHI_FILES_DTYPE_H
#define MOSHI_FILES_DTYPE_H

#include <stddef.h>

typedef enum {
  MOSHI_DTYPE_BOOL,
  MOSHI_DTYPE_U8,
  MOSHI_DTYPE_I8,
  MOSHI_DTYPE_I16,
  MOSHI_DTYPE_U16,
  MOSHI_DTYPE_F16,
  MOSHI_DTYPE_BF16,
  MOSHI_DTYPE_I32,
  MOSHI_DTYPE_U32,
  MOSHI_DTYPE_F32,
  MOSHI_DTYPE_I64,
  MOSHI_DTYPE_U64,
  MOSHI_DTYPE_F64,
  /* ggml's blocks along a row: docs/model-files.md */
  MOSHI_DTYPE_Q8_0,
  MOSHI_DTYPE_Q4_0,
  MOSHI_DTYPE_Q4_K,
  MOSHI_N_DTYPES
} MoshiDtype;

const char *moshi_dtype_name(MoshiDtype dtype); /* "BF16" and so on */
int moshi_dtype_block(MoshiDtype dtype);        /* elements of a block, or 1 */
size_t moshi_dtype_size(MoshiDtype dtype);      /* bytes of a block */

#endif
