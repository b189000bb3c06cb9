/* MoshiText: pieces to UTF-8, with characters spread over several tokens. The
 * tokenizer of stt-gqa: <unk>, <s>, </s>, <pad>, the 256 bytes, words. */
#include "engine/model.h"
#include "lm-vectors.h"

#define BYTE(b) (4 + (b))
#define END (-100)
#define BAD "\xef\xbf\xbd" /* U+FFFD */

/* Tokens, and what each of them gives; a last text is that of the flush. */
typedef struct {
  const char *name;
  int32_t tokens[12];
  const char *texts[13];
} TextCase;

/* ids of pieces are looked up, so that the table may change */
enum { WORD = 10000, LETTER, MARK };

static const TextCase cases[] = {
    {"silence", {0, 1, 2, 3, END}, {"", "", "", "", ""}},
    {"outside", {-1, -2, 620, 2147483647, -2147483647 - 1, END},
        {"", "", "", "", "", ""}},
    {"words", {WORD, LETTER, 3, WORD, MARK, END}, {" pa", "x", "", " pa", " ", ""}},
    {"ascii", {BYTE('h'), BYTE('i'), END}, {"h", "i", ""}},
    {"two bytes", {BYTE(0xc3), BYTE(0xa9), END}, {"", "\xc3\xa9", ""}},
    {"three bytes, padding in between",
        {BYTE(0xe2), 3, BYTE(0x82), 0, BYTE(0xac), WORD, END},
        {"", "", "", "", "\xe2\x82\xac", " pa", ""}},
    {"four bytes", {BYTE(0xf0), BYTE(0x9f), BYTE(0x98), BYTE(0x80), END},
        {"", "", "", "\xf0\x9f\x98\x80", ""}},
    {"unfinished before a word", {BYTE(0xe2), BYTE(0x82), WORD, END},
        {"", "", BAD " pa", ""}},
    {"unfinished at the end", {LETTER, BYTE(0xf0), BYTE(0x9f), END},
        {"x", "", "", BAD}},
    {"unfinished before another", {BYTE(0xc3), BYTE(0xc3), BYTE(0xa9), END},
        {"", BAD, "\xc3\xa9", ""}},
    {"unfinished before ascii", {BYTE(0xc3), BYTE('a'), END}, {"", BAD "a", ""}},
    {"no lead", {BYTE(0x80), BYTE(0xbf), BYTE(0xff), BYTE(0xc0), BYTE(0xf5), END},
        {BAD, BAD, BAD, BAD, BAD, ""}},
    {"overlong", {BYTE(0xe0), BYTE(0x80), BYTE(0x80), END}, {"", BAD BAD, BAD, ""}},
    {"surrogate", {BYTE(0xed), BYTE(0xa0), BYTE(0x80), END}, {"", BAD BAD, BAD, ""}},
    {"beyond Unicode", {BYTE(0xf4), BYTE(0x90), END}, {"", BAD BAD, ""}},
    {"nul", {BYTE(0), BYTE('a'), END}, {BAD, "a", ""}},
};

static MoshiModel *model;

static int32_t
find_piece(const char *text)
{
  const MoshiTokenizer *tokenizer = moshi_model_tokenizer(model);
  for (int i = 0; i < moshi_tokenizer_size(tokenizer); i++)
    if (!g_strcmp0(moshi_tokenizer_piece(tokenizer, i)->text, text))
      return i;
  g_error("no piece \"%s\"", text);
}

static int32_t
resolve(int32_t token)
{
  return token == WORD     ? find_piece("\xe2\x96\x81pa")
         : token == LETTER ? find_piece("x")
         : token == MARK   ? find_piece("\xe2\x96\x81")
                           : token;
}

static void
test_case(gconstpointer data)
{
  const TextCase *c = data;
  MoshiText *t = moshi_text_new(model, NULL);
  /* Twice: a flush leaves nothing behind. */
  for (int round = 0; round < 2; round++) {
    int i = 0;
    for (; c->tokens[i] != END; i++)
      g_assert_cmpstr(moshi_text_push(t, resolve(c->tokens[i])), ==, c->texts[i]);
    g_assert_cmpstr(moshi_text_flush(t), ==, c->texts[i]);
  }
  moshi_text_free(t);
}

/* Whatever the tokens, what comes out is UTF-8. */
static void
test_any_tokens(void)
{
  MoshiText *t = moshi_text_new(model, NULL);
  GString *all = g_string_new(NULL);
  GRand *rand = g_rand_new_with_seed(1);
  for (int i = 0; i < 100000; i++)
    g_string_append(all, moshi_text_push(t, g_rand_int_range(rand, -5, 330)));
  g_string_append(all, moshi_text_flush(t));
  g_assert_true(g_utf8_validate(all->str, all->len, NULL));
  g_assert_cmpint(all->len, >, 100000);
  g_rand_free(rand);
  g_string_free(all, TRUE);
  moshi_text_free(t);
}

static void
test_no_tokenizer(void)
{
  MoshiError error;
  char *path = g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), "mimi-mini", NULL);
  MoshiModelOptions options = {
      .model = path, .parts = MOSHI_PART_DECODER, .device = "cpu", .threads = 1};
  MoshiModel *mimi = moshi_model_open(&options, &error);
  g_assert_nonnull(mimi);
  g_assert_null(moshi_text_new(mimi, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_ARGUMENT);
  g_assert_null(moshi_session_new(mimi, &(MoshiSessionOptions){.batch = 1}, &error));
  g_assert_cmpstr(error.message, ==,
      "the model's language model is not loaded; open it with that part and load it");
  moshi_model_unref(mimi);
  g_free(path);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  model = open_test_model("stt-gqa", 1);
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    char *name = g_strdup_printf("/text/%s", cases[i].name);
    g_test_add_data_func(name, &cases[i], test_case);
    g_free(name);
  }
  g_test_add_func("/text/any-tokens", test_any_tokens);
  g_test_add_func("/text/no-tokenizer", test_no_tokenizer);
  int result = g_test_run();
  moshi_model_unref(model);
  return result;
}
