/* JSON files of ours: json-glib behind a check of grammar, depth and size, and
 * a table-driven reader of objects whose every key is known. */
#ifndef MOSHI_FILES_JSON_H
#define MOSHI_FILES_JSON_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "../moshi.h"

/* The root is an object. Free it with json_node_unref. */
int moshi_json_read(
    JsonNode **root, const char *path, size_t max_size, MoshiError *error);
int moshi_json_parse(JsonNode **root, const char *text, size_t size, const char *label,
    MoshiError *error);
/* NULL when the node holds something else. */
const char *moshi_json_string(JsonNode *node);

/* A file name without any directory, not "." or "..". */
bool moshi_plain_name(const char *name);

/* Where in which file we are, for messages. */
typedef struct {
  const char *label;
  const char *prefix; /* "", or "seanet." and the like */
  MoshiError *error;
} MoshiJsonPlace;

typedef enum {
  MOSHI_FIELD_INT,     /* int, in [min,max] */
  MOSHI_FIELD_FLOAT,   /* double, in [min,max]; integers are fine */
  MOSHI_FIELD_BOOL,    /* bool */
  MOSHI_FIELD_PRESENT, /* bool: not null */
  MOSHI_FIELD_STRING,  /* char[max] */
  MOSHI_FIELD_CHOICE,  /* int: index in `choices` */
  MOSHI_FIELD_CUSTOM,  /* read() */
  MOSHI_FIELD_IGNORED,
} MoshiFieldKind;

typedef struct MoshiField {
  const char *key;
  MoshiFieldKind kind;
  size_t offset; /* in the struct that is filled */
  double min, max;
  bool null; /* null is allowed and leaves the default */
  const char *const *choices;
  int (*read)(const MoshiJsonPlace *place, const char *key, JsonNode *node, void *out);
} MoshiField;

/* Fills `out` from the members of `object`; what is absent stays as it is. An
 * unknown key is an error, or where `lenient` is set, ignored. */
int moshi_json_fields(const MoshiJsonPlace *place, JsonObject *object,
    const MoshiField *fields, size_t n_fields, void *out, bool lenient);
/* The same for the object in a node, whose key becomes the prefix. */
int moshi_json_object(const MoshiJsonPlace *place, const char *key, JsonNode *node,
    const MoshiField *fields, size_t n_fields, void *out, bool lenient);
/* An array of 0 to max integers, each in [min,max]. */
int moshi_json_ints(const MoshiJsonPlace *place, const char *key, JsonNode *node,
    int *values, int *n, int max_n, int min, int max);
/* A complaint about one key. */
int moshi_json_fail(const MoshiJsonPlace *place, MoshiStatus status, const char *key,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
