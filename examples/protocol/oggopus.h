#ifndef OGGOPUS_H
#define OGGOPUS_H

#include <glib.h>
#include <ogg/ogg.h>

G_BEGIN_DECLS

#define OPUS_CLOCK 48000        /* samples a second, whatever was encoded */

/* Samples of a packet, 0 when it is not one of Opus. */
guint opus_packet_samples (const guint8 * data, gsize size);

/* Called for every packet of sound. */
typedef void (*OggOpusFunc) (const guint8 * data, gsize size, guint samples,
    gpointer user_data);

/* Packets out of an Ogg stream that arrives in pieces of any size. What is
 * wrong in it is left out: the reader never fails. */
typedef struct
{
  ogg_sync_state sync;
  ogg_stream_state stream;
  gboolean in_stream;
  guint64 bad;                  /* packets and stretches of bytes left out */
} OggOpusReader;

void ogg_opus_reader_init (OggOpusReader * reader);
void ogg_opus_reader_clear (OggOpusReader * reader);
void ogg_opus_reader_push (OggOpusReader * reader, const guint8 * data,
    gsize size, OggOpusFunc func, gpointer user_data);

/* An Ogg stream of packets, a page for each, so that none waits for another. */
typedef struct
{
  ogg_stream_state stream;
  gint64 samples;
  gint64 packets;
} OggOpusWriter;

void ogg_opus_writer_init (OggOpusWriter * writer);
void ogg_opus_writer_clear (OggOpusWriter * writer);
/* Appends the packet's page to bytes, with the pages of the headers before the
 * first one. */
void ogg_opus_writer_push (OggOpusWriter * writer, const guint8 * data,
    gsize size, GByteArray * bytes);

G_END_DECLS

#endif
