/* What a user sees of a card that is not there, too old, too small, or lost in the middle
 * of a stream; and what one frame asks of the runtime. MOSHI_EMULATION makes the card
 * (emulation/runtime.cpp). */
#include <dlfcn.h>
#include <string.h>

#include "device/device.h"
#include "emulation/counters.h"
#include "engine/model.h"
#include "lm-vectors.h"

/* ------------------------------------------------------------------- opening */

typedef struct {
  const char *name, *machine, *device, *message;
  MoshiStatus status; /* 0: MOSHI_ERROR_NOT_FOUND */
} Refusal;

static const Refusal refusals[] = {
    {"no-driver", "driver=0", "cuda",
        "there is no NVIDIA driver on this machine, or it is not visible here; install "
        "it, or use device 'cpu'"},
    {"old-driver", "driver=12020", "cuda",
        "the NVIDIA driver is for CUDA 12.2, and this back end was built with CUDA "
        "13.0; "
        "update the driver, or use device 'cpu'"},
    {"no-card", "devices=0", "cuda",
        "this machine has no CUDA card, or CUDA_VISIBLE_DEVICES hides it; use device "
        "'cpu'"},
    {"old-card", "cc=75", "cuda:0",
        "cuda:0 (Emulation) has compute capability 7.5, and this build begins at 8.0; "
        "use a newer card or device 'cpu'"},
    {"taken-card", "taken=1", "cuda",
        "cuda:0 (Emulation) cannot be used: cudaErrorDevicesUnavailable: CUDA-capable "
        "device(s) is/are busy or unavailable",
        MOSHI_ERROR_DEVICE},
    {"eighth-card", "devices=1", "cuda:7",
        "device 'cuda:7': this machine has 1 CUDA card, of which the first is "
        "'cuda:0'"},
    {"third-card", "devices=2", "cuda:2",
        "device 'cuda:2': this machine has 2 CUDA cards, of which the first is "
        "'cuda:0'"},
};

static void
test_refusal(gconstpointer data)
{
  const Refusal *r = data;
  MoshiError error = {0};
  g_setenv("MOSHI_EMULATION", r->machine, TRUE);
  g_assert_null(moshi_device_open(r->device, 1, &error));
  g_assert_cmpstr(error.message, ==, r->message);
  g_assert_cmpint(error.status, ==, r->status ? r->status : MOSHI_ERROR_NOT_FOUND);
}

static void
test_auto(void)
{
  MoshiError error = {0};
  MoshiDevice *d;
  for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++)
    if (strcmp(refusals[i].device, "cuda") == 0) {
      g_setenv("MOSHI_EMULATION", refusals[i].machine, TRUE);
      d = moshi_device_open("auto", 1, &error);
      g_assert_cmpstr(d->ops->name, ==, "cpu");
      moshi_device_close(d);
    }
  g_setenv("MOSHI_EMULATION", "devices=2", TRUE);
  d = moshi_device_open("auto", 1, &error);
  g_assert_cmpstr(d->description, ==, "cuda:0 (Emulation, 9 GB)");
  moshi_device_close(d);
  d = moshi_device_open("cuda:1", 1, &error);
  g_assert_true(g_str_has_prefix(d->description, "cuda:1"));
  moshi_device_close(d);
}

/* -------------------------------------------------------------------- memory */

static MoshiModel *
open_on(const char *device, MoshiError *error)
{
  char *path = g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), "lm-mini", NULL);
  MoshiModel *model = moshi_model_open(
      &(MoshiModelOptions){.model = path, .parts = MOSHI_PART_LM, .device = device},
      error);
  g_free(path);
  return model;
}

/* A card with room for half of the weights. */
static void
test_small_card(void)
{
  MoshiError error = {0};
  g_setenv("MOSHI_EMULATION", "memory=1400000", TRUE);
  MoshiModel *model = open_on("cuda", &error);
  g_assert_nonnull(model);
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, MOSHI_ERROR_MEMORY);
  g_assert_nonnull(strstr(error.message, "model.safetensors: its weights need 0.0 GB "
                                         "and cuda:0 (Emulation, 0 GB) has 0.0 GB free;"
                                         " use a smaller or quantised model"));
  moshi_model_unref(model);

  model = open_on("auto", &error);
  g_assert_nonnull(model);
  g_assert_true(g_str_has_prefix(moshi_model_device(model), "cpu"));
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
  moshi_model_unref(model);
}

static MoshiSession *
new_session(MoshiModel *model, int batch, MoshiError *error)
{
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  options.batch = batch;
  options.sampling.temperature = options.sampling.text_temperature = 0;
  return moshi_session_new(model, &options, error);
}

static int
step(MoshiSession *s, int batch, MoshiError *error)
{
  int32_t user[8 * 4], tokens[9 * 4];
  for (int i = 0; i < 8 * 4; i++)
    user[i] = i * 7 % 64;
  g_assert_cmpint(batch, <=, 4);
  return moshi_session_step(s, user, NULL, tokens, NULL, error);
}

/* Sessions are let in until the card is full; those that are in go on. */
static void
test_admission(void)
{
  MoshiSession *sessions[64] = {0};
  MoshiError error = {0};
  int n = 0;
  g_setenv("MOSHI_EMULATION", "memory=12000000", TRUE);
  MoshiModel *model = open_on("cuda", &error);
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
  while (n < 64 && (sessions[n] = new_session(model, 4, &error)))
    n++;
  g_test_message("%d sessions of 4 streams: %s", n, error.message);
  g_assert_cmpint(n, >, 1);
  g_assert_cmpint(n, <, 64);
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MEMORY);
  g_assert_true(g_str_has_prefix(error.message,
      "no memory on cuda:0 (Emulation, 0 GB) for a session of 4 streams"));
  for (int i = 0; i < n; i++) {
    g_assert_cmpint(step(sessions[i], 4, &error), ==, 0);
    moshi_session_free(sessions[i]);
  }
  moshi_model_unref(model);
}

/* A batch that is made for more than its first stream leaves room for what comes. */
static void
test_room(void)
{
  MoshiSessionOptions options;
  MoshiError error = {0};
  MoshiSlot *slots[400];
  g_setenv("MOSHI_EMULATION", "memory=12000000", TRUE);
  MoshiModel *model = open_on("cuda", &error);
  MoshiDevice *d = moshi_model_get_device(model);
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
  const uint64_t before = d->ops->available(d);
  moshi_session_options_init(&options, model);
  slots[0] = moshi_session_slot_new(model, &options, &error);
  g_assert_cmpuint(d->ops->available(d), >=, before / 2);
  int n = 1;
  while (n < 400 && (slots[n] = moshi_session_slot_new(model, &options, &error)))
    n++;
  g_test_message("%d streams", n);
  g_assert_cmpint(n, <, 400);
  g_assert_cmpint(n, >, 4);
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MEMORY);
  for (int i = 0; i < n; i++)
    moshi_slot_free(slots[i]);
  moshi_model_unref(model);
}

/* Another process takes what was free, from the nth piece of memory on: loading or the
 * session says so, frames never do. */
static void
test_taken_memory(void)
{
  bool done = false;
  for (int n = 1; !done; n++) {
    MoshiError error = {0};
    char *machine = g_strdup_printf("fail-malloc=%d", n);
    g_setenv("MOSHI_EMULATION", machine, TRUE);
    MoshiModel *model = open_on("cuda", &error);
    MoshiSession *s = NULL;
    if (model && !moshi_model_load(model, NULL, NULL, &error))
      s = new_session(model, 2, &error);
    done = s != NULL;
    if (!done) {
      g_assert_cmpint(error.status, ==, MOSHI_ERROR_MEMORY);
      g_assert_cmpstr(error.message, !=, "");
    }
    for (int t = 0; done && t < 3; t++)
      if (step(s, 2, &error))
        g_error("%s, frame %d: %s", machine, t, error.message);
    moshi_session_free(s);
    moshi_model_unref(model);
    g_free(machine);
    g_assert_cmpint(n, <, 1000);
  }
}

/* ---------------------------------------------------------------- a lost card */

static void
test_lost_card(void)
{
  MoshiError error = {0};
  g_setenv("MOSHI_EMULATION", "fail-launch=2000", TRUE);
  MoshiModel *on_card = open_on("cuda", &error), *on_cpu = open_on("cpu", &error);
  g_assert_cmpint(moshi_model_load(on_card, NULL, NULL, &error), ==, 0);
  g_assert_cmpint(moshi_model_load(on_cpu, NULL, NULL, &error), ==, 0);
  MoshiSession *lost = new_session(on_card, 1, &error);
  MoshiSession *other = new_session(on_cpu, 1, &error);
  int steps = 0;
  while (steps < 100 && !step(lost, 1, &error))
    steps++;
  g_assert_cmpint(steps, >, 2);
  g_assert_cmpint(steps, <, 100);
  for (int i = 0; i < 2; i++) {
    g_assert_cmpint(error.status, ==, MOSHI_ERROR_DEVICE);
    g_assert_cmpstr(error.message, ==,
        "cuda:0 (Emulation): cudaErrorIllegalAddress: an illegal memory access was "
        "encountered; nothing more can be computed on this card by this process");
    memset(&error, 0, sizeof error);
    g_assert_cmpint(step(lost, 1, &error), ==, MOSHI_ERROR_DEVICE);
  }
  g_assert_cmpint(step(other, 1, &error), ==, 0);
  g_assert_null(new_session(on_card, 1, &error));
  moshi_session_free(lost);
  moshi_session_free(other);
  moshi_model_unref(on_card);
  moshi_model_unref(on_cpu);
}

/* A stream of a thread that shares its steps, until they fail. */
typedef struct {
  MoshiSlot *slot;
  MoshiError error;
  MoshiTurn turn; /* of the step that failed */
  gint *lost;     /* atomic: streams whose steps have failed */
} Sharer;

static gpointer
share(gpointer data)
{
  Sharer *s = data;
  const int32_t user[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  int32_t tokens[9], text;
  for (int i = 0; i < 100 && !s->error.status; i++)
    moshi_session_slot_step(s->slot, user, tokens, &text, &s->error);
  moshi_slot_turn(s->slot, &s->turn);
  g_atomic_int_inc(s->lost);
  return NULL;
}

/* The step that the card is lost in is that of several streams: each is told, and
 * those on the CPU hear nothing of it. */
static void
test_lost_shared(void)
{
  enum { STREAMS = 3 };
  Sharer sharers[STREAMS];
  GThread *threads[STREAMS];
  MoshiSessionOptions options;
  MoshiError error = {0};
  gint lost = 0;
  int most = 0;
  g_setenv("MOSHI_EMULATION", "fail-launch=2000", TRUE);
  MoshiModel *on_card = open_on("cuda", &error), *on_cpu = open_on("cpu", &error);
  g_assert_cmpint(moshi_model_load(on_card, NULL, NULL, &error), ==, 0);
  g_assert_cmpint(moshi_model_load(on_cpu, NULL, NULL, &error), ==, 0);
  moshi_session_options_init(&options, on_card);
  for (int i = 0; i < STREAMS; i++) {
    MoshiSlot *slot = moshi_session_slot_new(on_card, &options, &error);
    g_assert_nonnull(slot);
    sharers[i] = (Sharer){.slot = slot, .lost = &lost};
  }
  for (int i = 0; i < STREAMS; i++)
    threads[i] = g_thread_new("stream", share, &sharers[i]);
  MoshiSession *other = new_session(on_cpu, 1, &error);
  for (int after = 0; after < 3; after += g_atomic_int_get(&lost) == STREAMS)
    g_assert_cmpint(step(other, 1, &error), ==, 0);
  for (int i = 0; i < STREAMS; i++) {
    g_thread_join(threads[i]);
    g_assert_cmpint(sharers[i].error.status, ==, MOSHI_ERROR_DEVICE);
    g_assert_nonnull(strstr(sharers[i].error.message, "cudaErrorIllegalAddress"));
    most = MAX(most, sharers[i].turn.batch);
    moshi_slot_free(sharers[i].slot);
  }
  g_assert_cmpint(most, >, 1);
  moshi_session_free(other);
  moshi_model_unref(on_card);
  moshi_model_unref(on_cpu);
}

/* ------------------------------------------------------------------- a frame */

static EmulationCounters
count(void)
{
  static void (*emulation_count)(EmulationCounters *);
  EmulationCounters counters;
  if (!emulation_count) {
    void *module = dlopen(g_getenv("MOSHI_CUDA_MODULE"), RTLD_NOW | RTLD_NOLOAD);
    emulation_count = dlsym(module, "emulation_count");
  }
  emulation_count(&counters);
  return counters;
}

static void
assert_one_graph(const EmulationCounters *before)
{
  const EmulationCounters after = count();
  g_assert_cmpint(after.captures, ==, before->captures);
  g_assert_cmpint(after.graphs, ==, before->graphs + 1);
  g_assert_cmpint(after.launches, ==, before->launches);
  g_assert_cmpint(after.copies_in, ==, before->copies_in + 1);
  g_assert_cmpint(after.copies_out, ==, before->copies_out + 1);
  g_assert_cmpint(after.synchronisations, ==, before->synchronisations + 1);
  g_assert_cmpint(after.allocations, ==, before->allocations);
}

/* One copy in, one graph, one copy out, one synchronisation; and still the same graph
 * when positions, temperatures, seeds or the running slots change. */
static void
test_one_graph(void)
{
  enum { BATCH = 4 };
  const uint8_t masks[][BATCH] = {{1, 1, 0, 0}, {0, 1, 1, 0}, {1, 0, 0, 1}};
  MoshiError error = {0};
  int32_t user[8 * BATCH] = {0}, tokens[9 * BATCH];
  g_setenv("MOSHI_EMULATION", "seed=3", TRUE);
  MoshiModel *model = open_on("cuda", &error);
  g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
  MoshiSession *s = new_session(model, BATCH, &error);
  for (int i = 0; i < 8; i++) {
    const EmulationCounters before = count();
    moshi_session_set_sampling(s, i % BATCH,
        &(MoshiSampling){.temperature = i * 0.1f,
            .text_temperature = 0.5f,
            .top_k = 3 + i,
            .text_top_k = 5,
            .seed = i});
    if (i == 6)
      moshi_session_reset(s, masks[0]);
    g_assert_cmpint(
        moshi_session_step(s, user, masks[i % 3], tokens, NULL, &error), ==, 0);
    if (i == 1)
      g_assert_cmpint(count().captures, ==, before.captures + 1);
    if (i > 1)
      assert_one_graph(&before);
  }
  moshi_session_free(s);
  moshi_model_unref(model);
}

/* All kernels of a frame but the first may start early, where card, driver and user let
 * them; and it is one graph in any case. */
static void
test_chained(void)
{
  static const struct {
    const char *machine, *switched;
    gboolean chained;
  } cases[] = {
      {"cc=90", "1", TRUE},
      {"cc=90", "0", FALSE},
      {"cc=89", "1", FALSE},
      {"cc=90,plain-graphs=1", "1", FALSE},
  };
  int32_t user[8] = {0}, tokens[9];
  MoshiError error = {0};
  for (guint c = 0; c < G_N_ELEMENTS(cases); c++) {
    EmulationCounters before = {0};
    g_setenv("MOSHI_EMULATION", cases[c].machine, TRUE);
    g_setenv("MOSHI_CUDA_PDL", cases[c].switched, TRUE);
    MoshiModel *model = open_on("cuda", &error);
    g_assert_cmpint(moshi_model_load(model, NULL, NULL, &error), ==, 0);
    MoshiSession *s = new_session(model, 1, &error);
    for (int i = 0; i < 3; i++) {
      before = count();
      g_assert_cmpint(moshi_session_step(s, user, NULL, tokens, NULL, &error), ==, 0);
    }
    assert_one_graph(&before);
    const long kernels = count().kernels - before.kernels;
    g_assert_cmpint(
        count().early - before.early, ==, cases[c].chained ? kernels - 1 : 0);
    moshi_session_free(s);
    moshi_model_unref(model);
  }
  g_unsetenv("MOSHI_CUDA_PDL");
}

/* Sampled tokens do not depend on graphs, and are the CPU's. */
static void
test_same_draws(void)
{
  MoshiError error = {0};
  MoshiSession *sessions[2];
  MoshiModel *models[2];
  g_setenv("MOSHI_EMULATION", "seed=4", TRUE);
  for (int i = 0; i < 2; i++) {
    MoshiSessionOptions options;
    models[i] = open_on(i ? "cuda" : "cpu", &error);
    g_assert_cmpint(moshi_model_load(models[i], NULL, NULL, &error), ==, 0);
    moshi_session_options_init(&options, models[i]);
    options.sampling = (MoshiSampling){.temperature = 0.8f,
        .text_temperature = 0.7f,
        .top_k = 20,
        .text_top_k = 25,
        .seed = 5};
    sessions[i] = moshi_session_new(models[i], &options, &error);
  }
  for (int t = 0; t < 12; t++) {
    int32_t user[8], tokens[2][9], text[2];
    for (int k = 0; k < 8; k++)
      user[k] = (t * 11 + k * 5) % 64;
    for (int i = 0; i < 2; i++)
      g_assert_cmpint(
          moshi_session_step(sessions[i], user, NULL, tokens[i], &text[i], &error), ==,
          0);
    g_assert_cmpint(text[0], ==, text[1]);
    g_assert_cmpmem(tokens[0], sizeof tokens[0], tokens[1], sizeof tokens[1]);
  }
  for (int i = 0; i < 2; i++) {
    moshi_session_free(sessions[i]);
    moshi_model_unref(models[i]);
  }
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
    char *name = g_strconcat("/cuda/refused/", refusals[i].name, NULL);
    g_test_add_data_func(name, &refusals[i], test_refusal);
    g_free(name);
  }
  g_test_add_func("/cuda/auto", test_auto);
  g_test_add_func("/cuda/small-card", test_small_card);
  g_test_add_func("/cuda/admission", test_admission);
  g_test_add_func("/cuda/room", test_room);
  g_test_add_func("/cuda/taken-memory", test_taken_memory);
  g_test_add_func("/cuda/lost-card", test_lost_card);
  g_test_add_func("/cuda/lost-card/shared", test_lost_shared);
  g_test_add_func("/cuda/one-graph", test_one_graph);
  g_test_add_func("/cuda/chained", test_chained);
  g_test_add_func("/cuda/same-draws", test_same_draws);
  return g_test_run();
}
