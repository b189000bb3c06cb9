/* Filling MoshiError, and the library's log. */
#ifndef MOSHI_COMMON_ERROR_H
#define MOSHI_COMMON_ERROR_H

#include "moshi.h"

/* Writes the first failure into *error (which may be NULL) and returns status,
 * so that a caller can write `return moshi_fail(error, …)`. Control characters
 * that came from a file are replaced by '?'. */
int moshi_fail(MoshiError *error, MoshiStatus status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void moshi_log(MoshiLogLevel level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
