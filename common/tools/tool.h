/* What the command-line tools share: the options that name a model, opening
 * it, and the one line of an error. */
#ifndef MOSHI_TOOL_H
#define MOSHI_TOOL_H

#include <glib.h>

#include "../error.h"

typedef struct {
  char *model, *device, *quantization, *weights;
  int threads;
} ToolModelOptions;

/* --model, --device, --threads, --quantization and --weights. */
void tool_add_model_options(GOptionGroup *group, ToolModelOptions *options);
void tool_model_options_clear(ToolModelOptions *options);
/* Finds, checks and loads. */
MoshiModel *tool_load_model(
    const ToolModelOptions *options, unsigned parts, MoshiError *error);

/* Parses the command line of one command; what is left over is an error. */
int tool_parse(GOptionContext *context, int argc, char **argv, MoshiError *error);
/* A number of 64 bits, decimal. */
int tool_parse_u64(
    const char *option, const char *text, uint64_t *value, MoshiError *error);

/* "tool: message" on stderr, one line; returns the exit code. */
int tool_report(const char *tool, const MoshiError *error);

#endif
