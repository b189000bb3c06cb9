/* The bytes of a frame of tokens, in both stream formats. docs/token-format.md
 * describes them. No GStreamer types: the fuzzer and the file format use it. */
#ifndef MIMI_TOKENS_H
#define MIMI_TOKENS_H

#include <glib.h>

G_BEGIN_DECLS

#define MIMI_MAX_CODEBOOKS 32
#define MIMI_MAX_CODEBOOK_SIZE 65536
/* Of any frame, in either format. */
#define MIMI_MAX_FRAME_BYTES (MIMI_MAX_CODEBOOKS * 2)

typedef enum
{
  MIMI_STREAM_PACKED,           /* for wires and files */
  MIMI_STREAM_U16               /* for use inside a process */
} MimiStreamFormat;

typedef enum
{
  MIMI_TOKENS_OK,
  MIMI_TOKENS_WRONG_SIZE,       /* not the bytes of one frame */
  MIMI_TOKENS_OUT_OF_RANGE      /* an index ≥ the codebook's size */
} MimiTokensResult;

/* Bits of one packed index: ceil(log2(codebook_size)). */
guint mimi_tokens_bits (guint codebook_size);
/* Bytes of one frame. */
gsize mimi_tokens_size (MimiStreamFormat format, guint codebooks,
    guint codebook_size);
/* codes [codebooks] → data [mimi_tokens_size()] */
void mimi_tokens_write (MimiStreamFormat format, guint codebooks,
    guint codebook_size, const guint16 * codes, guint8 * data);
/* data [size] → codes [codebooks]. Out of range, codes are what was read. */
MimiTokensResult mimi_tokens_read (MimiStreamFormat format, guint codebooks,
    guint codebook_size, const guint8 * data, gsize size, guint16 * codes);

G_END_DECLS

#endif
