/* Joining pieces into words and lines. */
#include "moshiwords.h"

#include <string.h>

#define FRAME (80 * GST_MSECOND)

typedef struct
{
  MoshiWords words;
  GString *out;                 /* "text@first-end " in frames */
  guint frame;
} Fixture;

static void
note (const gchar * text, GstClockTime start, GstClockTime end,
    gpointer user_data)
{
  Fixture *f = user_data;

  g_assert_true (g_utf8_validate (text, -1, NULL));
  g_string_append_printf (f->out, "%s@%u-%u|", text, (guint) (start / FRAME),
      (guint) (end / FRAME));
}

/* pieces: one string a frame, "" is padding. */
static gchar *
join (GstMoshiTextMode mode, const gchar * const *pieces, gboolean finish)
{
  Fixture f = {.out = g_string_new (NULL) };

  moshi_words_init (&f.words, mode, note, &f);
  for (; *pieces; pieces++, f.frame++)
    moshi_words_push (&f.words, **pieces ? *pieces : NULL, f.frame * FRAME,
        (f.frame + 1) * FRAME);
  if (finish)
    moshi_words_finish (&f.words);

  return g_string_free (f.out, FALSE);
}

#define PIECES(...) (const gchar *const[]) { __VA_ARGS__, NULL }
#define ASSERT_JOINED(mode, finish, expected, ...) \
  G_STMT_START { \
    gchar *joined = join (mode, PIECES (__VA_ARGS__), finish); \
    g_assert_cmpstr (joined, ==, expected); \
    g_free (joined); \
  } G_STMT_END
#define WORD GST_MOSHI_TEXT_MODE_WORD
#define LINE GST_MOSHI_TEXT_MODE_LINE
#define PIECE GST_MOSHI_TEXT_MODE_PIECE

static void
test_words (void)
{
  ASSERT_JOINED (WORD, FALSE, "Hello!@1-3|Nice@5-6|", "", " Hel", "lo!", "", "",
      " Nice", " to");
  ASSERT_JOINED (WORD, TRUE, "Hello!@1-3|Nice@5-6|to@6-7|", "", " Hel", "lo!",
      "", "", " Nice", " to");
  /* Padding ends a word, and what follows stands for itself. */
  ASSERT_JOINED (WORD, TRUE, "a@0-1|b@2-3|", " a", "", "b");
  /* A piece can hold several words, or only a space. */
  ASSERT_JOINED (WORD, TRUE, "a@0-1|b@0-1|cd@1-3|", " a b", " c", "d");
  ASSERT_JOINED (WORD, TRUE, "a@1-2|", " ", "a", " ", "\n");
  ASSERT_JOINED (WORD, TRUE, "", "", "");
}

static void
test_byte_pieces (void)
{
  Fixture f = {.out = g_string_new (NULL) };

  /* é in two bytes: the first gives no text yet and does not end the word. */
  moshi_words_init (&f.words, WORD, note, &f);
  moshi_words_push (&f.words, " caf", 0, FRAME);
  moshi_words_push (&f.words, "", FRAME, 2 * FRAME);
  moshi_words_push (&f.words, "é", 2 * FRAME, 3 * FRAME);
  g_assert_cmpuint (moshi_words_pending (&f.words), ==, 0);
  moshi_words_push (&f.words, NULL, 3 * FRAME, 4 * FRAME);
  g_assert_cmpstr (f.out->str, ==, "café@0-3|");
  g_assert_cmpuint (moshi_words_pending (&f.words), ==, GST_CLOCK_TIME_NONE);
  g_string_free (f.out, TRUE);
}

static void
test_pieces (void)
{
  ASSERT_JOINED (PIECE, FALSE, " Hel@0-1|lo@1-2| you@3-4|", " Hel", "lo", "",
      " you");
}

static void
test_lines (void)
{
  /* A sentence lasts until the next begins. */
  ASSERT_JOINED (LINE, TRUE, "Hello there!@0-4|Nice@4-5|", " Hello", " there",
      "!", "", " Nice");
  /* A second without text ends a line, and it lasts until then. */
  ASSERT_JOINED (LINE, FALSE, "Well@0-13|", " Well", "", "", "", "", "", "", "",
      "", "", "", "", "", "");
  /* What does not fit goes to the next line. */
  ASSERT_JOINED (LINE, TRUE, "0123456789 0123456789 0123456789@0-3|"
      "0123456789 x@3-5|", " 0123456789", " 0123456789", " 0123456789",
      " 0123456789", " x");
}

static void
test_long_word (void)
{
  gchar piece[MOSHI_WORDS_SIZE * 4];
  gchar *joined;
  gsize n = 0;

  for (gsize i = 0; i + 2 < sizeof piece; i += 2)
    memcpy (piece + i, "é", 3);
  for (GstMoshiTextMode mode = WORD; mode <= PIECE; mode++) {
    joined = join (mode, PIECES (piece, piece), TRUE);
    for (gchar * p = joined; *p; p = g_utf8_next_char (p))
      n += g_utf8_get_char (p) == 0xe9;
    g_free (joined);
  }
  /* Nothing is lost but in PIECE, which cuts. */
  g_assert_cmpuint (n, >=, 2 * 2 * (sizeof piece / 2 - 1));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/moshiwords/words", test_words);
  g_test_add_func ("/moshiwords/byte-pieces", test_byte_pieces);
  g_test_add_func ("/moshiwords/pieces", test_pieces);
  g_test_add_func ("/moshiwords/lines", test_lines);
  g_test_add_func ("/moshiwords/long-word", test_long_word);
  return g_test_run ();
}
