/* Opus in Ogg (RFC 3533, RFC 6716, RFC 7845), as the clients and servers of
 * Kyutai's protocol write it: any number of packets in a page, packets over
 * pages, granule positions that mean nothing, no end of stream. So the reader
 * takes packets, and their durations from themselves. Pre-skip stays in the
 * sound, as it does with the reference.
 */
#include "oggopus.h"

#include <string.h>

#define PIECE 4096              /* bytes: what the page finder gets at a time */
/* 48 frames of 1275 bytes and their lengths. */
#define MAX_PACKET 61440
#define MAX_PACKET_SAMPLES 5760 /* 120 ms */
/* opusenc's: 6.5 ms. */
#define PRE_SKIP 312
#define HEADER "OpusHead"
#define TAGS "OpusTags"
#define VENDOR "gst-moshi"

/* RFC 6716, table 2: configurations 0 to 11 are SILK, to 15 hybrid, then CELT. */
static guint
frame_samples (guint8 toc)
{
  static const guint silk[] = { 480, 960, 1920, 2880 };
  guint config = toc >> 3;

  if (config < 12)
    return silk[config & 3];
  if (config < 16)
    return config & 1 ? 960 : 480;
  return 120 << (config & 3);
}

guint
opus_packet_samples (const guint8 * data, gsize size)
{
  guint frames;

  if (size == 0)
    return 0;
  switch (data[0] & 3) {
    case 0:
      frames = 1;
      break;
    case 1:
    case 2:
      frames = 2;
      break;
    default:
      if (size < 2)
        return 0;
      frames = data[1] & 0x3f;
      break;
  }
  frames *= frame_samples (data[0]);
  return frames <= MAX_PACKET_SAMPLES ? frames : 0;
}

/* ---- reading ---- */

void
ogg_opus_reader_init (OggOpusReader * reader)
{
  memset (reader, 0, sizeof *reader);
  ogg_sync_init (&reader->sync);
}

void
ogg_opus_reader_clear (OggOpusReader * reader)
{
  ogg_sync_clear (&reader->sync);
  if (reader->in_stream)
    ogg_stream_clear (&reader->stream);
  reader->in_stream = FALSE;
}

static gboolean
begins_with (const guint8 * data, gsize size, const gchar * magic)
{
  return size >= strlen (magic) && memcmp (data, magic, strlen (magic)) == 0;
}

static void
begin_stream (OggOpusReader * reader, int serial)
{
  if (reader->in_stream)
    ogg_stream_reset_serialno (&reader->stream, serial);
  else
    ogg_stream_init (&reader->stream, serial);
  reader->in_stream = TRUE;
}

static void
take_packet (OggOpusReader * reader, const ogg_packet * packet,
    OggOpusFunc func, gpointer user_data)
{
  guint samples;

  if (begins_with (packet->packet, packet->bytes, HEADER)
      || begins_with (packet->packet, packet->bytes, TAGS))
    return;
  samples = packet->bytes <= MAX_PACKET ?
      opus_packet_samples (packet->packet, packet->bytes) : 0;
  if (samples > 0)
    func (packet->packet, packet->bytes, samples, user_data);
  else
    reader->bad++;
}

/* A stream begins with its header's page. Who lost that one is heard, too. */
static void
take_page (OggOpusReader * reader, ogg_page * page, OggOpusFunc func,
    gpointer user_data)
{
  ogg_packet packet;
  int result;

  if (ogg_page_bos (page)) {
    if (!begins_with (page->body, page->body_len, HEADER))
      return;
    begin_stream (reader, ogg_page_serialno (page));
  } else if (!reader->in_stream)
    begin_stream (reader, ogg_page_serialno (page));

  if (ogg_stream_pagein (&reader->stream, page) != 0) {
    reader->bad++;
    return;
  }
  while ((result = ogg_stream_packetout (&reader->stream, &packet)) != 0) {
    if (result > 0)
      take_packet (reader, &packet, func, user_data);
    else
      reader->bad++;
  }
  /* A packet that never ends. */
  if (reader->stream.body_fill - reader->stream.body_returned > MAX_PACKET) {
    reader->bad++;
    ogg_stream_reset (&reader->stream);
  }
}

void
ogg_opus_reader_push (OggOpusReader * reader, const guint8 * data,
    gsize size, OggOpusFunc func, gpointer user_data)
{
  while (size > 0) {
    gsize n = MIN (size, PIECE);
    char *buffer = ogg_sync_buffer (&reader->sync, PIECE);
    ogg_page page;
    int result;

    if (buffer == NULL)
      return;
    memcpy (buffer, data, n);
    ogg_sync_wrote (&reader->sync, n);
    while ((result = ogg_sync_pageout (&reader->sync, &page)) != 0) {
      if (result > 0)
        take_page (reader, &page, func, user_data);
      else
        reader->bad++;
    }
    data += n;
    size -= n;
  }
}

/* ---- writing ---- */

void
ogg_opus_writer_init (OggOpusWriter * writer)
{
  memset (writer, 0, sizeof *writer);
  ogg_stream_init (&writer->stream, g_random_int () & G_MAXINT32);
}

void
ogg_opus_writer_clear (OggOpusWriter * writer)
{
  ogg_stream_clear (&writer->stream);
}

static void
write_page (OggOpusWriter * writer, const guint8 * data, gsize size,
    GByteArray * bytes)
{
  ogg_packet packet = {.packet = (guint8 *) data,.bytes = size,
    .b_o_s = writer->packets == 0,.granulepos = writer->samples,
    .packetno = writer->packets
  };
  ogg_page page;

  writer->packets++;
  ogg_stream_packetin (&writer->stream, &packet);
  while (ogg_stream_flush (&writer->stream, &page)) {
    g_byte_array_append (bytes, page.header, page.header_len);
    g_byte_array_append (bytes, page.body, page.body_len);
  }
}

static void
write_headers (OggOpusWriter * writer, GByteArray * bytes)
{
  /* Version 1, one channel, 48 kHz, no gain, mapping family 0. */
  guint8 head[] = { 'O', 'p', 'u', 's', 'H', 'e', 'a', 'd', 1, 1,
    PRE_SKIP & 255, PRE_SKIP >> 8, 0x80, 0xbb, 0, 0, 0, 0, 0
  };
  guint8 tags[sizeof TAGS - 1 + 4 + sizeof VENDOR - 1 + 4] = TAGS;

  tags[8] = strlen (VENDOR);
  memcpy (tags + 12, VENDOR, strlen (VENDOR));
  write_page (writer, head, sizeof head, bytes);
  write_page (writer, tags, sizeof tags, bytes);
}

void
ogg_opus_writer_push (OggOpusWriter * writer, const guint8 * data,
    gsize size, GByteArray * bytes)
{
  if (writer->packets == 0)
    write_headers (writer, bytes);
  writer->samples += opus_packet_samples (data, size);
  write_page (writer, data, size, bytes);
}
