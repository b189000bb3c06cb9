/* What a caller sends over /api/chat: messages, and the Ogg/Opus in them. An
 * input is messages with their lengths (u16) in front; pages get a right checksum,
 * or nothing would come past it. Packets that come out are of Opus, and come out
 * again when they are written and read once more. */
#include <string.h>

#include "../../examples/protocol/message.h"
#include "../../examples/protocol/oggopus.h"
#include "fuzz.h"

#define MAX_HELD (1 << 20) /* bytes that a reader may keep */

typedef struct {
  OggOpusWriter writer;
  OggOpusReader again;
  const guint8 *packet;
  gsize size;
  guint packets;
} Echo;

static void
on_echo(const guint8 *data, gsize size, guint samples, gpointer user_data)
{
  Echo *echo = user_data;
  (void)samples;
  FUZZ_EXPECT(size == echo->size && memcmp(data, echo->packet, size) == 0);
  echo->packets++;
}

static void
on_packet(const guint8 *data, gsize size, guint samples, gpointer user_data)
{
  Echo *echo = user_data;
  FUZZ_EXPECT(size > 0 && samples >= 120 && samples <= 5760);
  GByteArray *bytes = g_byte_array_new();
  guint before = echo->packets;
  ogg_opus_writer_push(&echo->writer, data, size, bytes);
  echo->packet = data;
  echo->size = size;
  ogg_opus_reader_push(&echo->again, bytes->data, bytes->len, on_echo, echo);
  FUZZ_EXPECT(echo->packets == before + 1);
  g_byte_array_unref(bytes);
}

static void
correct_checksums(guint8 *data, gsize size)
{
  for (gsize at = 0; at + 27 <= size; at++) {
    if (memcmp(data + at, "OggS", 4) != 0)
      continue;
    guint segments = data[at + 26];
    gsize header = 27 + segments, body = 0;
    if (at + header > size)
      return;
    for (guint i = 0; i < segments; i++)
      body += data[at + 27 + i];
    if (at + header + body > size)
      return;
    ogg_page page = {data + at, header, data + at + header, body};
    ogg_page_checksum_set(&page);
    at += header + body - 1;
  }
}

static void
take_message(OggOpusReader *reader, Echo *echo, const guint8 *data, gsize size)
{
  Message message;
  if (!message_read(&message, data, size))
    return;
  FUZZ_EXPECT(message.kind < MESSAGE_KINDS && message.data >= data + 1 &&
              message.data + message.size == data + size);
  if (message.kind == MESSAGE_TEXT || message.kind == MESSAGE_COLOURED_TEXT)
    FUZZ_EXPECT(g_utf8_validate_len((const char *)message.data, message.size, NULL));
  GBytes *bytes = message_new(message.kind, message.data, message.size);
  FUZZ_EXPECT(g_bytes_get_size(bytes) == message.size + 1);
  g_bytes_unref(bytes);
  if (message.kind == MESSAGE_AUDIO)
    ogg_opus_reader_push(reader, message.data, message.size, on_packet, echo);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  OggOpusReader reader;
  Echo echo = {.packets = 0};
  ogg_opus_reader_init(&reader);
  ogg_opus_reader_init(&echo.again);
  ogg_opus_writer_init(&echo.writer);
  while (size >= 2) {
    gsize n = MIN((gsize)(data[0] | data[1] << 8), size - 2);
    guint8 *message = g_memdup2(data + 2, n);
    correct_checksums(message, n);
    take_message(&reader, &echo, message, n);
    FUZZ_EXPECT(reader.sync.storage <= MAX_HELD);
    FUZZ_EXPECT(!reader.in_stream || reader.stream.body_storage <= MAX_HELD);
    g_free(message);
    data += 2 + n;
    size -= 2 + n;
  }
  ogg_opus_reader_clear(&reader);
  ogg_opus_reader_clear(&echo.again);
  ogg_opus_writer_clear(&echo.writer);
  return 0;
}
