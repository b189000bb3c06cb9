/* What a checkpoint's codebooks tell before any weight is loaded: how many there
 * are, and which codec's codes they are. */
#include <stdio.h>
#include <string.h>

#include "mimi.h"
#include "nn/rvq.h"

#define ID_CODEBOOKS 8 /* the first ones say enough */

/* Codebook 0 is rvq_first's only level; the others are rvq_rest's. */
static const MoshiTensor *
find(const MoshiCheckpoint *checkpoint, int codebook, const char *const *variants)
{
  MoshiNames names;
  MoshiTensorPiece pieces[MOSHI_MAX_PIECES];
  char name[128];
  moshi_names_of_mimi(&names, checkpoint, NULL);
  for (; *variants; variants++) {
    snprintf(name, sizeof name, "quantizer.%s.vq.layers.%d._codebook.%s",
        codebook ? "rvq_rest" : "rvq_first", codebook ? codebook - 1 : 0, *variants);
    moshi_names_locate(&names, checkpoint, name, pieces);
    if (moshi_checkpoint_has(checkpoint, pieces[0].name))
      return moshi_checkpoint_find(checkpoint, pieces[0].name);
  }
  return NULL;
}

int
mimi_count_codebooks(const MoshiCheckpoint *checkpoint)
{
  int n = 0;
  while (n < MOSHI_MAX_CODEBOOKS && find(checkpoint, n, moshi_codebook_sums))
    n++;
  return n;
}

/* FNV-1a over 64-bit words, whose high halves are folded down after each. */
static uint64_t
hash(uint64_t h, const void *data, size_t bytes)
{
  const unsigned char *p = data;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, p + i, bytes - i < 8 ? bytes - i : 8);
    h = (h ^ word) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
  }
  return h;
}

void
mimi_codec_id(const MoshiCheckpoint *checkpoint, char id[17])
{
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  const char *const *kinds[] = {moshi_codebook_sums, moshi_codebook_usages};
  for (int i = 0; i < ID_CODEBOOKS; i++)
    for (size_t j = 0; j < 2; j++) {
      const MoshiTensor *t = find(checkpoint, i, kinds[j]);
      if (t)
        h = hash(h, t->data, t->bytes);
    }
  snprintf(id, 17, "%016llx", (unsigned long long)h);
}
