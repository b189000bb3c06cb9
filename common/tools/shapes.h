/* Models of known shapes. */
#ifndef MOSHI_SHAPES_H
#define MOSHI_SHAPES_H

typedef struct {
  const char *name, *about;
  const char *mimi; /* mimi_config.json; NULL: the released Mimi */
  const char *lm;   /* config.json; NULL: none */
} Shape;

extern const Shape bench_shapes[]; /* ends with a name of NULL */
const Shape *bench_shape_find(const char *name);

#endif
