/* sentencepiece models, good and broken, built byte by byte. */
#include <glib.h>
#include <string.h>

#include "files/tokenizer.h"

/* A SentencePiece record; score NULL: none, type < 0: none. */
static void
add_piece(GByteArray *model, const char *text, size_t n, const float *score, int type)
{
  GByteArray *piece = g_byte_array_new();
  guint8 head[2] = {1 << 3 | 2, n};
  g_byte_array_append(piece, head, 2);
  g_byte_array_append(piece, (const guint8 *)text, n);
  if (score) {
    guint8 tag = 2 << 3 | 5;
    g_byte_array_append(piece, &tag, 1);
    g_byte_array_append(piece, (const guint8 *)score, 4);
  }
  if (type >= 0) {
    guint8 field[2] = {3 << 3, type};
    g_byte_array_append(piece, field, 2);
  }
  guint8 outer[2] = {1 << 3 | 2, piece->len};
  g_byte_array_append(model, outer, 2);
  g_byte_array_append(model, piece->data, piece->len);
  g_byte_array_unref(piece);
}

static MoshiTokenizer *
parse(GByteArray *model, int n, MoshiError *error)
{
  void *exact = g_memdup2(model->data, model->len);
  MoshiTokenizer *t = moshi_tokenizer_parse(exact, model->len, "tok", n, error);
  g_free(exact); /* the table must own its text */
  return t;
}

static void
test_good(void)
{
  float score = -1.5f;
  GByteArray *m = g_byte_array_new();
  add_piece(m, "<unk>", 5, &score, 2);
  add_piece(m, "<s>", 3, NULL, 3);
  add_piece(m, "\xe2\x96\x81hi", 5, &score, -1);
  add_piece(m, "<0xE2>", 6, NULL, 6);
  add_piece(m, "user", 4, NULL, 4);
  /* trainer and normalizer records, and fields of later versions, are skipped */
  static const guint8 rest[] = {2 << 3 | 2, 3, 0x18, 1, 0x20, 3 << 3 | 2, 0, 6 << 3 | 0,
      0x80, 0x01, 7 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 8 << 3 | 5, 1, 2, 3, 4};
  g_byte_array_append(m, rest, sizeof rest);
  MoshiError error = {0};
  MoshiTokenizer *t = parse(m, 5, &error);
  if (!t)
    g_error("%s", error.message);
  g_assert_cmpint(moshi_tokenizer_size(t), ==, 5);
  g_assert_cmpint(moshi_tokenizer_piece(t, 0)->type, ==, MOSHI_PIECE_UNKNOWN);
  g_assert_cmpint(moshi_tokenizer_piece(t, 1)->type, ==, MOSHI_PIECE_CONTROL);
  g_assert_cmpstr(moshi_tokenizer_piece(t, 2)->text, ==, "▁hi");
  g_assert_cmpint(moshi_tokenizer_piece(t, 2)->type, ==, MOSHI_PIECE_NORMAL);
  g_assert_cmpint(moshi_tokenizer_piece(t, 3)->byte, ==, 0xe2);
  g_assert_cmpint(moshi_tokenizer_piece(t, 3)->type, ==, MOSHI_PIECE_BYTE);
  g_assert_cmpint(moshi_tokenizer_piece(t, 4)->type, ==, MOSHI_PIECE_USER_DEFINED);
  g_assert_null(moshi_tokenizer_piece(t, 5));
  g_assert_null(moshi_tokenizer_piece(t, -1));
  moshi_tokenizer_free(t);

  g_assert_null(parse(m, 6, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_MODEL);
  g_assert_cmpstr(error.message, ==,
      "tok: has 5 pieces, but text_card in config.json is 6: it is another model's");
  g_byte_array_unref(m);
}

/* Cut anywhere, it is refused or (between two records) shorter. */
static void
test_truncated(void)
{
  GByteArray *m = g_byte_array_new();
  for (int i = 0; i < 4; i++)
    add_piece(m, "abc", 3, NULL, 1);
  for (guint n = 0; n < m->len; n++) {
    MoshiError error = {0};
    void *exact = g_memdup2(m->data, n);
    MoshiTokenizer *t = moshi_tokenizer_parse(exact, n, "tok", 4, &error);
    g_assert_null(t);
    g_assert_nonnull(strstr(error.message, "tok: "));
    g_free(exact);
  }
  g_byte_array_unref(m);
}

static void
test_broken(void)
{
  static const struct {
    const char *bytes;
    size_t n;
    const char *message;
  } cases[] = {
      {"", 0, "tok: holds no pieces"},
      {"\x10\x05", 2, "tok: holds no pieces"},
      {"\x08\x05", 2, "is not a sentencepiece model (its pieces are no records)"},
      {"\x0a\x05\x0a\x03"
       "ab",
          6, "broken or truncated after 0 pieces"},
      {"\x0a\x04\x0a\x03"
       "ab",
          6, "tok: piece 0 its record is broken"},
      {"\x0a\x02\x0a\x00", 4, "tok: piece 0 is empty"},
      {"\x0a\x00", 2, "tok: piece 0 is empty"},
      {"\x0a\x03\x0a\x01\xff", 5, "tok: piece 0 is not valid UTF-8"},
      {"\x0a\x03\x0a\x01\x00", 5, "tok: piece 0 is not valid UTF-8"},
      {"\x0a\x03\x0a\x01"
       "a\x0a\x08\x0a\x01"
       "b\x15\x00\x00\x80\x7f",
          15, "tok: piece 1 its score is not finite"},
      {"\x0a\x05\x0a\x01"
       "a\x18\x07",
          7, "tok: piece 0 is of an unknown type"},
      {"\x0a\x05\x0a\x01"
       "a\x18\x00",
          7, "is of an unknown type"},
      {"\x0a\x05\x0a\x01"
       "a\x18\x06",
          7, "is a byte, but not of the form <0xHH>"},
      {"\x0a\x02\x08\x01", 4, "has a field of the wrong type"},
      {"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, "broken or truncated"},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "broken or truncated"},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "broken or truncated"},
      {"\x03\x01", 2, "broken or truncated"}, /* a group */
      {"\x00\x01", 2, "broken or truncated"}, /* field 0 */
      {"\x0a", 1, "broken or truncated"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    MoshiError error = {0};
    void *exact = g_memdup2(cases[i].bytes, cases[i].n);
    g_assert_null(moshi_tokenizer_parse(exact, cases[i].n, "tok", 0, &error));
    if (!strstr(error.message, cases[i].message))
      g_error("case %zu: \"%s\" lacks \"%s\"", i, error.message, cases[i].message);
    g_assert_cmpint(error.status, ==, MOSHI_ERROR_FORMAT);
    g_free(exact);
  }
  GByteArray *m = g_byte_array_new();
  add_piece(m, "<0x0A>", 6, NULL, 6);
  add_piece(m, "<0x0a>", 6, NULL, 6);
  MoshiError error = {0};
  g_assert_null(parse(m, 0, &error));
  g_assert_nonnull(
      strstr(error.message, "piece 1 is a byte that an earlier piece has"));
  g_byte_array_unref(m);
}

static void
test_tiny(void)
{
  const char *dir = g_getenv("MOSHI_TEST_TINY");
  char *path = g_build_filename(dir ? dir : "", "tokenizer_spm_512_3.model", NULL);
  MoshiError error = {0};
  MoshiTokenizer *t = moshi_tokenizer_open(path, 512, &error);
  if (!t)
    g_error("%s", error.message);
  g_assert_cmpstr(moshi_tokenizer_piece(t, 0)->text, ==, "<unk>");
  g_assert_cmpint(moshi_tokenizer_piece(t, 0)->type, ==, MOSHI_PIECE_UNKNOWN);
  moshi_tokenizer_free(t);
  g_free(path);
  g_assert_null(moshi_tokenizer_open("/nonexistent", 0, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_NOT_FOUND);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tokenizer/good", test_good);
  g_test_add_func("/tokenizer/truncated", test_truncated);
  g_test_add_func("/tokenizer/broken", test_broken);
  g_test_add_func("/tokenizer/tiny", test_tiny);
  return g_test_run();
}
