/* Golden vectors of the language model (tests/vectors/README.md) and runs to
 * hold against them. */
#ifndef TEST_LM_VECTORS_H
#define TEST_LM_VECTORS_H

#include <glib.h>

#include "files/checkpoint.h"
#include "moshi.h"

#define MAX_TEST_CONDITIONS 4

/* tests/vectors/CHECKPOINT, tests/vectors/CHECKPOINT.VECTOR.safetensors */
typedef struct {
  const char *checkpoint, *vector;
  float cfg_coef;                                 /* 0: none */
  const char *conditions[MAX_TEST_CONDITIONS][2]; /* name, value */
  const char *model; /* the directory of its files where that is another one */
  bool integers;     /* its weights, so that activations may be rounded (kernels.h) */
} LmCase;

extern const LmCase lm_cases[];
extern const int n_lm_cases;
/* The path of its test below `parent`. */
char *lm_case_path(const char *parent, const LmCase *c);

typedef struct {
  MoshiModel *model;
  MoshiCheckpoint *file;
  int steps, n_user, n_own, logit_steps;
  int32_t *user, *text, *audio, *out; /* audio NULL without a depth transformer */
  float *text_logits, *audio_logits, *hidden, *extra_heads;
  int n_conditions;
  MoshiCondition conditions[MAX_TEST_CONDITIONS];
  float cfg_coef;
  bool integers;
} LmVector;

/* Of all these models: MOSHI_TEST_DEVICE, or "cpu". MOSHI_TEST_STEPS cuts the vectors
 * short, where each step takes long. */
const char *test_device(void);
/* A model of the vectors' directory, or at an absolute path, loaded. */
MoshiModel *open_test_model(const char *name, int threads);
/* A temporary directory with the checkpoint's files and `old` replaced by `new` in
 * its configuration, where it stands once. */
char *copy_test_model(const char *checkpoint, const char *old, const char *new);
void remove_test_model(char *dir); /* and frees its name */
/* Aborts the test on any failure. threads: of the model. */
LmVector *open_lm_vector(const LmCase *c, int threads);
void close_lm_vector(LmVector *v);
/* Greedy, batch 1, the vector's conditions. */
MoshiSessionOptions lm_vector_options(const LmVector *v);

/* A tensor's elements, to be freed with g_free; NULL where there is none.
 * Widens F16, BF16 and I16. */
int32_t *read_ints(const MoshiCheckpoint *file, const char *name, int64_t dims[]);
float *read_floats(const MoshiCheckpoint *file, const char *name, int64_t dims[]);

#endif
