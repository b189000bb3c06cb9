/* safetensors files, good and hostile: every row of the table of odd files in
 * docs/model-files.md, with the words a user would read. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/mapped.h"
#include "hostile.h"

/* N, the header and `data` bytes 0, 1, 2 …; n < 0: the header's true length. */
static GByteArray *
image(gint64 n, const char *header, size_t header_size, size_t data)
{
  GByteArray *out = g_byte_array_new();
  guint64 length = GUINT64_TO_LE(n < 0 ? header_size : (guint64)n);
  g_byte_array_append(out, (guint8 *)&length, 8);
  g_byte_array_append(out, (const guint8 *)header, header_size);
  for (size_t i = 0; i < data; i++) {
    guint8 byte = i;
    g_byte_array_append(out, &byte, 1);
  }
  return out;
}

#define T(fields) "{\"t\":{" fields "}}"
#define U8(offsets) "\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets

static const struct {
  const char *header;
  size_t data;
  const char *message; /* NULL: accepted */
} cases[] = {
    /* accepted */
    {T(U8("[0,4]")), 4, NULL},
    {"  " T(U8("[0,4]")) "   ", 4, NULL},
    {"\t\r\n" T(U8("[ 0 , 4 ]")), 4, NULL},
    {"{}", 0, NULL},
    {"{\"__metadata__\":null}", 0, NULL},
    {"{\"__metadata__\":{\"a\":\"b\"}}", 0, NULL},
    {"{\"\":{" U8("[0,4]") "}}", 4, NULL},
    {T("\"data_offsets\":[0,4],\"shape\":[4],\"dtype\":\"U8\""), 4, NULL},
    {T(U8("[0,4]") ",\"extra\":{\"a\":[1,-2.5e+3,true,null,\"x\"]}"), 4, NULL},
    {T("\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]"), 4, NULL},
    {T("\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]"), 0, NULL},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
        5, NULL},
    {"{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        5, NULL},
    {"{\"\\u00e9\\ud83d\\ude00\\n\\\"\":{" U8("[0,4]") "}}", 4, NULL},
    /* not JSON of the right shape */
    {"", 0, "m: the header is broken at byte 8: the text ends too early"},
    {"nonsense", 0, "m: the header is broken at byte 8: an unexpected character"},
    {"[]", 0, "an unexpected character"},
    {"{\"t\":4}", 0, "m: tensor t: an unexpected character"},
    {"{\"t\"", 0, "the text ends too early"},
    {"{\"t", 0, "an unfinished string"},
    {"{}x", 0, "text after the end"},
    {"{},", 0, "text after the end"},
    {"{\"a\":{" U8("[0,4]") "},}", 4, "a comma before the end"},
    {"{\"\xff\":{" U8("[0,4]") "}}", 4, "at byte 10: invalid UTF-8"},
    {"{\"\\ud800\":{" U8("[0,4]") "}}", 4, "a lone surrogate"},
    {"{\"\\u0000\":{" U8("[0,4]") "}}", 4, "a NUL character"},
    {"{\"\\x\":{" U8("[0,4]") "}}", 4, "an unknown escape"},
    {"{\"\\u12g4\":{" U8("[0,4]") "}}", 4, "a broken \\u escape"},
    {"{\"\n\":{" U8("[0,4]") "}}", 4, "a control character"},
    /* metadata */
    {"{\"__metadata__\":{\"a\":1}}", 0, "tensor __metadata__: an unexpected character"},
    {"{\"__metadata__\":\"a\"}", 0, "tensor __metadata__: an unexpected character"},
    {"{\"__metadata__\":null,\"__metadata__\":null}", 0, "is given twice"},
    /* fields */
    {T("\"shape\":[4],\"data_offsets\":[0,4]"), 4, "tensor t: has no dtype"},
    {T("\"dtype\":\"U8\",\"data_offsets\":[0,4]"), 4, "tensor t: has no shape"},
    {T("\"dtype\":\"U8\",\"shape\":[4]"), 4, "tensor t: has no data_offsets"},
    {T(U8("[0,4]") ",\"dtype\":\"U8\""), 4, "tensor t: a field is given twice"},
    {T("\"dtype\":\"U9\",\"shape\":[4],\"data_offsets\":[0,4]"), 4,
        "tensor t: unknown dtype \"U9\""},
    {T("\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]"), 4,
        "tensor t is stored as F8_E4M3, which is not supported"},
    {T("\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]"), 8, "stored as C64"},
    {T("\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]"), 1, "stored as F4"},
    /* numbers */
    {T("\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]"), 4,
        "not a non-negative integer"},
    {T("\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]"), 4, "not an integer"},
    {T("\"dtype\":\"U8\",\"shape\":[4e0],\"data_offsets\":[0,4]"), 4, "not an integer"},
    {T("\"dtype\":\"U8\",\"shape\":[04],\"data_offsets\":[0,4]"), 4, "a leading zero"},
    {T("\"dtype\":\"U8\",\"shape\":[+4],\"data_offsets\":[0,4]"), 4,
        "not a non-negative integer"},
    {T("\"dtype\":\"U8\",\"shape\":[\"4\"],\"data_offsets\":[0,4]"), 4,
        "not a non-negative integer"},
    {T("\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]"), 4,
        "tensor t: an unexpected character"},
    {T(U8("[-0,4]")), 4, "not a non-negative integer"},
    {T(U8("[0.5,4]")), 4, "not an integer"},
    {T(U8("[0]")), 4, "tensor t: an unexpected character"},
    {T(U8("[0,4,4]")), 4, "tensor t: an unexpected character"},
    {T(U8("[0,99999999999999999999]")), 4, "an integer beyond 64 bits"},
    {T("\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]"), 4,
        "its shape is beyond 63 bits"},
    {T("\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]"), 0,
        "the size of its shape overflows"},
    {T("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,4]"), 4,
        "more than 8 dimensions"},
    /* ranges */
    {T(U8("[4,0]")), 4, "tensor t: its data ends before it begins"},
    {T(U8("[0,3]")), 3, "its shape needs 4 bytes, its offsets give 3"},
    {T(U8("[1,5]")), 5,
        "tensor t: its data begins at byte 1, where nothing fills the gap"},
    {T(U8("[0,4]")), 5, "1 bytes follow the last tensor; download it again"},
    {T(U8("[0,4]")), 3,
        "truncated: tensor t ends at byte 4 of the data, the file holds 3; download it "
        "again"},
    {"{\"a\":{" U8("[0,4]") "},\"b\":{" U8("[2,6]") "}}", 6,
        "tensor b: its data begins at byte 2, where it overlaps another one"},
    {"{\"a\":{" U8("[0,4]") "},\"b\":{" U8("[0,4]") "}}", 4, "it overlaps another one"},
    {"{\"a\":{" U8("[0,4]") "},\"b\":{" U8("[5,9]") "}}", 9, "nothing fills the gap"},
    {"{\"a\":{" U8("[0,4]") "},\"a\":{" U8("[4,8]") "}}", 8,
        "m: tensor a: is given twice"},
};

static void
test_headers(void)
{
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    GByteArray *bytes =
        image(-1, cases[i].header, strlen(cases[i].header), cases[i].data);
    expect_checkpoint(cases[i].header, bytes->data, bytes->len, cases[i].message);
    g_byte_array_unref(bytes);
  }
}

static void
test_beginnings(void)
{
  static const struct {
    gint64 n;
    const char *header, *message;
  } lengths[] = {
      {3, "{}", "m: truncated: the header has 3 bytes, the file 10; download it again"},
      {100000000, "{}", "truncated: the header has 100000000 bytes"},
      {100000001, "{}", "is not a safetensors file (its header would have 100000001"},
      {G_MAXINT64, "{}", "is not a safetensors file"},
      {0, "", "the text ends too early"},
      {1, "{}", "the text ends too early"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
    GByteArray *b =
        image(lengths[i].n, lengths[i].header, strlen(lengths[i].header), 0);
    expect_checkpoint(lengths[i].header, b->data, b->len, lengths[i].message);
    g_byte_array_unref(b);
  }
  static const char nul[] = "{}\0";
  GByteArray *b = image(-1, nul, 3, 0);
  expect_checkpoint("a NUL in the header", b->data, b->len, "invalid UTF-8");
  g_byte_array_unref(b);

  static const struct {
    const char *bytes;
    size_t size;
    const char *message;
  } others[] = {
      {"", 0, "m: 0 bytes are too few for a safetensors file"},
      {"1234567", 7, "7 bytes are too few"},
      {"PK\3\4\0\0\0\0\0\0", 10, "is a PyTorch pickle"},
      {"version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
      {"<!DOCTYPE html>", 15, "is a web page"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
    expect_checkpoint(
        others[i].bytes, others[i].bytes, others[i].size, others[i].message);
}

/* Deep nesting ends early, at the depth and not at the stack's end. */
static void
test_depth(void)
{
  GString *header = g_string_new("{\"t\":{\"extra\":");
  for (int i = 0; i < 1000000; i++)
    g_string_append_c(header, '[');
  GByteArray *b = image(-1, header->str, header->len, 0);
  expect_checkpoint("deep", b->data, b->len, "m: tensor t: nested too deep");
  g_byte_array_unref(b);
  g_string_free(header, TRUE);
}

static void
test_too_many(void)
{
  GString *header = g_string_new("{");
  for (int i = 0; i <= 65536; i++)
    g_string_append_printf(header,
        "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
        i ? "," : "", i);
  g_string_append_c(header, '}');
  GByteArray *b = image(-1, header->str, header->len, 0);
  expect_checkpoint(
      "many tensors", b->data, b->len, "m: holds more than 65536 tensors");
  g_byte_array_unref(b);
  g_string_free(header, TRUE);
}

static void
test_find(void)
{
  static const char header[] =
      "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]},"
      "\"a\":{\"dtype\":\"I16\",\"shape\":[1,2],\"data_offsets\":[0,4]},"
      "\"c\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[5,13]}}";
  GByteArray *b = image(-1, header, strlen(header), 13);
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(b->data, b->len, "m", NULL);
  g_assert_nonnull(c);
  g_assert_cmpstr(moshi_checkpoint_path(c), ==, "m");
  g_assert_cmpuint(moshi_checkpoint_bytes(c), ==, 13);
  g_assert_cmpstr(moshi_checkpoint_nth(c, 0)->name, ==, "b");
  g_assert_null(moshi_checkpoint_nth(c, 3));
  size_t unused;
  g_assert_cmpstr(moshi_checkpoint_unused(c, &unused), ==, "b");
  g_assert_cmpuint(unused, ==, 3);

  const MoshiTensor *t = moshi_checkpoint_find(c, "a");
  g_assert_nonnull(t);
  g_assert_cmpint(t->dtype, ==, MOSHI_DTYPE_I16);
  g_assert_cmpint(t->n_dims, ==, 2);
  g_assert_cmpint(t->dims[1], ==, 2);
  g_assert_cmpuint(t->bytes, ==, 4);
  g_assert_cmpint(((const guint8 *)t->data)[3], ==, 3);
  t = moshi_checkpoint_find(c, "b");
  g_assert_cmpint(*(const guint8 *)t->data, ==, 4);
  g_assert_true(moshi_checkpoint_has(c, "c"));
  g_assert_false(moshi_checkpoint_has(c, "d"));
  g_assert_null(moshi_checkpoint_find(c, ""));
  g_assert_cmpstr(moshi_checkpoint_unused(c, &unused), ==, "c");
  g_assert_cmpuint(unused, ==, 1);
  g_assert_cmpint(moshi_checkpoint_verify(c, NULL), ==, 0);
  moshi_checkpoint_unref(moshi_checkpoint_ref(c));
  moshi_checkpoint_unref(c);
  g_byte_array_unref(b);
}

/* --------------------------------------------------------------- files */

typedef struct {
  char *dir;
} Folder;

static void
folder_up(Folder *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp("moshi-files-XXXXXX", NULL);
  g_assert_nonnull(f->dir);
}

static void
folder_down(Folder *f, gconstpointer data)
{
  GDir *dir = g_dir_open(f->dir, 0, NULL);
  const char *name;
  while ((name = g_dir_read_name(dir))) {
    char *path = g_build_filename(f->dir, name, NULL);
    g_assert_cmpint(g_remove(path), ==, 0);
    g_free(path);
  }
  g_dir_close(dir);
  g_rmdir(f->dir);
  g_free(f->dir);
}

static char *
put(Folder *f, const char *name, const void *data, size_t size)
{
  char *path = g_build_filename(f->dir, name, NULL);
  g_assert_true(g_file_set_contents(path, data, size, NULL));
  return path;
}

static char *
put_tensor(Folder *f, const char *name, const char *tensor)
{
  char *header = g_strdup_printf("{\"%s\":{" U8("[0,4]") "}}", tensor);
  GByteArray *b = image(-1, header, strlen(header), 4);
  char *path = put(f, name, b->data, b->len);
  g_byte_array_unref(b);
  g_free(header);
  return path;
}

static void
expect_open_fails(const char *path, MoshiStatus status, const char *message)
{
  MoshiError error = {0};
  MoshiCheckpoint *c = moshi_checkpoint_open(path, &error);
  g_assert_null(c);
  if (!strstr(error.message, message) || !strstr(error.message, path))
    g_error("\"%s\" lacks \"%s\"", error.message, message);
  g_assert_cmpint(error.status, ==, status);
}

static void
test_files(Folder *f, gconstpointer data)
{
  char *path = g_build_filename(f->dir, "none", NULL);
  expect_open_fails(path, MOSHI_ERROR_NOT_FOUND, "No such file");
  g_free(path);
  expect_open_fails(f->dir, MOSHI_ERROR_READ, "is not a regular file");
  path = g_build_filename(f->dir, "fifo", NULL);
  g_assert_cmpint(mkfifo(path, 0600), ==, 0);
  expect_open_fails(path, MOSHI_ERROR_READ, "is not a regular file");
  g_free(path);
  path = put(f, "empty", "", 0);
  expect_open_fails(path, MOSHI_ERROR_FORMAT, "0 bytes are too few");
  g_free(path);
}

static void
test_changed(Folder *f, gconstpointer data)
{
  char *path = put_tensor(f, "a.safetensors", "t");
  MoshiCheckpoint *c = moshi_checkpoint_open(path, NULL);
  g_assert_nonnull(c);
  g_assert_cmpint(moshi_checkpoint_verify(c, NULL), ==, 0);
  MoshiCheckpoint *again = moshi_checkpoint_open(path, NULL);
  g_assert_cmpstr(moshi_checkpoint_identity(c), ==, moshi_checkpoint_identity(again));
  moshi_checkpoint_unref(again);

  g_assert_cmpint(truncate(path, 9), ==, 0);
  MoshiError error = {0};
  g_assert_cmpint(moshi_checkpoint_verify(c, &error), ==, MOSHI_ERROR_READ);
  g_assert_nonnull(strstr(error.message, path));
  g_assert_nonnull(strstr(error.message, "has changed since it was opened"));
  moshi_checkpoint_unref(c);
  g_free(path);
}

static void
test_shards(Folder *f, gconstpointer data)
{
  static const char index[] = "{\"metadata\":{\"total_size\":8},\"weight_map\":"
                              "{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}";
  char *one = put_tensor(f, "1.safetensors", "a");
  char *two = put_tensor(f, "2.safetensors", "b");
  char *path = put(f, "model.safetensors.index.json", index, strlen(index));
  MoshiCheckpoint *c = moshi_checkpoint_open(path, NULL);
  g_assert_nonnull(c);
  g_assert_true(moshi_checkpoint_has(c, "a"));
  g_assert_true(moshi_checkpoint_has(c, "b"));
  g_assert_nonnull(strchr(moshi_checkpoint_identity(c), ';'));
  g_assert_cmpint(truncate(two, 0), ==, 0);
  g_assert_cmpint(moshi_checkpoint_verify(c, NULL), ==, MOSHI_ERROR_READ);
  moshi_checkpoint_unref(c);

  MoshiError error = {0};
  g_assert_null(moshi_checkpoint_open(path, &error));
  g_assert_nonnull(strstr(error.message, two));
  g_free(put_tensor(f, "2.safetensors", "a"));
  g_assert_null(moshi_checkpoint_open(path, &error));
  g_assert_nonnull(strstr(error.message, "tensor a: is given twice"));
  g_unlink(two);
  g_assert_null(moshi_checkpoint_open(path, &error));
  g_assert_cmpint(error.status, ==, MOSHI_ERROR_NOT_FOUND);
  g_free(one);
  g_free(two);

  static const struct {
    const char *text, *message;
  } broken[] = {
      {"{}", "has no weight_map"},
      {"[]", "is not a JSON object"},
      {"{\"weight_map\":{}}", "has no weight_map"},
      {"{\"weight_map\":[]}", "has no weight_map"},
      {"{\"weight_map\":{\"a\":1}}", "tensor a: its file must be a plain name"},
      {"{\"weight_map\":{\"a\":\"../x\"}}", "not \"../x\""},
      {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not \"/etc/passwd\""},
      {"{\"weight_map\":{\"a\":\"..\"}}", "must be a plain name"},
      {"{\"weight_map\":{\"a\":\"\"}}", "must be a plain name"},
      {"{\"weight_map\":", "broken JSON at byte 14: the text ends too early"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(broken); i++) {
    g_free(
        put(f, "model.safetensors.index.json", broken[i].text, strlen(broken[i].text)));
    expect_open_fails(path, MOSHI_ERROR_FORMAT, broken[i].message);
  }
  g_free(path);
}

/* A file that claims petabytes, and one as long as a 7B of which only the
 * header is there: refused in milliseconds, without memory. */
static void
test_claims(Folder *f, gconstpointer data)
{
  struct rusage before, after;
  static const char petabytes[] = T("\"dtype\":\"F32\",\"shape\":[1073741824,1048576],"
                                    "\"data_offsets\":[0,4503599627370496]");
  GByteArray *b = image(-1, petabytes, strlen(petabytes), 64);
  char *path = put(f, "petabytes.safetensors", b->data, b->len);
  getrusage(RUSAGE_SELF, &before);
  gint64 start = g_get_monotonic_time();
  expect_open_fails(path, MOSHI_ERROR_FORMAT,
      "truncated: tensor t ends at byte 4503599627370496 of the data");
  gint64 took = g_get_monotonic_time() - start;
  getrusage(RUSAGE_SELF, &after);
  g_assert_cmpint(after.ru_maxrss - before.ru_maxrss, <, 4096); /* kB */
  g_assert_cmpint(took, <, 100000);
  g_byte_array_unref(b);
  g_free(path);

  /* 4 GB of zeros that take no space: 100 MB of them would be the header. */
  b = image(100000000, "", 0, 0);
  path = put(f, "sparse.safetensors", b->data, b->len);
  g_assert_cmpint(truncate(path, (off_t)4 << 30), ==, 0);
  getrusage(RUSAGE_SELF, &before);
  start = g_get_monotonic_time();
  expect_open_fails(path, MOSHI_ERROR_FORMAT, "at byte 8: invalid UTF-8");
  took = g_get_monotonic_time() - start;
  getrusage(RUSAGE_SELF, &after);
  g_assert_cmpint(after.ru_maxrss - before.ru_maxrss, <, 4096);
  g_assert_cmpint(took, <, 100000);
  g_byte_array_unref(b);
  g_free(path);
}

/* What is not needed any more goes, whole pages of it: the neighbours keep theirs, and a
 * file its own. */
static void
test_never_again(Folder *f, gconstpointer data)
{
  const size_t page = sysconf(_SC_PAGESIZE), size = 4 * page;
  char *path = g_build_filename(f->dir, "pages", NULL), *text = g_strnfill(size, 'x');
  MoshiMapped memory, file;
  MoshiError error;
  g_assert_cmpint(moshi_mapped_memory(&memory, size, &error), ==, 0);
  memcpy((uint8_t *)memory.data, text, size);
  moshi_mapped_advise(&memory, memory.data, size, MOSHI_HAVE_READ);
  g_assert_cmpmem(memory.data, size, text, size);
  moshi_mapped_advise(&memory, memory.data + 100, 3 * page, MOSHI_NEVER_AGAIN);
  g_assert_cmpmem(memory.data, page, text, page);
  g_assert_cmpmem(memory.data + 3 * page, page, text, page);
  for (size_t i = page; i < 3 * page; i++)
    g_assert_cmpint(memory.data[i], ==, 0);
  moshi_mapped_advise(&memory, memory.data + 3 * page + 1, page, MOSHI_NEVER_AGAIN);
  g_assert_cmpint(memory.data[3 * page], ==, 'x');
  moshi_mapped_close(&memory);

  g_assert_true(g_file_set_contents(path, text, size, NULL));
  g_assert_cmpint(moshi_mapped_open(&file, path, 0, &error), ==, 0);
  for (MoshiAdvice advice = MOSHI_WILL_READ; advice <= MOSHI_NEVER_AGAIN; advice++)
    moshi_mapped_advise(&file, file.data + 100, size, advice);
  g_assert_cmpmem(file.data, size, text, size);
  moshi_mapped_close(&file);
  g_remove(path);
  g_free(text);
  g_free(path);
}

/* The real thing is read too. */
static void
test_tiny(void)
{
  const char *dir = g_getenv("MOSHI_TEST_TINY");
  char *path = g_build_filename(dir ? dir : "", "model.safetensors", NULL);
  MoshiError error = {0};
  MoshiCheckpoint *c = moshi_checkpoint_open(path, &error);
  if (!c)
    g_error("%s", error.message);
  const MoshiTensor *t = moshi_checkpoint_find(c, "text_emb.weight");
  g_assert_nonnull(t);
  g_assert_cmpint(t->dims[0], ==, 513);
  g_assert_cmpint(t->dtype, ==, MOSHI_DTYPE_BF16);
  moshi_checkpoint_unref(c);
  g_free(path);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  /* first: it looks at the peak of memory */
  g_test_add("/checkpoint/claims", Folder, NULL, folder_up, test_claims, folder_down);
  g_test_add_func("/checkpoint/headers", test_headers);
  g_test_add_func("/checkpoint/beginnings", test_beginnings);
  g_test_add_func("/checkpoint/depth", test_depth);
  g_test_add_func("/checkpoint/too-many", test_too_many);
  g_test_add_func("/checkpoint/find", test_find);
  g_test_add("/checkpoint/files", Folder, NULL, folder_up, test_files, folder_down);
  g_test_add("/checkpoint/changed", Folder, NULL, folder_up, test_changed, folder_down);
  g_test_add("/checkpoint/shards", Folder, NULL, folder_up, test_shards, folder_down);
  g_test_add("/checkpoint/never-again", Folder, NULL, folder_up, test_never_again,
      folder_down);
  g_test_add_func("/checkpoint/tiny", test_tiny);
  return g_test_run();
}
