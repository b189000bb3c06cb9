/* The cache of the Hugging Face hub's own tools, read only:
 *
 *   ROOT/models--ORG--NAME/refs/REVISION       text: a commit
 *   ROOT/models--ORG--NAME/snapshots/COMMIT/…  links into ../../blobs */
#ifndef MOSHI_FILES_HUB_CACHE_H
#define MOSHI_FILES_HUB_CACHE_H

#include <stdbool.h>

#include "../moshi.h"

typedef struct {
  char *id;       /* "org/name" */
  char *revision; /* "main" unless one was asked for */
  char *folder;   /* ROOT/models--org--name */
  char *snapshot; /* folder/snapshots/COMMIT */
} MoshiHubRepo;

/* "org/name", optionally with "@revision". */
bool moshi_hub_is_id(const char *text);
/* A path of plain components: none empty, ".", or "..". */
bool moshi_hub_is_safe_path(const char *path);
char *moshi_hub_root(void); /* g_free */

int moshi_hub_open(MoshiHubRepo *repo, const char *id, MoshiError *error);
void moshi_hub_clear(MoshiHubRepo *repo);
/* *out: the file's path in the snapshot; g_free. */
int moshi_hub_file(
    const MoshiHubRepo *repo, const char *path, char **out, MoshiError *error);

#endif
