/* Raw little-endian files, a row at a time. */
#ifndef MOSHI_RAWFILE_H
#define MOSHI_RAWFILE_H

#include <stdio.h>

#include "../moshi.h"

typedef struct {
  const char *path;
  FILE *file;
} RawInput;

int raw_input_open(RawInput *input, const char *path, MoshiError *error);
/* Reads up to `bytes` and stores how many there were in *got: less at the end
 * of the file only. */
int raw_input_read(
    RawInput *input, void *row, size_t bytes, size_t *got, MoshiError *error);
void raw_input_close(RawInput *input);

/* A file that appears under its name when it is complete, and never otherwise.
 * What exists and is not a regular file (a pipe, /dev/null) is written to
 * directly. */
typedef struct {
  const char *path;
  char *temporary; /* renamed by commit; NULL where written directly */
  FILE *file;
} RawOutput;

int raw_output_open(RawOutput *output, const char *path, MoshiError *error);
int raw_output_write(
    RawOutput *output, const void *data, size_t bytes, MoshiError *error);
int raw_output_commit(RawOutput *output, MoshiError *error);
/* Removes an output that was not committed; otherwise does nothing. */
void raw_output_discard(RawOutput *output);

#endif
