/* Conditioners and their fuser. */
#include "conditioners.h"

#include <glib.h>
#include <string.h>

#include "error.h"
#include "nn/positions.h"

/* Of one tensor condition: an hour of frames. */
#define MAX_LENGTH 45000

int
moshi_conditioner_load(MoshiConditioner *c, MoshiLoader *l,
    const MoshiConditionerConfig *config, int model_dim)
{
  const char *format = "condition_provider.conditioners.%s.%s";
  *c = (MoshiConditioner){0};
  if (!config->tensor)
    moshi_load_linear(l, &c->embed, config->n_bins + 1, config->dim, format,
        config->name, "embed.weight");
  moshi_load_linear(l, &c->output_proj, model_dim, config->dim, format, config->name,
      "output_proj.weight");
  return moshi_load_vector(
      l, &c->padding, model_dim, format, config->name, "learnt_padding");
}

void
moshi_conditioner_free(MoshiConditioner *c, MoshiDevice *d)
{
  moshi_linear_free(d, &c->embed);
  moshi_linear_free(d, &c->output_proj);
  d->ops->free(d, c->padding);
  *c = (MoshiConditioner){0};
}

/* ---------------------------------------------------------- what was asked */

/* The reference's hash_trick: SHA-256 as one big number, modulo the bins. */
static int
hash_index(const char *value, int n_bins)
{
  GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
  guint8 digest[32];
  gsize size = sizeof digest;
  g_checksum_update(sum, (const guchar *)value, -1);
  g_checksum_get_digest(sum, digest, &size);
  g_checksum_free(sum);
  uint64_t rest = 0;
  for (gsize i = 0; i < size; i++)
    rest = (rest << 8 | digest[i]) % n_bins;
  return rest;
}

int
moshi_condition_index(
    const MoshiConditionerConfig *config, const char *value, MoshiError *error)
{
  if (config->n_values == 0)
    return hash_index(value, config->n_bins);
  for (int i = 0; i < config->n_values; i++)
    if (!strcmp(config->values[i], value))
      return i;
  char known[512] = "";
  for (int i = 0; i < config->n_values; i++) {
    g_strlcat(known, i ? ", " : "", sizeof known);
    g_strlcat(known, config->values[i], sizeof known);
  }
  return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
      "condition \"%s\" cannot be \"%s\"; it takes one of: %s", config->name, value,
      known);
}

static const MoshiConditionerConfig *
find_config(const MoshiLmConfig *config, const char *name)
{
  for (int i = 0; i < config->n_conditioners; i++)
    if (!strcmp(config->conditioners[i].name, name))
      return &config->conditioners[i];
  return NULL;
}

static int
check_tensor(const MoshiConditionerConfig *config, const MoshiCondition *condition,
    MoshiError *error)
{
  const char *name = condition->name;
  if (condition->value || condition->null_value || !condition->data)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "condition \"%s\" is a tensor: it takes data, not a value", name);
  if (condition->size != config->dim)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "condition \"%s\" has rows of %d numbers, the model takes %d", name,
        condition->size, config->dim);
  if (condition->length < 1 || condition->length > MAX_LENGTH)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "condition \"%s\" has %d rows; 1 to %d can be had", name, condition->length,
        MAX_LENGTH);
  return 0;
}

static int
check_condition(
    const MoshiLmConfig *config, const MoshiCondition *condition, MoshiError *error)
{
  const MoshiConditionerConfig *c =
      condition->name ? find_config(config, condition->name) : NULL;
  if (!c) {
    char known[512] = "";
    for (int i = 0; i < config->n_conditioners; i++) {
      g_strlcat(known, i ? ", " : "", sizeof known);
      g_strlcat(known, config->conditioners[i].name, sizeof known);
    }
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "the model has no condition \"%s\"; it has: %s",
        condition->name ? condition->name : "", *known ? known : "none");
  }
  if (c->tensor)
    return check_tensor(c, condition, error);
  if (condition->data)
    return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
        "condition \"%s\" takes a value, not a tensor", c->name);
  const char *values[] = {condition->value, condition->null_value};
  for (int i = 0; i < 2; i++)
    if (values[i] && moshi_condition_index(c, values[i], error) < 0)
      return MOSHI_ERROR_ARGUMENT;
  return 0;
}

int
moshi_conditions_check(const MoshiLmConfig *config, const MoshiCondition *conditions,
    int n_conditions, MoshiError *error)
{
  for (int i = 0; i < n_conditions; i++) {
    int status = check_condition(config, &conditions[i], error);
    if (status)
      return status;
    for (int j = 0; j < i; j++)
      if (!strcmp(conditions[i].name, conditions[j].name))
        return moshi_fail(error, MOSHI_ERROR_ARGUMENT,
            "condition \"%s\" was given twice", conditions[i].name);
  }
  return 0;
}

/* ------------------------------------------------------------- provide, fuse */

/* A condition on its way to the model: rows of the conditioner's width, and
 * which of them count. */
typedef struct {
  int length;
  const float *data;   /* tensor: host, [length][dim] */
  int index;           /* table: the row */
  const uint8_t *mask; /* [length]; NULL: all count */
  bool padding;        /* none counts */
} Source;

static int
choose_source(Source *source, const MoshiConditionerConfig *config,
    const MoshiCondition *conditions, int n_conditions, bool null_branch,
    MoshiError *error)
{
  const MoshiCondition *given = NULL;
  for (int i = 0; i < n_conditions; i++)
    if (!strcmp(conditions[i].name, config->name))
      given = &conditions[i];
  *source = (Source){.length = 1, .padding = true};
  if (!given)
    return 0;
  if (config->tensor) {
    source->length = given->length;
    source->data = given->data;
    source->mask = given->mask;
    source->padding = null_branch;
    return 0;
  }
  const char *value = null_branch ? given->null_value : given->value;
  source->padding = !value;
  if (value)
    source->index = moshi_condition_index(config, value, error);
  return MIN(source->index, 0);
}

/* out[length][dim] = output_proj · rows, on the device. */
static int
project(const MoshiConditioner *c, MoshiDevice *d, const Source *source, float *out,
    MoshiError *error)
{
  size_t width = c->output_proj.w.m.cols, dim = c->output_proj.w.m.rows;
  size_t length = source->length;
  float *x = d->ops->alloc(d, length * width * sizeof(float));
  float *y = d->ops->alloc(d, length * dim * sizeof(float));
  int32_t *token = d->ops->alloc(d, sizeof *token);
  int status = 0;
  if (x && y && token) {
    int32_t index = source->index;
    if (source->data) {
      d->ops->upload(d, x, source->data, length * width * sizeof(float));
    } else {
      d->ops->upload(d, token, &index, sizeof index);
      d->ops->embed(d, x, width, &c->embed.w, token, 1, 1);
    }
    MoshiLinearOp op = {.w = &c->output_proj.w,
        .x = {x, length * width, width},
        .y = {y, length * dim, dim},
        .batch = 1,
        .steps = length};
    d->ops->linear(d, &op);
    d->ops->download(d, out, y, length * dim * sizeof(float));
    status = d->ops->sync(d, error);
  } else {
    status = moshi_fail(
        error, MOSHI_ERROR_MEMORY, "no memory on %s for conditions", d->description);
  }
  d->ops->free(d, x);
  d->ops->free(d, y);
  d->ops->free(d, token);
  return status;
}

/* out[length][dim]: the projection, with the learnt padding where the mask
 * leaves a row out. */
static int
provide(const MoshiConditioner *c, MoshiDevice *d, const Source *source, float *out,
    MoshiError *error)
{
  size_t dim = c->output_proj.w.m.rows;
  int status = source->padding ? 0 : project(c, d, source, out, error);
  for (int i = 0; i < source->length && !status; i++)
    if (source->padding || (source->mask && !source->mask[i]))
      d->ops->download(d, out + i * dim, c->padding, dim * sizeof(float));
  return status ? status : d->ops->sync(d, error);
}

static int
no_memory(MoshiError *error)
{
  return moshi_fail(error, MOSHI_ERROR_MEMORY, "no memory for conditions");
}

static int
fuse_sum(MoshiFused *fused, const MoshiLmConfig *config,
    const MoshiConditioner *conditioners, MoshiDevice *d, const Source *sources,
    MoshiError *error)
{
  int dim = config->main.dim, status = 0;
  float *row = g_try_new(float, dim);
  fused->sum = g_try_new0(float, dim);
  if (!row || !fused->sum)
    status = no_memory(error);
  for (int i = 0; i < config->n_sum && !status; i++) {
    int index = config->sum[i];
    if (sources[index].length != 1)
      status = moshi_fail(error, MOSHI_ERROR_ARGUMENT,
          "condition \"%s\" is added to the input: it takes one row, not %d",
          config->conditioners[index].name, sources[index].length);
    if (!status)
      status = provide(&conditioners[index], d, &sources[index], row, error);
    for (int j = 0; j < dim && !status; j++)
      fused->sum[j] += row[j];
  }
  g_free(row);
  return status;
}

static void
add_positions(MoshiFused *fused, const MoshiLmConfig *config)
{
  int dim = config->main.dim;
  float *periods = g_new(float, dim / 2), *row = g_new(float, dim);
  moshi_sin_periods(periods, dim, 10000);
  for (int i = 0; i < fused->cross_length; i++) {
    moshi_sin_embedding(row, i, periods, dim);
    for (int j = 0; j < dim; j++)
      fused->cross[(size_t)i * dim + j] += config->cross_pos_emb_scale * row[j];
  }
  g_free(periods);
  g_free(row);
}

static int
fuse_cross(MoshiFused *fused, const MoshiLmConfig *config,
    const MoshiConditioner *conditioners, MoshiDevice *d, const Source *sources,
    MoshiError *error)
{
  size_t dim = config->main.dim;
  for (int i = 0; i < config->n_cross; i++)
    fused->cross_length += sources[config->cross[i]].length;
  fused->cross = g_try_malloc_n(fused->cross_length, dim * sizeof(float));
  if (!fused->cross)
    return no_memory(error);
  float *row = fused->cross;
  for (int i = 0; i < config->n_cross; i++) {
    const Source *source = &sources[config->cross[i]];
    int status = provide(&conditioners[config->cross[i]], d, source, row, error);
    if (status)
      return status;
    row += source->length * dim;
  }
  if (config->cross_pos_emb)
    add_positions(fused, config);
  return 0;
}

int
moshi_conditions_fuse(MoshiFused *fused, const MoshiLmConfig *config,
    const MoshiConditioner *conditioners, MoshiDevice *d,
    const MoshiCondition *conditions, int n_conditions, bool null_branch,
    MoshiError *error)
{
  Source sources[MOSHI_MAX_CONDITIONS];
  int status = 0;
  *fused = (MoshiFused){0};
  for (int i = 0; i < config->n_conditioners && !status; i++)
    status = choose_source(&sources[i], &config->conditioners[i], conditions,
        n_conditions, null_branch, error);
  if (!status && config->n_sum)
    status = fuse_sum(fused, config, conditioners, d, sources, error);
  if (!status && config->n_cross)
    status = fuse_cross(fused, config, conditioners, d, sources, error);
  return status;
}

void
moshi_fused_clear(MoshiFused *fused)
{
  g_free(fused->sum);
  g_free(fused->cross);
  *fused = (MoshiFused){0};
}
