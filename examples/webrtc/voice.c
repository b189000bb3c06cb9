/* Between samples and RTP packets of Opus. */
#include "voice.h"

#define STRING_(x) #x
#define STRING(x) STRING_ (x)
#define RAW "audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate=" \
  STRING (VOICE_RATE)
/* Packets of 20 ms, so that one lost is little. What nobody takes for a second
 * is dropped. */
#define OUT "appsrc name=out caps=" RAW " is-live=true format=time " \
  "max-bytes=0 max-buffers=0 max-time=1000000000 leaky-type=downstream " \
  "! opusenc audio-type=voice bitrate=32000 frame-size=20 ! rtpopuspay pt=96 " \
  "! application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000," \
  "encoding-params=(string)2,payload=96"
/* A packet that is none of Opus is concealed as a lost one is. */
#define IN "rtpopusdepay ! opusdec plc=true max-errors=-1 ! audioconvert " \
  "! audioresample ! " RAW " ! appsink name=in sync=false async=false " \
  "max-buffers=100 drop=true"

#define MAX_HOLE (500 * GST_MSECOND)

GstElement *
voice_out_new (GstAppSrc ** source)
{
  GstElement *bin = gst_parse_bin_from_description (OUT, TRUE, NULL);

  *source = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (bin), "out"));
  return bin;
}

void
voice_push (GstAppSrc * source, GstClockTime * time, GstBuffer * samples)
{
  GstClockTime now =
      gst_element_get_current_running_time (GST_ELEMENT (source));

  if (GST_CLOCK_TIME_IS_VALID (now) && now > *time + MAX_HOLE)
    *time = now;
  GST_BUFFER_PTS (samples) = *time;
  GST_BUFFER_DURATION (samples) =
      gst_util_uint64_scale (gst_buffer_get_size (samples) / 2, GST_SECOND,
      VOICE_RATE);
  *time += GST_BUFFER_DURATION (samples);
  gst_app_src_push_buffer (source, samples);
}

GstElement *
voice_in_new (TapFunc func, gpointer user_data, GDestroyNotify free)
{
  GstElement *bin = gst_parse_bin_from_description (IN, TRUE, NULL);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (bin), "in");

  tap (sink, func, user_data, free);
  gst_object_unref (sink);
  return bin;
}
