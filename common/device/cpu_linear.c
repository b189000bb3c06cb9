/* Matrix products on the CPU: how the work of one is cut into pieces. Cuts never
 * change a result (kernels.h). */
#include "cpu.h"

#include <string.h>

/* Sums that wait on the stack for bias, activation and residual: of so many rows of x,
 * at most, by as many rows of a row-major matrix as there is room for. Each tile rounds
 * x anew if the weights are quantised. */
enum { TILE_BATCH = 16, TILE = 4096 };

/* ---------------------------------------------------------- packed panels */

typedef struct {
  const MoshiKernels *k;
  MoshiGemm g;
  int rows, panels;
} Product;

static void
some_panels(void *ctx, int begin, int end)
{
  const Product *p = ctx;
  p->k->gemm(&p->g, 0, p->rows, begin, end);
}

static void
some_rows(void *ctx, int begin, int end)
{
  const Product *p = ctx;
  p->k->gemm(&p->g, begin, end, 0, p->panels);
}

/* What a product costs: the weights come from memory once, at about the speed
 * of eight rows' arithmetic. */
static double
product_work(int rows, int n_out, int n_in)
{
  return (double)n_out * n_in * (rows + 8);
}

static void
linear_packed(MoshiCpu *cpu, const MoshiLinearOp *op, int n_out)
{
  Product p = {
      .k = &cpu->k,
      .g =
          {
              .in = op->x.data,
              .in_batch = op->x.batch_stride,
              .in_step = op->x.step_stride,
              .batch = op->batch,
              .steps = op->steps,
              .n_in = op->w->m.cols,
              .type = op->w->m.type,
              .panels = (const char *)op->w->m.data +
                        op->first_row * moshi_rows_bytes(op->w->m.type, op->w->m.cols),
              .n_out = n_out,
              .bias = op->bias,
              .scale = op->scale,
              .residual = op->residual.data,
              .residual_batch = op->residual.batch_stride,
              .residual_step = op->residual.step_stride,
              .act = op->act,
              .out = op->y.data,
              .out_batch = op->y.batch_stride,
              .out_step = op->y.step_stride,
          },
      .rows = op->batch * op->steps,
      .panels = (n_out + MOSHI_PANEL - 1) / MOSHI_PANEL,
  };
  const double work = product_work(p.rows, n_out, p.g.n_in);
  if (p.rows > 8 * p.panels)
    moshi_cpu_split(cpu, p.rows, 6, work, some_rows, &p);
  else
    moshi_cpu_split(cpu, p.panels, 1, work, some_panels, &p);
}

/* ------------------------------------------------- row-major, and quantised */

typedef struct {
  MoshiCpu *cpu;
  const MoshiLinearOp *op;
  int n_out; /* of y: rows of the matrix from op->first_row on, or half of all */
  /* rows of x and y, evenly spaced */
  int n;
  const float *x, *residual;
  float *y;
  size_t x_step, y_step, residual_step;
} Matvec;

/* y = residual + scale ⊙ act(sum + bias) for outputs [r0, r0+n) of one row. */
static void
finish_row(const Matvec *m, int row, int r0, int n, float *sum)
{
  const MoshiKernels *k = &m->cpu->k;
  const MoshiLinearOp *op = m->op;
  float *y = m->y + row * m->y_step + r0;

  if (op->bias)
    k->add(sum, op->bias + r0, NULL, n);
  if (op->act != MOSHI_ACT_NONE)
    k->act[op->act](sum, sum, n);
  if (op->scale)
    k->mul(sum, sum, op->scale + r0, n);
  if (m->residual)
    k->add(sum, m->residual + row * m->residual_step + r0, NULL, n);
  memcpy(y, sum, n * sizeof *y);
}

/* y = act(gate) ⊙ value, the same way. */
static void
finish_gate(const Matvec *m, int row, int r0, int n, float *gate, const float *value)
{
  const MoshiKernels *k = &m->cpu->k;
  k->act[m->op->act](gate, gate, n);
  k->mul(m->y + row * m->y_step + r0, gate, value, n);
}

/* Sums of rows from `first` on, n of them, with `batch` rows of x from i on. */
static void
sum_rows(const Matvec *m, float *sums, int rows, int first, int n, int i, int batch)
{
  const MoshiKernels *k = &m->cpu->k;
  const MoshiMatrix *w = m->op->w;
  (w->packed ? k->matvec_panels : k->matvec)[w->m.type](
      sums, rows, &w->m, m->x + i * m->x_step, m->x_step, first, first + n, batch);
}

static void
some_tiles(void *ctx, int begin, int end)
{
  const Matvec *m = ctx;
  const int first = m->op->first_row;
  const int rows = TILE / (m->n < TILE_BATCH ? m->n : TILE_BATCH);
  float sums[TILE], values[TILE];

  for (int r0 = begin; r0 < end; r0 += rows) {
    const int n = end - r0 < rows ? end - r0 : rows;
    for (int i = 0; i < m->n; i += TILE_BATCH) {
      const int batch = m->n - i < TILE_BATCH ? m->n - i : TILE_BATCH;
      sum_rows(m, sums, rows, first + r0, n, i, batch);
      if (m->op->gated)
        sum_rows(m, values, rows, m->n_out + r0, n, i, batch);
      for (int j = 0; j < batch; j++)
        if (m->op->gated)
          finish_gate(m, i + j, r0, n, sums + j * rows, values + j * rows);
        else
          finish_row(m, i + j, r0, n, sums + j * rows);
    }
  }
}

static void
run_matvec(MoshiCpu *cpu, Matvec *m)
{
  const int rows = m->op->gated ? 2 * m->n_out : m->n_out;
  const double work = product_work(m->n, rows, m->op->w->m.cols);
  moshi_cpu_split(cpu, m->n_out, 8, work, some_tiles, m);
}

static void
linear_rows(MoshiCpu *cpu, const MoshiLinearOp *op, int n_out)
{
  Matvec m = {
      .cpu = cpu,
      .op = op,
      .n_out = n_out,
      .x = op->x.data,
      .y = op->y.data,
      .residual = op->residual.data,
  };

  if (op->steps == 1) {
    m.n = op->batch;
    m.x_step = op->x.batch_stride;
    m.y_step = op->y.batch_stride;
    m.residual_step = op->residual.batch_stride;
    run_matvec(cpu, &m);
    return;
  }
  m.n = op->steps;
  m.x_step = op->x.step_stride;
  m.y_step = op->y.step_stride;
  m.residual_step = op->residual.step_stride;
  for (int i = 0; i < op->batch; i++) {
    m.x = op->x.data + i * op->x.batch_stride;
    m.y = op->y.data + i * op->y.batch_stride;
    if (m.residual)
      m.residual = op->residual.data + i * op->residual.batch_stride;
    run_matvec(cpu, &m);
  }
}

void
moshi_cpu_linear(MoshiDevice *d, const MoshiLinearOp *op)
{
  const int rows = op->n_rows ? op->n_rows : op->w->m.rows - op->first_row;
  const int n_out = op->gated ? rows / 2 : rows;
  if (op->w->packed && op->w->m.type <= MOSHI_TYPE_BF16)
    linear_packed(moshi_cpu(d), op, n_out);
  else
    linear_rows(moshi_cpu(d), op, n_out);
}
