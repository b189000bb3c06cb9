/* Signals as JSON. What comes from the network is checked before a parser that
 * recurses sees it. */
#include "signalling.h"

#include <json-glib/json-glib.h>
#include <string.h>

#define MAX_SIZE 65536          /* bytes */
#define MAX_BRACKETS 64         /* a flat object has one */
#define MAX_LINES 16

static const gchar *const types[] = { "offer", "answer", "candidate" };

static gboolean
is_flat (const gchar * json, gsize size)
{
  guint brackets = 0;
  gsize i;

  for (i = 0; i < size; i++)
    brackets += json[i] == '{' || json[i] == '[';
  return size <= MAX_SIZE && brackets <= MAX_BRACKETS;
}

/* NULL where there is no string, or none of text: JsonParser takes escapes of
 * bytes, which JSON does not have. */
static const gchar *
get_string (JsonObject * object, const gchar * name)
{
  JsonNode *node = json_object_get_member (object, name);
  const gchar *string = node
      && json_node_get_value_type (node) == G_TYPE_STRING ?
      json_node_get_string (node) : NULL;

  return string && g_utf8_validate (string, -1, NULL) ? string : NULL;
}

/* -1 where there is none. */
static gint64
get_line (JsonObject * object)
{
  JsonNode *node = json_object_get_member (object, "sdpMLineIndex");

  return node && json_node_get_value_type (node) == G_TYPE_INT64 ?
      json_node_get_int (node) : -1;
}

static gboolean
read_object (Signal * signal, JsonObject * object)
{
  const gchar *type = get_string (object, "type"), *text;
  gint64 line;
  guint i;

  for (i = 0; type && i < G_N_ELEMENTS (types); i++) {
    if (strcmp (type, types[i]) != 0)
      continue;
    text = get_string (object, i == SIGNAL_CANDIDATE ? "candidate" : "sdp");
    line = i == SIGNAL_CANDIDATE ? get_line (object) : 0;
    if (!text || line < 0 || line >= MAX_LINES)
      return FALSE;
    *signal = (Signal) {
    i, g_strdup (text), line};
    return TRUE;
  }
  return FALSE;
}

gboolean
signal_read (Signal * signal, const gchar * json, gsize size)
{
  JsonParser *parser;
  JsonNode *root;
  gboolean is_signal;

  if (!is_flat (json, size))
    return FALSE;
  parser = json_parser_new ();
  is_signal = json_parser_load_from_data (parser, json, size, NULL)
      && (root = json_parser_get_root (parser))
      && JSON_NODE_HOLDS_OBJECT (root)
      && read_object (signal, json_node_get_object (root));
  g_object_unref (parser);
  return is_signal;
}

void
signal_clear (Signal * signal)
{
  g_clear_pointer (&signal->text, g_free);
}

gchar *
signal_write (const Signal * signal)
{
  JsonObject *object = json_object_new ();
  JsonNode *root = json_node_new (JSON_NODE_OBJECT);
  gchar *json;

  json_object_set_string_member (object, "type", types[signal->kind]);
  if (signal->kind == SIGNAL_CANDIDATE) {
    json_object_set_string_member (object, "candidate", signal->text);
    json_object_set_int_member (object, "sdpMLineIndex", signal->line);
  } else
    json_object_set_string_member (object, "sdp", signal->text);
  json_node_take_object (root, object);
  json = json_to_string (root, FALSE);
  json_node_unref (root);
  return json;
}
