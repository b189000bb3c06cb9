/* Caps of Mimi tokens, audio/x-mimi. One buffer is one frame. */
#ifndef GST_MIMI_CAPS_H
#define GST_MIMI_CAPS_H

#include <gst/gst.h>
#include "mimitokens.h"

G_BEGIN_DECLS

#define GST_MIMI_RATE 24000
#define GST_MIMI_FRAME_SAMPLES 1920
#define GST_MIMI_FRAME_DURATION (80 * GST_MSECOND)

#define GST_MIMI_CAPS_FORMAT(formats) \
    "audio/x-mimi, " \
    "rate = (int) 24000, " \
    "channels = (int) 1, " \
    "codebooks = (int) [ 1, 32 ], " \
    "codebook-size = (int) [ 2, 65536 ], " \
    "frame-duration-us = (int) 80000, " \
    "stream-format = (string) " formats ", " \
    "framed = (boolean) true"
#define GST_MIMI_CAPS GST_MIMI_CAPS_FORMAT ("{ packed, u16 }")
#define GST_MIMI_CAPS_PACKED GST_MIMI_CAPS_FORMAT ("packed")
/* A .mimi file, whose header tells the rest. */
#define GST_MIMI_FILE_CAPS "audio/x-mimi, framed = (boolean) false"

/* What fixed caps say. */
typedef struct
{
  MimiStreamFormat stream_format;
  gint codebooks, codebook_size;
  gchar model_id[64];           /* "": not told */
} GstMimiFormat;

/* FALSE when the caps are not complete or out of range. */
gboolean gst_mimi_format_from_caps (GstMimiFormat * format,
    const GstCaps * caps);
GstCaps *gst_mimi_format_to_caps (const GstMimiFormat * format);
gsize gst_mimi_format_frame_size (const GstMimiFormat * format);

G_END_DECLS

#endif
