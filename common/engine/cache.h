/* Converted weights that are kept in the user's cache directory. */
#ifndef MOSHI_ENGINE_CACHE_H
#define MOSHI_ENGINE_CACHE_H

#include "convert.h"

/* The directory: $MOSHI_CACHE, else gst-moshi in $XDG_CACHE_HOME or ~/.cache. NULL where
 * MOSHI_CACHE is empty. g_free. */
char *moshi_cache_dir(void);
/* Where the result of the conversion is kept; NULL: nowhere. g_free. */
char *moshi_cache_path(const MoshiConversion *conversion);
/* The result of the conversion: from the cache when it is there and sound, else made, and
 * kept if that is possible. Only then is `progress` told. */
MoshiCheckpoint *moshi_cache_converted(MoshiConversion *conversion, int threads,
    MoshiProgress progress, void *cookie, MoshiError *error);

#endif
