/* A word begins at a piece with a leading space ("▁" of sentencepiece) and ends
 * where the next begins or at a frame without text, whichever is first: the
 * pieces of a word follow one another without a pause. A line ends after a full
 * stop, when the next word does not fit, or when nothing was said for a second;
 * it lasts until the next begins, so that lines can be read and do not overlap.
 */

#include "moshiwords.h"

#include <string.h>

#define LINE_CHARACTERS 42      /* usual for subtitles */
#define LINE_PAUSE 12           /* frames */

void
moshi_words_init (MoshiWords * words, GstMoshiTextMode mode,
    MoshiWordFunc func, gpointer user_data)
{
  words->mode = mode;
  words->func = func;
  words->user_data = user_data;
  moshi_words_reset (words);
}

void
moshi_words_reset (MoshiWords * words)
{
  words->word.length = words->line.length = 0;
  words->word.start = words->line.start = GST_CLOCK_TIME_NONE;
  words->pause = 0;
}

static void
hand_out (MoshiWords * words, MoshiSpan * span)
{
  if (span->length == 0)
    return;
  span->text[span->length] = '\0';
  words->func (span->text, span->start, span->end, words->user_data);
  span->length = 0;
  span->start = GST_CLOCK_TIME_NONE;
}

static gboolean
append (MoshiSpan * span, const gchar * text, gsize length,
    GstClockTime start, GstClockTime end)
{
  if (span->length + length >= MOSHI_WORDS_SIZE)
    return FALSE;
  if (span->length == 0)
    span->start = start;
  memcpy (span->text + span->length, text, length);
  span->length += length;
  span->end = end;
  return TRUE;
}

static void
end_line (MoshiWords * words, GstClockTime end)
{
  if (words->line.length > 0)
    words->line.end = MAX (words->line.end, end);
  hand_out (words, &words->line);
}

static gboolean
ends_sentence (const MoshiSpan * line)
{
  static const gchar *const marks[] =
      { ".", "!", "?", "…", "。", "？", "！" };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (marks); i++) {
    gsize n = strlen (marks[i]);

    if (line->length >= n
        && memcmp (line->text + line->length - n, marks[i], n) == 0)
      return TRUE;
  }
  return FALSE;
}

static void
add_to_line (MoshiWords * words)
{
  MoshiSpan *word = &words->word, *line = &words->line;
  glong letters = g_utf8_strlen (word->text, word->length);

  if (line->length > 0
      && g_utf8_strlen (line->text, line->length) + 1 + letters >
      LINE_CHARACTERS)
    end_line (words, word->start);
  if (line->length > 0)
    append (line, " ", 1, word->start, word->end);
  append (line, word->text, word->length, word->start, word->end);
  word->length = 0;
  word->start = GST_CLOCK_TIME_NONE;
}

static void
end_word (MoshiWords * words)
{
  if (words->word.length == 0)
    return;
  if (words->mode == GST_MOSHI_TEXT_MODE_LINE)
    add_to_line (words);
  else
    hand_out (words, &words->word);
}

static void
push_pause (MoshiWords * words, GstClockTime end)
{
  end_word (words);
  if (words->line.length > 0 && ++words->pause >= LINE_PAUSE)
    end_line (words, end);
}

static void
push_piece (MoshiWords * words, const gchar * text, GstClockTime start,
    GstClockTime end)
{
  gsize length = strlen (text);

  /* Longer than any sane vocabulary has. */
  if (length >= MOSHI_WORDS_SIZE)
    length = g_utf8_find_prev_char (text, text + MOSHI_WORDS_SIZE) - text;
  if (append (&words->word, text, length, start, end))
    hand_out (words, &words->word);
}

void
moshi_words_push (MoshiWords * words, const gchar * text,
    GstClockTime start, GstClockTime end)
{
  const gchar *p, *next;

  if (text == NULL) {
    push_pause (words, end);
    return;
  }
  if (words->mode == GST_MOSHI_TEXT_MODE_PIECE) {
    push_piece (words, text, start, end);
    return;
  }
  for (p = text; *p != '\0'; p = next) {
    next = g_utf8_next_char (p);
    if (g_unichar_isspace (g_utf8_get_char (p))) {
      end_word (words);
      continue;
    }
    if (words->word.length == 0 && ends_sentence (&words->line))
      end_line (words, start);
    words->pause = 0;
    if (!append (&words->word, p, next - p, start, end)) {
      end_word (words);
      append (&words->word, p, next - p, start, end);
    }
  }
}

void
moshi_words_finish (MoshiWords * words)
{
  end_word (words);
  hand_out (words, &words->line);
  words->pause = 0;
}

GstClockTime
moshi_words_pending (const MoshiWords * words)
{
  if (words->line.length > 0)
    return words->line.start;
  return words->word.length > 0 ? words->word.start : GST_CLOCK_TIME_NONE;
}
