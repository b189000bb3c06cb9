/* MoshiError and the log. */
#include "error.h"

#include <glib.h>
#include <stdarg.h>
#include <stdio.h>

static MoshiLogFunction log_function;
static void *log_cookie;

void
moshi_set_log(MoshiLogFunction log, void *cookie)
{
  log_cookie = cookie;
  log_function = log;
}

/* What came from a file must not break the line it is shown in, nor what was
 * cut off the UTF-8. */
static void
hide_controls(char *text)
{
  const char *bad;
  while (!g_utf8_validate(text, -1, &bad))
    text[bad - text] = '?';
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f)
      *text = '?';
}

int
moshi_fail(MoshiError *error, MoshiStatus status, const char *format, ...)
{
  if (error) {
    va_list args;
    va_start(args, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    hide_controls(error->message);
  }
  return status;
}

void
moshi_log(MoshiLogLevel level, const char *format, ...)
{
  if (!log_function)
    return;
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  hide_controls(text);
  log_function(log_cookie, level, text);
}
