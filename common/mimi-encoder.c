/* The Mimi encoder: PCM to codes, a frame of 80 ms at a time.
 *
 *   pcm[1920] → SEANet → [steps][dim] → transformer → downsample → [dim]
 *             → rvq_first, rvq_rest → codes
 *
 * at 24 kHz, 25 Hz and 12.5 Hz. Both quantizers see the same vector: the first
 * codebook (semantic) is a quantizer of its own, not a level of the others.
 * Reference: moshi/models/compression.py MimiModel.encode, streaming. */
#include "mimi.h"

#include <glib.h>
#include <math.h>

#include "error.h"
#include "mimi-seanet.h"
#include "mimi-stream.h"
#include "nn/rvq.h"
#include "nn/transformer.h"

/* Louder than any sound: taken, like NaN, for a fault of the source and read as
 * silence, because it would stay in the stream's memory. */
#define PCM_LIMIT 65536.0f

struct MimiEncoderWeights {
  MimiConfig config;
  size_t state_size; /* floats of a slot's contexts */
  MimiSeanet seanet;
  MoshiTransformer transformer;
  MoshiConv downsample; /* config.steps > 1 */
  MoshiRvq first, rest;
};

struct MimiEncoder {
  const MimiEncoderWeights *w;
  int codebooks;
  MimiStream stream;
  MoshiTransformerState transformer;
  MimiSeanetWork seanet;
  bool *started; /* [batch] */
  float *memory; /* of the following */
  float *window; /* downsample's */
  float *latent; /* [n][dimension] */
  float *residual, *scores;
  int32_t *codes; /* [n][codebooks] */
  float *host_pcm;
  int32_t *host_codes;
};

/* ------------------------------------------------------------ weights */

static void
load(MimiEncoderWeights *w, MoshiLoader *l)
{
  const MimiConfig *c = &w->config;
  mimi_seanet_load_encoder(&w->seanet, l, c, &w->state_size);
  moshi_transformer_load(&w->transformer, l, &c->transformer, 1, NULL, false, true,
      "encoder_transformer.transformer");
  w->downsample = (MoshiConv){.in = c->dimension,
      .out = c->dimension,
      .kernel = 2 * c->steps,
      .stride = c->steps,
      .dilation = 1};
  if (c->steps > 1)
    moshi_conv_load(&w->downsample, l, &w->state_size, "downsample.conv.conv.conv");
  w->first = (MoshiRvq){true, c->dimension, c->q_dim, c->bins, 1};
  w->rest = (MoshiRvq){true, c->dimension, c->q_dim, c->bins, c->n_q - 1};
  moshi_rvq_load(&w->first, l, "quantizer.rvq_first");
  moshi_rvq_load(&w->rest, l, "quantizer.rvq_rest");
}

MimiEncoderWeights *
mimi_encoder_weights_load(MoshiLoader *l, const MimiConfig *config)
{
  MimiEncoderWeights *w = g_new0(MimiEncoderWeights, 1);
  w->config = *config;
  moshi_names_of_mimi(&l->names, l->checkpoint, &w->config);
  load(w, l);
  if (l->status || !l->device) {
    mimi_encoder_weights_free(w, l->device);
    return NULL;
  }
  return w;
}

void
mimi_encoder_weights_free(MimiEncoderWeights *w, MoshiDevice *d)
{
  if (!w)
    return;
  mimi_seanet_free(&w->seanet, d);
  moshi_transformer_free(&w->transformer, d);
  if (d)
    moshi_conv_free(&w->downsample, d);
  moshi_rvq_free(&w->first, d);
  moshi_rvq_free(&w->rest, d);
  g_free(w);
}

/* ------------------------------------------------------------- stream */

static size_t
place_all(MimiEncoder *e, size_t batch)
{
  const MimiConfig *c = &e->w->config;
  size_t used = 0;
  size_t window = moshi_conv_window_size(&e->w->downsample, c->steps);
  e->window = mimi_place(e->memory, &used, batch * window);
  e->latent = mimi_place(e->memory, &used, batch * c->dimension);
  e->residual = mimi_place(e->memory, &used, batch * c->q_dim);
  e->scores = mimi_place(e->memory, &used, batch * c->bins);
  e->codes = (int32_t *)mimi_place(e->memory, &used, batch * e->codebooks);
  return used;
}

static int
init(MimiEncoder *e, MoshiModel *model, int batch, MoshiError *error)
{
  const MimiConfig *c = &e->w->config;
  int status = mimi_stream_init(
      &e->stream, model, batch, e->w->state_size, "mimi encoder", error);
  MoshiDevice *d = e->stream.d;
  if (!status)
    status = moshi_transformer_state_init(&e->transformer, &e->w->transformer, d, batch,
        c->steps, c->transformer.context, error);
  if (!status)
    status = mimi_seanet_work_init(
        &e->seanet, &e->w->seanet, d, batch, c->frame_size, error);
  if (status)
    return status;
  e->started = g_try_new0(bool, batch);
  e->host_pcm = g_try_new(float, (size_t)batch * c->frame_size);
  e->host_codes = g_try_new(int32_t, (size_t)batch * e->codebooks);
  e->memory = d->ops->alloc(d, place_all(e, batch) * sizeof(float));
  if (!e->started || !e->host_pcm || !e->host_codes || !e->memory)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "mimi encoder: no memory on %s for %d streams; use fewer", d->description,
        batch);
  place_all(e, batch);
  return 0;
}

MimiEncoder *
mimi_encoder_new(MoshiModel *model, int batch, int codebooks, MoshiError *error)
{
  const MimiEncoderWeights *w = moshi_model_encoder(model);
  if (!w) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "mimi encoder: the model's encoder is not loaded; open it with "
        "MOSHI_PART_ENCODER and load it first");
    return NULL;
  }
  if (codebooks < 1 || codebooks > w->config.n_q) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "mimi encoder: %d codebooks asked for; the model has 1 to %d", codebooks,
        w->config.n_q);
    return NULL;
  }
  MimiEncoder *e = g_new0(MimiEncoder, 1);
  e->w = w;
  e->codebooks = codebooks;
  if (init(e, model, batch, error)) {
    mimi_encoder_free(e);
    return NULL;
  }
  return e;
}

void
mimi_encoder_free(MimiEncoder *e)
{
  if (!e)
    return;
  MoshiDevice *d = e->stream.d;
  if (d) {
    moshi_transformer_state_free(&e->transformer, d);
    mimi_seanet_work_free(&e->seanet, d);
    d->ops->free(d, e->memory);
  }
  g_free(e->started);
  g_free(e->host_pcm);
  g_free(e->host_codes);
  mimi_stream_free(&e->stream);
  g_free(e);
}

void
mimi_encoder_reset(MimiEncoder *e, const uint8_t *slots)
{
  for (int i = 0; i < e->stream.batch; i++) {
    if (slots && !slots[i])
      continue;
    mimi_stream_reset(&e->stream, i);
    moshi_transformer_state_reset(&e->transformer, i);
    e->started[i] = false;
  }
}

/* --------------------------------------------------------------- step */

static void
upload_pcm(MimiEncoder *e, const float *pcm)
{
  size_t frame = e->w->config.frame_size;
  for (int i = 0; i < e->stream.active.n; i++) {
    const float *from = pcm + e->stream.slots[i] * frame;
    float *to = e->host_pcm + i * frame;
    for (size_t j = 0; j < frame; j++)
      to[j] = fabsf(from[j]) <= PCM_LIMIT ? from[j] : 0;
  }
  e->stream.d->ops->upload(e->stream.d, mimi_seanet_input(&e->seanet), e->host_pcm,
      e->stream.active.n * frame * sizeof(float));
}

/* The downsampling of a stream starts from its first vector repeated, where all
 * other convolutions start from zeros (modules/resample.py, "replicate"). */
static void
start_downsample(MimiEncoder *e, const float *x)
{
  const MoshiConv *c = &e->w->downsample;
  const MoshiConvSlots *s = &e->stream.active;
  MoshiDevice *d = e->stream.d;
  for (int i = 0; i < s->n; i++) {
    if (e->started[s->slots[i]])
      continue;
    e->started[s->slots[i]] = true;
    for (int row = 0; row < c->context; row++)
      d->ops->store(d, x + (size_t)i * c->stride * c->in, 0,
          s->state + c->offset + (size_t)row * c->in, s->stride, c->in, &s->slots[i],
          1);
  }
}

/* x [n][steps][dimension] → latent [n][dimension] */
static void
downsample(MimiEncoder *e, const float *x)
{
  const MoshiConv *c = &e->w->downsample;
  MoshiDevice *d = e->stream.d;
  int n = e->stream.active.n, dim = e->w->config.dimension;
  int steps = e->w->config.steps;
  MoshiView from = {(float *)x, (size_t)steps * dim, dim};
  if (steps == 1) {
    d->ops->act(d, MOSHI_ACT_NONE, (MoshiView){e->latent, dim, dim}, from, n, 1, dim);
    return;
  }
  start_downsample(e, x);
  MoshiView to = {
      e->window + (size_t)c->context * dim, moshi_conv_window_size(c, steps), dim};
  d->ops->act(d, MOSHI_ACT_NONE, to, from, n, steps, dim);
  moshi_conv_step(c, d,
      &(MoshiConvOp){.slots = &e->stream.active,
          .rows = steps,
          .window = e->window,
          .y = e->latent,
          .y_stride = dim});
}

static void
quantize(MimiEncoder *e)
{
  const MimiEncoderWeights *w = e->w;
  int n = e->stream.active.n, k = e->codebooks;
  moshi_rvq_encode(
      &w->first, e->stream.d, e->latent, e->residual, e->scores, e->codes, k, 1, n);
  if (k > 1)
    moshi_rvq_encode(&w->rest, e->stream.d, e->latent, e->residual, e->scores,
        e->codes + 1, k, k - 1, n);
}

static int
download_codes(MimiEncoder *e, uint16_t *codes, MoshiError *error)
{
  MoshiDevice *d = e->stream.d;
  int k = e->codebooks;
  d->ops->download(d, e->host_codes, e->codes,
      (size_t)e->stream.active.n * k * sizeof *e->host_codes);
  int status = d->ops->sync(d, error);
  if (status)
    return status;
  for (int i = 0; i < e->stream.active.n; i++)
    for (int j = 0; j < k; j++)
      codes[e->stream.slots[i] * k + j] = e->host_codes[i * k + j];
  return 0;
}

int
mimi_encoder_step(MimiEncoder *e, const float *pcm, const uint8_t *run, uint16_t *codes,
    MoshiError *error)
{
  const MimiEncoderWeights *w = e->w;
  MoshiDevice *d = e->stream.d;
  int n = mimi_stream_select(&e->stream, run);
  if (n == 0)
    return 0;
  moshi_device_begin(d);
  upload_pcm(e, pcm);
  mimi_seanet_step(&w->seanet, &e->seanet, d, &e->stream.active);
  float *x = mimi_seanet_output(&e->seanet, &w->seanet);
  moshi_transformer_step(
      &w->transformer, &e->transformer, d, x, w->config.steps, e->stream.slots, n, 0);
  downsample(e, x);
  quantize(e);
  return download_codes(e, codes, error);
}

void
mimi_encoder_latent(const MimiEncoder *e, int i, float *latent)
{
  size_t dim = e->w->config.dimension;
  e->stream.d->ops->download(
      e->stream.d, latent, e->latent + i * dim, dim * sizeof(float));
}
