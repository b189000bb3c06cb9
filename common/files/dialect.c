/* Dialects as tables of patterns. A name is looked for in the dialect's own
 * table, then among what all of them share, then as it is.
 *
 * Letters in a pattern:   L layer, S set of weights, K codebook, N any number,
 *                         D "encoder" or "decoder", * anything (once)
 * and in its translation: the same, and
 *   J  K + 1: the step that hears codebook K
 *   F  the first step of set S; the other steps of the set hold copies
 *   A  step 0; all other steps hold copies
 *   X  one after the other q, k, v (or q, kv)
 *
 * Sources: scripts/import_rust.py and import_mlx.py of kyutai-labs/moshi, the
 * convert_*.py of transformers' mimi and moshi, the names that moshi.cpp binds. */
#include "dialect.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

enum {
  STACKED = 1, /* slice S (or K) of [n][rows][…] */
  FUSED = 2,   /* slice S of [n·rows][…] */
  QKV = 4,     /* three tensors X */
  Q_KV = 8,    /* two */
  ROPE = 16,   /* q and k are sorted for pairs (j, j + d/2) */
};

typedef struct {
  const char *name, *target;
  int how;
} Rule;

struct MoshiDialect {
  const char *title, *probe; /* a tensor that tells it */
  const Rule *rules;
  const char *prefix; /* of all names in the file */
  bool hashed;        /* names of 64 bytes and more are */
  const char *others; /* prefix of another part in the same file, or NULL */
};

/* Published PyTorch files stack the sets of a projection along the rows; newer
 * code writes them one by one, LoRA tools as the weight of a module. */
static const Rule common_rules[] = {
    {"*.in_projs.S.weight", "*.in_proj_weight", FUSED},
    {"*.in_projs.S.weight", "*.in_proj.weight", FUSED},
    {"*.in_projs.S.weight", "*.in_proj_weight_X", Q_KV},
    {"*.out_projs.S.weight", "*.out_proj.weight", FUSED},
    {NULL, NULL, 0},
};

static const Rule candle_rules[] = {
    {"depformer_in.S.weight", "depformer.F.linear_in.weight", 0},
    {"depformer_text_emb.*", "depformer.0.emb.*", 0},
    {"depformer_emb.K.*", "depformer.J.emb.*", 0},
    {"depformer.layers.L.self_attn.in_projs.S.weight",
        "depformer.F.transformer.layers.L.self_attn.in_proj_weight", 0},
    {"depformer.layers.L.self_attn.out_projs.S.weight",
        "depformer.F.transformer.layers.L.self_attn.out_proj.weight", 0},
    {"depformer.layers.L.gating.S.*", "depformer.F.transformer.layers.L.gating.*", 0},
    {"depformer.layers.L.*", "depformer.A.transformer.layers.L.*", 0},
    {"depformer_norms.K.*", "depformer.K.norm.*", 0},
    {"linears.K.*", "depformer.K.linear_out.*", 0},
    {NULL, NULL, 0},
};

static const Rule mlx_rules[] = {
    {"emb.N.*", "audio_embs.N.*", 0},
    {"depformer_in.S.weight", "depformer.slices.F.linear_in.weight", 0},
    {"depformer_text_emb.*", "depformer.slices.0.emb.*", 0},
    {"depformer_emb.K.*", "depformer.slices.J.emb.*", 0},
    {"depformer.layers.L.self_attn.in_projs.S.weight",
        "depformer.slices.F.transformer.layers.L.self_attn.in_proj.weight", 0},
    {"depformer.layers.L.self_attn.out_projs.S.weight",
        "depformer.slices.F.transformer.layers.L.self_attn.out_proj.weight", 0},
    {"depformer.layers.L.gating.S.*",
        "depformer.slices.F.transformer.layers.L.gating.*", 0},
    {"depformer.layers.L.norm1.alpha",
        "depformer.slices.A.transformer.layers.L.norm1.weight", 0},
    {"depformer.layers.L.norm2.alpha",
        "depformer.slices.A.transformer.layers.L.norm2.weight", 0},
    {"depformer.layers.L.*", "depformer.slices.A.transformer.layers.L.*", 0},
    {"linears.K.*", "depformer.slices.K.linear_out.*", 0},
    {"*.alpha", "*.weight", 0},
    {"*.in_projs.S.weight", "*.in_proj.weight", FUSED},
    {NULL, NULL, 0},
};

static const Rule transformers_lm_rules[] = {
    {"text_emb.weight", "decoder.model.embed_tokens.weight", 0},
    {"emb.N.weight", "embed_tokens.N.weight", 0},
    {"text_linear.weight", "decoder.lm_head.weight", 0},
    {"out_norm.alpha", "decoder.model.norm.weight", 0},
    {"transformer.layers.L.self_attn.in_projs.S.weight",
        "decoder.model.layers.L.self_attn.X_proj.linear.weight", QKV | ROPE},
    {"transformer.layers.L.self_attn.out_projs.S.weight",
        "decoder.model.layers.L.self_attn.o_proj.linear.weight", 0},
    {"transformer.layers.L.gating.linear_in.weight",
        "decoder.model.layers.L.mlp.fc1.weight", 0},
    {"transformer.layers.L.gating.linear_out.weight",
        "decoder.model.layers.L.mlp.fc2.weight", 0},
    {"transformer.layers.L.norm1.alpha",
        "decoder.model.layers.L.input_layernorm.weight", 0},
    {"transformer.layers.L.norm2.alpha",
        "decoder.model.layers.L.post_attention_layernorm.weight", 0},
    {"depformer_in.S.weight", "depth_decoder.input_projections.weight", STACKED},
    {"depformer_text_emb.weight", "depth_decoder.text_embed_tokens.weight", 0},
    {"depformer_emb.K.weight", "depth_decoder.embed_tokens.K.weight", 0},
    {"linears.K.weight", "depth_decoder.lm_heads.weight", STACKED},
    {"depformer.layers.L.self_attn.in_projs.S.weight",
        "depth_decoder.layers.L.self_attn.X_proj.linear.weight", QKV | STACKED},
    {"depformer.layers.L.self_attn.out_projs.S.weight",
        "depth_decoder.layers.L.self_attn.o_proj.linear.weight", STACKED},
    {"depformer.layers.L.gating.S.linear_in.weight",
        "depth_decoder.layers.L.mlp.fc1.weight", STACKED},
    {"depformer.layers.L.gating.S.linear_out.weight",
        "depth_decoder.layers.L.mlp.fc2.weight", STACKED},
    {"depformer.layers.L.norm1.alpha", "depth_decoder.layers.L.input_layernorm.weight",
        0},
    {"depformer.layers.L.norm2.alpha",
        "depth_decoder.layers.L.post_attention_layernorm.weight", 0},
    {NULL, NULL, 0},
};

static const Rule transformers_mimi_rules[] = {
    {"D.model.N.block.K.conv.conv.*", "D.layers.N.block.K.conv.*", 0},
    {"D.model.N.conv.conv.*", "D.layers.N.conv.*", 0},
    {"D.model.N.convtr.convtr.*", "D.layers.N.conv.*", 0},
    {"downsample.conv.conv.conv.weight", "downsample.conv.weight", 0},
    {"upsample.convtr.convtr.convtr.weight", "upsample.conv.weight", 0},
    {"D_transformer.transformer.layers.L.self_attn.in_projs.S.weight",
        "D_transformer.layers.L.self_attn.X_proj.weight", QKV | ROPE},
    {"D_transformer.transformer.layers.L.self_attn.out_projs.S.weight",
        "D_transformer.layers.L.self_attn.o_proj.weight", 0},
    {"D_transformer.transformer.layers.L.linear1.weight",
        "D_transformer.layers.L.mlp.fc1.weight", 0},
    {"D_transformer.transformer.layers.L.linear2.weight",
        "D_transformer.layers.L.mlp.fc2.weight", 0},
    {"D_transformer.transformer.layers.L.norm1.*",
        "D_transformer.layers.L.input_layernorm.*", 0},
    {"D_transformer.transformer.layers.L.norm2.*",
        "D_transformer.layers.L.post_attention_layernorm.*", 0},
    {"D_transformer.transformer.layers.L.layer_scale_1.scale",
        "D_transformer.layers.L.self_attn_layer_scale.scale", 0},
    {"D_transformer.transformer.layers.L.layer_scale_2.scale",
        "D_transformer.layers.L.mlp_layer_scale.scale", 0},
    {"quantizer.rvq_first.vq.layers.N._codebook._initialized",
        "quantizer.semantic_residual_vector_quantizer.layers.N.codebook.initialized",
        0},
    {"quantizer.rvq_first.vq.layers.N._codebook.embedding_sum",
        "quantizer.semantic_residual_vector_quantizer.layers.N.codebook.embed_sum", 0},
    {"quantizer.rvq_first.vq.layers.N._codebook.cluster_usage",
        "quantizer.semantic_residual_vector_quantizer.layers.N.codebook.cluster_usage",
        0},
    {"quantizer.rvq_first.*", "quantizer.semantic_residual_vector_quantizer.*", 0},
    {"quantizer.rvq_rest.vq.layers.N._codebook._initialized",
        "quantizer.acoustic_residual_vector_quantizer.layers.N.codebook.initialized",
        0},
    {"quantizer.rvq_rest.vq.layers.N._codebook.embedding_sum",
        "quantizer.acoustic_residual_vector_quantizer.layers.N.codebook.embed_sum", 0},
    {"quantizer.rvq_rest.vq.layers.N._codebook.cluster_usage",
        "quantizer.acoustic_residual_vector_quantizer.layers.N.codebook.cluster_usage",
        0},
    {"quantizer.rvq_rest.*", "quantizer.acoustic_residual_vector_quantizer.*", 0},
    {NULL, NULL, 0},
};

static const Rule no_rules[] = {{NULL, NULL, 0}};

/* In the order in which they are tried. */
static const struct MoshiDialect lm_dialects[] = {
    {"transformers", "decoder.model.embed_tokens.weight", transformers_lm_rules, "",
        false, "audio_encoder."},
    {"MLX", "audio_embs.0.weight", mlx_rules, "", false, NULL},
    {"candle", "depformer.0.linear_in.weight", candle_rules, "", false, NULL},
    {"moshi.cpp", "lm.text_emb.weight", no_rules, "lm.", true, NULL},
    {"PyTorch", "text_emb.weight", no_rules, "", false, NULL},
};

#define TRANSFORMERS_PROBE                                                             \
  "quantizer.semantic_residual_vector_quantizer.input_proj.weight"
#define PYTORCH_PROBE "quantizer.rvq_first.input_proj.weight"

static const struct MoshiDialect mimi_dialects[] = {
    {"PyTorch", PYTORCH_PROBE, no_rules, "", false, NULL},
    {"moshi.cpp", "mimi." PYTORCH_PROBE, no_rules, "mimi.", true, NULL},
    {"transformers", TRANSFORMERS_PROBE, transformers_mimi_rules, "", false, NULL},
    {"transformers", "audio_encoder." TRANSFORMERS_PROBE, transformers_mimi_rules,
        "audio_encoder.", false, NULL},
};

static bool
probe(MoshiNames *names, const MoshiCheckpoint *c, const struct MoshiDialect *dialects,
    size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (moshi_checkpoint_has(c, dialects[i].probe)) {
      names->dialect = &dialects[i];
      return true;
    }
  return false;
}

bool
moshi_names_of_lm(MoshiNames *names, const MoshiCheckpoint *c, const MoshiLmConfig *lm)
{
  *names = (MoshiNames){.lm = lm};
  return probe(names, c, lm_dialects, G_N_ELEMENTS(lm_dialects));
}

bool
moshi_names_of_mimi(MoshiNames *names, const MoshiCheckpoint *c, const MimiConfig *mimi)
{
  *names = (MoshiNames){.mimi = mimi};
  return probe(names, c, mimi_dialects, G_N_ELEMENTS(mimi_dialects));
}

const char *
moshi_names_dialect(const MoshiNames *names)
{
  return names->dialect ? names->dialect->title : "PyTorch";
}

/* ------------------------------------------------------------- patterns */

typedef struct {
  int number[26]; /* by letter; −1: none */
  const char *word, *rest;
  int word_size, rest_size;
} Match;

static bool
match_number(const char **text, int *number)
{
  const char *s = *text;
  int value = 0;
  while (g_ascii_isdigit(*s) && value < 100000)
    value = 10 * value + (*s++ - '0');
  bool found = s > *text;
  *number = value;
  *text = s;
  return found;
}

static bool
match_word(const char **text, Match *m)
{
  if (!g_str_has_prefix(*text, "encoder") && !g_str_has_prefix(*text, "decoder"))
    return false;
  m->word = *text;
  m->word_size = strlen("encoder");
  *text += m->word_size;
  return true;
}

static bool
match(const char *pattern, const char *text, Match *m)
{
  for (; *pattern && *pattern != '*'; pattern++) {
    bool fits;
    if (*pattern == 'D')
      fits = match_word(&text, m);
    else if (g_ascii_isupper(*pattern))
      fits = match_number(&text, &m->number[*pattern - 'A']);
    else
      fits = *text++ == *pattern;
    if (!fits)
      return false;
  }
  if (!*pattern)
    return !*text;
  for (int size = strlen(text); size >= 0; size--)
    if (match(pattern + 1, text + size, m)) {
      m->rest = text;
      m->rest_size = size;
      return true;
    }
  return false;
}

static bool
match_rule(const Rule *rule, const char *name, Match *m)
{
  memset(m->number, -1, sizeof m->number);
  return match(rule->name, name, m);
}

/* The weight set of a step of the depth transformer. */
static int
set_of_step(const MoshiLmConfig *lm, int step)
{
  return lm->n_sets > 1 ? lm->schedule[step] : 0;
}

static int
first_step(const MoshiLmConfig *lm, int set)
{
  for (int k = 0; lm && k < lm->dep_q; k++)
    if (set_of_step(lm, k) == set)
      return k;
  return set;
}

/* moshi.cpp: a CRC-32, of which digit i is the low half of byte i. */
static void
hash_name(GString *name)
{
  uint32_t crc = 0xffffffff;
  for (gsize i = 0; i < name->len; i++) {
    crc ^= (uint8_t)name->str[i];
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  crc = ~crc;
  g_string_printf(
      name, "%x%x%x%x0000", crc & 15, crc >> 8 & 15, crc >> 16 & 15, crc >> 24 & 15);
}

/* step: stands for A and F; −1: the first. */
static void
write_target(const MoshiNames *names, const Rule *rule, const Match *m, const char *x,
    int step, char out[MOSHI_TENSOR_NAME])
{
  GString *name = g_string_new(names->dialect ? names->dialect->prefix : "");
  for (const char *t = rule->target; *t; t++) {
    if (*t == '*')
      g_string_append_len(name, m->rest, m->rest_size);
    else if (*t == 'D')
      g_string_append_len(name, m->word, m->word_size);
    else if (*t == 'X')
      g_string_append(name, x);
    else if (*t == 'A')
      g_string_append_printf(name, "%d", MAX(step, 0));
    else if (*t == 'F')
      g_string_append_printf(
          name, "%d", step < 0 ? first_step(names->lm, m->number['S' - 'A']) : step);
    else if (*t == 'J')
      g_string_append_printf(name, "%d", m->number['K' - 'A'] + 1);
    else if (g_ascii_isupper(*t))
      g_string_append_printf(name, "%d", m->number[*t - 'A']);
    else
      g_string_append_c(name, *t);
  }
  if (names->dialect && names->dialect->hashed && name->len >= 64)
    hash_name(name);
  g_strlcpy(out, name->str, MOSHI_TENSOR_NAME);
  g_string_free(name, TRUE);
}

/* --------------------------------------------------------------- pieces */

static int
count_slices(const MoshiLmConfig *lm, const char *name)
{
  if (!lm)
    return 1;
  if (g_str_has_prefix(name, "linears."))
    return lm->dep_q;
  if (g_str_has_prefix(name, "depformer_in."))
    return lm->n_in_sets;
  return g_str_has_prefix(name, "depformer.") ? lm->n_sets : 1;
}

static const MoshiTransformerConfig *
transformer_of(const MoshiNames *names, const char *name)
{
  if (names->mimi)
    return &names->mimi->transformer;
  return g_str_has_prefix(name, "depformer.") ? &names->lm->depth : &names->lm->main;
}

static int
write_pieces(const MoshiNames *names, const Rule *rule, const Match *m,
    const char *name, MoshiTensorPiece *pieces)
{
  static const char *const qkv[] = {"q", "k", "v"}, *const q_kv[] = {"q", "kv"};
  bool parts = rule->how & (QKV | Q_KV) && (names->lm || names->mimi);
  int n = !parts ? 1 : rule->how & QKV ? 3 : 2;
  for (int i = 0; i < n; i++) {
    const char *x = rule->how & QKV ? qkv[i] : q_kv[MIN(i, 1)];
    pieces[i] = (MoshiTensorPiece){.n_slices = 1};
    write_target(names, rule, m, x, -1, pieces[i].name);
    if (rule->how & (STACKED | FUSED)) {
      int set = m->number['S' - 'A'];
      pieces[i].slice = set >= 0 ? set : m->number['K' - 'A'];
      pieces[i].n_slices = count_slices(names->lm, name);
      pieces[i].stacked = rule->how & STACKED;
    }
    if (parts) {
      const MoshiTransformerConfig *c = transformer_of(names, name);
      int others = c->dim / c->kv_repeat;
      pieces[i].rows = i == 0 ? c->dim : rule->how & QKV ? others : 2 * others;
      pieces[i].head_dim = rule->how & ROPE && i < 2 ? c->dim / c->n_heads : 0;
    }
  }
  return n;
}

static const Rule identity = {"*", "*", 0};

/* The rule by which the tensor is in the checkpoint; where it is not, the first
 * that could be. */
static const Rule *
find_rule(const MoshiNames *names, const MoshiCheckpoint *c, const char *name, Match *m)
{
  const Rule *tables[] = {
      names->dialect ? names->dialect->rules : no_rules, common_rules};
  const Rule *first = NULL;
  char target[MOSHI_TENSOR_NAME];
  for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
    for (const Rule *rule = tables[i]; rule->name; rule++) {
      if (!match_rule(rule, name, m))
        continue;
      write_target(names, rule, m, "q", -1, target);
      if (moshi_checkpoint_has(c, target))
        return rule;
      first = first ? first : rule;
    }
  match_rule(&identity, name, m);
  write_target(names, &identity, m, "", -1, target);
  if (!first || moshi_checkpoint_has(c, target))
    return &identity;
  match_rule(first, name, m);
  return first;
}

int
moshi_names_locate(const MoshiNames *names, const MoshiCheckpoint *c, const char *name,
    MoshiTensorPiece pieces[MOSHI_MAX_PIECES])
{
  Match m;
  const Rule *rule = find_rule(names, c, name, &m);
  return write_pieces(names, rule, &m, name, pieces);
}

bool
moshi_names_has(const MoshiNames *names, const MoshiCheckpoint *c, const char *name)
{
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  moshi_names_locate(names, c, name, pieces);
  return moshi_checkpoint_has(c, pieces[0].name);
}

void
moshi_names_use_copies(
    const MoshiNames *names, const MoshiCheckpoint *c, const char *name)
{
  static const char *const companions[] = {"", ".scales", ".biases", "_scb"};
  Match m;
  const Rule *rule = find_rule(names, c, name, &m);
  bool all = strchr(rule->target, 'A'), some = strchr(rule->target, 'F');
  for (int k = 0; names->lm && (all || some) && k < names->lm->dep_q; k++) {
    if (some && set_of_step(names->lm, k) != m.number['S' - 'A'])
      continue;
    char target[MOSHI_TENSOR_NAME], other[MOSHI_TENSOR_NAME + 8];
    write_target(names, rule, &m, "", k, target);
    moshi_checkpoint_find(c, target);
    int stem = strlen(target);
    for (size_t i = 1; i < G_N_ELEMENTS(companions); i++) {
      bool beside = companions[i][0] == '.' && g_str_has_suffix(target, ".weight");
      snprintf(other, sizeof other, "%.*s%s", beside ? stem - 7 : stem, target,
          companions[i]);
      moshi_checkpoint_find(c, other);
    }
  }
}

void
moshi_names_use_others(const MoshiNames *names, const MoshiCheckpoint *c)
{
  const char *others = names->dialect ? names->dialect->others : NULL;
  const MoshiTensor *t;
  for (size_t i = 0; others && (t = moshi_checkpoint_nth(c, i)); i++)
    if (g_str_has_prefix(t->name, others))
      moshi_checkpoint_find(c, t->name);
}
