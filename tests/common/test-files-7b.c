/* A file with every tensor of the 7B, and no byte of weights: sparse. Opening
 * the model checks all of it in milliseconds; cut short, or with one wrong
 * shape, it says so. */
#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moshi.h"

#define DATA_BYTES 15375458304 /* as published */

typedef struct {
  GString *header;
  gint64 at;
  int n;
  const char *wrong; /* this tensor's first dimension is one too large */
} Writer;

static void
add(Writer *w, int rows, int cols, const char *format, ...)
{
  char name[128];
  va_list args;
  va_start(args, format);
  vsnprintf(name, sizeof name, format, args);
  va_end(args);
  rows += w->wrong && strcmp(w->wrong, name) == 0;
  gint64 bytes = (gint64)2 * rows * cols;
  g_string_append_printf(
      w->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", w->n++ ? "," : "{", name);
  g_string_append_printf(w->header, rows == 1 ? "1,%d,%d" : "%d,%d", rows, cols);
  g_string_append_printf(w->header,
      "],\"data_offsets\":[%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT "]}", w->at,
      w->at + bytes);
  w->at += bytes;
}

/* The sizes of docs/configs/moshi-7b.json. */
static void
add_7b(Writer *w)
{
  add(w, 32001, 4096, "text_emb.weight");
  add(w, 32000, 4096, "text_linear.weight");
  add(w, 1, 4096, "out_norm.alpha");
  for (int k = 0; k < 16; k++)
    add(w, 2049, 4096, "emb.%d.weight", k);
  for (int l = 0; l < 32; l++) {
    add(w, 12288, 4096, "transformer.layers.%d.self_attn.in_proj_weight", l);
    add(w, 4096, 4096, "transformer.layers.%d.self_attn.out_proj.weight", l);
    add(w, 22528, 4096, "transformer.layers.%d.gating.linear_in.weight", l);
    add(w, 4096, 11264, "transformer.layers.%d.gating.linear_out.weight", l);
    add(w, 1, 4096, "transformer.layers.%d.norm1.alpha", l);
    add(w, 1, 4096, "transformer.layers.%d.norm2.alpha", l);
  }
  add(w, 32001, 1024, "depformer_text_emb.weight");
  for (int k = 0; k < 8; k++) {
    add(w, 1024, 4096, "depformer_in.%d.weight", k);
    add(w, 2048, 1024, "linears.%d.weight", k);
    if (k < 7)
      add(w, 2049, 1024, "depformer_emb.%d.weight", k);
  }
  for (int l = 0; l < 6; l++) {
    add(w, 8 * 3072, 1024, "depformer.layers.%d.self_attn.in_proj_weight", l);
    add(w, 8 * 1024, 1024, "depformer.layers.%d.self_attn.out_proj.weight", l);
    add(w, 1, 1024, "depformer.layers.%d.norm1.alpha", l);
    add(w, 1, 1024, "depformer.layers.%d.norm2.alpha", l);
    for (int k = 0; k < 8; k++) {
      add(w, 5632, 1024, "depformer.layers.%d.gating.%d.linear_in.weight", l, k);
      add(w, 1024, 2816, "depformer.layers.%d.gating.%d.linear_out.weight", l, k);
    }
  }
  g_string_append_c(w->header, '}');
}

typedef struct {
  char *dir, *model;
  gint64 size;
} Folder;

/* false: the file system takes no sparse file of this size. */
static gboolean
put_model(Folder *f, const char *wrong)
{
  Writer w = {g_string_new(NULL), 0, 0, wrong};
  add_7b(&w);
  if (!wrong)
    g_assert_cmpint(w.at, ==, DATA_BYTES);
  g_assert_cmpint(w.n, ==, 355);
  guint64 n = GUINT64_TO_LE(w.header->len);
  FILE *file = fopen(f->model, "wb");
  g_assert_cmpuint(fwrite(&n, 8, 1, file), ==, 1);
  g_assert_cmpuint(fwrite(w.header->str, w.header->len, 1, file), ==, 1);
  f->size = 8 + w.header->len + w.at;
  gboolean fine = fflush(file) == 0 && ftruncate(fileno(file), f->size) == 0;
  fclose(file);
  g_string_free(w.header, TRUE);
  return fine;
}

static void
put_others(Folder *f)
{
  char *config = g_build_filename(
      g_getenv("MOSHI_TEST_SOURCE"), "docs", "configs", "moshi-7b.json", NULL);
  char *copy = g_build_filename(f->dir, "config.json", NULL), *text;
  g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
  g_assert_true(g_file_set_contents(copy, text, -1, NULL));
  g_free(text);
  g_free(copy);
  g_free(config);
  GString *pieces = g_string_new(NULL);
  for (int i = 0; i < 32000; i++)
    g_string_append_len(pieces, "\x0a\x03\x0a\x01x", 5);
  copy = g_build_filename(f->dir, "tokenizer_spm_32k_3.model", NULL);
  g_assert_true(g_file_set_contents(copy, pieces->str, pieces->len, NULL));
  g_free(copy);
  g_string_free(pieces, TRUE);
}

static void
folder_up(Folder *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp("moshi-7b-XXXXXX", NULL);
  f->model = g_build_filename(f->dir, "model.safetensors", NULL);
  put_others(f);
}

static void
folder_down(Folder *f, gconstpointer data)
{
  static const char *const names[] = {
      "config.json", "tokenizer_spm_32k_3.model", "model.safetensors"};
  for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
    char *path = g_build_filename(f->dir, names[i], NULL);
    g_remove(path);
    g_free(path);
  }
  g_rmdir(f->dir);
  g_free(f->dir);
  g_free(f->model);
}

static MoshiModel *
open_model(Folder *f, MoshiError *error)
{
  MoshiModelOptions options = {
      .model = f->dir, .parts = MOSHI_PART_LM, .device = "cpu", .threads = 1};
  gint64 start = g_get_monotonic_time();
  MoshiModel *model = moshi_model_open(&options, error);
  g_assert_cmpint(g_get_monotonic_time() - start, <, 2000000);
  return model;
}

static void
test_whole(Folder *f, gconstpointer data)
{
  if (!put_model(f, NULL))
    return g_test_skip("no sparse files here");
  MoshiError error = {0};
  MoshiModel *model = open_model(f, &error);
  if (!model)
    g_error("%s", error.message);
  const MoshiModelInfo *info = moshi_model_info(model);
  g_assert_cmpint(info->own_codebooks, ==, 8);
  g_assert_cmpint(info->user_codebooks, ==, 8);
  g_assert_cmpint(info->text_size, ==, 32000);
  g_assert_cmpint(info->context, ==, 3000);
  moshi_model_unref(model);
}

static void
test_truncated(Folder *f, gconstpointer data)
{
  if (!put_model(f, NULL))
    return g_test_skip("no sparse files here");
  gint64 sizes[] = {f->size - 1, f->size / 2, 50000};
  for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
    MoshiError error = {0};
    g_assert_cmpint(truncate(f->model, sizes[i]), ==, 0);
    g_assert_null(open_model(f, &error));
    g_assert_cmpint(error.status, ==, MOSHI_ERROR_FORMAT);
    if (!strstr(error.message, "model.safetensors: truncated: tensor ") ||
        !strstr(error.message, "; download it again"))
      g_error("%s", error.message);
  }
}

static void
test_wrong_shape(Folder *f, gconstpointer data)
{
  static const struct {
    const char *tensor, *have, *want;
  } cases[] = {
      {"text_emb.weight", "[32002, 4096]", "[32001, 4096]"},
      {"depformer.layers.5.self_attn.in_proj_weight", "[24577, 1024]", "[24576, 1024]"},
      {"transformer.layers.31.gating.linear_out.weight", "[4097, 11264]",
          "[4096, 11264]"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
    if (!put_model(f, cases[i].tensor))
      return g_test_skip("no sparse files here");
    MoshiError error = {0};
    g_assert_null(open_model(f, &error));
    g_assert_cmpint(error.status, ==, MOSHI_ERROR_MODEL);
    if (!strstr(error.message, cases[i].tensor) ||
        !strstr(error.message, cases[i].have) || !strstr(error.message, cases[i].want))
      g_error("%s", error.message);
  }
}

/* Nothing but the weights and the tokenizer: its configuration is known. */
static void
test_no_config(Folder *f, gconstpointer data)
{
  if (!put_model(f, NULL))
    return g_test_skip("no sparse files here");
  char *config = g_build_filename(f->dir, "config.json", NULL);
  g_assert_cmpint(g_unlink(config), ==, 0);
  g_free(config);
  MoshiError error = {0};
  MoshiModel *model = open_model(f, &error);
  if (!model)
    g_error("%s", error.message);
  g_assert_cmpint(moshi_model_info(model)->own_codebooks, ==, 8);
  g_assert_cmpint(moshi_model_info(model)->context, ==, 3000);
  moshi_model_unref(model);

  /* One number is another: it is some other model. */
  g_assert_true(put_model(f, "text_emb.weight"));
  g_assert_null(open_model(f, &error));
  g_assert_nonnull(strstr(error.message, "holds no config.json"));
  g_assert_true(put_model(f, "linears.3.weight"));
  g_assert_null(open_model(f, &error));
  g_assert_nonnull(strstr(error.message, "linears.3.weight\" has shape [2049, 1024]"));
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  g_test_add("/7b/whole", Folder, NULL, folder_up, test_whole, folder_down);
  g_test_add("/7b/truncated", Folder, NULL, folder_up, test_truncated, folder_down);
  g_test_add("/7b/wrong-shape", Folder, NULL, folder_up, test_wrong_shape, folder_down);
  g_test_add("/7b/no-config", Folder, NULL, folder_up, test_no_config, folder_down);
  return g_test_run();
}
