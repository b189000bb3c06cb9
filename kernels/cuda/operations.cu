/* The operations of a device (device.h), each recorded as its launcher's struct. */
#include <cstring>

#include "device.cuh"
#include "layout.cuh"

namespace {

/* The device for one operation; outside of a frame it is run at once. */
struct Operation {
  MoshiCuda *d;
  explicit Operation(MoshiDevice *base) : d(moshi_cuda(base))
  {
    d->lock->lock();
    if (!d->in_frame)
      moshi_cuda_check(d, cudaSetDevice(d->index));
  }
  ~Operation()
  {
    if (!d->in_frame)
      moshi_cuda_flush(d);
    d->lock->unlock();
  }
  template <class T> T *record(MoshiCudaKind kind)
  {
    return static_cast<T *>(moshi_cuda_record(d, kind));
  }
  template <class T> const T *push(const T *host, size_t n)
  {
    return static_cast<const T *>(moshi_cuda_push(d, host, n * sizeof *host));
  }
};

/* ----------------------------------------------------------------- products */

/* Rows [first, first + n) of a matrix, as launchers take them. */
MoshiRows
part_of(const MoshiMatrix *m, int first, int n)
{
  MoshiRows part = m->m;
  if (!m->packed)
    return moshi_cuda_part(&m->m, first, n);
  part.data = static_cast<const char *>(m->m.data) +
              first * moshi_rows_bytes(m->m.type, m->m.cols);
  part.rows = n;
  return part;
}

void
fill_linear(MoshiCudaLinear *a, const MoshiLinearOp *op)
{
  const int rows = op->n_rows ? op->n_rows : op->w->m.rows - op->first_row;
  a->w = part_of(op->w, op->first_row, rows);
  a->packed = op->w->packed;
  a->n_out = op->gated ? rows / 2 : rows;
  a->gated = op->gated;
  a->act = op->act;
  a->x = op->x;
  a->y = op->y;
  a->residual = op->residual;
  a->bias = op->bias;
  a->scale = op->scale;
  a->batch = op->batch;
  a->steps = op->steps;
}

bool
apart(const float *a, size_t a_size, const float *b, size_t b_size)
{
  return a + a_size <= b || b + b_size <= a;
}

/* The norm that made x just before, if the product can do it on the way. */
bool
take_norm(MoshiCuda *d, const MoshiLinearOp *op, MoshiCudaNorm *norm)
{
  const void *last = moshi_cuda_last(d, MOSHI_CUDA_NORM);
  const size_t cols = op->w->m.cols, items = (size_t)op->batch * op->steps;
  if (!last || op->w->packed)
    return false;
  memcpy(norm, last, sizeof *norm);
  const size_t out =
      op->batch * op->y.batch_stride + op->steps * op->y.step_stride + op->w->m.rows;
  if (!norm->rms || norm->y != op->x.data || (size_t)norm->n != items ||
      (size_t)norm->dim != cols || (op->steps > 1 && op->x.step_stride != cols) ||
      (op->batch > 1 && op->x.batch_stride != cols * op->steps) ||
      !apart(norm->x, items * cols, norm->y, items * cols) ||
      !apart(norm->x, items * cols, op->y.data, out))
    return false;
  moshi_cuda_drop(d);
  return true;
}

void
linear(MoshiDevice *base, const MoshiLinearOp *op)
{
  Operation o(base);
  MoshiCudaNorm norm;
  const bool normed = take_norm(o.d, op, &norm);
  MoshiCudaLinear *a = o.record<MoshiCudaLinear>(MOSHI_CUDA_LINEAR);
  if (!a)
    return;
  fill_linear(a, op);
  if (normed) {
    a->x.data = const_cast<float *>(norm.x);
    a->norm = norm.weight;
    a->normed = norm.y;
    a->eps = norm.eps;
  }
  a->scratch = moshi_cuda_scratch(o.d, moshi_cuda_linear_scratch(a));
}

void
quantize(MoshiDevice *base, const MoshiCodebook *book, float *residual, float *scores,
    int32_t *codes, size_t code_stride, int n)
{
  Operation o(base);
  const size_t entries = book->rows.m.rows, dim = book->rows.m.cols;
  MoshiLinearOp product = {};
  product.w = &book->rows;
  product.x = {residual, dim, dim};
  product.y = {scores, entries, entries};
  product.batch = n;
  product.steps = 1;
  if (MoshiCudaLinear *a = o.record<MoshiCudaLinear>(MOSHI_CUDA_LINEAR))
    fill_linear(a, &product);
  MoshiCudaQuantize *a = o.record<MoshiCudaQuantize>(MOSHI_CUDA_QUANTIZE);
  if (!a)
    return;
  a->rows = static_cast<const float *>(book->rows.m.data);
  a->half_norms = book->half_norms;
  a->scores = scores;
  a->residual = residual;
  a->codes = codes;
  a->code_stride = code_stride;
  a->n = n;
  a->entries = (int)entries;
  a->dim = (int)dim;
}

/* ---------------------------------------------------------------- attention */

void
attend(MoshiDevice *base, const MoshiAttendOp *op)
{
  Operation o(base);
  const int *slots = o.push(op->slots, op->batch);
  const int64_t *positions = o.push(op->positions, op->batch);
  MoshiCudaAttend *a = o.record<MoshiCudaAttend>(MOSHI_CUDA_ATTEND);
  if (!a)
    return;
  a->qkv = op->qkv;
  a->out = op->out;
  a->cache = op->cache;
  a->slot_stride = op->slot_stride;
  a->slots = slots;
  a->positions = positions;
  a->turn = op->turn;
  a->kv = op->kv;
  a->n_heads = op->n_heads;
  a->n_kv_heads = op->n_kv_heads;
  a->head_dim = op->head_dim;
  a->context = op->context;
  a->batch = op->batch;
  a->steps = op->steps;
  a->concat_pairs = op->concat_pairs;
  a->scratch = moshi_cuda_scratch(o.d, moshi_cuda_attend_scratch(a));
}

void
cross(MoshiDevice *base, const MoshiCrossOp *op)
{
  Operation o(base);
  const int *slots = o.push(op->slots, op->batch);
  MoshiCudaCross *a = o.record<MoshiCudaCross>(MOSHI_CUDA_CROSS);
  if (!a)
    return;
  a->q = op->q;
  a->out = op->out;
  a->kv = op->kv;
  a->slot_stride = op->slot_stride;
  a->slots = slots;
  a->n_heads = op->n_heads;
  a->head_dim = op->head_dim;
  a->length = op->length;
  a->batch = op->batch;
}

/* -------------------------------------------------------------- elementwise */

void
norm(MoshiDevice *base, const MoshiNormOp *op, float *y, const float *x, int n, int dim)
{
  Operation o(base);
  MoshiCudaNorm *a = o.record<MoshiCudaNorm>(MOSHI_CUDA_NORM);
  if (!a)
    return;
  a->y = y;
  a->x = x;
  a->weight = op->weight;
  a->bias = op->bias;
  a->n = n;
  a->dim = dim;
  a->rms = op->rms;
  a->eps = op->eps;
}

void
act(MoshiDevice *base, MoshiAct act, MoshiView y, MoshiView x, int batch, int steps,
    int width)
{
  Operation o(base);
  MoshiCudaAct *a = o.record<MoshiCudaAct>(MOSHI_CUDA_ACT);
  if (!a)
    return;
  a->y = y;
  a->x = x;
  a->act = act;
  a->batch = batch;
  a->steps = steps;
  a->width = width;
}

void
gate(MoshiDevice *base, MoshiAct act, float *y, const float *u, int n, int hidden)
{
  Operation o(base);
  MoshiCudaGate *a = o.record<MoshiCudaGate>(MOSHI_CUDA_GATE);
  if (!a)
    return;
  a->y = y;
  a->u = u;
  a->act = act;
  a->n = n;
  a->hidden = hidden;
}

void
add(MoshiDevice *base, float *y, const float *x, size_t x_stride, const float *s, int n,
    int dim)
{
  Operation o(base);
  MoshiCudaAdd *a = o.record<MoshiCudaAdd>(MOSHI_CUDA_ADD);
  if (!a)
    return;
  a->y = y;
  a->x = x;
  a->s = s;
  a->x_stride = x_stride;
  a->n = n;
  a->dim = dim;
}

void
guide(MoshiDevice *base, float *y, const float *a_rows, const float *b, float coef,
    size_t n)
{
  Operation o(base);
  MoshiCudaGuide *a = o.record<MoshiCudaGuide>(MOSHI_CUDA_GUIDE);
  if (!a)
    return;
  a->y = y;
  a->a = a_rows;
  a->b = b;
  a->coef = coef;
  a->n = n;
}

void
softmax(MoshiDevice *base, float *y, const float *x, int n, int size)
{
  Operation o(base);
  MoshiCudaSoftmax *a = o.record<MoshiCudaSoftmax>(MOSHI_CUDA_SOFTMAX);
  if (!a)
    return;
  a->y = y;
  a->x = x;
  a->n = n;
  a->size = size;
}

/* ----------------------------------------------------------- states, tables */

void
move(MoshiDevice *base, float *y, size_t y_stride, const float *x, size_t x_stride,
    int width, const int *host_slots, int n, bool store)
{
  Operation o(base);
  const int *slots = o.push(host_slots, n);
  MoshiCudaMove *a = o.record<MoshiCudaMove>(MOSHI_CUDA_MOVE);
  if (!a)
    return;
  a->y = y;
  a->x = x;
  a->y_stride = y_stride;
  a->x_stride = x_stride;
  a->slots = slots;
  a->width = width;
  a->n = n;
  a->store = store;
}

void
load(MoshiDevice *base, float *dense, size_t dense_stride, const float *state,
    size_t state_stride, int width, const int *slots, int n)
{
  move(base, dense, dense_stride, state, state_stride, width, slots, n, false);
}

void
store(MoshiDevice *base, const float *dense, size_t dense_stride, float *state,
    size_t state_stride, int width, const int *slots, int n)
{
  move(base, state, state_stride, dense, dense_stride, width, slots, n, true);
}

void
embed(MoshiDevice *base, float *y, size_t y_stride, const MoshiMatrix *table,
    const int32_t *tokens, size_t token_stride, int n)
{
  Operation o(base);
  MoshiCudaEmbed *a = o.record<MoshiCudaEmbed>(MOSHI_CUDA_EMBED);
  if (!a)
    return;
  a->y = y;
  a->y_stride = y_stride;
  a->table = table->m;
  a->tokens = tokens;
  a->token_stride = token_stride;
  a->n = n;
}

/* ------------------------------------------------------------------- tokens */

/* How many edits there are differs from frame to frame, so that their number is
 * rounded up, with edits of no row, or a graph would be captured for each. */
void
edit(MoshiDevice *base, float *logits, int size, const MoshiEdit *host, int n)
{
  enum { PART = 64 };
  Operation o(base);
  for (int first = 0; first < n; first += PART) {
    const int some = n - first < PART ? n - first : PART;
    MoshiEdit edits[PART];
    memset(edits, 0, sizeof edits);
    memcpy(edits, host + first, some * sizeof *host);
    for (int i = some; i < PART; i++)
      edits[i].row = -1;
    const MoshiEdit *pushed = o.push(edits, PART);
    MoshiCudaEdit *a = o.record<MoshiCudaEdit>(MOSHI_CUDA_EDIT);
    if (!a)
      return;
    a->logits = logits;
    a->edits = pushed;
    a->n = PART;
    a->size = size;
  }
}

void
sample(MoshiDevice *base, const float *logits, int n, int size, const MoshiDraw *host,
    int32_t *tokens, size_t token_stride)
{
  Operation o(base);
  const MoshiDraw *draws = o.push(host, n);
  MoshiCudaSample *a = o.record<MoshiCudaSample>(MOSHI_CUDA_SAMPLE);
  if (!a)
    return;
  a->logits = logits;
  a->draws = draws;
  a->tokens = tokens;
  a->token_stride = token_stride;
  a->n = n;
  a->size = size;
}

} // namespace

void
moshi_cuda_operations(MoshiDeviceOps *ops)
{
  ops->linear = linear;
  ops->norm = norm;
  ops->act = act;
  ops->gate = gate;
  ops->add = add;
  ops->attend = attend;
  ops->cross = cross;
  ops->load = load;
  ops->store = store;
  ops->embed = embed;
  ops->quantize = quantize;
  ops->edit = edit;
  ops->sample = sample;
  ops->guide = guide;
  ops->softmax = softmax;
}
