/* moshi-replay: libmoshi over raw little-endian files, for tests and scripts.
 *
 *   encode  f32 samples           → u16 codes, a row of codebooks a frame
 *   decode  u16 codes             → f32 samples
 *   lm      i32 user codes a step → i32 text token and own codes a step
 *
 * Exit code 0; or 1, one line on stderr, and no output file. */
#include <stdio.h>
#include <string.h>

#include "conditions.h"
#include "rawfile.h"
#include "tool.h"

typedef struct {
  ToolModelOptions model;
  char *in, *out;
  /* encode, decode */
  int codebooks;
  /* lm */
  gboolean greedy;
  char *seed, *kv_type, *logits, *heads;
  char **conditions;
  double cfg;
  int steps, context;
} Replay;

/* What failed in a step, with the place in the file. */
static int
fail_at(MoshiError *error, const RawInput *in, long frame, const MoshiError *inner)
{
  return moshi_fail(
      error, inner->status, "%s: frame %ld: %s", in->path, frame, inner->message);
}

/* ------------------------------------------------------------------ Mimi */

static int
encode_frames(MimiEncoder *encoder, int codebooks, int frame_size, RawInput *in,
    RawOutput *out, MoshiError *error)
{
  float *pcm = g_new0(float, frame_size);
  uint16_t *codes = g_new(uint16_t, codebooks);
  size_t want = frame_size * sizeof *pcm, got = want;
  int status = MOSHI_OK;
  MoshiError inner;
  for (long frame = 0; !status && got == want; frame++) {
    if ((status = raw_input_read(in, pcm, want, &got, error)) || !got)
      break;
    if (got % sizeof *pcm) {
      status = moshi_fail(error, MOSHI_ERROR_FORMAT,
          "%s: its size is not a multiple of 4 bytes; expected f32 samples", in->path);
      break;
    }
    memset((char *)pcm + got, 0, want - got);
    if (mimi_encoder_step(encoder, pcm, NULL, codes, &inner))
      status = fail_at(error, in, frame, &inner);
    else
      status = raw_output_write(out, codes, codebooks * sizeof *codes, error);
  }
  g_free(pcm);
  g_free(codes);
  return status;
}

static int
encode(
    const Replay *r, MoshiModel *model, RawInput *in, RawOutput *out, MoshiError *error)
{
  const MoshiModelInfo *info = moshi_model_info(model);
  int codebooks = r->codebooks ? r->codebooks : info->default_codebooks;
  MimiEncoder *encoder = mimi_encoder_new(model, 1, codebooks, error);
  if (!encoder)
    return MOSHI_ERROR_ARGUMENT;
  int status = encode_frames(encoder, codebooks, info->frame_size, in, out, error);
  mimi_encoder_free(encoder);
  return status;
}

static int
decode_frames(MimiDecoder *decoder, int codebooks, int frame_size, RawInput *in,
    RawOutput *out, MoshiError *error)
{
  float *pcm = g_new(float, frame_size);
  uint16_t *codes = g_new(uint16_t, codebooks);
  size_t want = codebooks * sizeof *codes, got = want;
  int status = MOSHI_OK;
  MoshiError inner;
  for (long frame = 0; !status && got == want; frame++) {
    if ((status = raw_input_read(in, codes, want, &got, error)) || !got)
      break;
    if (got != want)
      status = moshi_fail(error, MOSHI_ERROR_FORMAT,
          "%s: its size is not a multiple of %zu bytes, a row of %d codes; is "
          "--codebooks right?",
          in->path, want, codebooks);
    else if (mimi_decoder_step(decoder, codes, codebooks, NULL, pcm, &inner))
      status = fail_at(error, in, frame, &inner);
    else
      status = raw_output_write(out, pcm, frame_size * sizeof *pcm, error);
  }
  g_free(pcm);
  g_free(codes);
  return status;
}

static int
decode(
    const Replay *r, MoshiModel *model, RawInput *in, RawOutput *out, MoshiError *error)
{
  const MoshiModelInfo *info = moshi_model_info(model);
  if (r->codebooks > info->codebooks)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "--codebooks %d is too many; %s has %d", r->codebooks, info->path,
        info->codebooks);
  MimiDecoder *decoder = mimi_decoder_new(model, 1, error);
  if (!decoder)
    return MOSHI_ERROR_ARGUMENT;
  int status = decode_frames(decoder, r->codebooks, info->frame_size, in, out, error);
  mimi_decoder_free(decoder);
  return status;
}

/* ------------------------------------------------------- language model */

/* Files beside the tokens; a file is NULL where it was not asked for. */
typedef struct {
  RawOutput logits, heads;
} Extras;

static int
write_extras(const MoshiSession *session, const MoshiModelInfo *info, Extras *extras,
    MoshiError *error)
{
  int status = MOSHI_OK;
  if (extras->logits.file) {
    int text_out;
    const float *text = moshi_session_text_logits(session, 0, &text_out);
    const float *audio = moshi_session_audio_logits(session, 0);
    size_t n_audio = (size_t)info->own_codebooks * info->lm_codebook_size;
    status = raw_output_write(&extras->logits, text, text_out * sizeof *text, error);
    if (!status && n_audio)
      status = raw_output_write(&extras->logits, audio, n_audio * sizeof *audio, error);
  }
  if (!status && extras->heads.file) {
    const float *heads = moshi_session_extra_heads(session, 0);
    size_t n = (size_t)info->extra_heads * info->extra_head_size;
    status = raw_output_write(&extras->heads, heads, n * sizeof *heads, error);
  }
  return status;
}

static int
run_steps(MoshiSession *session, const MoshiModelInfo *info, int steps, RawInput *in,
    RawOutput *out, Extras *extras, MoshiError *error)
{
  int32_t *user = g_new(int32_t, MAX(info->user_codebooks, 1));
  int32_t *tokens = g_new(int32_t, 1 + info->own_codebooks);
  size_t want = info->user_codebooks * sizeof *user, got;
  int status = MOSHI_OK;
  MoshiError inner;
  for (long step = 0; !status && (!steps || step < steps); step++) {
    if (want) {
      if ((status = raw_input_read(in, user, want, &got, error)) || !got)
        break;
      if (got != want) {
        status = moshi_fail(error, MOSHI_ERROR_FORMAT,
            "%s: its size is not a multiple of %zu bytes, a row of %d codes of 32 bits",
            in->path, want, info->user_codebooks);
        break;
      }
    }
    if (moshi_session_step(session, user, NULL, tokens, NULL, &inner))
      status = fail_at(error, in, step, &inner);
    else if (!(status = raw_output_write(
                   out, tokens, (1 + info->own_codebooks) * sizeof *tokens, error)))
      status = write_extras(session, info, extras, error);
  }
  g_free(user);
  g_free(tokens);
  return status;
}

static MoshiSession *
new_session(const Replay *r, MoshiModel *model, MoshiError *error)
{
  MoshiSessionOptions options;
  moshi_session_options_init(&options, model);
  if (r->greedy)
    options.sampling.temperature = options.sampling.text_temperature = 0;
  if (r->seed && tool_parse_u64("--seed", r->seed, &options.sampling.seed, error))
    return NULL;
  options.cfg_coef = r->cfg;
  options.context = r->context;
  options.kv_type = r->kv_type;
  GArray *conditions = conditions_parse(r->conditions, error);
  if (!conditions)
    return NULL;
  options.conditions = (const MoshiCondition *)conditions->data;
  options.n_conditions = conditions->len;
  MoshiSession *session = moshi_session_new(model, &options, error);
  g_array_unref(conditions);
  return session;
}

static int
lm(const Replay *r, MoshiModel *model, RawInput *in, RawOutput *out, MoshiError *error)
{
  const MoshiModelInfo *info = moshi_model_info(model);
  if (!info->user_codebooks && !r->steps)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "%s hears nothing; say with --steps how long it should speak", info->path);
  if (r->heads && !info->extra_heads)
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "%s has no extra heads for --heads", info->path);
  MoshiSession *session = new_session(r, model, error);
  if (!session)
    return MOSHI_ERROR_ARGUMENT;
  Extras extras = {0};
  int status = MOSHI_OK;
  if (r->logits)
    status = raw_output_open(&extras.logits, r->logits, error);
  if (!status && r->heads)
    status = raw_output_open(&extras.heads, r->heads, error);
  if (!status)
    status = run_steps(session, info, r->steps, in, out, &extras, error);
  if (!status && r->logits)
    status = raw_output_commit(&extras.logits, error);
  if (!status && r->heads)
    status = raw_output_commit(&extras.heads, error);
  raw_output_discard(&extras.logits);
  raw_output_discard(&extras.heads);
  moshi_session_free(session);
  return status;
}

/* ---------------------------------------------------------- command line */

typedef struct {
  const char *name;
  unsigned part;
  const char *summary, *description;
  int (*run)(const Replay *r, MoshiModel *model, RawInput *in, RawOutput *out,
      MoshiError *error);
} Command;

static const Command commands[] = {
    {"encode", MOSHI_PART_ENCODER, "f32 samples of 24 kHz to u16 codes",
        "--in: mono f32 samples; a last frame of less than 80 ms is completed with "
        "silence.\n--out: for each frame a row of --codebooks u16.",
        encode},
    {"decode", MOSHI_PART_DECODER, "u16 codes to f32 samples of 24 kHz",
        "--in: for each frame a row of --codebooks u16.\n--out: mono f32 samples, 1920 "
        "a frame.",
        decode},
    {"lm", MOSHI_PART_LM, "the user's codes to Moshi's text and codes",
        "--in: for each step a row of the user's codes, i32; -1 is no input.\n"
        "--out: for each step a row of i32: the text token, then the own codes, with "
        "their delays undone; all -2 while there is nothing yet.\n"
        "--logits: for each step the text logits, then those of each own codebook, "
        "f32, "
        "of the tokens drawn in that very step.\n"
        "--heads: for each step the probabilities of the extra heads, f32.\n"
        "--condition NAME=@FILE reads a tensor condition from a safetensors file: "
        "tensor NAME or cond_NAME, [length][size] or [1][size][length], and its mask "
        "NAME_mask or cond_NAME_mask [length], if any.",
        lm},
};

static GOptionContext *
make_context(const Command *command, Replay *r)
{
  const GOptionEntry files[] = {
      {"in", 'i', 0, G_OPTION_ARG_FILENAME, &r->in, "The file to read", "FILE"},
      {"out", 'o', 0, G_OPTION_ARG_FILENAME, &r->out, "The file to write", "FILE"},
      {NULL}};
  const GOptionEntry codec[] = {
      {"codebooks", 'k', 0, G_OPTION_ARG_INT, &r->codebooks,
          "Codes in a frame (encode: the model's default, mostly 8)", "K"},
      {NULL}};
  const GOptionEntry language[] = {
      {"greedy", 'g', 0, G_OPTION_ARG_NONE, &r->greedy, "Always the best token", NULL},
      {"seed", 's', 0, G_OPTION_ARG_STRING, &r->seed, "Of the sampling (default: 0)",
          "N"},
      {"condition", 'c', 0, G_OPTION_ARG_FILENAME_ARRAY, &r->conditions,
          "A condition of the model; may be repeated", "NAME=VALUE"},
      {"cfg", 0, 0, G_OPTION_ARG_DOUBLE, &r->cfg,
          "Classifier-free guidance (default: 1, none)", "COEF"},
      {"context", 0, 0, G_OPTION_ARG_INT, &r->context,
          "Steps that the model remembers (default: the model's)", "N"},
      {"kv-type", 0, 0, G_OPTION_ARG_STRING, &r->kv_type,
          "Keep keys and values as f32 (default), bf16 or int8", "TYPE"},
      {"logits", 0, 0, G_OPTION_ARG_FILENAME, &r->logits, "Also write the logits",
          "FILE"},
      {"heads", 0, 0, G_OPTION_ARG_FILENAME, &r->heads, "Also write the extra heads",
          "FILE"},
      {"steps", 'n', 0, G_OPTION_ARG_INT, &r->steps, "Stop after so many steps", "N"},
      {NULL}};
  GOptionContext *context = g_option_context_new("");
  GOptionGroup *group = g_option_group_new("main", "", "", NULL, NULL);
  g_option_group_add_entries(group, files);
  g_option_group_add_entries(group, command->part == MOSHI_PART_LM ? language : codec);
  tool_add_model_options(group, &r->model);
  g_option_context_set_main_group(context, group);
  g_option_context_set_summary(context, command->summary);
  g_option_context_set_description(context, command->description);
  return context;
}

static int
check(const Command *command, const Replay *r, MoshiError *error)
{
  if (!r->out || (!r->in && !(command->part == MOSHI_PART_LM && r->steps)))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT, "%s needs --%s FILE; see --help",
        command->name, r->out ? "in" : "out");
  if (command->part == MOSHI_PART_DECODER && !r->codebooks)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "decode needs --codebooks K, the number of codes in a frame of %s", r->in);
  if (r->codebooks < 0 || r->steps < 0)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT, "--%s must be above 0",
        r->codebooks < 0 ? "codebooks" : "steps");
  return MOSHI_OK;
}

/* The input is opened before the model is loaded, the output last. */
static int
run(const Command *command, Replay *r, int argc, char **argv, MoshiError *error)
{
  GOptionContext *context = make_context(command, r);
  int status = tool_parse(context, argc, argv, error);
  g_option_context_free(context);
  RawInput in = {.path = "(no input)"};
  RawOutput out = {0};
  MoshiModel *model = NULL;
  if (!status)
    status = check(command, r, error);
  if (!status && r->in)
    status = raw_input_open(&in, r->in, error);
  if (!status && !(model = tool_load_model(&r->model, command->part, error)))
    status = MOSHI_ERROR_MODEL;
  if (!status)
    status = raw_output_open(&out, r->out, error);
  if (!status)
    status = command->run(r, model, &in, &out, error);
  if (!status)
    status = raw_output_commit(&out, error);
  raw_output_discard(&out);
  moshi_model_unref(model);
  raw_input_close(&in);
  return status;
}

static void
print_help(void)
{
  printf("Usage: moshi-replay COMMAND --model MODEL --in FILE --out FILE [OPTION…]\n\n"
         "Runs a model over raw little-endian files.\n\nCommands:\n");
  for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
    printf("  %-8s%s\n", commands[i].name, commands[i].summary);
  printf("\nmoshi-replay COMMAND --help tells a command's options and files.\n");
}

int
main(int argc, char **argv)
{
  MoshiError error = {0};
  const char *name = argc > 1 ? argv[1] : "";
  if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
    print_help();
    return 0;
  }
  for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
    if (strcmp(name, commands[i].name))
      continue;
    char *program = g_strconcat("moshi-replay ", name, NULL);
    g_set_prgname(program);
    Replay r = {.cfg = 1};
    int status = run(&commands[i], &r, argc - 1, argv + 1, &error);
    tool_model_options_clear(&r.model);
    g_free(r.in);
    g_free(r.out);
    g_free(r.seed);
    g_free(r.kv_type);
    g_free(r.logits);
    g_free(r.heads);
    g_strfreev(r.conditions);
    g_free(program);
    return status ? tool_report("moshi-replay", &error) : 0;
  }
  moshi_fail(&error, MOSHI_ERROR_ARGUMENT,
      *name ? "there is no command \"%s\"; see moshi-replay --help"
            : "which command%s: encode, decode or lm? See moshi-replay --help",
      name);
  return tool_report("moshi-replay", &error);
}
