/* json-glib takes comments, recurses without bound and overflows silently, so
 * a strict scan goes before it. */
#include "json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../error.h"
#include "mapped.h"
#include "scan.h"

#define MAX_DEPTH 16

int
moshi_json_parse(JsonNode **root, const char *text, size_t size, const char *label,
    MoshiError *error)
{
  MoshiScan scan;
  *root = NULL;
  moshi_scan_init(&scan, text, size);
  moshi_scan_skip(&scan, MAX_DEPTH);
  if (!moshi_scan_end(&scan))
    return moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: broken JSON at byte %zu: %s",
        label, moshi_scan_offset(&scan), scan.problem);

  JsonParser *parser = json_parser_new_immutable();
  GError *problem = NULL;
  int status = 0;
  if (!json_parser_load_from_data(parser, text, size, &problem)) {
    status = moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: %s", label, problem->message);
    g_error_free(problem);
  } else if (!JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
    status = moshi_fail(error, MOSHI_ERROR_FORMAT, "%s: is not a JSON object", label);
  } else {
    *root = json_node_ref(json_parser_get_root(parser));
  }
  g_object_unref(parser);
  return status;
}

int
moshi_json_read(JsonNode **root, const char *path, size_t max_size, MoshiError *error)
{
  MoshiMapped mapped;
  int status = moshi_mapped_open(&mapped, path, max_size, error);
  if (status < 0)
    return status;
  status = moshi_json_parse(root, (const char *)mapped.data, mapped.size, path, error);
  moshi_mapped_close(&mapped);
  return status;
}

const char *
moshi_json_string(JsonNode *node)
{
  if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
    return NULL;
  return json_node_get_string(node);
}

bool
moshi_plain_name(const char *name)
{
  return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 &&
         strcmp(name, "..") != 0;
}

int
moshi_json_fail(const MoshiJsonPlace *place, MoshiStatus status, const char *key,
    const char *format, ...)
{
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return moshi_fail(
      place->error, status, "%s: %s%s %s", place->label, place->prefix, key, text);
}

static bool
is_integer(JsonNode *node)
{
  return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64;
}

static int
read_int(const MoshiJsonPlace *place, const char *key, JsonNode *node, double min,
    double max, int *out)
{
  if (!is_integer(node))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "must be an integer");
  gint64 value = json_node_get_int(node);
  if (value < min || value > max)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "is %" G_GINT64_FORMAT ", it must be from %.0f to %.0f", value, min, max);
  *out = value;
  return 0;
}

static int
read_float(
    const MoshiJsonPlace *place, const MoshiField *f, JsonNode *node, double *out)
{
  bool is_double =
      JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_DOUBLE;
  if (!is_double && !is_integer(node))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, f->key, "must be a number");
  double value = is_double ? json_node_get_double(node) : json_node_get_int(node);
  if (!(value >= f->min && value <= f->max))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, f->key,
        "is %g, it must be from %g to %g", value, f->min, f->max);
  *out = value;
  return 0;
}

static int
read_string(const MoshiJsonPlace *place, const MoshiField *f, JsonNode *node, char *out)
{
  const char *text = moshi_json_string(node);
  if (!text)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, f->key, "must be a string");
  if (strlen(text) >= f->max)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, f->key,
        "is too long (at most %.0f bytes)", f->max - 1);
  strcpy(out, text);
  return 0;
}

static int
read_choice(const MoshiJsonPlace *place, const MoshiField *f, JsonNode *node, int *out)
{
  const char *text = moshi_json_string(node);
  if (!text)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, f->key, "must be a string");
  GString *known = g_string_new(NULL);
  int status = -1;
  for (int i = 0; f->choices[i] && status < 0; i++) {
    if (strcmp(f->choices[i], text) == 0) {
      *out = i;
      status = 0;
    }
    g_string_append_printf(known, "%s%s", i ? ", " : "", f->choices[i]);
  }
  if (status < 0)
    status = moshi_json_fail(place, MOSHI_ERROR_MODEL, f->key,
        "is \"%.64s\", which is not supported (supported: %s)", text, known->str);
  g_string_free(known, TRUE);
  return status;
}

static int
read_field(const MoshiJsonPlace *place, const MoshiField *f, JsonNode *node, void *base)
{
  void *out = (char *)base + f->offset;
  if (f->kind == MOSHI_FIELD_PRESENT) {
    *(bool *)out = !JSON_NODE_HOLDS_NULL(node);
    return 0;
  }
  if (f->null && JSON_NODE_HOLDS_NULL(node))
    return 0;
  switch (f->kind) {
  case MOSHI_FIELD_INT:
    return read_int(place, f->key, node, f->min, f->max, out);
  case MOSHI_FIELD_FLOAT:
    return read_float(place, f, node, out);
  case MOSHI_FIELD_BOOL:
    if (!JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_BOOLEAN)
      return moshi_json_fail(
          place, MOSHI_ERROR_FORMAT, f->key, "must be true or false");
    *(bool *)out = json_node_get_boolean(node);
    return 0;
  case MOSHI_FIELD_STRING:
    return read_string(place, f, node, out);
  case MOSHI_FIELD_CHOICE:
    return read_choice(place, f, node, out);
  case MOSHI_FIELD_CUSTOM:
    return f->read(place, f->key, node, out);
  default:
    return 0;
  }
}

int
moshi_json_fields(const MoshiJsonPlace *place, JsonObject *object,
    const MoshiField *fields, size_t n_fields, void *out, bool lenient)
{
  JsonObjectIter iter;
  const char *key;
  JsonNode *node;
  json_object_iter_init_ordered(&iter, object);
  while (json_object_iter_next_ordered(&iter, &key, &node)) {
    size_t i = 0;
    while (i < n_fields && strcmp(fields[i].key, key) != 0)
      i++;
    if (i == n_fields) {
      if (lenient)
        continue;
      return moshi_fail(place->error, MOSHI_ERROR_MODEL,
          "%s: unknown key \"%s%.64s\": this is no configuration that can be run",
          place->label, place->prefix, key);
    }
    int status = read_field(place, &fields[i], node, out);
    if (status < 0)
      return status;
  }
  return 0;
}

int
moshi_json_object(const MoshiJsonPlace *place, const char *key, JsonNode *node,
    const MoshiField *fields, size_t n_fields, void *out, bool lenient)
{
  if (!JSON_NODE_HOLDS_OBJECT(node))
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key, "must be an object");
  char *prefix = g_strdup_printf("%s%.64s.", place->prefix, key);
  MoshiJsonPlace inner = {place->label, prefix, place->error};
  int status = moshi_json_fields(
      &inner, json_node_get_object(node), fields, n_fields, out, lenient);
  g_free(prefix);
  return status;
}

int
moshi_json_ints(const MoshiJsonPlace *place, const char *key, JsonNode *node,
    int *values, int *n, int max_n, int min, int max)
{
  if (!JSON_NODE_HOLDS_ARRAY(node))
    return moshi_json_fail(
        place, MOSHI_ERROR_FORMAT, key, "must be an array of integers");
  JsonArray *array = json_node_get_array(node);
  guint length = json_array_get_length(array);
  if (length > (guint)max_n)
    return moshi_json_fail(place, MOSHI_ERROR_FORMAT, key,
        "has %u entries, at most %d are allowed", length, max_n);
  for (guint i = 0; i < length; i++) {
    int status =
        read_int(place, key, json_array_get_element(array, i), min, max, &values[i]);
    if (status < 0)
      return status;
  }
  *n = length;
  return 0;
}
