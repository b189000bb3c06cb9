/* The scanner walks the text once, left to right. */
#include "scan.h"

#include <string.h>

bool
moshi_scan_problem(MoshiScan *scan, const char *problem)
{
  if (!scan->problem)
    scan->problem = problem;
  return false;
}

bool
moshi_scan_init(MoshiScan *scan, const char *text, size_t size)
{
  *scan = (MoshiScan){text, text, text + size, NULL};
  const char *bad;
  if (!g_utf8_validate(text, size, &bad)) {
    scan->at = bad;
    return moshi_scan_problem(scan, "invalid UTF-8");
  }
  return true;
}

size_t
moshi_scan_offset(const MoshiScan *scan)
{
  return scan->at - scan->start;
}

char
moshi_scan_peek(MoshiScan *scan)
{
  while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n' ||
                                     *scan->at == '\r' || *scan->at == '\t'))
    scan->at++;
  return scan->at < scan->end ? *scan->at : 0;
}

bool
moshi_scan_expect(MoshiScan *scan, char c)
{
  if (scan->problem)
    return false;
  if (moshi_scan_peek(scan) != c || scan->at == scan->end)
    return moshi_scan_problem(scan,
        scan->at == scan->end ? "the text ends too early" : "an unexpected character");
  scan->at++;
  return true;
}

bool
moshi_scan_end(MoshiScan *scan)
{
  if (scan->problem)
    return false;
  moshi_scan_peek(scan);
  return scan->at == scan->end || moshi_scan_problem(scan, "text after the end");
}

static bool
scan_hex4(MoshiScan *scan, uint32_t *value)
{
  if (scan->end - scan->at < 4)
    return moshi_scan_problem(scan, "an unfinished \\u escape");
  *value = 0;
  for (int i = 0; i < 4; i++, scan->at++) {
    int digit = g_ascii_xdigit_value(*scan->at);
    if (digit < 0)
      return moshi_scan_problem(scan, "a broken \\u escape");
    *value = *value << 4 | digit;
  }
  return true;
}

static bool
scan_unicode_escape(MoshiScan *scan, GString *out)
{
  uint32_t c, low;
  if (!scan_hex4(scan, &c))
    return false;
  if (c >= 0xd800 && c < 0xe000) {
    bool pair = c < 0xdc00 && scan->end - scan->at >= 2 && scan->at[0] == '\\' &&
                scan->at[1] == 'u';
    if (!pair)
      return moshi_scan_problem(scan, "a lone surrogate");
    scan->at += 2;
    if (!scan_hex4(scan, &low))
      return false;
    if (low < 0xdc00 || low >= 0xe000)
      return moshi_scan_problem(scan, "a lone surrogate");
    c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
  }
  if (c == 0)
    return moshi_scan_problem(scan, "a NUL character in a string");
  if (out)
    g_string_append_unichar(out, c);
  return true;
}

static bool
scan_escape(MoshiScan *scan, GString *out)
{
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (scan->at == scan->end)
    return moshi_scan_problem(scan, "an unfinished string");
  char c = *scan->at++;
  if (c == 'u')
    return scan_unicode_escape(scan, out);
  const char *known = c ? strchr(from, c) : NULL;
  if (!known)
    return moshi_scan_problem(scan, "an unknown escape in a string");
  if (out)
    g_string_append_c(out, to[known - from]);
  return true;
}

bool
moshi_scan_string(MoshiScan *scan, GString *out)
{
  if (!moshi_scan_expect(scan, '"'))
    return false;
  if (out)
    g_string_truncate(out, 0);
  for (;;) {
    const char *plain = scan->at;
    while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\' &&
           (unsigned char)*scan->at >= 0x20)
      scan->at++;
    if (out)
      g_string_append_len(out, plain, scan->at - plain);
    if (scan->at == scan->end)
      return moshi_scan_problem(scan, "an unfinished string");
    char c = *scan->at++;
    if (c == '"')
      return true;
    if (c != '\\')
      return moshi_scan_problem(scan, "a control character in a string");
    if (!scan_escape(scan, out))
      return false;
  }
}

bool
moshi_scan_u64(MoshiScan *scan, uint64_t *value)
{
  if (scan->problem)
    return false;
  char c = moshi_scan_peek(scan);
  if (!g_ascii_isdigit(c))
    return moshi_scan_problem(scan, "not a non-negative integer");
  const char *first = scan->at;
  uint64_t v = 0;
  for (; scan->at < scan->end && g_ascii_isdigit(*scan->at); scan->at++)
    if (__builtin_mul_overflow(v, 10, &v) ||
        __builtin_add_overflow(v, *scan->at - '0', &v))
      return moshi_scan_problem(scan, "an integer beyond 64 bits");
  if (*first == '0' && scan->at - first > 1)
    return moshi_scan_problem(scan, "an integer with a leading zero");
  if (scan->at < scan->end && strchr(".eE", *scan->at))
    return moshi_scan_problem(scan, "not an integer");
  *value = v;
  return true;
}

static bool
scan_digits(MoshiScan *scan)
{
  const char *first = scan->at;
  while (scan->at < scan->end && g_ascii_isdigit(*scan->at))
    scan->at++;
  return scan->at > first || moshi_scan_problem(scan, "a broken number");
}

static bool
scan_number(MoshiScan *scan)
{
  if (*scan->at == '-')
    scan->at++;
  const char *first = scan->at;
  if (!scan_digits(scan))
    return false;
  if (*first == '0' && scan->at - first > 1)
    return moshi_scan_problem(scan, "a number with a leading zero");
  if (scan->at < scan->end && *scan->at == '.') {
    scan->at++;
    if (!scan_digits(scan))
      return false;
  }
  if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
    scan->at++;
    if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
      scan->at++;
    return scan_digits(scan);
  }
  return true;
}

static bool
scan_word(MoshiScan *scan, const char *word)
{
  size_t n = strlen(word);
  if ((size_t)(scan->end - scan->at) < n || memcmp(scan->at, word, n) != 0)
    return false;
  scan->at += n;
  return true;
}

bool
moshi_scan_null(MoshiScan *scan)
{
  return !scan->problem && moshi_scan_peek(scan) == 'n' && scan_word(scan, "null");
}

bool
moshi_scan_member(MoshiScan *scan, char open, bool *first)
{
  char close = open == '{' ? '}' : ']';
  if (*first && !moshi_scan_expect(scan, open))
    return false;
  if (scan->problem)
    return false;
  if (moshi_scan_peek(scan) == close) {
    scan->at++;
    return false;
  }
  if (!*first) {
    if (!moshi_scan_expect(scan, ','))
      return false;
    if (moshi_scan_peek(scan) == close)
      return moshi_scan_problem(scan, "a comma before the end");
  }
  *first = false;
  return true;
}

bool
moshi_scan_skip(MoshiScan *scan, int depth)
{
  if (scan->problem)
    return false;
  char c = moshi_scan_peek(scan);
  if (c == '{' || c == '[') {
    if (depth == 0)
      return moshi_scan_problem(scan, "nested too deep");
    bool first = true;
    while (moshi_scan_member(scan, c, &first)) {
      if (c == '{' && !(moshi_scan_string(scan, NULL) && moshi_scan_expect(scan, ':')))
        return false;
      if (!moshi_scan_skip(scan, depth - 1))
        return false;
    }
    return !scan->problem;
  }
  if (c == '"')
    return moshi_scan_string(scan, NULL);
  if (c == '-' || g_ascii_isdigit(c))
    return scan_number(scan);
  if (scan_word(scan, "true") || scan_word(scan, "false") || scan_word(scan, "null"))
    return true;
  return moshi_scan_problem(
      scan, c ? "an unexpected character" : "the text ends too early");
}
