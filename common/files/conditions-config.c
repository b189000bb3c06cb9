/* moshi/conditioners: tables of named values ("lut") or vectors given by the
 * user ("tensor"), and how they enter the model: added to every input ("sum")
 * or attended to ("cross"). */
#include "conditions-config.h"

#include <string.h>

#include "../error.h"

#define MAX_BINS (1 << 20)

static int
read_tokenizer(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  const char *text = moshi_json_string(node);
  if (!text || strcmp(text, "noop") != 0)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, key, "must be \"noop\"");
  return 0;
}

/* Features of the reference's BaseConditioner that no model uses. */
static int
read_true(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  bool value = false;
  MoshiField field = {key, MOSHI_FIELD_BOOL};
  JsonObject *object = json_object_new();
  json_object_set_member(object, key, json_node_copy(node));
  int status = moshi_json_fields(place, object, &field, 1, &value, false);
  json_object_unref(object);
  if (status == 0 && !value)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, key, "false is not supported");
  return status;
}

static int
read_values(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  MoshiConditionerConfig *c = out;
  guint n = 0;
  if (JSON_NODE_HOLDS_ARRAY(node))
    n = json_array_get_length(json_node_get_array(node));
  if (n < 1 || n > MOSHI_MAX_LUT)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "must be an array of 1 to %d strings", MOSHI_MAX_LUT);
  for (guint i = 0; i < n; i++) {
    const char *text =
        moshi_json_string(json_array_get_element(json_node_get_array(node), i));
    if (!text || strlen(text) >= sizeof c->values[i])
      return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
          "must hold strings of less than %zu bytes", sizeof c->values[i]);
    for (guint j = 0; j < i; j++)
      if (strcmp(c->values[j], text) == 0)
        return moshi_json_fail(
            place, MOSHI_ERROR_FORMAT, key, "holds \"%s\" twice", text);
    strcpy(c->values[i], text);
  }
  c->n_values = n;
  return 0;
}

#define INT_FIELD(key, member, max)                                                    \
  {                                                                                    \
    key, MOSHI_FIELD_INT, offsetof(MoshiConditionerConfig, member), 1, max             \
  }

static const MoshiField lut_fields[] = {
    INT_FIELD("n_bins", n_bins, MAX_BINS),
    INT_FIELD("dim", dim, 65536),
    {"tokenizer", MOSHI_FIELD_CUSTOM, .read = read_tokenizer},
    {"possible_values", MOSHI_FIELD_CUSTOM, .null = true, .read = read_values},
    {"init_scale", MOSHI_FIELD_IGNORED},
    {"pad_empty", MOSHI_FIELD_IGNORED},
    {"force_linear", MOSHI_FIELD_CUSTOM, .read = read_true},
    {"learn_padding", MOSHI_FIELD_CUSTOM, .read = read_true},
};
static const MoshiField tensor_fields[] = {
    INT_FIELD("dim", dim, 65536),
    {"pad_empty", MOSHI_FIELD_IGNORED},
    {"force_linear", MOSHI_FIELD_CUSTOM, .read = read_true},
    {"learn_padding", MOSHI_FIELD_CUSTOM, .read = read_true},
};

/* {"type": "lut", "lut": {…}}: the arguments are in the member of that name. */
static int
parse_conditioner(MoshiConditionerConfig *c, const char *name, JsonNode *node,
    const MoshiJsonPlace *place)
{
  if (!name[0] || strlen(name) >= sizeof c->name)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "",
        "holds a name of %zu bytes (1 to %zu are allowed)", strlen(name),
        sizeof c->name - 1);
  strcpy(c->name, name);
  JsonObject *object = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
  JsonNode *type_node = object ? json_object_get_member(object, "type") : NULL;
  const char *type = type_node ? moshi_json_string(type_node) : NULL;
  if (!type)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, name, "has no type");
  c->tensor = strcmp(type, "tensor") == 0;
  if (!c->tensor && strcmp(type, "lut") != 0)
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, name,
        "is of type \"%.64s\"; \"lut\" and \"tensor\" are supported", type);
  JsonNode *arguments = json_object_get_member(object, type);
  if (!arguments)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, name, "has no \"%s\"", type);
  int status =
      moshi_json_object(place, name, arguments, c->tensor ? tensor_fields : lut_fields,
          c->tensor ? G_N_ELEMENTS(tensor_fields) : G_N_ELEMENTS(lut_fields), c, false);
  if (status < 0)
    return status;
  if (c->dim == 0 || (!c->tensor && c->n_bins == 0))
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, name, "has no %s", c->dim == 0 ? "dim" : "n_bins");
  if (c->n_values > c->n_bins)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, name,
        "has %d possible values for %d bins", c->n_values, c->n_bins);
  return 0;
}

static int
parse_conditioners(MoshiLmConfig *lm, JsonNode *node, const MoshiJsonPlace *place)
{
  if (!JSON_NODE_HOLDS_OBJECT(node))
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, "conditioners", "must be an object");
  JsonObject *object = json_node_get_object(node);
  guint n = json_object_get_size(object);
  if (n > MOSHI_MAX_CONDITIONS)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "conditioners",
        "has %u entries, at most %d are allowed", n, MOSHI_MAX_CONDITIONS);
  lm->conditioners = g_new0(MoshiConditionerConfig, MAX(n, 1));

  MoshiJsonPlace inner = {place->label, "conditioners.", place->error};
  JsonObjectIter iter;
  const char *name;
  int status = 0;
  json_object_iter_init_ordered(&iter, object);
  while (status == 0 && json_object_iter_next_ordered(&iter, &name, &node))
    status =
        parse_conditioner(&lm->conditioners[lm->n_conditioners++], name, node, &inner);
  return status;
}

/* An array of names of conditioners, as their indices. */
static int
parse_names(const MoshiLmConfig *lm, const char *key, JsonNode *node,
    const MoshiJsonPlace *place, int *indices, int *count)
{
  if (!JSON_NODE_HOLDS_ARRAY(node))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "must be an array of names");
  JsonArray *array = json_node_get_array(node);
  guint n = json_array_get_length(array);
  if (n > MOSHI_MAX_CONDITIONS)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "has too many entries");
  for (guint i = 0; i < n; i++) {
    const char *name = moshi_json_string(json_array_get_element(array, i));
    int j = 0;
    while (
        name && j < lm->n_conditioners && strcmp(lm->conditioners[j].name, name) != 0)
      j++;
    if (!name || j == lm->n_conditioners)
      return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
          "names \"%.64s\", which is no conditioner", name ? name : "");
    indices[i] = j;
  }
  *count = n;
  return 0;
}

typedef struct {
  MoshiLmConfig *lm;
  bool pos_emb;
  double scale;
} Fuser;

static int
read_sum(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  MoshiLmConfig *lm = ((Fuser *)out)->lm;
  int status = parse_names(lm, key, node, place, lm->sum, &lm->n_sum);
  for (int i = 0; status == 0 && i < lm->n_sum; i++)
    if (lm->conditioners[lm->sum[i]].tensor)
      return moshi_json_fail(place, MOSHI_ERROR_MODEL, key,
          "names %s, a tensor; only tables can be summed",
          lm->conditioners[lm->sum[i]].name);
  return status;
}

static int
read_cross(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  MoshiLmConfig *lm = ((Fuser *)out)->lm;
  return parse_names(lm, key, node, place, lm->cross, &lm->n_cross);
}

static int
read_prepend(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out)
{
  if (!JSON_NODE_HOLDS_ARRAY(node) || json_array_get_length(json_node_get_array(node)))
    return moshi_json_fail(place, MOSHI_ERROR_MODEL, key, "must be an empty array");
  return 0;
}

static const MoshiField fuser_fields[] = {
    {"sum", MOSHI_FIELD_CUSTOM, .read = read_sum},
    {"cross", MOSHI_FIELD_CUSTOM, .read = read_cross},
    {"prepend", MOSHI_FIELD_CUSTOM, .read = read_prepend},
    {"cross_attention_pos_emb", MOSHI_FIELD_BOOL, offsetof(Fuser, pos_emb)},
    {"cross_attention_pos_emb_scale", MOSHI_FIELD_FLOAT, offsetof(Fuser, scale), -1e6,
        1e6},
};

int
moshi_conditions_parse(MoshiLmConfig *lm, JsonNode *conditioners, JsonNode *fuser,
    const MoshiJsonPlace *place)
{
  int status = 0;
  if (conditioners && !JSON_NODE_HOLDS_NULL(conditioners))
    status = parse_conditioners(lm, conditioners, place);
  if (status < 0 || !fuser || JSON_NODE_HOLDS_NULL(fuser))
    return status;
  Fuser f = {lm, false, 1};
  status = moshi_json_object(
      place, "fuser", fuser, fuser_fields, G_N_ELEMENTS(fuser_fields), &f, false);
  lm->cross_pos_emb = f.pos_emb;
  lm->cross_pos_emb_scale = f.scale;
  if (status == 0 && lm->n_cross && !lm->main.cross_attention)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, "fuser.cross",
        "names conditions, but cross_attention is not set");
  return status;
}
