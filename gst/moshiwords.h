/* Joins the text of tokens into what a reader of captions wants: words or
 * lines, each with the time it was spoken. */
#ifndef MOSHI_WORDS_H
#define MOSHI_WORDS_H

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstMoshiTextMode:
 * @GST_MOSHI_TEXT_MODE_WORD: a word, without spaces
 * @GST_MOSHI_TEXT_MODE_LINE: a sentence, or what fits on a line of captions
 * @GST_MOSHI_TEXT_MODE_PIECE: the text of one token as it is; joined without
 *     anything between, pieces are the text
 *
 * What one buffer of text holds.
 *
 * Since: 0.1
 */
typedef enum {
  GST_MOSHI_TEXT_MODE_WORD,
  GST_MOSHI_TEXT_MODE_LINE,
  GST_MOSHI_TEXT_MODE_PIECE,
} GstMoshiTextMode;

/* Called for every word; text is valid during the call. */
typedef void (*MoshiWordFunc) (const gchar * text, GstClockTime start,
    GstClockTime end, gpointer user_data);

#define MOSHI_WORDS_SIZE 256

typedef struct
{
  gchar text[MOSHI_WORDS_SIZE];
  gsize length;
  GstClockTime start, end;
} MoshiSpan;

typedef struct
{
  GstMoshiTextMode mode;
  MoshiWordFunc func;
  gpointer user_data;
  MoshiSpan word;               /* being spelt */
  MoshiSpan line;               /* words that wait for the rest of their line */
  guint pause;                  /* frames without text so far */
} MoshiWords;

void moshi_words_init (MoshiWords * words, GstMoshiTextMode mode,
    MoshiWordFunc func, gpointer user_data);
/* Forgets what is unfinished. */
void moshi_words_reset (MoshiWords * words);
/* The text of a frame from start to end: NULL for a frame without, which ends a
 * word; "" for a token that is a part of a character. */
void moshi_words_push (MoshiWords * words, const gchar * text,
    GstClockTime start, GstClockTime end);
/* Hands out what is unfinished, at the end of a stream. */
void moshi_words_finish (MoshiWords * words);
/* When the unfinished text starts; GST_CLOCK_TIME_NONE when there is none. */
GstClockTime moshi_words_pending (const MoshiWords * words);

G_END_DECLS

#endif
