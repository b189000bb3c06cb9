/* The driver of the kernel check, and the data its rounds work on. */
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check_inner.h"
#include "reference.h"

enum { GUARD = 64, GUARD_BYTE = 0xa5, MAX_MESSAGES = 5 };

/* ----------------------------------------------------------------- random */

/* SplitMix64. */
uint64_t
check_random(Check *c)
{
  uint64_t z = c->random += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

int
check_below(Check *c, int n)
{
  return (int)(check_random(c) % (uint64_t)n);
}

int
check_size(Check *c, int max)
{
  const int limit = check_below(c, 2) ? max : max < 40 ? max : 40;
  return 1 + check_below(c, limit);
}

static float
from_bits(uint32_t bits)
{
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float
unit(Check *c)
{
  return (float)((double)(int64_t)check_random(c) * 0x1p-63);
}

float
check_number(Check *c, Data data)
{
  static const uint32_t special[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001,
      0x7f7fffff, 0xff7fffff, 0, 0x80000000, 1, 0x80000001, 0x00800000, 0x3f800000};
  const float u = unit(c);

  switch (data) {
  case DATA_WIDE:
    return ldexpf(u, check_below(c, 41) - 20);
  case DATA_TINY:
    return from_bits((uint32_t)check_random(c) & 0x80ffffffu);
  case DATA_HUGE:
    return ldexpf(u, check_below(c, 41));
  case DATA_SPECIAL:
    return check_below(c, 4) ? 100 * u : from_bits(special[check_below(c, 12)]);
  default:
    return u;
  }
}

const char *const check_data_names[] = {"unit", "wide", "tiny", "huge", "special"};

Data
check_finite_data(Check *c)
{
  return check_below(c, DATA_SPECIAL);
}

void
check_fill(Check *c, float *x, size_t n, Data data)
{
  for (size_t i = 0; i < n; i++)
    x[i] = check_number(c, data);
}

/* ----------------------------------------------------------------- memory */

static unsigned char *
block(Check *c, size_t bytes, size_t before, size_t after)
{
  unsigned char *base = malloc(before + bytes + after);

  if (!base || c->n_blocks == CHECK_MAX_BLOCKS) {
    fprintf(stderr, "kernel check: out of memory\n");
    abort();
  }
  c->blocks[c->n_blocks].base = base;
  c->blocks[c->n_blocks].before = before;
  c->blocks[c->n_blocks].bytes = bytes;
  c->blocks[c->n_blocks++].after = after;
  memset(base, GUARD_BYTE, before + bytes + after);
  return base + before;
}

void *
check_input_bytes(Check *c, size_t bytes, size_t alignment)
{
  return block(c, bytes, GUARD + alignment * check_below(c, 16), 0);
}

float *
check_input(Check *c, size_t n)
{
  return check_input_bytes(c, n * sizeof(float), sizeof(float));
}

float *
check_output(Check *c, size_t n)
{
  const size_t offset = sizeof(float) * check_below(c, 16);
  return (float *)block(c, n * sizeof(float), GUARD + offset, GUARD);
}

float *
check_vector(Check *c, size_t n, Data data)
{
  float *x = check_input(c, n);
  check_fill(c, x, n, data);
  return x;
}

static bool
guarded(const unsigned char *bytes, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != GUARD_BYTE)
      return false;
  return true;
}

void
check_end(Check *c)
{
  while (c->n_blocks > 0) {
    c->n_blocks--;
    unsigned char *base = c->blocks[c->n_blocks].base;
    const size_t before = c->blocks[c->n_blocks].before;
    const size_t end = before + c->blocks[c->n_blocks].bytes;
    if (!guarded(base, before) || !guarded(base + end, c->blocks[c->n_blocks].after))
      check_fail(c, "wrote outside of block %d", c->n_blocks);
    free(base);
  }
}

/* ---------------------------------------------------------------- verdict */

void
check_fail(Check *c, const char *format, ...)
{
  va_list args;

  if (c->failures++ >= MAX_MESSAGES)
    return;
  printf("# %s (%s), %s: ", c->name, c->tier->name, c->what);
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  printf("\n#   repeat with: --seed %llu --rounds 1 --tier %s %s\n",
      (unsigned long long)c->seed, c->tier->name, c->name);
}

double
check_sum_tolerance(int n, double magnitudes)
{
  return (n + 4) * CHECK_EPS * magnitudes + CHECK_TINY;
}

bool
check_near(Check *c, size_t i, float got, float want, double tolerance)
{
  bool good;

  if (isnan(want))
    good = isnan(got);
  else if (isinf(want) || isinf(got) || isnan(got))
    good = got == want;
  else
    good = fabs((double)got - want) <= tolerance;
  if (!good)
    check_fail(c, "[%zu] is %.9g, not %.9g (tolerance %.3g)", i, got, want, tolerance);
  return good;
}

bool
check_same(Check *c, const char *what, const float *got, const float *want, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (memcmp(got + i, want + i, sizeof *got) && !(isnan(got[i]) && isnan(want[i]))) {
      check_fail(c, "%s: [%zu] is %.9g, not %.9g", what, i, got[i], want[i]);
      return false;
    }
  return true;
}

/* ----------------------------------------------------------------- driver */

typedef struct {
  uint64_t seed;
  int rounds, threads;
  const char *tier;
  bool bench, json;
  char **filters;
  int n_filters;
} Options;

bool
check_matches(const char *name, char *const *filters, int n_filters)
{
  bool matches = n_filters == 0;
  for (int i = 0; i < n_filters; i++)
    matches |= strstr(name, filters[i]) != NULL;
  return matches;
}

/* Every tier of this build and machine, rising; returns how many. */
static int
list_tiers(MoshiKernels *tiers, int max)
{
  int n = 0;
  for (unsigned mask = 0, bit = 0; bit <= 8 && n < max; mask |= 1u << bit++) {
    moshi_kernels_init(&tiers[n], mask);
    if (n == 0 || strcmp(tiers[n].name, tiers[n - 1].name))
      n++;
  }
  return n;
}

static int
check_tier(const MoshiKernels *tier, const Options *o)
{
  int failed = 0;

  for (int i = 0; i < n_check_kernels; i++) {
    const CheckKernel *kernel = &check_kernels[i];
    if (!check_matches(kernel->name, o->filters, o->n_filters))
      continue;
    Check c = {.ref = &moshi_kernels_reference, .tier = tier, .name = kernel->name};
    for (int round = 0; round < o->rounds; round++) {
      c.seed = o->seed + round;
      c.random = c.seed * 0x2545f4914f6cdd1du;
      kernel->round(&c);
      check_end(&c);
    }
    printf("%s %s: %s\n", c.failures ? "FAIL" : "ok  ", tier->name, kernel->name);
    failed += c.failures > 0;
  }
  return failed;
}

static int
usage(const char *argument)
{
  fprintf(stderr,
      "kernels: wrong argument '%s'; known are [--seed N] [--rounds N] [--tier NAME] "
      "[--bench] [--threads N] [--json] [FILTER…]\n",
      argument);
  return 1;
}

static bool
parse(Options *o, int argc, char **argv)
{
  for (int i = 0; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (!strcmp(argv[i], "--bench"))
      o->bench = true;
    else if (!strcmp(argv[i], "--json"))
      o->json = o->bench = true;
    else if (!strcmp(argv[i], "--seed") && value)
      o->seed = strtoull(argv[++i], NULL, 0);
    else if (!strcmp(argv[i], "--rounds") && value)
      o->rounds = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--threads") && value)
      o->threads = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--tier") && value)
      o->tier = argv[++i];
    else if (argv[i][0] == '-')
      return usage(argv[i]), false;
    else
      o->filters[o->n_filters++] = argv[i];
  }
  return true;
}

static int
run(const Options *o)
{
  MoshiKernels tiers[8];
  const int n = list_tiers(tiers, 8);
  int failed = 0, tried = 0;

  if (!o->json && !o->bench)
    printf("# seed %llu, %d rounds\n", (unsigned long long)o->seed, o->rounds);
  for (int i = 0; i < n; i++) {
    if (o->tier && strcmp(o->tier, tiers[i].name))
      continue;
    tried++;
    if (o->bench)
      check_bench(&tiers[i], o->threads, o->json, o->filters, o->n_filters);
    else
      failed += check_tier(&tiers[i], o);
  }
  if (!tried) {
    fprintf(
        stderr, "kernels: no tier '%s' in this build or on this machine\n", o->tier);
    return 1;
  }
  return failed > 0;
}

int
moshi_check_tier(const MoshiKernels *tier, int argc, char **argv)
{
  Options o = {.seed = (uint64_t)time(NULL), .rounds = 200, .threads = 1};
  int status = 1;

  o.filters = calloc(argc + 1, sizeof *o.filters);
  if (o.filters && parse(&o, argc, argv))
    status = tier ? check_tier(tier, &o) > 0 : run(&o);
  free(o.filters);
  return status;
}

int
moshi_check_kernels(int argc, char **argv)
{
  return moshi_check_tier(NULL, argc, argv);
}
