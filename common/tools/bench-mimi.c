/* Mimi's two halves, frame after frame. */
#include "bench.h"
#include "traffic.h"

typedef struct {
  MimiEncoder *encoder;
  MimiDecoder *decoder;
  MoshiSlot *encoder_slot, *decoder_slot; /* instead, of a stream among others */
  int codebooks;
  float *heard, *spoken;
  uint16_t *codes;
} CodecStream;

static void
close_codec(void *stream)
{
  CodecStream *s = stream;
  mimi_encoder_free(s->encoder);
  mimi_decoder_free(s->decoder);
  moshi_slot_free(s->encoder_slot);
  moshi_slot_free(s->decoder_slot);
  g_free(s->heard);
  g_free(s->spoken);
  g_free(s->codes);
  g_free(s);
}

static CodecStream *
make_codec(const BenchRun *run, int number)
{
  int batch = run->options->batch;
  size_t samples = (size_t)batch * moshi_model_info(run->model)->frame_size;
  CodecStream *s = g_new0(CodecStream, 1);
  s->codebooks = run->codebooks;
  s->heard = g_new(float, samples);
  s->spoken = g_new(float, samples);
  s->codes = g_new0(uint16_t, (size_t)batch * s->codebooks);
  GRand *rand = g_rand_new_with_seed(1 + number);
  for (size_t i = 0; i < samples; i++)
    s->heard[i] = g_rand_double_range(rand, -0.3, 0.3);
  g_rand_free(rand);
  return s;
}

static void *
open_codec(const BenchRun *run, int number, MoshiError *error)
{
  CodecStream *s = make_codec(run, number);
  int batch = run->options->batch;
  s->encoder = mimi_encoder_new(run->model, batch, s->codebooks, error);
  s->decoder = s->encoder ? mimi_decoder_new(run->model, batch, error) : NULL;
  if (!s->decoder) {
    close_codec(s);
    return NULL;
  }
  return s;
}

static int
encode(void *stream, MoshiError *error)
{
  CodecStream *s = stream;
  return mimi_encoder_step(s->encoder, s->heard, NULL, s->codes, error);
}

static int
decode(void *stream, MoshiError *error)
{
  CodecStream *s = stream;
  return mimi_decoder_step(s->decoder, s->codes, s->codebooks, NULL, s->spoken, error);
}

/* Streams beside each other share their steps, as those of elements do; a batch is
 * stepped by itself. */
static void *
open_stream(const BenchRun *run, int number, MoshiError *error)
{
  if (run->options->batch > 1)
    return open_codec(run, number, error);
  CodecStream *s = make_codec(run, number);
  s->encoder_slot = mimi_encoder_slot_new(run->model, s->codebooks, error);
  s->decoder_slot = s->encoder_slot ? mimi_decoder_slot_new(run->model, error) : NULL;
  if (!s->decoder_slot)
    g_clear_pointer(&s, close_codec);
  return s;
}

static int
stream_frame(void *stream, MoshiError *error)
{
  CodecStream *s = stream;
  int status = s->encoder
                   ? encode(s, error)
                   : mimi_encoder_slot_step(s->encoder_slot, s->heard, s->codes, error);
  if (!status)
    status = s->decoder ? decode(s, error)
                        : mimi_decoder_slot_step(s->decoder_slot, s->codes,
                              s->codebooks, s->spoken, error);
  return status;
}

static double
encode_bytes(const BenchRun *run)
{
  return traffic_mimi_encode(run->model, run->codebooks, run->options->batch,
      moshi_model_mimi_config(run->model)->steps * bench_middle(run));
}

static double
decode_bytes(const BenchRun *run)
{
  return traffic_mimi_decode(run->model, run->codebooks, run->options->batch,
      moshi_model_mimi_config(run->model)->steps * bench_middle(run));
}

static double
codec_bytes(const BenchRun *run, const void *stream)
{
  (void)stream;
  return encode_bytes(run) + decode_bytes(run);
}

const BenchStreamKind bench_codec_streams = {
    "mimi-streams", open_stream, stream_frame, close_codec, codec_bytes};

int
bench_mimi(BenchRun *run, MoshiError *error)
{
  CodecStream *s = open_codec(run, 0, error);
  BenchRow *row = s ? bench_frames(run, "mimi-encode", encode, s, error) : NULL;
  if (row) {
    row->bytes_per_frame = encode_bytes(run);
    row = bench_frames(run, "mimi-decode", decode, s, error);
  }
  if (row)
    row->bytes_per_frame = decode_bytes(run);
  if (s)
    close_codec(s);
  return row ? MOSHI_OK : error->status;
}
