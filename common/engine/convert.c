/* Conversion of a language model's weights to fewer bits.
 *
 * A walk over the model, as a check is, tells its tensors under their canonical names;
 * matrices that are multiplied with become blocks, while tables of embeddings, of which
 * a step reads a row each, and vectors stay as they are. Rows that are not whole blocks
 * stay too. The work is cut into chunks of rows across all tensors, which threads take
 * in the order of the file. Pages of the source are given back as soon as they are
 * done, so that a conversion needs no more memory than its result. */
#include "convert.h"

#include <glib.h>
#include <string.h>

#include "../error.h"
#include "../lm.h"
#include "crew.h"

/* Bytes of the source that a thread converts at a time. */
#define CHUNK (1 << 20)
/* Chunks that are asked of the disk ahead of the one that is taken. */
#define AHEAD 16

static const char *const quantization_names[] = {
    [MOSHI_QUANTIZATION_NONE] = "none",
    [MOSHI_QUANTIZATION_Q8] = "q8",
    [MOSHI_QUANTIZATION_Q4] = "q4",
};

typedef struct {
  char *name;
  MoshiRows rows;   /* data: while the source is mapped, else NULL */
  MoshiType target; /* rows.type where it stays */
} Item;

struct MoshiConversion {
  MoshiLoader loader;
  const MoshiLmConfig *config;
  MoshiQuantization quantization;
  GArray *items; /* Item */
  size_t bytes;
};

int
moshi_quantization_parse(MoshiQuantization *q, const char *text, MoshiError *error)
{
  *q = MOSHI_QUANTIZATION_NONE;
  for (size_t i = 0; text && i < G_N_ELEMENTS(quantization_names); i++)
    if (strcmp(text, quantization_names[i]) == 0) {
      *q = i;
      return 0;
    }
  return text ? moshi_fail(error, MOSHI_ERROR_ARGUMENT,
                    "quantization is \"%s\"; none, q8 and q4 can be had", text)
              : 0;
}

const char *
moshi_quantization_name(MoshiQuantization q)
{
  return quantization_names[q];
}

/* ---------------------------------------------------------------------- plan */

/* What a stored type amounts to. */
static MoshiQuantization
kind_of(MoshiType type)
{
  switch (type) {
  case MOSHI_TYPE_I8:
  case MOSHI_TYPE_Q8_0:
  case MOSHI_TYPE_MLX8:
    return MOSHI_QUANTIZATION_Q8;
  case MOSHI_TYPE_Q4_0:
  case MOSHI_TYPE_Q4_K:
  case MOSHI_TYPE_MLX4:
    return MOSHI_QUANTIZATION_Q4;
  default:
    return MOSHI_QUANTIZATION_NONE;
  }
}

static bool
is_product(const char *name, const MoshiRows *rows)
{
  return rows->rows > 1 && !g_str_has_prefix(name, "condition_provider.") &&
         !g_str_has_prefix(name, "emb.") && !strstr(name, "_emb.");
}

/* The first type whose blocks the rows are made of; F32 stands for none. */
static MoshiType
target_type(MoshiQuantization q, const char *name, const MoshiRows *rows)
{
  static const MoshiType candidates[][2] = {
      [MOSHI_QUANTIZATION_Q8] = {MOSHI_TYPE_Q8_0},
      [MOSHI_QUANTIZATION_Q4] = {MOSHI_TYPE_Q4_K, MOSHI_TYPE_Q4_0},
  };
  if (kind_of(rows->type) != MOSHI_QUANTIZATION_NONE || !is_product(name, rows))
    return rows->type;
  for (size_t i = 0; i < G_N_ELEMENTS(candidates[0]); i++)
    if (candidates[q][i] && rows->cols % moshi_type_block(candidates[q][i]) == 0)
      return candidates[q][i];
  return rows->type;
}

static int
plan_tensor(void *cookie, const char *name, const MoshiRows *rows)
{
  MoshiConversion *c = cookie;
  Item item = {g_strdup(name), *rows, target_type(c->quantization, name, rows)};
  if (!moshi_checkpoint_holds(c->loader.checkpoint, rows->data, moshi_rows_size(rows)))
    item.rows.data = NULL;
  c->bytes += rows->rows * moshi_rows_bytes(item.target, rows->cols);
  g_array_append_val(c->items, item);
  return 0;
}

static int
walk(MoshiConversion *c, MoshiTensorVisit visit, void *cookie, bool plan,
    MoshiError *error)
{
  MoshiLoader l = c->loader;
  l.plan = plan;
  l.error = error;
  l.visit = visit;
  l.visit_cookie = cookie;
  moshi_lm_weights_load(&l, c->config);
  return l.status;
}

/* A model that is quantised in its file is taken as it is, or not at all: converting
 * twice adds the errors of both. */
static int
check_source(const MoshiConversion *c, bool *quantized, MoshiError *error)
{
  *quantized = false;
  for (guint i = 0; i < c->items->len; i++) {
    const Item *item = &g_array_index(c->items, Item, i);
    MoshiQuantization kind = kind_of(item->rows.type);
    if (kind == MOSHI_QUANTIZATION_NONE || !is_product(item->name, &item->rows))
      continue;
    const char *path = moshi_checkpoint_path(c->loader.checkpoint);
    if (kind != c->quantization)
      return moshi_fail(error, MOSHI_ERROR_MODEL,
          "%s: its weights are %s already; use quantization=none, or quantization=%s "
          "with the model's bf16 files",
          path, moshi_type_name(item->rows.type),
          moshi_quantization_name(c->quantization));
    if (!*quantized)
      moshi_log(MOSHI_LOG_INFO, "%s: quantization=%s has nothing to do, it is in %s",
          path, moshi_quantization_name(kind), moshi_type_name(item->rows.type));
    *quantized = true;
  }
  return 0;
}

int
moshi_conversion_new(MoshiConversion **conversion, const MoshiLoader *loader,
    const MoshiLmConfig *config, MoshiQuantization quantization, MoshiError *error)
{
  *conversion = NULL;
  MoshiConversion *c = g_new0(MoshiConversion, 1);
  c->loader = *loader;
  c->config = config;
  c->quantization = quantization;
  c->items = g_array_new(FALSE, FALSE, sizeof(Item));
  bool quantized = false;
  int status = walk(c, plan_tensor, c, true, error);
  if (!status)
    status = check_source(c, &quantized, error);
  if (status || quantized)
    moshi_conversion_free(c);
  else
    *conversion = c;
  return status;
}

void
moshi_conversion_free(MoshiConversion *c)
{
  if (!c)
    return;
  for (guint i = 0; i < c->items->len; i++)
    g_free(g_array_index(c->items, Item, i).name);
  g_array_free(c->items, TRUE);
  g_free(c);
}

MoshiQuantization
moshi_conversion_quantization(const MoshiConversion *c)
{
  return c->quantization;
}

const MoshiCheckpoint *
moshi_conversion_source(const MoshiConversion *c)
{
  return c->loader.checkpoint;
}

size_t
moshi_conversion_bytes(const MoshiConversion *c)
{
  return c->bytes;
}

static MoshiDtype
stored_dtype(MoshiType type)
{
  static const MoshiDtype dtypes[MOSHI_N_TYPES] = {
      [MOSHI_TYPE_F32] = MOSHI_DTYPE_F32,
      [MOSHI_TYPE_F16] = MOSHI_DTYPE_F16,
      [MOSHI_TYPE_BF16] = MOSHI_DTYPE_BF16,
      [MOSHI_TYPE_Q8_0] = MOSHI_DTYPE_Q8_0,
      [MOSHI_TYPE_Q4_0] = MOSHI_DTYPE_Q4_0,
      [MOSHI_TYPE_Q4_K] = MOSHI_DTYPE_Q4_K,
  };
  return dtypes[type];
}

static MoshiTensor
converted_tensor(const Item *item)
{
  bool vector = item->rows.rows == 1;
  return (MoshiTensor){.name = item->name,
      .dtype = stored_dtype(item->target),
      .n_dims = vector ? 1 : 2,
      .dims = {vector ? item->rows.cols : item->rows.rows, item->rows.cols},
      .bytes = item->rows.rows * moshi_rows_bytes(item->target, item->rows.cols)};
}

void
moshi_conversion_declare(const MoshiConversion *c, MoshiGgufWriter *writer)
{
  for (guint i = 0; i < c->items->len; i++) {
    MoshiTensor t = converted_tensor(&g_array_index(c->items, Item, i));
    moshi_gguf_writer_tensor(writer, &t);
  }
}

bool
moshi_conversion_matches(const MoshiConversion *c, const MoshiCheckpoint *checkpoint)
{
  for (guint i = 0; i < c->items->len; i++) {
    MoshiTensor want = converted_tensor(&g_array_index(c->items, Item, i));
    const MoshiTensor *have = moshi_checkpoint_find(checkpoint, want.name);
    if (!have || have->dtype != want.dtype || have->n_dims != want.n_dims ||
        have->dims[0] != want.dims[0] || have->bytes != want.bytes)
      return false;
  }
  return !moshi_checkpoint_unused(checkpoint, NULL);
}

/* ---------------------------------------------------------------------- work */

typedef struct {
  guint item;
  int first, n; /* rows */
} Chunk;

typedef struct {
  const MoshiConversion *conversion;
  MoshiGgufWriter *writer;
  MoshiKernels kernels;
  MoshiCrew crew;
  MoshiProgress progress;
  void *cookie;
  size_t done, at_hand, total; /* bytes of the source: before, of the chunks, all */
  guint visited;               /* items, in the second walk */
  GArray *chunks;              /* Chunk: those at hand */
  const void *data;            /* of their item, where it is not mapped */
  MoshiError *error;
} Work;

static const Item *
item_at(const MoshiConversion *c, guint i)
{
  return &g_array_index(c->items, Item, i);
}

static MoshiRows
chunk_rows(const Work *w, const Chunk *chunk)
{
  MoshiRows rows = item_at(w->conversion, chunk->item)->rows;
  if (w->data)
    rows.data = w->data;
  return moshi_rows_part(&rows, chunk->first, chunk->n);
}

static void
advise(const Work *w, size_t i, MoshiAdvice advice)
{
  if (w->data || i >= w->chunks->len)
    return;
  MoshiRows rows = chunk_rows(w, &g_array_index(w->chunks, Chunk, i));
  moshi_checkpoint_advise(
      w->conversion->loader.checkpoint, rows.data, moshi_rows_size(&rows), advice);
}

/* scratch: a row of floats, and the chunk's blocks behind it. */
static int
convert_chunk(void *ctx, size_t i, void *scratch, MoshiError *error)
{
  const Work *w = ctx;
  const Chunk *chunk = &g_array_index(w->chunks, Chunk, i);
  const MoshiType target = item_at(w->conversion, chunk->item)->target;
  const MoshiRows rows = chunk_rows(w, chunk);
  const size_t row_bytes = moshi_rows_bytes(target, rows.cols);
  const void *out = rows.data;
  advise(w, i + AHEAD, MOSHI_WILL_READ);
  if (target != rows.type) {
    float *x = scratch;
    char *blocks = (char *)(x + rows.cols);
    for (int r = 0; r < rows.rows; r++) {
      w->kernels.widen[rows.type](x, &rows, r, 0, rows.cols);
      moshi_encode(&w->kernels, target, blocks + r * row_bytes, x, rows.cols);
    }
    out = blocks;
  }
  int status = moshi_gguf_writer_data(w->writer, chunk->item, chunk->first * row_bytes,
      out, rows.rows * row_bytes, error);
  advise(w, i, MOSHI_HAVE_READ);
  return status;
}

/* MoshiProgress of the chunks at hand */
static int
on_progress(void *cookie, double done)
{
  const Work *w = cookie;
  return w->progress ? w->progress(w->cookie, (w->done + done * w->at_hand) / w->total)
                     : 0;
}

static void
add_chunks(Work *w, guint index)
{
  const MoshiRows *rows = &item_at(w->conversion, index)->rows;
  int step = MAX(1, CHUNK / MAX(1, moshi_rows_bytes(rows->type, rows->cols)));
  for (int first = 0; first < rows->rows; first += step) {
    Chunk chunk = {index, first, MIN(step, rows->rows - first)};
    g_array_append_val(w->chunks, chunk);
  }
  w->at_hand += moshi_rows_size(rows);
}

static int
run_chunks(Work *w, MoshiError *error)
{
  w->crew.n = w->chunks->len;
  int status = moshi_crew_run(&w->crew, error);
  w->done += w->at_hand;
  w->at_hand = 0;
  g_array_set_size(w->chunks, 0);
  return status;
}

/* What is not mapped is there while it is visited. */
static int
visit_unmapped(void *cookie, const char *name, const MoshiRows *rows)
{
  Work *w = cookie;
  guint index = w->visited++;
  if (item_at(w->conversion, index)->rows.data)
    return 0;
  add_chunks(w, index);
  w->data = rows->data;
  return run_chunks(w, w->error);
}

int
moshi_conversion_run(MoshiConversion *c, MoshiGgufWriter *writer, int threads,
    MoshiProgress progress, void *cookie, MoshiError *error)
{
  Work w = {.conversion = c,
      .writer = writer,
      .crew = {.threads = threads,
          .piece = convert_chunk,
          .ctx = &w,
          .progress = on_progress,
          .cookie = &w},
      .progress = progress,
      .cookie = cookie,
      .chunks = g_array_new(FALSE, FALSE, sizeof(Chunk)),
      .error = error};
  moshi_kernels_init(&w.kernels, moshi_cpu_detect());
  bool mapped = true;
  for (guint i = 0; i < c->items->len; i++) {
    const MoshiRows *rows = &item_at(c, i)->rows;
    size_t row = moshi_rows_bytes(rows->type, rows->cols);
    /* What is converted is never longer than its source. */
    w.crew.scratch = MAX(w.crew.scratch, rows->cols * sizeof(float) + MAX(row, CHUNK));
    w.total += moshi_rows_size(rows);
    mapped &= rows->data != NULL;
  }
  for (guint i = 0; i < c->items->len; i++)
    if (item_at(c, i)->rows.data)
      add_chunks(&w, i);
  int status = run_chunks(&w, error);
  if (!status && !mapped)
    status = walk(c, visit_unmapped, &w, false, error);
  g_array_free(w.chunks, TRUE);
  return status;
}
