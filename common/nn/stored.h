/* A matrix as its file stores it: in any type, in pieces, with scales beside it. */
#ifndef MOSHI_NN_STORED_H
#define MOSHI_NN_STORED_H

#include "loader.h"

typedef struct {
  MoshiRows rows; /* data and scales in the file's mapping, or in `owned` */
  void *owned;    /* g_free; NULL: nothing had to be put together */
} MoshiStored;

/* Finds and checks the matrix of this PyTorch name. Without `data` nothing is put
 * together, and rows.data is NULL where it would have to be. Returns 0 or the walk's
 * status. */
int moshi_stored_open(
    MoshiLoader *l, MoshiStored *out, int rows, int cols, const char *name, bool data);

/* Whether a tensor's type is one of the floats, and which. */
bool moshi_float_type(MoshiDtype dtype, MoshiType *type);

#endif
