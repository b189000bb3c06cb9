/* Finding the files of a model: a directory, a checkpoint file, or a
 * repository in the user's hub cache. Never the network. */
#ifndef MOSHI_FILES_HUB_H
#define MOSHI_FILES_HUB_H

#include "config.h"

/* Paths are NULL where the part was not asked for or (mimi_config) is not
 * needed. */
typedef struct {
  char *root;   /* what `model` was resolved to */
  char *config; /* config.json; only required for the LM */
  char *lm, *tokenizer;
  char *mimi, *mimi_config;
  MoshiLmConfig *lm_config; /* parsed config.json, NULL without one */
} MoshiModelFiles;

/* model: as MoshiModelOptions.model. Fails with MOSHI_ERROR_NOT_FOUND and the
 * exact command that would download it. */
int moshi_model_files_find(
    MoshiModelFiles *files, const char *model, unsigned parts, MoshiError *error);
void moshi_model_files_clear(MoshiModelFiles *files);

#endif
