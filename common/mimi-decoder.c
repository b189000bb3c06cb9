/* The Mimi decoder: codes to PCM, a frame of 80 ms at a time.
 *
 *   codes → rvq_first + rvq_rest → [dim] → upsample → [steps][dim]
 *         → transformer → SEANet → pcm[1920]
 *
 * Any number of leading codebooks is enough: levels that are not there add
 * nothing. Reference: moshi/models/compression.py MimiModel.decode, streaming. */
#include "mimi.h"

#include <glib.h>

#include "error.h"
#include "mimi-seanet.h"
#include "mimi-stream.h"
#include "nn/rvq.h"
#include "nn/transformer.h"

struct MimiDecoderWeights {
  MimiConfig config;
  size_t state_size; /* floats of a slot's contexts */
  MoshiRvq first, rest;
  /* Upsampling, a transposed convolution of each channel by itself; config.steps > 1.
   * [steps][dimension]: what the frame's vector and the one before it give. */
  float *upsample, *upsample_before;
  size_t upsample_offset; /* of the vector before in a slot's contexts */
  MoshiTransformer transformer;
  MimiSeanet seanet;
};

struct MimiDecoder {
  const MimiDecoderWeights *w;
  MimiStream stream;
  MoshiTransformerState transformer;
  MimiSeanetWork seanet;
  float *memory;          /* of the following */
  float *sum;             /* [n][q_dim] */
  float *latent, *before; /* [n][dimension], of this frame and the one before */
  float *repeated;        /* [n][steps][dimension] */
  int32_t *codes;         /* [n][codebooks] */
  int32_t *host_codes;
  float *host_pcm;
};

/* ------------------------------------------------------------ weights */

/* weight [dimension][1][2·steps] */
static void
load_upsample(MimiDecoderWeights *w, MoshiLoader *l)
{
  const char *name = "upsample.convtr.convtr.convtr.weight";
  int dim = w->config.dimension, steps = w->config.steps;
  size_t n = (size_t)steps * dim;
  int64_t dims[] = {dim, 1, 2 * steps};
  w->upsample_offset = w->state_size;
  w->state_size += dim;
  const MoshiTensor *t = moshi_load_tensor(l, name, 3, dims);
  if (!t || !l->device)
    return;
  float **part[] = {&w->upsample, &w->upsample_before};
  float *host = g_try_new(float, n);
  for (size_t i = 0; i < 2; i++) {
    *part[i] = host ? l->device->ops->alloc(l->device, n * sizeof(float)) : NULL;
    if (!*part[i]) {
      moshi_load_no_memory(l, name);
      break;
    }
    for (size_t j = 0; j < n; j++)
      host[j] = moshi_tensor_at(t, j % dim * 2 * steps + i * steps + j / dim);
    l->device->ops->upload(l->device, *part[i], host, n * sizeof(float));
  }
  g_free(host);
}

static void
load(MimiDecoderWeights *w, MoshiLoader *l)
{
  const MimiConfig *c = &w->config;
  w->first = (MoshiRvq){false, c->dimension, c->q_dim, c->bins, 1};
  w->rest = (MoshiRvq){false, c->dimension, c->q_dim, c->bins, c->n_q - 1};
  moshi_rvq_load(&w->first, l, "quantizer.rvq_first");
  moshi_rvq_load(&w->rest, l, "quantizer.rvq_rest");
  if (c->steps > 1)
    load_upsample(w, l);
  moshi_transformer_load(&w->transformer, l, &c->transformer, 1, NULL, false, true,
      "decoder_transformer.transformer");
  mimi_seanet_load_decoder(&w->seanet, l, c, &w->state_size);
  /* A row of contexts is also where zeros are copied from (mimi_stream_zero). */
  w->state_size = MAX(w->state_size, (size_t)c->q_dim);
}

MimiDecoderWeights *
mimi_decoder_weights_load(MoshiLoader *l, const MimiConfig *config)
{
  MimiDecoderWeights *w = g_new0(MimiDecoderWeights, 1);
  w->config = *config;
  moshi_names_of_mimi(&l->names, l->checkpoint, &w->config);
  load(w, l);
  if (l->status || !l->device) {
    mimi_decoder_weights_free(w, l->device);
    return NULL;
  }
  return w;
}

void
mimi_decoder_weights_free(MimiDecoderWeights *w, MoshiDevice *d)
{
  if (!w)
    return;
  moshi_rvq_free(&w->first, d);
  moshi_rvq_free(&w->rest, d);
  if (d) {
    d->ops->free(d, w->upsample);
    d->ops->free(d, w->upsample_before);
  }
  moshi_transformer_free(&w->transformer, d);
  mimi_seanet_free(&w->seanet, d);
  g_free(w);
}

/* ------------------------------------------------------------- stream */

static size_t
place_all(MimiDecoder *s, size_t batch)
{
  const MimiConfig *c = &s->w->config;
  size_t used = 0, dim = c->dimension;
  s->sum = mimi_place(s->memory, &used, batch * c->q_dim);
  s->latent = mimi_place(s->memory, &used, batch * dim);
  s->before = mimi_place(s->memory, &used, batch * dim);
  s->repeated = mimi_place(s->memory, &used, batch * c->steps * dim);
  s->codes = (int32_t *)mimi_place(s->memory, &used, batch * c->n_q);
  return used;
}

static int
init(MimiDecoder *s, MoshiModel *model, int batch, MoshiError *error)
{
  const MimiConfig *c = &s->w->config;
  int status = mimi_stream_init(
      &s->stream, model, batch, s->w->state_size, "mimi decoder", error);
  MoshiDevice *d = s->stream.d;
  if (!status)
    status = moshi_transformer_state_init(&s->transformer, &s->w->transformer, d, batch,
        c->steps, c->transformer.context, error);
  if (!status)
    status =
        mimi_seanet_work_init(&s->seanet, &s->w->seanet, d, batch, c->steps, error);
  if (status)
    return status;
  s->host_codes = g_try_new(int32_t, (size_t)batch * c->n_q);
  s->host_pcm = g_try_new(float, (size_t)batch * c->frame_size);
  s->memory = d->ops->alloc(d, place_all(s, batch) * sizeof(float));
  if (!s->host_codes || !s->host_pcm || !s->memory)
    return moshi_fail(error, MOSHI_ERROR_MEMORY,
        "mimi decoder: no memory on %s for %d streams; use fewer", d->description,
        batch);
  place_all(s, batch);
  return 0;
}

MimiDecoder *
mimi_decoder_new(MoshiModel *model, int batch, MoshiError *error)
{
  const MimiDecoderWeights *w = moshi_model_decoder(model);
  if (!w) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "mimi decoder: the model's decoder is not loaded; open it with "
        "MOSHI_PART_DECODER and load it first");
    return NULL;
  }
  MimiDecoder *s = g_new0(MimiDecoder, 1);
  s->w = w;
  if (init(s, model, batch, error)) {
    mimi_decoder_free(s);
    return NULL;
  }
  return s;
}

void
mimi_decoder_free(MimiDecoder *s)
{
  if (!s)
    return;
  MoshiDevice *d = s->stream.d;
  if (d) {
    moshi_transformer_state_free(&s->transformer, d);
    mimi_seanet_work_free(&s->seanet, d);
    d->ops->free(d, s->memory);
  }
  g_free(s->host_codes);
  g_free(s->host_pcm);
  mimi_stream_free(&s->stream);
  g_free(s);
}

void
mimi_decoder_reset(MimiDecoder *s, const uint8_t *slots)
{
  for (int i = 0; i < s->stream.batch; i++) {
    if (slots && !slots[i])
      continue;
    mimi_stream_reset(&s->stream, i);
    moshi_transformer_state_reset(&s->transformer, i);
  }
}

/* --------------------------------------------------------------- step */

int
mimi_check_codes(
    const MimiConfig *c, const uint16_t *codes, int k, int stream, MoshiError *error)
{
  if (k < 1 || k > c->n_q)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "mimi decoder: %d codebooks given; the model has 1 to %d", k, c->n_q);
  for (int j = 0; j < k; j++)
    if (codes[j] >= c->bins)
      return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
          "mimi decoder: code %d of codebook %d in stream %d; the model's are below %d",
          codes[j], j, stream, c->bins);
  return 0;
}

/* Checks everything before anything changes. */
static int
take_codes(MimiDecoder *s, const uint16_t *codes, int k, MoshiError *error)
{
  const MimiConfig *c = &s->w->config;
  int n = s->stream.active.n;
  for (int i = 0; i < n; i++) {
    int stream = s->stream.slots[i];
    const uint16_t *from = codes + (size_t)stream * k;
    int status = mimi_check_codes(c, from, k, stream, error);
    if (status)
      return status;
    for (int j = 0; j < k; j++)
      s->host_codes[(size_t)i * k + j] = from[j];
  }
  return 0;
}

/* codes → latent [n][dimension] */
static void
dequantize(MimiDecoder *s, int k)
{
  const MimiDecoderWeights *w = s->w;
  int n = s->stream.active.n;
  mimi_stream_zero(&s->stream, s->sum, 1, w->config.q_dim);
  moshi_rvq_decode(&w->first, s->stream.d, s->codes, k, 1, s->sum, s->latent, false, n);
  if (k == 1)
    return;
  mimi_stream_zero(&s->stream, s->sum, 1, w->config.q_dim);
  moshi_rvq_decode(
      &w->rest, s->stream.d, s->codes + 1, k, k - 1, s->sum, s->latent, true, n);
}

/* y[step] = before ⊙ upsample_before[step] + latent ⊙ upsample[step] */
static void
upsample(MimiDecoder *s, float *y)
{
  const MimiDecoderWeights *w = s->w;
  const MoshiConvSlots *slots = &s->stream.active;
  MoshiDevice *d = s->stream.d;
  int dim = w->config.dimension, steps = w->config.steps, width = steps * dim;
  MoshiView latent = {s->latent, dim, 0};
  if (steps == 1) {
    d->ops->act(d, MOSHI_ACT_NONE, (MoshiView){y, dim, dim}, latent, slots->n, 1, dim);
    return;
  }
  MoshiView repeated = {s->repeated, width, dim}, before = {s->before, dim, 0};
  float *context = slots->state + w->upsample_offset;
  d->ops->load(d, s->before, dim, context, slots->stride, dim, slots->slots, slots->n);
  mimi_stream_zero(&s->stream, y, steps, dim);
  d->ops->act(d, MOSHI_ACT_NONE, repeated, before, slots->n, steps, dim);
  d->ops->add(d, y, s->repeated, width, w->upsample_before, slots->n, width);
  d->ops->act(d, MOSHI_ACT_NONE, repeated, latent, slots->n, steps, dim);
  d->ops->add(d, y, s->repeated, width, w->upsample, slots->n, width);
  d->ops->store(d, s->latent, dim, context, slots->stride, dim, slots->slots, slots->n);
}

static int
download_pcm(MimiDecoder *s, float *pcm, MoshiError *error)
{
  MoshiDevice *d = s->stream.d;
  size_t frame = s->w->config.frame_size;
  d->ops->download(d, s->host_pcm, mimi_seanet_output(&s->seanet, &s->w->seanet),
      s->stream.active.n * frame * sizeof(float));
  int status = d->ops->sync(d, error);
  if (status)
    return status;
  for (int i = 0; i < s->stream.active.n; i++)
    for (size_t j = 0; j < frame; j++)
      pcm[s->stream.slots[i] * frame + j] = s->host_pcm[i * frame + j];
  return 0;
}

int
mimi_decoder_step(MimiDecoder *s, const uint16_t *codes, int codebooks,
    const uint8_t *run, float *pcm, MoshiError *error)
{
  const MimiDecoderWeights *w = s->w;
  int n = mimi_stream_select(&s->stream, run);
  int status = take_codes(s, codes, codebooks, error);
  if (status || n == 0)
    return status;
  MoshiDevice *d = s->stream.d;
  moshi_device_begin(d);
  d->ops->upload(
      d, s->codes, s->host_codes, (size_t)n * codebooks * sizeof *s->host_codes);
  dequantize(s, codebooks);
  float *x = mimi_seanet_input(&s->seanet);
  upsample(s, x);
  moshi_transformer_step(
      &w->transformer, &s->transformer, d, x, w->config.steps, s->stream.slots, n, 0);
  mimi_seanet_step(&w->seanet, &s->seanet, d, &s->stream.active);
  return download_pcm(s, pcm, error);
}
