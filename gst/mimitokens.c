/* Tokens to bytes and back. */
#include "mimitokens.h"

guint
mimi_tokens_bits (guint codebook_size)
{
  return g_bit_storage (codebook_size - 1);
}

gsize
mimi_tokens_size (MimiStreamFormat format, guint codebooks, guint codebook_size)
{
  if (format == MIMI_STREAM_U16)
    return codebooks * 2;
  return (codebooks * mimi_tokens_bits (codebook_size) + 7) / 8;
}

/* Most significant bit first; what is left of the last byte is 0. */
static void
pack (guint bits, guint codebooks, const guint16 * codes, guint8 * data)
{
  guint32 pending = 0;
  guint n = 0;

  for (guint i = 0; i < codebooks; i++) {
    pending = pending << bits | codes[i];
    for (n += bits; n >= 8; n -= 8)
      *data++ = pending >> (n - 8);
  }
  if (n)
    *data = pending << (8 - n);
}

static void
unpack (guint bits, guint codebooks, const guint8 * data, guint16 * codes)
{
  guint32 pending = 0;
  guint n = 0;

  for (guint i = 0; i < codebooks; i++) {
    for (; n < bits; n += 8)
      pending = pending << 8 | *data++;
    n -= bits;
    codes[i] = pending >> n & ((1u << bits) - 1);
  }
}

void
mimi_tokens_write (MimiStreamFormat format, guint codebooks,
    guint codebook_size, const guint16 * codes, guint8 * data)
{
  if (format == MIMI_STREAM_PACKED) {
    pack (mimi_tokens_bits (codebook_size), codebooks, codes, data);
    return;
  }
  for (guint i = 0; i < codebooks; i++) {
    data[2 * i] = codes[i] & 0xff;
    data[2 * i + 1] = codes[i] >> 8;
  }
}

MimiTokensResult
mimi_tokens_read (MimiStreamFormat format, guint codebooks,
    guint codebook_size, const guint8 * data, gsize size, guint16 * codes)
{
  if (size != mimi_tokens_size (format, codebooks, codebook_size))
    return MIMI_TOKENS_WRONG_SIZE;

  if (format == MIMI_STREAM_PACKED)
    unpack (mimi_tokens_bits (codebook_size), codebooks, data, codes);
  else
    for (guint i = 0; i < codebooks; i++)
      codes[i] = data[2 * i] | data[2 * i + 1] << 8;

  for (guint i = 0; i < codebooks; i++)
    if (codes[i] >= codebook_size)
      return MIMI_TOKENS_OUT_OF_RANGE;
  return MIMI_TOKENS_OK;
}
