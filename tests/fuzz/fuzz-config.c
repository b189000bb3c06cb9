/* A config.json that is accepted must have sizes that fit together. */
#include "files/config.h"
#include "fuzz.h"

static void
check_transformer(const MoshiTransformerConfig *t)
{
  FUZZ_EXPECT(t->dim > 0 && t->n_heads > 0 && t->dim % t->n_heads == 0);
  FUZZ_EXPECT(t->kv_repeat > 0 && t->n_heads % t->kv_repeat == 0);
  FUZZ_EXPECT(t->n_layers > 0 && t->hidden > 0 && t->context > 0);
  FUZZ_EXPECT(t->max_period >= 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  MoshiError error = {0};
  MoshiLmConfig *c = moshi_lm_config_parse((const char *)data, size, "fuzz", &error);
  if (!c) {
    FUZZ_EXPECT(error.status < 0 && error.message[0]);
    return 0;
  }
  check_transformer(&c->main);
  FUZZ_EXPECT(c->n_q >= 1 && c->n_q <= MOSHI_MAX_CODEBOOKS);
  FUZZ_EXPECT(c->dep_q >= 0 && c->dep_q <= c->n_q);
  for (int i = 0; i <= c->n_q; i++)
    FUZZ_EXPECT(c->delays[i] >= 0 && c->delays[i] <= c->max_delay);
  if (c->dep_q) {
    check_transformer(&c->depth);
    FUZZ_EXPECT(c->n_sets >= 1 && c->n_sets <= MOSHI_MAX_CODEBOOKS);
    for (int i = 0; i < c->dep_q; i++)
      FUZZ_EXPECT(c->schedule[i] >= 0 &&
                  (!c->weights_per_step || c->schedule[i] < c->n_sets) &&
                  (!c->multi_linear || c->schedule[i] < c->n_in_sets));
    for (int i = 0; i < c->n_sets; i++)
      FUZZ_EXPECT(c->depth_hidden[i] > 0);
  }
  for (int i = 0; i < c->n_sum; i++)
    FUZZ_EXPECT(c->sum[i] < c->n_conditioners);
  for (int i = 0; i < c->n_cross; i++)
    FUZZ_EXPECT(c->cross[i] < c->n_conditioners);
  moshi_lm_config_free(c);
  return 0;
}
