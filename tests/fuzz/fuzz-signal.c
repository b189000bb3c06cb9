/* What a visitor sends over /api/webrtc: signals, and the descriptions (SDP) in them.
 * A signal that is read is the same when it is written and read once more. */
#include <string.h>

#include "../../examples/webrtc/description.h"
#include "../../examples/webrtc/signalling.h"
#include "fuzz.h"

static void
check_again(const Signal *signal)
{
  char *json = signal_write(signal);
  Signal again;
  FUZZ_EXPECT(signal_read(&again, json, strlen(json)));
  FUZZ_EXPECT(again.kind == signal->kind && again.line == signal->line);
  FUZZ_EXPECT(strcmp(again.text, signal->text) == 0);
  signal_clear(&again);
  g_free(json);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  Signal signal;
  if (!signal_read(&signal, (const char *)data, size))
    return 0;
  if (size < 8192) /* an escape of each byte still makes a signal of a good size */
    check_again(&signal);
  for (guint media = 1; media <= 2 && signal.kind != SIGNAL_CANDIDATE; media++) {
    GstWebRTCSessionDescription *d =
        description_read(GST_WEBRTC_SDP_TYPE_ANSWER, signal.text, media);
    if (!d)
      continue;
    FUZZ_EXPECT(gst_sdp_message_medias_len(d->sdp) == media);
    gst_webrtc_session_description_free(d);
  }
  signal_clear(&signal);
  return 0;
}
