/* The types of tensors: see dtype.h. */
#include "dtype.h"

static const struct {
  const char *name;
  int block;
  size_t size;
} dtypes[MOSHI_N_DTYPES] = {
    [MOSHI_DTYPE_BOOL] = {"BOOL", 1, 1},
    [MOSHI_DTYPE_U8] = {"U8", 1, 1},
    [MOSHI_DTYPE_I8] = {"I8", 1, 1},
    [MOSHI_DTYPE_I16] = {"I16", 1, 2},
    [MOSHI_DTYPE_U16] = {"U16", 1, 2},
    [MOSHI_DTYPE_F16] = {"F16", 1, 2},
    [MOSHI_DTYPE_BF16] = {"BF16", 1, 2},
    [MOSHI_DTYPE_I32] = {"I32", 1, 4},
    [MOSHI_DTYPE_U32] = {"U32", 1, 4},
    [MOSHI_DTYPE_F32] = {"F32", 1, 4},
    [MOSHI_DTYPE_I64] = {"I64", 1, 8},
    [MOSHI_DTYPE_U64] = {"U64", 1, 8},
    [MOSHI_DTYPE_F64] = {"F64", 1, 8},
    [MOSHI_DTYPE_Q8_0] = {"Q8_0", 32, 34},
    [MOSHI_DTYPE_Q4_0] = {"Q4_0", 32, 18},
    [MOSHI_DTYPE_Q4_K] = {"Q4_K", 256, 144},
};

const char *
moshi_dtype_name(MoshiDtype dtype)
{
  return dtypes[dtype].name;
}

int
moshi_dtype_block(MoshiDtype dtype)
{
  return dtypes[dtype].block;
}

size_t
moshi_dtype_size(MoshiDtype dtype)
{
  return dtypes[dtype].size;
}
