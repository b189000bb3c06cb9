/* From sound to sound: encode, one step of the language model a frame, decode,
 * with the three ways in which the reference's programs start a stream; and
 * the tiny model's demo inputs, token for token. */
#include <json-glib/json-glib.h>
#include <string.h>

#include "lm-vectors.h"
#include "mimi-vectors.h"

typedef struct {
  const char *vector, *lm;
  bool server, file; /* neither: plain */
  int threads;
} Duplex;

static const Duplex duplexes[] = {
    {"duplex-mini.plain", "lm-mini", false, false, 1},
    {"duplex-mini.server", "lm-mini", true, false, 1},
    {"duplex-mini.file", "lm-mini", false, true, 2},
    {"stt-mini.duplex", "stt-mini", false, false, 2},
};

static MoshiSession *
greedy_session(MoshiModel *model)
{
  MoshiError error;
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  options.sampling.temperature = options.sampling.text_temperature = 0;
  MoshiSession *s = moshi_session_new(model, &options, &error);
  if (!s)
    g_error("%s", error.message);
  return s;
}

/* pcm [frames][FRAME] of the vector, completed with zeros. */
static float *
read_pcm(const MoshiCheckpoint *file, int *frames)
{
  int64_t n;
  int32_t *samples = read_ints(file, "pcm", &n);
  *frames = (n + FRAME - 1) / FRAME;
  float *pcm = g_new0(float, *frames *FRAME);
  for (int i = 0; i < n; i++)
    pcm[i] = samples[i] / 32768.0f;
  g_free(samples);
  return pcm;
}

typedef struct {
  MoshiCheckpoint *file;
  int32_t *codes, *text, *out;
  float *pcm_out, *heard; /* heard: ours */
  int frames, steps, user, own, codebooks;
  int done, spoken; /* steps, and frames decoded */
} Run;

static void
step(Run *r, MoshiSession *s, MimiDecoder *decoder, const uint16_t *codes)
{
  int32_t user[64], tokens[64], text;
  uint16_t spoken[64];
  for (int k = 0; k < r->user; k++)
    user[k] = codes[k];
  g_assert_cmpint(moshi_session_step(s, user, NULL, tokens, &text, NULL), ==, 0);
  g_assert_cmpint(r->done, <, r->steps);
  g_assert_cmpint(text, ==, r->text[r->done]);
  for (int k = 0; k <= r->own; k++)
    g_assert_cmpint(tokens[k], ==, r->out[r->done * (1 + r->own) + k]);
  r->done++;
  if (!r->own || tokens[0] == MOSHI_TOKEN_NOT_READY)
    return;
  for (int k = 0; k < r->own; k++)
    spoken[k] = tokens[1 + k];
  g_assert_cmpint(mimi_decoder_step(decoder, spoken, r->own, NULL,
                      r->heard + r->spoken++ * FRAME, NULL),
      ==, 0);
}

static void
test_duplex(gconstpointer data)
{
  const Duplex *d = data;
  MoshiError error;
  Run r = {0};
  char *path =
      g_strdup_printf("%s/%s.safetensors", g_getenv("MOSHI_TEST_VECTORS"), d->vector);
  r.file = moshi_checkpoint_open(path, &error);
  if (!r.file)
    g_error("%s", error.message);
  MoshiModel *lm = open_test_model(d->lm, d->threads);
  MoshiModel *mimi = open_mimi_model("mimi-mini", d->threads);
  int64_t dims[MOSHI_MAX_DIMS] = {0};
  float *pcm = read_pcm(r.file, &r.frames);
  r.codes = read_ints(r.file, "codes", dims);
  r.codebooks = dims[0];
  g_assert_cmpint(dims[1], ==, r.frames);
  r.text = read_ints(r.file, "text", dims);
  r.out = read_ints(r.file, "out", dims);
  r.steps = dims[0];
  r.own = moshi_model_info(lm)->own_codebooks;
  r.user = moshi_model_info(lm)->user_codebooks;
  r.pcm_out = read_floats(r.file, "pcm_out", dims);
  r.heard = g_new0(float, (r.steps + 1) * FRAME);
  int frames_out = r.pcm_out ? dims[0] / FRAME : 0;

  MoshiSession *s = greedy_session(lm);
  MimiEncoder *encoder = mimi_encoder_new(mimi, 1, r.codebooks, &error);
  MimiDecoder *decoder = mimi_decoder_new(mimi, 1, &error);
  g_assert_true(encoder && decoder);
  for (int t = 0; t < r.frames; t++) {
    uint16_t codes[64];
    mimi_encoder_step(encoder, pcm + t * FRAME, NULL, codes, &error);
    for (int k = 0; k < r.codebooks; k++)
      g_assert_cmpint(codes[k], ==, r.codes[k * r.frames + t]);
    if (t == 0 && d->server)
      mimi_encoder_reset(encoder, NULL);
    if (t == 0 && d->file)
      step(&r, s, decoder, codes);
    step(&r, s, decoder, codes);
  }
  g_assert_cmpint(r.done, ==, r.steps);
  g_assert_cmpint(r.spoken, ==, frames_out);
  if (frames_out)
    g_assert_cmpfloat(snr_db(r.pcm_out, r.heard, frames_out * FRAME), >=, 110);

  mimi_encoder_free(encoder);
  mimi_decoder_free(decoder);
  moshi_session_free(s);
  moshi_model_unref(lm);
  moshi_model_unref(mimi);
  moshi_checkpoint_unref(r.file);
  void *owned[] = {path, pcm, r.codes, r.text, r.out, r.pcm_out, r.heard};
  for (size_t i = 0; i < G_N_ELEMENTS(owned); i++)
    g_free(owned[i]);
}

/* ------------------------------------------------------- the tiny model */

static int
cell(JsonArray *rows, int row, int column)
{
  return json_array_get_int_element(json_array_get_array_element(rows, row), column);
}

/* user_NAME.json: what the reference gives, its first frame given twice. */
static void
test_tiny(gconstpointer data)
{
  const char *name = data, *dir = g_getenv("MOSHI_TEST_TINY");
  char *path = g_strdup_printf("%s/user_%s.json", dir, name);
  JsonParser *parser = json_parser_new();
  g_assert_true(json_parser_load_from_file(parser, path, NULL));
  JsonObject *want = json_node_get_object(json_parser_get_root(parser));
  JsonArray *user = json_object_get_array_member(want, "user_codes");
  JsonArray *tokens = json_object_get_array_member(want, "tokens");
  int frames = json_array_get_length(json_array_get_array_element(user, 0));
  int ready = 0, rows = json_array_get_length(json_array_get_array_element(tokens, 0));

  MoshiModel *model = open_test_model(dir, 2);
  MoshiSession *s = greedy_session(model);
  MoshiText *text = moshi_text_new(model, NULL);
  GString *said = g_string_new(NULL);
  for (int t = -1; t < frames; t++) {
    int32_t codes[64], got[64];
    for (int k = 0; k < moshi_model_info(model)->user_codebooks; k++)
      codes[k] = cell(user, k, MAX(t, 0));
    g_assert_cmpint(moshi_session_step(s, codes, NULL, got, NULL, NULL), ==, 0);
    if (got[0] == MOSHI_TOKEN_NOT_READY)
      continue;
    g_assert_cmpint(ready, <, rows);
    for (int k = 0; k <= moshi_model_info(model)->own_codebooks; k++)
      g_assert_cmpint(got[k], ==, cell(tokens, k, ready));
    g_string_append(said, moshi_text_push(text, got[0]));
    ready++;
  }
  g_string_append(said, moshi_text_flush(text));
  g_assert_cmpint(ready, ==, rows);
  g_assert_cmpstr(
      g_strstrip(said->str), ==, json_object_get_string_member(want, "text"));
  g_string_free(said, TRUE);
  moshi_text_free(text);
  moshi_session_free(s);
  moshi_model_unref(model);
  g_object_unref(parser);
  g_free(path);
}

int
main(int argc, char **argv)
{
  static const char *const demos[] = {
      "hello", "name", "joke", "two_turns", "unseen_voice_time"};
  g_test_init(&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS(duplexes); i++) {
    char *name = g_strdup_printf("/duplex/%s", duplexes[i].vector);
    g_test_add_data_func(name, &duplexes[i], test_duplex);
    g_free(name);
  }
  for (size_t i = 0; i < G_N_ELEMENTS(demos); i++) {
    char *name = g_strdup_printf("/duplex/tiny/%s", demos[i]);
    g_test_add_data_func(name, demos[i], test_tiny);
    g_free(name);
  }
  return g_test_run();
}
