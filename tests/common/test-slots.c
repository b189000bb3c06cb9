/* Streams of several threads that share their steps: the bits of each are those of a
 * stream of its own, whoever else comes, goes, starts anew, is stopped or is wrong.
 * MOSHI_TEST_DEVICE and MOSHI_TEST_STEPS as of lm-vectors.h. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/turns.h"
#include "moshi.h"

enum { THREADS = 6, FRAME = 1920, CODEBOOKS = 8, SLOTS = 4 };

static int
n_frames(void)
{
  const char *steps = g_getenv("MOSHI_TEST_STEPS");
  return steps ? atoi(steps) : 24;
}

static const char *
device(void)
{
  const char *name = g_getenv("MOSHI_TEST_DEVICE");
  return name ? name : "cpu";
}

static MoshiModel *
load_tiny(unsigned parts)
{
  MoshiError error = {0};
  MoshiModelOptions options = {.model = g_getenv("MOSHI_TEST_TINY"),
      .parts = parts,
      .device = device(),
      .threads = 2};
  MoshiModel *model = moshi_model_open(&options, &error);
  if (!model || moshi_model_load(model, NULL, NULL, &error))
    g_error("%s", error.message);
  return model;
}

/* Of the batches to come; 0: as many as are worth it. */
static void
set_slots(int slots)
{
  char *text = g_strdup_printf("%d", slots);
  g_setenv("MOSHI_BATCH", slots ? text : "", TRUE);
  g_free(text);
}

/* ------------------------------------------------------------------ turns */

/* A batch whose step waits to be let through, and notes who was in it. */
typedef struct {
  GMutex lock;
  GCond changed;
  int waiting, allowed, steps;
  GString *log; /* "members:variant " of each step */
  int status;   /* of the steps */
  MoshiTurns *turns;
} Gate;

static int
gate_step(void *ctx, const uint8_t *run, int variant, MoshiError *error)
{
  Gate *g = ctx;
  g_mutex_lock(&g->lock);
  for (int i = 0; i < SLOTS; i++)
    if (run[i])
      g_string_append_printf(g->log, "%d", i);
  g_string_append_printf(g->log, ":%d ", variant);
  g->waiting++;
  g_cond_broadcast(&g->changed);
  while (!g->allowed)
    g_cond_wait(&g->changed, &g->lock);
  g->allowed--;
  g->waiting--;
  g->steps++;
  int status = g->status;
  g_mutex_unlock(&g->lock);
  if (status) {
    error->status = status;
    strcpy(error->message, "the card is gone");
  }
  return status;
}

static void
gate_open(Gate *g)
{
  g_mutex_lock(&g->lock);
  g->allowed++;
  g_cond_broadcast(&g->changed);
  g_mutex_unlock(&g->lock);
}

static void
gate_wait(Gate *g)
{
  g_mutex_lock(&g->lock);
  while (!g->waiting)
    g_cond_wait(&g->changed, &g->lock);
  g_mutex_unlock(&g->lock);
}

typedef struct {
  Gate *gate;
  int member, variant, status;
  MoshiTurn turn;
  MoshiError error;
  GThread *thread;
} Comer;

static gpointer
come(gpointer data)
{
  Comer *c = data;
  c->status =
      moshi_turns_take(c->gate->turns, c->member, c->variant, &c->turn, &c->error);
  return NULL;
}

/* Returns when the comer waits, or is in a step. */
static void
send(Comer *c)
{
  c->thread = g_thread_new("comer", come, c);
  while (!moshi_turns_has_come(c->gate->turns, c->member))
    g_usleep(100);
}

static Gate *
gate_new(void)
{
  Gate *g = g_new0(Gate, 1);
  g->log = g_string_new(NULL);
  g->turns = moshi_turns_new(SLOTS, gate_step, g);
  return g;
}

static void
gate_free(Gate *g)
{
  moshi_turns_free(g->turns);
  g_string_free(g->log, TRUE);
  g_free(g);
}

/* Those who come during a step share the next one; with another variant, they make
 * the one after it. */
static void
test_turns(void)
{
  Gate *g = gate_new();
  Comer c[SLOTS] = {{g, 0, 8}, {g, 1, 8}, {g, 2, 32}, {g, 3, 8}};
  send(&c[0]);
  gate_wait(g);
  for (int i = 1; i < SLOTS; i++)
    send(&c[i]);
  for (int i = 0; i < 3; i++)
    gate_open(g);
  for (int i = 0; i < SLOTS; i++)
    g_thread_join(c[i].thread);
  g_assert_cmpstr(g->log->str, ==, "0:8 13:8 2:32 ");
  g_assert_cmpint(c[0].turn.batch, ==, 1);
  g_assert_cmpint(c[1].turn.batch, ==, 2);
  g_assert_cmpint(c[2].turn.batch, ==, 1);
  gate_free(g);
}

/* A failed step is that of those who were in it. */
static void
test_turns_failure(void)
{
  Gate *g = gate_new();
  Comer c[3] = {{g, 0, 0}, {g, 1, 0}, {g, 2, 0}};
  send(&c[0]);
  gate_wait(g);
  send(&c[1]);
  send(&c[2]);
  gate_open(g);
  g_thread_join(c[0].thread);
  g_assert_cmpint(c[0].status, ==, 0);
  gate_wait(g);
  g->status = MOSHI_ERROR_DEVICE;
  gate_open(g);
  for (int i = 1; i < 3; i++) {
    g_thread_join(c[i].thread);
    g_assert_cmpint(c[i].status, ==, MOSHI_ERROR_DEVICE);
    g_assert_cmpstr(c[i].error.message, ==, "the card is gone");
  }
  gate_free(g);
}

/* One who waits can be told to stop; one who is in a step is not left alone. */
static void
test_turns_cancel(void)
{
  Gate *g = gate_new();
  Comer c[3] = {{g, 0, 0}, {g, 1, 0}, {g, 2, 0}};
  send(&c[0]);
  gate_wait(g);
  send(&c[1]);
  send(&c[2]);
  moshi_turns_cancel(g->turns, 0, true);
  moshi_turns_cancel(g->turns, 1, true);
  g_thread_join(c[1].thread);
  g_assert_cmpint(c[1].status, ==, MOSHI_ERROR_CANCELLED);
  gate_open(g);
  gate_open(g);
  g_thread_join(c[0].thread);
  g_thread_join(c[2].thread);
  g_assert_cmpint(c[0].status, ==, 0);
  g_assert_cmpint(c[2].status, ==, 0);
  come(&c[0]);
  g_assert_cmpint(c[0].status, ==, MOSHI_ERROR_CANCELLED);
  moshi_turns_cancel(g->turns, 0, false);
  gate_open(g);
  come(&c[0]);
  g_assert_cmpint(c[0].status, ==, 0);
  g_assert_cmpstr(g->log->str, ==, "0:0 2:0 0:0 ");
  gate_free(g);
}

/* ---------------------------------------------------------------- streams */

/* One of the threads: what it does, and what came out. */
typedef struct Stream {
  MoshiModel *model;
  int number;
  bool shared;
  void (*run)(struct Stream *);
  GByteArray *out;
  int most; /* slots in a step of it */
  MoshiSlot *slot;
  volatile gint *stop; /* of who disturbs */
} Stream;

static void
note(Stream *s, const void *data, size_t bytes)
{
  MoshiTurn turn = {0};
  g_byte_array_append(s->out, data, bytes);
  if (s->shared)
    moshi_slot_turn(s->slot, &turn);
  s->most = MAX(s->most, turn.batch);
}

static void
make_pcm(const Stream *s, int frame, float *pcm)
{
  guint32 x = 2654435761u * (1 + 1000 * s->number + frame);
  for (int i = 0; i < FRAME; i++) {
    x = x * 1664525 + 1013904223;
    pcm[i] = ((x >> 8) / 8388608.0f - 1) * 0.3f;
  }
}

/* Now and then a stream starts anew. */
static bool
starts_anew(const Stream *s, int frame)
{
  return (frame + s->number) % 7 == 6;
}

static void
encode(Stream *s)
{
  MimiEncoder *own = NULL;
  float pcm[FRAME];
  uint16_t codes[CODEBOOKS];
  if (s->shared)
    s->slot = mimi_encoder_slot_new(s->model, CODEBOOKS, NULL);
  else
    own = mimi_encoder_new(s->model, 1, CODEBOOKS, NULL);
  for (int t = 0; t < n_frames(); t++) {
    make_pcm(s, t, pcm);
    if (starts_anew(s, t)) {
      if (own)
        mimi_encoder_reset(own, NULL);
      else
        moshi_slot_reset(s->slot);
    }
    int status = own ? mimi_encoder_step(own, pcm, NULL, codes, NULL)
                     : mimi_encoder_slot_step(s->slot, pcm, codes, NULL);
    g_assert_cmpint(status, ==, 0);
    note(s, codes, sizeof codes);
  }
  mimi_encoder_free(own);
  moshi_slot_free(s->slot);
}

/* With 4 codebooks or 8, by turns, and a wrong code at times. */
static void
decode(Stream *s)
{
  MimiDecoder *own = s->shared ? NULL : mimi_decoder_new(s->model, 1, NULL);
  float pcm[FRAME];
  uint16_t codes[CODEBOOKS];
  if (s->shared)
    s->slot = mimi_decoder_slot_new(s->model, NULL);
  for (int t = 0; t < n_frames(); t++) {
    int k = (t + s->number) % 3 ? 8 : 4;
    for (int i = 0; i < k; i++)
      codes[i] = (t * 31 + i * 7 + s->number * 101) % 256;
    if (!own && t % 5 == 0) {
      MoshiError error = {0};
      const uint16_t wrong[] = {0, 256};
      g_assert_cmpint(mimi_decoder_slot_step(s->slot, wrong, 2, pcm, &error), ==,
          MOSHI_ERROR_ARGUMENT);
    }
    int status = own ? mimi_decoder_step(own, codes, k, NULL, pcm, NULL)
                     : mimi_decoder_slot_step(s->slot, codes, k, pcm, NULL);
    g_assert_cmpint(status, ==, 0);
    note(s, pcm, sizeof pcm);
  }
  mimi_decoder_free(own);
  moshi_slot_free(s->slot);
}

/* Each at another temperature, with another seed; slots are left and taken again. */
static void
talk(Stream *s)
{
  MoshiSessionOptions options;
  MoshiSession *own = NULL;
  moshi_session_options_init(&options, s->model);
  options.sampling = (MoshiSampling){
      .temperature = 0.3f * s->number, .text_temperature = 0.5f, .seed = s->number};
  for (int round = 0; round < 2; round++) {
    if (s->shared)
      s->slot = moshi_session_slot_new(s->model, &options, NULL);
    else
      own = moshi_session_new(s->model, &options, NULL);
    for (int t = 0; t < n_frames(); t++) {
      int32_t user[CODEBOOKS], tokens[1 + CODEBOOKS], text;
      for (int i = 0; i < CODEBOOKS; i++)
        user[i] = (t * 13 + i * 5 + s->number * 17) % 256;
      if (!own && t == 3) {
        const int32_t wrong[CODEBOOKS] = {1000};
        g_assert_cmpint(moshi_session_slot_step(s->slot, wrong, tokens, &text, NULL),
            ==, MOSHI_ERROR_ARGUMENT);
      }
      if (t == n_frames() / 2) {
        options.sampling.top_k = 5;
        if (own)
          moshi_session_set_sampling(own, 0, &options.sampling);
        else
          moshi_session_slot_set_sampling(s->slot, &options.sampling);
      }
      int status = own ? moshi_session_step(own, user, NULL, tokens, &text, NULL)
                       : moshi_session_slot_step(s->slot, user, tokens, &text, NULL);
      g_assert_cmpint(status, ==, 0);
      note(s, tokens, sizeof tokens);
      note(s, &text, sizeof text);
    }
    moshi_session_free(own);
    moshi_slot_free(s->slot);
  }
}

static gpointer
run_stream(gpointer data)
{
  Stream *s = data;
  s->run(s);
  return NULL;
}

static void
test_alike(gconstpointer data)
{
  MoshiModel *model =
      load_tiny(MOSHI_PART_ENCODER | MOSHI_PART_DECODER | MOSHI_PART_LM);
  Stream streams[THREADS];
  GThread *threads[THREADS];
  int most = 0;
  set_slots(SLOTS); /* fewer than there are streams */
  for (int i = 0; i < THREADS; i++) {
    streams[i] = (Stream){.model = model,
        .number = i,
        .shared = true,
        .run = (void (*)(Stream *))data,
        .out = g_byte_array_new()};
    threads[i] = g_thread_new("stream", run_stream, &streams[i]);
  }
  for (int i = 0; i < THREADS; i++) {
    g_thread_join(threads[i]);
    most = MAX(most, streams[i].most);
  }
  for (int i = 0; i < THREADS; i++) {
    Stream own = streams[i];
    own.shared = false;
    own.slot = NULL;
    own.out = g_byte_array_new();
    own.run(&own);
    g_assert_cmpmem(
        own.out->data, own.out->len, streams[i].out->data, streams[i].out->len);
    g_byte_array_unref(own.out);
    g_byte_array_unref(streams[i].out);
  }
  g_test_message("%d at once", most);
  g_assert_cmpint(most, <=, SLOTS);
  if (!g_str_equal(device(), "cpu")) /* whose steps are not over before others come */
    g_assert_cmpint(most, >, 1);
  set_slots(0);
  moshi_model_unref(model);
}

/* Nobody is waited for: a lone frame's step begins when it comes. */
static void
test_lone(void)
{
  MoshiModel *model = load_tiny(MOSHI_PART_ENCODER);
  set_slots(SLOTS);
  MoshiSlot *slot = mimi_encoder_slot_new(model, CODEBOOKS, NULL);
  int64_t least = G_MAXINT64; /* other processes may come in between */
  for (int t = 0; t < n_frames(); t++) {
    const float silence[FRAME] = {0};
    uint16_t codes[CODEBOOKS];
    MoshiTurn turn;
    g_assert_cmpint(mimi_encoder_slot_step(slot, silence, codes, NULL), ==, 0);
    moshi_slot_turn(slot, &turn);
    g_assert_cmpint(turn.batch, ==, 1);
    g_assert_cmpint(turn.step_us, >, 0);
    least = MIN(least, turn.waited_us);
  }
  g_assert_cmpint(least, <, 100);
  moshi_slot_free(slot);
  set_slots(0);
  moshi_model_unref(model);
}

/* ----------------------------------------------------------- being stopped */

/* Steps that fail because somebody said stop; then from the beginning, in peace. */
static void
be_stopped(Stream *s)
{
  float pcm[FRAME];
  uint16_t codes[CODEBOOKS];
  for (int t = 0; !g_atomic_int_get(s->stop); t++) {
    make_pcm(s, t, pcm);
    int status = mimi_encoder_slot_step(s->slot, pcm, codes, NULL);
    g_assert_true(status == 0 || status == MOSHI_ERROR_CANCELLED);
  }
  moshi_slot_cancel(s->slot, 0);
  moshi_slot_reset(s->slot);
  for (int t = 0; t < n_frames(); t++) {
    make_pcm(s, t, pcm);
    g_assert_cmpint(mimi_encoder_slot_step(s->slot, pcm, codes, NULL), ==, 0);
    note(s, codes, sizeof codes);
  }
}

static void
test_stop(void)
{
  MoshiModel *model = load_tiny(MOSHI_PART_ENCODER);
  Stream streams[SLOTS];
  GThread *threads[SLOTS];
  gint stop = 0;
  set_slots(SLOTS);
  for (int i = 0; i < SLOTS; i++) {
    streams[i] = (Stream){.model = model,
        .shared = true,
        .run = be_stopped,
        .out = g_byte_array_new(),
        .slot = mimi_encoder_slot_new(model, CODEBOOKS, NULL),
        .stop = &stop};
    threads[i] = g_thread_new("stream", run_stream, &streams[i]);
  }
  for (int i = 0; i < 200; i++) {
    moshi_slot_cancel(streams[i % SLOTS].slot, 1);
    g_usleep(i % 7 * 100);
    moshi_slot_cancel(streams[i % SLOTS].slot, 0);
  }
  g_atomic_int_set(&stop, 1);
  for (int i = 0; i < SLOTS; i++)
    g_thread_join(threads[i]);
  for (int i = 0; i < SLOTS; i++) {
    g_assert_cmpmem(streams[i].out->data, streams[i].out->len, streams[0].out->data,
        streams[0].out->len);
    moshi_slot_free(streams[i].slot);
  }
  for (int i = 0; i < SLOTS; i++)
    g_byte_array_unref(streams[i].out);
  set_slots(0);
  moshi_model_unref(model);
}

/* ------------------------------------------------------------- membership */

static MoshiSlot *
talker(MoshiModel *model, float temperature, const char *kv_type)
{
  MoshiError error = {0};
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  options.sampling.temperature = temperature;
  options.kv_type = kv_type;
  MoshiSlot *slot = moshi_session_slot_new(model, &options, &error);
  if (!slot)
    g_error("%s", error.message);
  return slot;
}

static void
test_members(void)
{
  MoshiModel *a = load_tiny(MOSHI_PART_LM), *b = load_tiny(MOSHI_PART_LM);
  MoshiSlot *small = talker(a, 0, NULL), *other = talker(a, 0, NULL);
  g_assert_true(small->batch != other->batch); /* such small weights */
  moshi_slot_free(small);
  moshi_slot_free(other);

  set_slots(3);
  MoshiSlot *slots[] = {talker(a, 0, NULL), talker(b, 1, "f32"), talker(a, 0, "int8"),
      talker(a, 0, NULL), talker(b, 0, NULL)};
  g_assert_true(slots[0]->batch == slots[1]->batch);
  g_assert_true(slots[0]->batch != slots[2]->batch);
  g_assert_true(slots[0]->batch == slots[3]->batch);
  g_assert_true(slots[0]->batch != slots[4]->batch); /* it is full */
  moshi_slot_free(slots[1]);
  slots[1] = talker(b, 0, NULL);
  for (int i = 0; i < 5; i++)
    moshi_slot_free(slots[i]);
  moshi_slot_free(NULL);
  set_slots(0);
  moshi_model_unref(a);
  moshi_model_unref(b);
}

static void
test_wrong(void)
{
  MoshiError error = {0};
  MoshiModel *model = load_tiny(MOSHI_PART_ENCODER | MOSHI_PART_LM);
  MoshiSessionOptions options;
  g_assert_null(mimi_decoder_slot_new(model, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_null(mimi_encoder_slot_new(model, 1000, &error));
  g_assert_nonnull(strstr(error.message, "1000 codebooks"));
  moshi_session_options_init(&options, model);
  options.batch = 2;
  g_assert_null(moshi_session_slot_new(model, &options, &error));
  g_assert_nonnull(strstr(error.message, "batch of 2"));
  options.batch = 1;
  options.kv_type = "f64";
  g_assert_null(moshi_session_slot_new(model, &options, &error));
  g_assert_nonnull(strstr(error.message, "f64"));
  moshi_model_unref(model);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/slots/turns", test_turns);
  g_test_add_func("/slots/turns/failure", test_turns_failure);
  g_test_add_func("/slots/turns/cancel", test_turns_cancel);
  g_test_add_data_func("/slots/alike/encode", encode, test_alike);
  g_test_add_data_func("/slots/alike/decode", decode, test_alike);
  g_test_add_data_func("/slots/alike/talk", talk, test_alike);
  g_test_add_func("/slots/lone", test_lone);
  g_test_add_func("/slots/stop", test_stop);
  g_test_add_func("/slots/members", test_members);
  g_test_add_func("/slots/wrong", test_wrong);
  return g_test_run();
}
