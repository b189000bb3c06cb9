/* Two pipelines: here, with what is captured and what is played, and reply, in
 * which the other side's packets are decoded. Between the two is a Playback,
 * for the network delivers as it likes.
 */
#include "sound.h"

#include <gio/gio.h>
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>

#include "../devices.h"
#include "playback.h"

#define ENCODE "! audioconvert " \
  "! opusenc audio-type=voice frame-size=20 bitrate=32000 "
#define MONO "audio/x-raw,format=F32LE,layout=interleaved,rate=24000,channels=1"

/* As examples/talk.c, which says why. */
#define MICROPHONE \
  "autoaudiosrc ! audioconvert ! audioresample " \
  "! audio/x-raw,format=S16LE,rate=48000,channels=1 ! queue %s" \
  "! audioconvert ! audioresample ! " MONO " " ENCODE \
  "! appsink name=packets sync=false "
#define CANCEL_ECHO \
  "! webrtcdsp gain-control=false noise-suppression=false " \
  "delay-agnostic=true extended-filter=true echo-suppression-level=high "
#define ECHO_PROBE "! webrtcechoprobe "
#define LOUDSPEAKER \
  "appsrc name=player is-live=true format=time max-bytes=1920 caps=" MONO " " \
  "! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1 " \
  "! audiobuffersplit output-buffer-duration=1/100 %s! queue ! autoaudiosink "
/* The clock lets the packets go when their time has come. */
#define QUESTION \
  "concat name=all " ENCODE "! appsink name=packets sync=true " \
  "filesrc name=in ! decodebin ! audioconvert ! audioresample ! " MONO \
  " ! queue ! all.sink_0 " \
  "audiotestsrc wave=silence samplesperbuffer=480 ! " MONO " ! all.sink_1 "

#define DECODE \
  "appsrc name=opus format=time " \
  "caps=audio/x-opus,channel-mapping-family=0,channels=1,rate=48000 " \
  "! opusdec ! audioconvert ! audioresample ! " MONO " "
#define TO_PLAYBACK DECODE "! appsink name=decoded sync=false"
#define TO_FILE \
  DECODE "! audioconvert dithering=none ! audio/x-raw,format=S16LE " \
  "! wavenc ! filesink name=out"

#define PIECE (PLAYBACK_RATE / 100)     /* samples */

struct _Sound
{
  SoundFuncs funcs;
  gpointer user_data;
  GstElement *here, *reply;
  GstAppSrc *opus;
  gboolean to_file;
  GstClockTime heard;

  GMutex lock;                  /* playback */
  Playback playback;
  GstClockTime played;          /* of the player's thread */
};

/* ---- to the main loop ---- */

typedef struct
{
  Sound *self;
  GBytes *bytes;
} Delivery;

static gboolean
deliver (gpointer user_data)
{
  Delivery *d = user_data;

  d->self->funcs.packet (d->bytes, d->self->user_data);
  return G_SOURCE_REMOVE;
}

static void
delivery_free (gpointer user_data)
{
  Delivery *d = user_data;

  g_bytes_unref (d->bytes);
  g_free (d);
}

static GstFlowReturn
on_packet (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  Delivery *d;
  gpointer data;
  gsize size;

  if (!sample)
    return GST_FLOW_EOS;
  gst_buffer_extract_dup (gst_sample_get_buffer (sample), 0, -1, &data, &size);
  gst_sample_unref (sample);
  d = g_new0 (Delivery, 1);
  d->self = user_data;
  d->bytes = g_bytes_new_take (data, size);
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, deliver, d,
      delivery_free);
  return GST_FLOW_OK;
}

static gboolean
tell_asked (gpointer user_data)
{
  Sound *self = user_data;

  self->funcs.asked (self->user_data);
  return G_SOURCE_REMOVE;
}

static GstPadProbeReturn
on_question_event (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS)
    g_main_context_invoke (NULL, tell_asked, user_data);
  return GST_PAD_PROBE_OK;
}

/* ---- playback ---- */

static GstFlowReturn
on_decoded (GstAppSink * sink, gpointer user_data)
{
  Sound *self = user_data;
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstMapInfo map;

  if (!sample)
    return GST_FLOW_EOS;
  if (gst_buffer_map (gst_sample_get_buffer (sample), &map, GST_MAP_READ)) {
    g_mutex_lock (&self->lock);
    playback_push (&self->playback, (const gfloat *) map.data,
        map.size / sizeof (gfloat));
    g_mutex_unlock (&self->lock);
    gst_buffer_unmap (gst_sample_get_buffer (sample), &map);
  }
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

/* The loudspeaker asks, at its own speed. */
static void
on_need_data (GstAppSrc * player, guint length, gpointer user_data)
{
  Sound *self = user_data;
  gfloat *samples = g_new (gfloat, PIECE);
  GstBuffer *buffer;

  g_mutex_lock (&self->lock);
  playback_pull (&self->playback, samples, PIECE);
  g_mutex_unlock (&self->lock);

  if (!GST_CLOCK_TIME_IS_VALID (self->played))
    self->played = gst_element_get_current_running_time (self->here);
  if (!GST_CLOCK_TIME_IS_VALID (self->played))
    self->played = 0;
  buffer = gst_buffer_new_wrapped (samples, PIECE * sizeof *samples);
  GST_BUFFER_PTS (buffer) = self->played;
  GST_BUFFER_DURATION (buffer) = GST_SECOND * PIECE / PLAYBACK_RATE;
  self->played += GST_BUFFER_DURATION (buffer);
  gst_app_src_push_buffer (player, buffer);
}

/* ---- messages ---- */

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Sound *self = user_data;
  GError *error;
  gchar *text;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    text = g_strdup_printf ("%s: %s", GST_MESSAGE_SRC_NAME (message),
        error->message);
    g_error_free (error);
    self->funcs.failed (text, self->user_data);
    g_free (text);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_LATENCY)
    gst_bin_recalculate_latency (GST_BIN (self->here));
  else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS
      && GST_MESSAGE_SRC (message) == GST_OBJECT (self->reply))
    self->funcs.written (self->user_data);
  return G_SOURCE_CONTINUE;
}

static void
watch (Sound * self, GstElement * pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);

  gst_bus_add_watch (bus, on_message, self);
  gst_object_unref (bus);
}

/* ---- putting it together ---- */

static gboolean
have_element (const gchar * name)
{
  GstElementFactory *factory = gst_element_factory_find (name);

  if (factory)
    gst_object_unref (factory);
  return factory != NULL;
}

static gchar *
describe_here (const gchar * in, const gchar * out)
{
  gboolean cancel = !in && !out && have_element ("webrtcdsp");
  gchar *microphone = g_strdup_printf (MICROPHONE, cancel ? CANCEL_ECHO : "");
  gchar *loudspeaker = g_strdup_printf (LOUDSPEAKER, cancel ? ECHO_PROBE : "");
  gchar *all = g_strconcat (in ? QUESTION : microphone,
      out ? "" : loudspeaker, NULL);

  if (!in && !out && !cancel)
    g_printerr ("Without the element webrtcdsp there is no echo cancelling: "
        "take a headset\n");
  g_free (microphone);
  g_free (loudspeaker);
  return all;
}

static void
set_location (GstElement * pipeline, const gchar * name,
    const gchar * location)
{
  GstElement *element = gst_bin_get_by_name (GST_BIN (pipeline), name);

  g_object_set (element, "location", location, NULL);
  gst_object_unref (element);
}

static void
connect_sink (Sound * self, GstElement * pipeline, const gchar * name,
    GstFlowReturn (*new_sample) (GstAppSink *, gpointer))
{
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), name);
  GstAppSinkCallbacks callbacks = {.new_sample = new_sample };

  gst_app_sink_set_callbacks (GST_APP_SINK (sink), &callbacks, self, NULL);
  gst_object_unref (sink);
}

static void
connect_question (Sound * self)
{
  GstElement *all = gst_bin_get_by_name (GST_BIN (self->here), "all");
  GstPad *pad = gst_element_get_static_pad (all, "sink_0");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_question_event, self, NULL);
  gst_object_unref (pad);
  gst_object_unref (all);
}

static void
connect_player (Sound * self)
{
  GstElement *player = gst_bin_get_by_name (GST_BIN (self->here), "player");
  GstAppSrcCallbacks callbacks = {.need_data = on_need_data };

  keep_playback_short (self->here);
  gst_app_src_set_callbacks (GST_APP_SRC (player), &callbacks, self, NULL);
  gst_object_unref (player);
}

Sound *
sound_new (const gchar * in, const gchar * out, const SoundFuncs * funcs,
    gpointer user_data, GError ** error)
{
  Sound *self = g_new0 (Sound, 1);
  gchar *here = describe_here (in, out);

  self->funcs = *funcs;
  self->user_data = user_data;
  self->to_file = out != NULL;
  self->played = GST_CLOCK_TIME_NONE;
  g_mutex_init (&self->lock);
  playback_init (&self->playback);
  self->here = gst_parse_launch (here, error);
  if (!*error)
    self->reply = gst_parse_launch (out ? TO_FILE : TO_PLAYBACK, error);
  g_free (here);
  if (*error) {
    sound_free (self);
    return NULL;
  }

  self->opus = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (self->reply),
          "opus"));
  connect_sink (self, self->here, "packets", on_packet);
  if (in) {
    set_location (self->here, "in", in);
    connect_question (self);
  }
  if (out)
    set_location (self->reply, "out", out);
  else {
    connect_sink (self, self->reply, "decoded", on_decoded);
    connect_player (self);
  }
  watch (self, self->here);
  watch (self, self->reply);
  return self;
}

void
sound_start (Sound * self)
{
  gst_element_set_state (self->reply, GST_STATE_PLAYING);
  gst_element_set_state (self->here, GST_STATE_PLAYING);
}

void
sound_push (Sound * self, const guint8 * opus, gsize size,
    GstClockTime duration)
{
  GstBuffer *buffer = gst_buffer_new_memdup (opus, size);

  GST_BUFFER_PTS (buffer) = self->heard;
  GST_BUFFER_DURATION (buffer) = duration;
  self->heard += duration;
  gst_app_src_push_buffer (self->opus, buffer);
}

void
sound_finish (Sound * self)
{
  gst_element_set_state (self->here, GST_STATE_NULL);
  if (self->to_file && self->heard > 0)
    gst_app_src_end_of_stream (self->opus);
  else
    self->funcs.written (self->user_data);
}

void
sound_get_lag (Sound * self, gdouble * skipped, gdouble * missed)
{
  g_mutex_lock (&self->lock);
  *skipped = self->playback.skipped / (gdouble) PLAYBACK_RATE;
  *missed = self->playback.missed / (gdouble) PLAYBACK_RATE;
  g_mutex_unlock (&self->lock);
}

static void
end (GstElement * pipeline)
{
  GstBus *bus;

  if (!pipeline)
    return;
  bus = gst_element_get_bus (pipeline);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

void
sound_free (Sound * self)
{
  g_clear_pointer (&self->opus, gst_object_unref);
  end (self->here);
  end (self->reply);
  playback_clear (&self->playback);
  g_mutex_clear (&self->lock);
  g_free (self);
}
