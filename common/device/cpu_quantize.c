/* The nearest entry of a codebook, on the CPU. The codebook is read as bf16, half the
 * bytes, which tells every score to within a known bound; the few entries that could
 * be the best by it are then scored exactly. */
#include "cpu.h"

#include <float.h>
#include <math.h>

typedef struct {
  const MoshiKernels *k;
  const MoshiCodebook *book;
  float *residual; /* [cols] */
  float *scores;   /* [rows], of row·residual by bf16 rows */
} Search;

/* Σ x², in double: only a bound follows from it. */
static float
length(const float *x, int n)
{
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += (double)x[i] * x[i];
  return (float)sqrt(sum);
}

/* Turns the scores into lower bounds of |row|²/2 − row·residual; returns the least
 * upper bound. */
static float
bounds(const Search *s)
{
  const MoshiCodebook *b = s->book;
  const float size = length(s->residual, b->rows.m.cols);
  float least = INFINITY;

  for (int j = 0; j < b->rows.m.rows; j++) {
    const float score = b->half_norms[j] - s->scores[j];
    const float error = b->errors[j] * size + 2 * FLT_EPSILON * b->half_norms[j];
    const float upper = score + error;
    least = upper < least ? upper : least;
    s->scores[j] = score - error;
  }
  return least;
}

/* As argmin of the exact scores: the lowest index of equals, no NaN before a number.
 * A bound that is not a number keeps its entry in. */
static int
nearest(const Search *s)
{
  const MoshiCodebook *b = s->book;
  const float least = bounds(s);
  float best = NAN;
  int found = -1;

  for (int j = 0; j < b->rows.m.rows; j++) {
    if (s->scores[j] > least)
      continue;
    float dot;
    s->k->matvec[MOSHI_TYPE_F32](
        &dot, 1, &b->rows.m, s->residual, b->rows.m.cols, j, j + 1, 1);
    const float score = b->half_norms[j] - dot;
    if (found < 0 || score < best || (isnan(best) && !isnan(score))) {
      found = j;
      best = score;
    }
  }
  return found;
}

typedef struct {
  const MoshiKernels *k;
  const MoshiCodebook *book;
  float *residual, *scores;
  int32_t *codes;
  size_t code_stride;
} Quantize;

static void
some_vectors(void *ctx, int begin, int end)
{
  const Quantize *q = ctx;
  const MoshiRows *rows = &q->book->rows.m;

  for (int i = begin; i < end; i++) {
    float *residual = q->residual + (size_t)i * rows->cols;
    const int code =
        nearest(&(Search){q->k, q->book, residual, q->scores + (size_t)i * rows->rows});
    const float *row = (const float *)rows->data + (size_t)code * rows->cols;
    for (int c = 0; c < rows->cols; c++)
      residual[c] -= row[c];
    q->codes[i * q->code_stride] = code;
  }
}

void
moshi_cpu_quantize(MoshiDevice *d, const MoshiCodebook *book, float *residual,
    float *scores, int32_t *codes, size_t code_stride, int n)
{
  MoshiCpu *cpu = moshi_cpu(d);
  const int rows = book->rows.m.rows, dim = book->rows.m.cols;
  Quantize q = {&cpu->k, book, residual, scores, codes, code_stride};

  moshi_cpu_linear(d, &(MoshiLinearOp){
                          .w = &book->search,
                          .x = {residual, dim, dim},
                          .y = {scores, rows, rows},
                          .batch = n,
                          .steps = 1,
                      });
  moshi_cpu_split(cpu, n, 1, 60.0 * n * rows, some_vectors, &q);
}
