/* The convolutional ends of Mimi.
 *
 * encoder: conv, then for each ratio { residual blocks, ELU, strided conv }, ELU,
 * conv; the decoder mirrors it with transposed convolutions first. All of it is
 * causal and remembers its inputs, so a frame can be cut into blocks of rows
 * and be pushed through several layers block by block with the very same
 * result: the rows in flight then stay in the processor's cache, where a whole
 * frame of 1920 × 64 floats would not. A section is a run of layers that is
 * worked off so: in the encoder up to and with a strided convolution, in the
 * decoder from a transposed one on.
 *
 * A block goes through a layer like this: x is copied (through its ELU, if the
 * layer has one) behind the convolution's context in `window`, and the product
 * over it becomes the new x. */
#include "mimi-seanet.h"

#include <glib.h>
#include <stdint.h>

#include "error.h"
#include "mimi-stream.h"

/* Bytes of a block's rows: about what is left of a small second-level cache beside the
 * weights. */
#define BLOCK_BYTES (192 << 10)

/* ------------------------------------------------------------ weights */

typedef struct {
  MimiSeanet *s;
  MoshiLoader *l;
  const MimiConfig *config;
  size_t *state_size;
  const char *side; /* "encoder", "decoder" */
  int index;        /* in the reference's list of modules, ELUs counted */
} Builder;

static void
add_layer(Builder *b, MimiLayer layer)
{
  if (layer.kind == MIMI_LAYER_ELU_CONV)
    b->index++;
  moshi_conv_load(&layer.conv, b->l, b->state_size, "%s.model.%d.%s", b->side, b->index,
      layer.kind == MIMI_LAYER_RESIDUAL ? "block.1.conv.conv"
      : layer.conv.transposed           ? "convtr.convtr"
                                        : "conv.conv");
  if (layer.kind == MIMI_LAYER_RESIDUAL)
    moshi_conv_load(&layer.pointwise, b->l, b->state_size,
        "%s.model.%d.block.3.conv.conv", b->side, b->index);
  b->index++;
  b->s->layers[b->s->n_layers++] = layer;
}

static MoshiConv
conv(int in, int out, int kernel, int stride)
{
  return (MoshiConv){.in = in,
      .out = out,
      .kernel = kernel,
      .stride = stride,
      .dilation = 1,
      .has_bias = true};
}

static void
add_conv(Builder *b, MimiLayerKind kind, int in, int out, int kernel)
{
  add_layer(b, (MimiLayer){.kind = kind, .conv = conv(in, out, kernel, 1)});
}

static void
add_resampling(Builder *b, int in, int out, int ratio, bool up)
{
  MimiLayer layer = {MIMI_LAYER_ELU_CONV, conv(in, out, 2 * ratio, ratio)};
  layer.conv.transposed = up;
  add_layer(b, layer);
}

static void
add_residuals(Builder *b, int dim)
{
  const MimiConfig *c = b->config;
  int dilation = 1, hidden = dim / c->compress;
  for (int i = 0; i < c->n_residual_layers; i++) {
    MimiLayer layer = {MIMI_LAYER_RESIDUAL,
        conv(dim, hidden, c->residual_kernel_size, 1), conv(hidden, dim, 1, 1)};
    layer.conv.dilation = dilation;
    add_layer(b, layer);
    dilation *= c->dilation_base;
  }
}

/* Layers from the last section's end to here become a section. */
static void
end_section(MimiSeanet *s)
{
  MimiSection *section = &s->sections[s->n_sections];
  section->first = s->n_sections ? s->sections[s->n_sections - 1].end : 0;
  section->end = s->n_layers;
  section->hop = 1;
  for (int i = section->first; i < section->end; i++) {
    if (!s->layers[i].conv.transposed)
      section->hop *= s->layers[i].conv.stride;
    if (s->layers[i].kind != MIMI_LAYER_RESIDUAL)
      section->last_move = i;
  }
  s->n_sections++;
}

static void
begin(Builder *b, int in, int out)
{
  int n = b->config->n_ratios;
  *b->s = (MimiSeanet){.in = in, .out = out};
  b->s->layers = g_new0(MimiLayer, 2 + n * (1 + b->config->n_residual_layers));
  b->s->sections = g_new0(MimiSection, n + 1);
}

int
mimi_seanet_load_encoder(
    MimiSeanet *s, MoshiLoader *l, const MimiConfig *config, size_t *state_size)
{
  Builder b = {s, l, config, state_size, "encoder", 0};
  int dim = config->n_filters;
  begin(&b, 1, config->dimension);
  add_conv(&b, MIMI_LAYER_CONV, 1, dim, config->kernel_size);
  for (int i = config->n_ratios - 1; i >= 0; i--, dim *= 2) {
    add_residuals(&b, dim);
    add_resampling(&b, dim, 2 * dim, config->ratios[i], false);
    if (i)
      end_section(s);
  }
  add_conv(&b, MIMI_LAYER_ELU_CONV, dim, config->dimension, config->last_kernel_size);
  end_section(s);
  return l->status;
}

int
mimi_seanet_load_decoder(
    MimiSeanet *s, MoshiLoader *l, const MimiConfig *config, size_t *state_size)
{
  Builder b = {s, l, config, state_size, "decoder", 0};
  int dim = config->n_filters << config->n_ratios;
  begin(&b, config->dimension, 1);
  add_conv(&b, MIMI_LAYER_CONV, config->dimension, dim, config->kernel_size);
  for (int i = 0; i < config->n_ratios; i++, dim /= 2) {
    if (i)
      end_section(s);
    add_resampling(&b, dim, dim / 2, config->ratios[i], true);
    add_residuals(&b, dim / 2);
  }
  add_conv(&b, MIMI_LAYER_ELU_CONV, dim, 1, config->last_kernel_size);
  end_section(s);
  return l->status;
}

void
mimi_seanet_free(MimiSeanet *s, MoshiDevice *d)
{
  for (int i = 0; d && i < s->n_layers; i++) {
    moshi_conv_free(&s->layers[i].conv, d);
    moshi_conv_free(&s->layers[i].pointwise, d);
  }
  g_free(s->layers);
  g_free(s->sections);
  *s = (MimiSeanet){0};
}

/* --------------------------------------------------------------- work */

/* Floats of one slot's buffers in a block. */
typedef struct {
  size_t x, window, hidden, taps;
} BlockSize;

static int
section_rows(const MimiSeanet *s, const MimiSection *section, int rows)
{
  for (int i = section->first; i < section->end; i++)
    rows = moshi_conv_rows(&s->layers[i].conv, rows);
  return rows;
}

/* Channels of a section's output. */
static int
section_out(const MimiSeanet *s, const MimiSection *section)
{
  return s->layers[section->last_move].conv.out;
}

static BlockSize
block_size(const MimiSeanet *s, const MimiSection *section, int rows)
{
  BlockSize size = {0};
  for (int i = section->first; i < section->end; i++) {
    const MimiLayer *layer = &s->layers[i];
    const MoshiConv *c = &layer->conv;
    int next = moshi_conv_rows(c, rows);
    if (layer->kind == MIMI_LAYER_RESIDUAL)
      size.hidden = MAX(size.hidden, (size_t)next * c->out);
    else if (i < section->last_move)
      size.x = MAX(size.x, (size_t)next * c->out);
    size.window = MAX(size.window, moshi_conv_window_size(c, rows));
    size.taps = MAX(size.taps, moshi_conv_taps_size(c, rows));
    rows = next;
  }
  return size;
}

/* Where a block of n slots lies, from `memory` on (NULL: only measured); returns the
 * floats it takes. */
static size_t
place_block(MimiSeanetWork *w, BlockSize size, size_t n, float *memory)
{
  size_t used = 0;
  w->x = mimi_place(memory, &used, n * size.x);
  w->window = mimi_place(memory, &used, n * size.window);
  w->hidden = mimi_place(memory, &used, n * size.hidden);
  w->taps = mimi_place(memory, &used, n * size.taps);
  return used;
}

/* The most rows that divide the section's and fit into the cache, for n slots. */
static int
block_rows(
    const MimiSeanet *s, const MimiSection *section, MimiSeanetWork *w, int rows, int n)
{
  int hops = rows / section->hop;
  for (int parts = 1; parts < hops; parts++) {
    if (hops % parts)
      continue;
    BlockSize size = block_size(s, section, rows / parts);
    if (place_block(w, size, n, NULL) * sizeof(float) <= BLOCK_BYTES)
      return rows / parts;
  }
  return section->hop;
}

/* Blocks follow the number of slots that run: a lone one of a large batch works in
 * blocks as large as if it were alone in it. */
static void
choose_blocks(MimiSeanetWork *w, const MimiSeanet *s, int n)
{
  if (w->n == n)
    return;
  w->n = n;
  for (int i = 0; i < s->n_sections; i++)
    w->block[i] =
        w->whole ? w->n_rows[i] : block_rows(s, &s->sections[i], w, w->n_rows[i], n);
}

static size_t
place_all(MimiSeanetWork *w, const MimiSeanet *s, size_t batch)
{
  size_t used = 0, block = BLOCK_BYTES / sizeof(float);
  for (int i = 0; i <= s->n_sections; i++) {
    int channels = i ? section_out(s, &s->sections[i - 1]) : s->in;
    w->rows[i] = mimi_place(w->memory, &used, batch * w->n_rows[i] * channels);
  }
  /* What does not fit into the cache is as small as it can be. */
  for (int i = 0; i < s->n_sections; i++) {
    int rows = w->whole ? w->n_rows[i] : s->sections[i].hop;
    BlockSize least = block_size(s, &s->sections[i], rows);
    block = MAX(block, place_block(w, least, batch, NULL));
  }
  w->block_memory = mimi_place(w->memory, &used, block);
  return used;
}

int
mimi_seanet_work_init(MimiSeanetWork *w, const MimiSeanet *s, MoshiDevice *d, int batch,
    int rows, MoshiError *error)
{
  *w = (MimiSeanetWork){.rows = g_new0(float *, s->n_sections + 1),
      .n_rows = g_new0(int, s->n_sections + 1),
      .block = g_new0(int, s->n_sections),
      .whole = d->ops->begin != NULL};
  w->n_rows[0] = rows;
  for (int i = 0; i < s->n_sections; i++)
    w->n_rows[i + 1] = section_rows(s, &s->sections[i], w->n_rows[i]);
  size_t floats = place_all(w, s, batch);
  w->memory = d->ops->alloc(d, floats * sizeof(float));
  if (!w->memory)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "no memory on %s to code %d streams at a time (%.1f MB); use fewer",
        d->description, batch, floats * sizeof(float) / 1e6);
  place_all(w, s, batch);
  return 0;
}

void
mimi_seanet_work_free(MimiSeanetWork *w, MoshiDevice *d)
{
  d->ops->free(d, w->memory);
  g_free(w->rows);
  g_free(w->n_rows);
  g_free(w->block);
  *w = (MimiSeanetWork){0};
}

float *
mimi_seanet_input(const MimiSeanetWork *w)
{
  return w->rows[0];
}

float *
mimi_seanet_output(const MimiSeanetWork *w, const MimiSeanet *s)
{
  return w->rows[s->n_sections];
}

/* --------------------------------------------------------------- step */

/* A slot's rows [rows][channels]; `stride` floats from slot to slot. */
typedef struct {
  float *data;
  size_t stride;
} Rows;

/* `rows` of x become moshi_conv_rows() of y; a residual layer works in place. */
static void
run_layer(const MimiLayer *layer, MimiSeanetWork *w, MoshiDevice *d,
    const MoshiConvSlots *slots, Rows x, Rows y, int rows)
{
  const MoshiConv *c = &layer->conv;
  MoshiView from = {x.data, x.stride, c->in};
  MoshiView to = {
      w->window + (size_t)c->context * c->in, moshi_conv_window_size(c, rows), c->in};
  d->ops->act(d, layer->kind == MIMI_LAYER_CONV ? MOSHI_ACT_NONE : MOSHI_ACT_ELU, to,
      from, slots->n, rows, c->in);
  MoshiConvOp op = {.slots = slots,
      .rows = rows,
      .window = w->window,
      .taps = w->taps,
      .y = y.data,
      .y_stride = y.stride};
  if (layer->kind != MIMI_LAYER_RESIDUAL) {
    moshi_conv_step(c, d, &op);
    return;
  }
  op.act = MOSHI_ACT_ELU;
  op.y = w->hidden;
  op.y_stride = (size_t)rows * c->out;
  moshi_conv_step(c, d, &op);
  MoshiConvOp last = {.slots = slots,
      .rows = rows,
      .window = w->hidden,
      .residual = x.data,
      .y = x.data,
      .y_stride = x.stride};
  moshi_conv_step(&layer->pointwise, d, &last);
}

/* One block of `rows` rows from x to y. */
static void
run_block(const MimiSeanet *s, const MimiSection *section, MimiSeanetWork *w,
    MoshiDevice *d, const MoshiConvSlots *slots, Rows x, Rows y, int rows)
{
  for (int i = section->first; i < section->end; i++) {
    const MimiLayer *layer = &s->layers[i];
    int next = moshi_conv_rows(&layer->conv, rows);
    Rows to = {w->x, (size_t)next * layer->conv.out};
    if (layer->kind == MIMI_LAYER_RESIDUAL)
      to = x;
    else if (i == section->last_move)
      to = y;
    run_layer(layer, w, d, slots, x, to, rows);
    x = to;
    rows = next;
  }
}

void
mimi_seanet_step(
    const MimiSeanet *s, MimiSeanetWork *w, MoshiDevice *d, const MoshiConvSlots *slots)
{
  int in = s->in;
  choose_blocks(w, s, slots->n);
  for (int i = 0; i < s->n_sections; i++) {
    const MimiSection *section = &s->sections[i];
    int out = section_out(s, section);
    int block = w->block[i], out_block = section_rows(s, section, block);
    Rows x = {w->rows[i], (size_t)w->n_rows[i] * in};
    Rows y = {w->rows[i + 1], (size_t)w->n_rows[i + 1] * out};
    place_block(w, block_size(s, section, block), slots->n, w->block_memory);
    for (int at = 0; at < w->n_rows[i]; at += block) {
      run_block(s, section, w, d, slots, x, y, block);
      x.data += (size_t)block * in;
      y.data += (size_t)out_block * out;
    }
    in = out;
  }
}
