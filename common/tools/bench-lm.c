/* The language model's step, and its depth transformer alone. */
#include "bench.h"
#include "traffic.h"

typedef struct {
  MoshiSession *session;
  MoshiSlot *slot; /* a stream among others: the session only says what it reads */
  GRand *rand;
  int heard, codebook_size;
  int32_t *user, *tokens;
} LmStream;

/* Makes slots look as if so many steps had been done: the ring is full of numbers
 * and its memory is really there. The pattern is a small number in every type
 * that a ring may have. */
static int
fill_cache(MoshiSession *s, int steps, MoshiError *error)
{
  enum { CHUNK = 1 << 24 };
  const MoshiDeviceOps *ops = s->d->ops;
  size_t bytes = s->main.layer_stride * s->w->config.main.n_layers;
  uint16_t *pattern = g_new(uint16_t, CHUNK / sizeof *pattern);
  for (size_t i = 0; i < CHUNK / sizeof *pattern; i++)
    pattern[i] = 0x3c00;
  for (size_t done = 0; done < bytes; done += CHUNK)
    ops->upload(s->d, s->main.cache + done, pattern, MIN(CHUNK, bytes - done));
  int status = ops->sync(s->d, error);
  g_free(pattern);
  for (int slot = 0; slot < s->main.batch; slot++)
    s->main.positions[slot] = steps;
  return status;
}

static void
close_lm(void *stream)
{
  LmStream *s = stream;
  moshi_session_free(s->session);
  moshi_slot_free(s->slot);
  g_rand_free(s->rand);
  g_free(s->user);
  g_free(s->tokens);
  g_free(s);
}

static void *
open_lm(const BenchRun *run, int number, MoshiError *error)
{
  const BenchOptions *o = run->options;
  const MoshiModelInfo *info = moshi_model_info(run->model);
  MoshiSessionOptions options;
  moshi_session_options_init(&options, run->model);
  options.batch = o->batch;
  options.context = o->context;
  options.kv_type = o->kv_type;
  LmStream *s = g_new0(LmStream, 1);
  s->rand = g_rand_new_with_seed(1 + number);
  s->codebook_size = info->lm_codebook_size;
  s->heard = o->batch * info->user_codebooks;
  s->user = g_new(int32_t, MAX(s->heard, 1));
  s->tokens = g_new(int32_t, o->batch * (1 + info->own_codebooks));
  s->session = moshi_session_new(run->model, &options, error);
  bool among_others = o->streams && o->batch == 1 && !o->filled;
  if (s->session && among_others)
    s->slot = moshi_session_slot_new(run->model, &options, error);
  if (!s->session || (among_others && !s->slot) ||
      (o->filled && fill_cache(s->session, o->filled, error)))
    g_clear_pointer(&s, close_lm);
  return s;
}

static int
step(void *stream, MoshiError *error)
{
  LmStream *s = stream;
  for (int i = 0; i < s->heard; i++)
    s->user[i] = g_rand_int_range(s->rand, 0, s->codebook_size);
  return s->slot
             ? moshi_session_slot_step(s->slot, s->user, s->tokens, NULL, error)
             : moshi_session_step(s->session, s->user, NULL, s->tokens, NULL, error);
}

static double
step_bytes(const BenchRun *run, const void *stream)
{
  const LmStream *s = stream;
  return traffic_lm_step(s->session, run->options->filled + bench_middle(run));
}

/* After a step, whose hidden state and text token it starts from. */
static int
depth_frame(void *stream, MoshiError *error)
{
  MoshiSession *s = ((LmStream *)stream)->session;
  moshi_device_begin(s->d);
  moshi_lm_depth_run(s, s->batch);
  return s->d->ops->sync(s->d, error);
}

const BenchStreamKind bench_lm_streams = {
    "lm-streams", open_lm, step, close_lm, step_bytes};

int
bench_lm(BenchRun *run, MoshiError *error)
{
  LmStream *s = open_lm(run, 0, error);
  BenchRow *row = s ? bench_frames(run, "lm-step", step, s, error) : NULL;
  if (row)
    row->bytes_per_frame = step_bytes(run, s);
  if (row && moshi_model_info(run->model)->own_codebooks) {
    row = bench_frames(run, "lm-depth", depth_frame, s, error);
    if (row)
      row->bytes_per_frame = traffic_lm_depth(s->session);
  }
  if (s)
    close_lm(s);
  return row ? MOSHI_OK : error->status;
}

int
bench_start(BenchRun *run, MoshiError *error)
{
  LmStream *s = open_lm(run, 0, error);
  int status = s ? step(s, error) : error->status;
  double ms = bench_now_ms() - run->began;
  if (!status) {
    BenchRow *row = bench_add_row(run, "start");
    row->bytes_per_frame = step_bytes(run, s);
    bench_row_finish(row, &ms, 1);
  }
  if (s)
    close_lm(s);
  return status;
}
