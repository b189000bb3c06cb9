/* Checkpoints as others write them: every tensor of theirs is understood, and what is
 * wrong with one is said by its own name. That they give the right numbers is tested
 * where the others are, with the golden vectors. */
#include <string.h>

#include <glib.h>

#include "files/dialect.h"
#include "lm-weights.h"

typedef struct {
  const char *directory, *file, *dialect;
} Model;

static const Model models[] = {
    {"lm-mini", "model.safetensors", "PyTorch"},
    {"lm-norms", "model.safetensors", "PyTorch"},
    {"tts-guided", "model.safetensors", "PyTorch"},
    {"dialect-int8", "model.q8.safetensors", "PyTorch"},
    {"dialect-candle", "model.safetensors", "candle"},
    {"dialect-candle-q8", "model.q8.gguf", "candle"},
    {"dialect-cpp-q4", "model-q4_0.gguf", "moshi.cpp"},
    {"dialect-mlx", "model.safetensors", "MLX"},
    {"dialect-mlx-q8", "model.q8.safetensors", "MLX"},
    {"dialect-mlx-q4", "model.q4.safetensors", "MLX"},
    {"dialect-transformers", "model.safetensors.index.json", "transformers"},
};

typedef struct {
  MoshiCheckpoint *checkpoint;
  MoshiLmConfig *config;
} Files;

static char *
path_of(const char *directory, const char *file)
{
  return g_build_filename(g_getenv("MOSHI_TEST_VECTORS"), directory, file, NULL);
}

static Files
open_files(const char *directory, const char *file)
{
  MoshiError error;
  char *path = path_of(directory, file), *config = path_of(directory, "config.json");
  Files f = {moshi_checkpoint_open(path, &error), moshi_lm_config_read(config, &error)};
  if (!f.checkpoint || !f.config)
    g_error("%s", error.message);
  g_free(path);
  g_free(config);
  return f;
}

static void
close_files(Files *f)
{
  moshi_checkpoint_unref(f->checkpoint);
  moshi_lm_config_free(f->config);
}

/* ------------------------------------------------------- all is understood */

typedef struct {
  int n, joined; /* tensors, of them put together from pieces */
  GString *names;
} Seen;

static int
see(void *cookie, const char *name, const MoshiRows *rows)
{
  Seen *seen = cookie;
  seen->n++;
  seen->joined += !rows->data;
  g_string_append_printf(seen->names, "%s %d %d\n", name, rows->rows, rows->cols);
  return 0;
}

static Seen
walk(const Files *f, bool plan)
{
  MoshiError error;
  Seen seen = {.names = g_string_new(NULL)};
  MoshiLoader l = {.checkpoint = f->checkpoint,
      .visit = see,
      .visit_cookie = &seen,
      .plan = plan,
      .error = &error};
  moshi_lm_weights_load(&l, f->config);
  if (l.status)
    g_error("%s", error.message);
  return seen;
}

static void
test_whole(gconstpointer data)
{
  const Model *m = data;
  Files f = open_files(m->directory, m->file);
  MoshiNames names;
  g_assert_true(moshi_names_of_lm(&names, f.checkpoint, f.config));
  g_assert_cmpstr(moshi_names_dialect(&names), ==, m->dialect);
  Seen plan = walk(&f, true), full = walk(&f, false);
  moshi_names_use_others(&names, f.checkpoint);
  g_assert_cmpstr(moshi_checkpoint_unused(f.checkpoint, NULL), ==, NULL);
  /* A plan sees the same, and reads nothing. */
  g_assert_cmpstr(plan.names->str, ==, full.names->str);
  g_assert_cmpint(plan.joined > 0, ==,
      !strcmp(m->directory, "dialect-transformers") ||
          !strcmp(m->directory, "dialect-candle"));
  g_assert_cmpint(full.joined, ==, 0);
  g_string_free(plan.names, TRUE);
  g_string_free(full.names, TRUE);
  close_files(&f);
}

/* The names are PyTorch's whatever the file has. */
static void
test_same_names(void)
{
  Files plain = open_files("tts-guided", "model.safetensors");
  Seen want = walk(&plain, true);
  static const char *const others[] = {"dialect-candle", "dialect-mlx"};
  for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
    Files f = open_files(others[i], "model.safetensors");
    Seen seen = walk(&f, true);
    g_assert_cmpstr(seen.names->str, ==, want.names->str);
    g_string_free(seen.names, TRUE);
    close_files(&f);
  }
  g_string_free(want.names, TRUE);
  close_files(&plain);
}

/* moshi.cpp's, by zlib's crc32: digit i is the low half of byte i. */
static void
test_hashed(void)
{
  Files f = open_files("dialect-cpp-q4", "model-q4_0.gguf");
  MoshiNames names;
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  g_assert_true(moshi_names_of_lm(&names, f.checkpoint, f.config));
  moshi_names_locate(&names, f.checkpoint, "emb.0.weight", pieces);
  g_assert_cmpstr(pieces[0].name, ==, "lm.emb.0.weight");
  /* crc32("lm.…output_proj.weight") = 0x9d6b07c5 */
  moshi_names_locate(&names, f.checkpoint,
      "condition_provider.conditioners.speaker_wavs.output_proj.weight", pieces);
  g_assert_cmpstr(pieces[0].name, ==, "57bd0000");
  close_files(&f);
}

/* ------------------------------------------------------------- hostile files */

typedef struct {
  const char *name, *directory, *file;
  const char *tensor; /* what is changed in it: */
  bool drop;
  int dtype; /* −1: as it was */
  int n_dims;
  int64_t dims[3];
  const char *message;
} Change;

#define MLX "dialect-mlx-q4", "model.q4.safetensors"
#define INT8 "dialect-int8", "model.q8.safetensors"
#define HF "dialect-transformers", "model.safetensors.index.json"
#define CANDLE "dialect-candle", "model.safetensors"
#define ATTENTION "transformer.layers.1.self_attn."

static const Change changes[] = {
    {"mlx-no-scales", MLX, "text_emb.scales", true, -1, 0, {0},
        "\"text_emb.scales\" of shape [61] is missing"},
    {"mlx-no-biases", MLX, ATTENTION "out_proj.biases", true, -1, 0, {0},
        "\"" ATTENTION "out_proj.biases\" of shape [64, 2] is missing"},
    {"mlx-integer-scales", MLX, "text_emb.scales", false, MOSHI_DTYPE_U16, 0, {0},
        "\"text_emb.scales\" is not of type F32, F16 or BF16"},
    {"mlx-other-biases", MLX, "text_emb.biases", false, MOSHI_DTYPE_F16, 0, {0},
        "\"text_emb.biases\" is not of the type of the scales"},
    {"mlx-group-16", MLX, "text_emb.scales", false, -1, 2, {61, 4},
        "\"text_emb.scales\" has not a scale for each 32, 64 or 128 weights of a row"},
    {"mlx-group-uneven", MLX, "text_emb.scales", false, -1, 2, {61, 3},
        "\"text_emb.scales\" has not a scale for each 32, 64 or 128 weights of a row"},
    {"mlx-no-group", MLX, "text_emb.scales", false, -1, 2, {61, 0},
        "\"text_emb.scales\" has not a scale for each"},
    {"mlx-few-scales", MLX, "text_emb.scales", false, -1, 2, {60, 2},
        "\"text_emb.scales\" has shape [60, 2], but the configuration wants [61, 2]"},
    {"mlx-few-biases", MLX, "text_emb.biases", false, -1, 2, {61, 1},
        "\"text_emb.biases\" has shape [61, 1], but the configuration wants [61, 2]"},
    {"mlx-2-bits", MLX, "text_emb.weight", false, -1, 2, {61, 4},
        "\"text_emb.weight\" has not the width of 4-bit or 8-bit weights"},
    {"mlx-odd-width", MLX, "text_emb.weight", false, -1, 2, {61, 9},
        "\"text_emb.weight\" has not the width of 4-bit or 8-bit weights"},
    {"mlx-huge-width", MLX, "text_emb.weight", false, -1, 2, {0, INT64_MAX / 8},
        "\"text_emb.weight\" has not the width of 4-bit or 8-bit weights"},
    {"mlx-few-rows", MLX, "text_emb.weight", false, -1, 2, {60, 8},
        "\"text_emb.weight\" has shape [60, 8], but the configuration wants [61, 8]"},
    {"mlx-no-dims", MLX, "text_emb.weight", false, -1, 0, {-1},
        "\"text_emb.weight\" has not the width of 4-bit or 8-bit weights"},
    {"mlx-norm", MLX, "out_norm.weight", false, MOSHI_DTYPE_I16, 0, {0},
        "\"out_norm.weight\" has type I16; here it must be F32, F16 or BF16"},
    {"int8-no-scales", INT8, "text_linear.weight_scb", true, -1, 0, {0},
        "\"text_linear.weight_scb\" of shape [60] is missing"},
    {"int8-few-scales", INT8, "text_linear.weight_scb", false, -1, 1, {59},
        "\"text_linear.weight_scb\" has shape [59], but the configuration wants [60]"},
    {"int8-integer-scales", INT8, "text_linear.weight_scb", false, MOSHI_DTYPE_I32, 0,
        {0}, "\"text_linear.weight_scb\" is not of type F32"},
    {"int8-rows", INT8, "text_linear.weight", false, -1, 2, {60, 63},
        "\"text_linear.weight\" has shape [60, 63], but the configuration wants"},
    {"unknown-type", INT8, "text_linear.weight", false, MOSHI_DTYPE_U8, 0, {0},
        "\"text_linear.weight\" has type U8; F32, F16, BF16, I8 with its scales, Q8_0, "
        "Q4_0, Q4_K and MLX's 4 and 8 bits can be run"},
    {"hf-few-steps", HF, "depth_decoder.layers.0.self_attn.k_proj.linear.weight", false,
        -1, 3, {1, 64, 64},
        "\"depth_decoder.layers.0.self_attn.k_proj.linear.weight\" has shape "},
    {"hf-stack-width", HF, "depth_decoder.lm_heads.weight", false, -1, 3, {2, 32, 63},
        "\"depth_decoder.lm_heads.weight\" has shape [2, 32, 63], but the "
        "configuration "
        "wants [2, 32, 64]"},
    {"hf-flat-stack", HF, "depth_decoder.layers.0.mlp.fc1.weight", false, -1, 2,
        {256, 64}, "has shape [256, 64], but the configuration wants [2, 128, 64]"},
    {"hf-no-query", HF, "decoder.model.layers.1.self_attn.q_proj.linear.weight", true,
        -1, 0, {0},
        "\"decoder.model.layers.1.self_attn.q_proj.linear.weight\" of shape [64, 64] "
        "is "
        "missing"},
    {"hf-no-key", HF, "decoder.model.layers.1.self_attn.k_proj.linear.weight", true, -1,
        0, {0},
        "\"decoder.model.layers.1.self_attn.k_proj.linear.weight\" of shape [64, 64] "
        "is "
        "missing"},
    {"hf-mixed", HF, "decoder.model.layers.1.self_attn.v_proj.linear.weight", false,
        MOSHI_DTYPE_F16, 0, {0},
        "\"decoder.model.layers.1.self_attn.v_proj.linear.weight\" is not of the type "
        "of its neighbours"},
    {"candle-no-step", CANDLE, "depformer.3.linear_in.weight", true, -1, 0, {0},
        "\"depformer.3.linear_in.weight\" of shape [24, 32] is missing"},
    {"candle-cross", CANDLE, "transformer.layers.0.cross_attention.in_proj_weight_kv",
        false, -1, 2, {32, 32},
        "has shape [32, 32], but the configuration wants [64, 32]"},
};

/* The checkpoint with one change, as an image. */
static GByteArray *
rebuild(const MoshiCheckpoint *c, const Change *change)
{
  GString *header = g_string_new("{");
  GByteArray *body = g_byte_array_new();
  bool found = false;
  const MoshiTensor *t;
  for (size_t i = 0; (t = moshi_checkpoint_nth(c, i)); i++) {
    bool edit = !strcmp(t->name, change->tensor);
    found |= edit;
    if (edit && change->drop)
      continue;
    MoshiTensor n = *t;
    if (edit && change->dtype >= 0)
      n.dtype = change->dtype;
    if (edit && (change->n_dims || change->dims[0])) {
      n.n_dims = change->n_dims;
      n.bytes = moshi_dtype_size(n.dtype);
      for (int j = 0; j < n.n_dims; j++)
        n.bytes *= n.dims[j] = change->dims[j];
    }
    guint at = body->len;
    g_byte_array_set_size(body, at + n.bytes);
    memset(body->data + at, 0, n.bytes);
    memcpy(body->data + at, t->data, MIN(n.bytes, t->bytes));
    g_string_append_printf(header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
        header->len > 1 ? "," : "", n.name, moshi_dtype_name(n.dtype));
    for (int j = 0; j < n.n_dims; j++)
      g_string_append_printf(
          header, "%s%" G_GINT64_FORMAT, j ? "," : "", (gint64)n.dims[j]);
    g_string_append_printf(
        header, "],\"data_offsets\":[%u,%u]}", at, (guint)(at + n.bytes));
  }
  g_assert_true(found);
  g_string_append_c(header, '}');
  guint64 size = GUINT64_TO_LE(header->len);
  GByteArray *image = g_byte_array_new();
  g_byte_array_append(image, (guint8 *)&size, 8);
  g_byte_array_append(image, (guint8 *)header->str, header->len);
  g_byte_array_append(image, body->data, body->len);
  g_string_free(header, TRUE);
  g_byte_array_unref(body);
  return image;
}

static void
test_change(gconstpointer data)
{
  const Change *change = data;
  MoshiError error = {0};
  Files f = open_files(change->directory, change->file);
  GByteArray *image = rebuild(f.checkpoint, change);
  MoshiCheckpoint *c =
      moshi_checkpoint_from_memory(image->data, image->len, "image", &error);
  if (!c)
    g_error("%s", error.message);
  MoshiLoader l = {.checkpoint = c, .error = &error};
  g_assert_null(moshi_lm_weights_load(&l, f.config));
  g_assert_cmpint(l.status, ==, MOSHI_ERROR_MODEL);
  if (!strstr(error.message, change->message))
    g_error("\"%s\" lacks \"%s\"", error.message, change->message);
  moshi_checkpoint_unref(c);
  g_byte_array_unref(image);
  close_files(&f);
}

int
main(int argc, char **argv)
{
  g_test_init(&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
    char *name = g_strconcat("/dialects/whole/", models[i].directory, NULL);
    g_test_add_data_func(name, &models[i], test_whole);
    g_free(name);
  }
  g_test_add_func("/dialects/same-names", test_same_names);
  g_test_add_func("/dialects/hashed", test_hashed);
  for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
    char *name = g_strconcat("/dialects/change/", changes[i].name, NULL);
    g_test_add_data_func(name, &changes[i], test_change);
    g_free(name);
  }
  return g_test_run();
}
