/* A mimi_config.json that is accepted must describe whole frames. */
#include "files/config.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  MoshiError error = {0};
  MimiConfig c;
  if (mimi_config_parse(&c, (const char *)data, size, "fuzz", &error) < 0) {
    FUZZ_EXPECT(error.status < 0 && error.message[0]);
    return 0;
  }
  int hop = 1;
  FUZZ_EXPECT(c.n_ratios >= 1 && c.n_ratios <= MOSHI_MAX_RATIOS);
  for (int i = 0; i < c.n_ratios; i++)
    hop *= c.ratios[i];
  FUZZ_EXPECT(hop * c.steps == c.frame_size);
  FUZZ_EXPECT(c.n_filters % c.compress == 0);
  FUZZ_EXPECT(c.transformer.dim == c.dimension);
  FUZZ_EXPECT(c.transformer.dim % c.transformer.n_heads == 0);
  FUZZ_EXPECT(c.transformer.context >= c.steps && c.transformer.hidden > 0);
  FUZZ_EXPECT(c.n_q >= 2 && c.n_q <= MOSHI_MAX_CODEBOOKS && c.bins > 0 && c.q_dim > 0);
  return 0;
}
