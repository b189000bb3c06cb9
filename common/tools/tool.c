/* See tool.h. */
#include "tool.h"

#include <stdio.h>
#include <string.h>

void
tool_add_model_options(GOptionGroup *group, ToolModelOptions *options)
{
  const GOptionEntry entries[] = {
      {"model", 'm', 0, G_OPTION_ARG_FILENAME, &options->model,
          "A directory, a checkpoint file or a hub repository (default: $MOSHI_MODEL, "
          "else the installed model)",
          "MODEL"},
      {"device", 'd', 0, G_OPTION_ARG_STRING, &options->device,
          "auto, cpu, cuda or cuda:N (default: auto)", "DEVICE"},
      {"threads", 't', 0, G_OPTION_ARG_INT, &options->threads,
          "Threads of the CPU (default: one for each core)", "N"},
      {"quantization", 'q', 0, G_OPTION_ARG_STRING, &options->quantization,
          "Convert the language model's weights to none (default), q8 or q4",
          "QUANTIZATION"},
      {"weights", 'w', 0, G_OPTION_ARG_STRING, &options->weights,
          "Of Mimi: f32 (default), or bf16 for half the memory and other codes",
          "TYPE"},
      {NULL}};
  g_option_group_add_entries(group, entries);
}

void
tool_model_options_clear(ToolModelOptions *options)
{
  g_free(options->model);
  g_free(options->device);
  g_free(options->quantization);
  g_free(options->weights);
}

MoshiModel *
tool_load_model(const ToolModelOptions *options, unsigned parts, MoshiError *error)
{
  const MoshiModelOptions open = {.model = options->model,
      .parts = parts,
      .device = options->device,
      .threads = options->threads,
      .quantization = options->quantization,
      .mimi_weights = options->weights};
  MoshiModel *model = moshi_model_open(&open, error);
  if (model && moshi_model_load(model, NULL, NULL, error)) {
    moshi_model_unref(model);
    return NULL;
  }
  return model;
}

int
tool_parse(GOptionContext *context, int argc, char **argv, MoshiError *error)
{
  GError *wrong = NULL;
  if (!g_option_context_parse(context, &argc, &argv, &wrong)) {
    moshi_fail(error, MOSHI_ERROR_ARGUMENT, "%s", wrong->message);
    g_error_free(wrong);
    return MOSHI_ERROR_ARGUMENT;
  }
  if (argc > 1)
    return moshi_fail(
        error, MOSHI_ERROR_ARGUMENT, "unexpected argument \"%s\"; see --help", argv[1]);
  return MOSHI_OK;
}

int
tool_parse_u64(const char *option, const char *text, uint64_t *value, MoshiError *error)
{
  guint64 number;
  if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &number, NULL))
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "%s %s is not a number of 0 to 18446744073709551615", option, text);
  *value = number;
  return MOSHI_OK;
}

int
tool_report(const char *tool, const MoshiError *error)
{
  fprintf(stderr, "%s: %s\n", tool, error->message);
  return 1;
}
