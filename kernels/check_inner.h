/* What the files of the kernel check share. */
#ifndef MOSHI_KERNELS_CHECK_INNER_H
#define MOSHI_KERNELS_CHECK_INNER_H

#include <float.h>
#include <stdbool.h>

#include "kernels.h"

/* Half a unit in the last place, relatively. */
#define CHECK_EPS 0x1p-24
/* Where sums of denormals, and results below the least normal, may end up. */
#define CHECK_TINY (FLT_MIN * 4.0)

/* Kinds of data. */
typedef enum {
  DATA_UNIT,    /* uniform in ±1 */
  DATA_WIDE,    /* magnitudes from 2^-20 to 2^20 */
  DATA_TINY,    /* denormals, zeros of both signs, the least normals */
  DATA_HUGE,    /* up to 2^40: squares and sums stay finite */
  DATA_SPECIAL, /* infinities and NaNs among the rest */
  N_DATA
} Data;

extern const char *const check_data_names[];

enum { CHECK_MAX_BLOCKS = 16 };

typedef struct {
  const MoshiKernels *ref, *tier;
  const char *name; /* of the kernel under test */
  uint64_t seed;    /* of the round: repeats it */
  uint64_t random;  /* state of the generator */
  char what[160];   /* the case, for messages */
  int failures;     /* of this kernel */
  struct {
    unsigned char *base;
    size_t before, bytes, after;
  } blocks[CHECK_MAX_BLOCKS];
  int n_blocks;
} Check;

uint64_t check_random(Check *c);
int check_below(Check *c, int n); /* 0 … n−1 */
/* A size of [1,max]: small and odd ones are as likely as large ones. */
int check_size(Check *c, int max);
float check_number(Check *c, Data data);
/* Kinds without infinities, for kernels that sum. */
Data check_finite_data(Check *c);
void check_fill(Check *c, float *x, size_t n, Data data);
/* n elements at an odd address. Inputs end where their memory does, for the
 * sanitizers; outputs have guard bytes around them. All go with check_end. */
float *check_input(Check *c, size_t n);
void *check_input_bytes(Check *c, size_t bytes, size_t alignment);
float *check_output(Check *c, size_t n);
float *check_vector(Check *c, size_t n, Data data); /* an input, filled */
/* Of a sum of n products in any order: n rounding errors of at most CHECK_EPS of the
 * sum of magnitudes. */
double check_sum_tolerance(int n, double magnitudes);
/* Of element i: NaN where want is, else within `tolerance`. */
bool check_near(Check *c, size_t i, float got, float want, double tolerance);
/* n equal floats, bit for bit. */
bool check_same(
    Check *c, const char *what, const float *got, const float *want, size_t n);
void check_fail(Check *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void check_end(Check *c);

typedef struct {
  const char *name;
  void (*round)(Check *c);
} CheckKernel;

/* Rounds of one type's products, and of its widening. */
void check_matvec(Check *c, MoshiType type);
void check_matvec_panels(Check *c, MoshiType type);
void check_widen(Check *c, MoshiType type);

extern const CheckKernel check_kernels[];
extern const int n_check_kernels;

/* Times the kernels whose names contain one of the filters (none: all). */
void check_bench(
    const MoshiKernels *k, int threads, bool json, char *const *filters, int n_filters);
bool check_matches(const char *name, char *const *filters, int n_filters);

#endif
