/* A strict scanner of JSON text (RFC 8259, nothing more), for input that json
 * libraries are too lenient with: it accepts no comments, no lone surrogates,
 * no numbers beyond what is asked for, and bounds the depth of nesting. It
 * allocates nothing but the strings it is asked for. */
#ifndef MOSHI_FILES_SCAN_H
#define MOSHI_FILES_SCAN_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const char *start, *at, *end;
  const char *problem; /* the first one, NULL: none so far */
} MoshiScan;

/* The text must be valid UTF-8: that is checked here. */
bool moshi_scan_init(MoshiScan *scan, const char *text, size_t size);
/* Byte offset of the problem. */
size_t moshi_scan_offset(const MoshiScan *scan);
/* Fails with a problem of one's own; returns false. */
bool moshi_scan_problem(MoshiScan *scan, const char *problem);

/* Skips white space; the next character, 0 at the end. */
char moshi_scan_peek(MoshiScan *scan);
bool moshi_scan_expect(MoshiScan *scan, char c);
/* The string is unescaped into *out (not NULL: emptied first). */
bool moshi_scan_string(MoshiScan *scan, GString *out);
/* A plain decimal integer: no sign, fraction, exponent or leading zero. */
bool moshi_scan_u64(MoshiScan *scan, uint64_t *value);
/* Any value, nested at most `depth` deep. */
bool moshi_scan_skip(MoshiScan *scan, int depth);
bool moshi_scan_null(MoshiScan *scan); /* true and taken, when null is next */
/* Nothing but white space is left. */
bool moshi_scan_end(MoshiScan *scan);

/* Walks an object or array that opens with `open`: call with *first = true
 * before the first member; true while there is another one, whose value (for
 * an object: key) comes next. False at the end or on a problem. */
bool moshi_scan_member(MoshiScan *scan, char open, bool *first);

#endif
