/* Tensors of a file under whatever names and in whatever types it has them: what is
 * accepted as a matrix can be read to its last byte, and a plan promises the same. */
#include <string.h>

#include <glib.h>

#include "fuzz.h"
#include "nn/loader.h"

static const MoshiTransformerConfig main_stack = {
    .dim = 32, .n_heads = 4, .n_layers = 1, .kv_repeat = 2, .hidden = 32};
static const MoshiTransformerConfig depth_stack = {
    .dim = 32, .n_heads = 2, .n_layers = 1, .kv_repeat = 1, .hidden = 32};

typedef struct {
  int n, rows;
  uint64_t sum;
} Seen;

static uint64_t
sum_bytes(const void *data, size_t size)
{
  uint64_t sum = 0;
  for (size_t i = 0; data && i < size; i++)
    sum += ((const uint8_t *)data)[i];
  return sum;
}

static int
see(void *cookie, const char *name, const MoshiRows *w)
{
  Seen *seen = cookie;
  seen->n++;
  seen->rows += w->rows;
  FUZZ_EXPECT(w->rows > 0 && w->cols > 0 && w->type < MOSHI_N_TYPES);
  FUZZ_EXPECT((w->type != MOSHI_TYPE_I8 && !w->group) || w->scales || !w->data);
  FUZZ_EXPECT(!w->group || (w->cols % w->group == 0 && w->scale_type < MOSHI_TYPE_I8));
  size_t data = moshi_rows_bytes(w->type, w->cols) * w->rows;
  seen->sum += w->data ? sum_bytes(w->data, data) : 0;
  for (int r = 0; w->data && r < w->rows; r++) {
    MoshiKernels k;
    float row[64];
    moshi_kernels_init(&k, 0);
    FUZZ_EXPECT(w->cols <= 64);
    k.widen[w->type](row, w, r, 0, w->cols);
    seen->sum += sum_bytes(row, w->cols * sizeof *row);
  }
  return 0;
}

/* Each tensor by itself, so that one that is wrong does not hide the others. */
static Seen
walk(const MoshiCheckpoint *c, const MoshiLmConfig *lm, bool plan)
{
  static const struct {
    const char *name;
    int rows, cols;
  } matrices[] = {
      {"text_emb.weight", 9, 32},
      {"emb.0.weight", 7, 64},
      {"text_linear.weight", 8, 32},
      {"transformer.layers.0.self_attn.in_projs.0.weight", 64, 32},
      {"transformer.layers.0.self_attn.out_projs.0.weight", 32, 32},
      {"transformer.layers.0.cross_attention.in_projs.0.weight", 64, 32},
      {"transformer.layers.0.gating.linear_in.weight", 64, 32},
      {"depformer_in.1.weight", 32, 32},
      {"depformer_emb.0.weight", 7, 32},
      {"depformer.layers.0.self_attn.in_projs.1.weight", 96, 32},
      {"depformer.layers.0.self_attn.out_projs.1.weight", 32, 32},
      {"depformer.layers.0.gating.1.linear_out.weight", 32, 32},
      {"linears.2.weight", 6, 32},
      {"condition_provider.conditioners.a_name_of_more_than_64_bytes.embed.weight", 3,
          32},
  };
  static const char *const vectors[] = {"out_norm.alpha",
      "transformer.layers.0.norm1.alpha", "depformer.layers.0.norm2.alpha"};
  Seen seen = {0};
  MoshiError error;
  MoshiLoader l = {.checkpoint = c,
      .visit = see,
      .visit_cookie = &seen,
      .plan = plan,
      .error = &error};
  moshi_names_of_lm(&l.names, c, lm);
  for (size_t i = 0; i < G_N_ELEMENTS(matrices); i++) {
    MoshiLinear unused;
    l.status = 0;
    moshi_load_linear(
        &l, &unused, matrices[i].rows, matrices[i].cols, "%s", matrices[i].name);
    FUZZ_EXPECT(l.status == 0 || (l.status == error.status && error.message[0]));
  }
  for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
    float *unused;
    l.status = 0;
    moshi_load_vector(&l, &unused, 32, "%s", vectors[i]);
  }
  return seen;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  MoshiCheckpoint *c = moshi_checkpoint_from_memory(data, size, "fuzz", NULL);
  if (!c)
    return 0;
  static MoshiLmConfig lm;
  lm = (MoshiLmConfig){.main = main_stack,
      .depth = depth_stack,
      .n_q = 6,
      .dep_q = 3,
      .schedule = {0, 1, 1},
      .n_sets = 2,
      .n_in_sets = 2};
  Seen plan = walk(c, &lm, true), full = walk(c, &lm, false);
  FUZZ_EXPECT(plan.n == full.n && plan.rows == full.rows);
  moshi_checkpoint_unref(c);
  return 0;
}
