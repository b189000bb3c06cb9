/* The header of a .mimi file. docs/token-format.md describes it. No GStreamer
 * types: the fuzzer uses it. */
#ifndef MIMI_FILE_H
#define MIMI_FILE_H

#include "mimitokens.h"

G_BEGIN_DECLS

#define MIMI_FILE_MAGIC "\x89MIMI\r\n\x1a"
#define MIMI_FILE_MAGIC_SIZE 8
/* What is needed to learn the header's size. */
#define MIMI_FILE_START_SIZE 12
#define MIMI_FILE_HEADER_SIZE 80        /* of version 1, as written */
#define MIMI_FILE_MAX_HEADER_SIZE 4096
#define MIMI_FILE_MODEL_ID_SIZE 36
#define MIMI_FILE_UNKNOWN G_MAXUINT64

typedef struct
{
  guint version;
  guint header_size;            /* bytes before the first frame */
  guint codebooks, codebook_size;
  guint64 samples;              /* of sound, or MIMI_FILE_UNKNOWN */
  gchar model_id[MIMI_FILE_MODEL_ID_SIZE + 1];  /* "": not told */
} MimiFileHeader;

typedef enum
{
  MIMI_FILE_OK,
  MIMI_FILE_SHORT,              /* *need bytes are needed */
  MIMI_FILE_NOT_MIMI,
  MIMI_FILE_VERSION,            /* header->version is not known here */
  MIMI_FILE_BROKEN              /* *why says what is wrong */
} MimiFileResult;

/* Ignores version and header_size. */
void mimi_file_header_write (const MimiFileHeader * header,
    guint8 data[MIMI_FILE_HEADER_SIZE]);
MimiFileResult mimi_file_header_read (const guint8 * data, gsize size,
    MimiFileHeader * header, gsize * need, const gchar ** why);
/* Bytes of one frame. */
gsize mimi_file_frame_size (const MimiFileHeader * header);

G_END_DECLS

#endif
