/* phone: Moshi answers a telephone's sound.
 *
 *   phone --listen 5004 [--codec pcmu|pcma] [--to HOST:PORT]
 *
 * G.711 in RTP, as a SIP gateway or a PBX sends it once a call is set up (the
 * signalling is theirs). Its answer goes to where the call comes from, from the
 * port it listens at, unless --to names another place. What Moshi says is
 * printed. When nothing has come for two seconds the caller has hung up, and
 * Moshi forgets the call: the next one starts anew.
 */
#include <glib-unix.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/net/gstnetaddressmeta.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A telephone has 8 kHz and packets of 20 ms. 60 ms of jitter buffer suit a
 * network of one's own. G.711 conceals nothing: a lost packet is a hole, which
 * mimienc fills with silence, and Moshi's clock goes on. Its voice comes in
 * pieces of 80 ms; the payloader cuts them to what a telephone expects. */
#define PIPELINE \
  "udpsrc name=in timeout=2000000000 caps=\"application/x-rtp, media=audio, " \
  "clock-rate=8000, encoding-name=%s, payload=%d\" " \
  "! rtpjitterbuffer latency=60 do-lost=true ! rtp%sdepay ! %sdec " \
  "! audioconvert ! audioresample ! mimienc ! moshilm name=moshi " \
  "! mimidec ! audioconvert ! audioresample " \
  "! audio/x-raw,format=S16LE,rate=8000,channels=1 ! %senc " \
  "! rtp%spay min-ptime=20000000 max-ptime=20000000 " \
  "! udpsink name=out host=127.0.0.1 async=false " \
  "moshi.text_src ! queue ! appsink name=words sync=false async=false"

static const struct
{
  const gchar *name, *encoding, *coder;
  gint payload;
} codecs[] = {
  {"pcmu", "PCMU", "mulaw", 0},
  {"pcma", "PCMA", "alaw", 8},
};

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline, *in, *out;
  gboolean in_call;             /* of the main thread */
  gint answered;                /* of the call, where to; atomic */
  int status;
} Phone;

static gint port = 5004;
static gchar *codec, *to;

static GstFlowReturn
on_words (GstAppSink * sink, gpointer user_data)
{
  GstSample *sample = gst_app_sink_pull_sample (sink);
  GstMapInfo map;

  if (!sample)
    return GST_FLOW_EOS;
  if (gst_buffer_map (gst_sample_get_buffer (sample), &map, GST_MAP_READ)) {
    g_print ("%.*s ", (int) map.size, (const char *) map.data);
    gst_buffer_unmap (gst_sample_get_buffer (sample), &map);
  }
  gst_sample_unref (sample);
  return GST_FLOW_OK;
}

/* The first packet of a call says where the caller is. */
static GstPadProbeReturn
on_packet (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  Phone *phone = user_data;
  GstNetAddressMeta *meta =
      gst_buffer_get_net_address_meta (GST_PAD_PROBE_INFO_BUFFER (info));
  GInetSocketAddress *address;
  gchar *host;

  if (!meta || !g_atomic_int_compare_and_exchange (&phone->answered, 0, 1))
    return GST_PAD_PROBE_OK;
  address = G_INET_SOCKET_ADDRESS (meta->addr);
  host = g_inet_address_to_string (g_inet_socket_address_get_address (address));
  if (!to)
    g_object_set (phone->out, "host", host, "port",
        (gint) g_inet_socket_address_get_port (address), NULL);
  gst_element_post_message (phone->pipeline,
      gst_message_new_application (GST_OBJECT (phone->pipeline),
          gst_structure_new ("call", "host", G_TYPE_STRING, host, NULL)));
  g_free (host);
  return GST_PAD_PROBE_OK;
}

/* Down to READY and up again: the model stays loaded, the conversation and the
 * clock of the call's packets are gone. */
static void
hang_up (Phone * phone)
{
  phone->in_call = FALSE;
  gst_element_set_state (phone->pipeline, GST_STATE_READY);
  g_print ("\n- hung up\n");
  g_atomic_int_set (&phone->answered, 0);
  gst_element_set_state (phone->pipeline, GST_STATE_PLAYING);
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Phone *phone = user_data;
  const GstStructure *s = gst_message_get_structure (message);

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error;

    gst_message_parse_error (message, &error, NULL);
    g_printerr ("%s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
    g_error_free (error);
    phone->status = 1;
    g_main_loop_quit (phone->loop);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_LATENCY) {
    gst_bin_recalculate_latency (GST_BIN (phone->pipeline));
  } else if (gst_message_has_name (message, "call")) {
    phone->in_call = TRUE;
    g_print ("- %s calls\n", gst_structure_get_string (s, "host"));
  } else if (gst_message_has_name (message, "GstUDPSrcTimeout")
      && phone->in_call) {
    hang_up (phone);
  }
  return TRUE;
}

static gboolean
on_interrupt (gpointer user_data)
{
  g_main_loop_quit (((Phone *) user_data)->loop);
  return G_SOURCE_CONTINUE;
}

/* One socket for both ways: a caller behind a router gets the answer through
 * the hole that his own packets made. */
static gboolean
share_socket (Phone * phone)
{
  GError *error = NULL;
  GSocket *socket = g_socket_new (G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_DATAGRAM,
      G_SOCKET_PROTOCOL_UDP, &error);
  GInetAddress *any = g_inet_address_new_any (G_SOCKET_FAMILY_IPV4);
  GSocketAddress *address = g_inet_socket_address_new (any, port);
  gboolean ok = socket && g_socket_bind (socket, address, TRUE, &error);

  if (ok) {
    g_object_set (phone->in, "socket", socket, "close-socket", FALSE, NULL);
    g_object_set (phone->out, "socket", socket, "close-socket", FALSE, NULL);
  } else {
    g_printerr ("Port %d: %s\n", port, error->message);
    g_error_free (error);
  }
  g_object_unref (address);
  g_object_unref (any);
  g_clear_object (&socket);
  return ok;
}

static gboolean
set_destination (Phone * phone)
{
  gchar *colon = to ? strrchr (to, ':') : NULL;

  if (!to)
    return TRUE;
  if (!colon || atoi (colon + 1) <= 0) {
    g_printerr ("--to %s: HOST:PORT is wanted\n", to);
    return FALSE;
  }
  *colon = '\0';
  g_object_set (phone->out, "host", to, "port", atoi (colon + 1), NULL);
  return TRUE;
}

static gboolean
build (Phone * phone)
{
  GstAppSinkCallbacks callbacks = {.new_sample = on_words };
  GError *error = NULL;
  gchar *description;
  GstElement *words;
  GstPad *pad;
  guint i = 0;

  while (codec && i < G_N_ELEMENTS (codecs) && strcmp (codec, codecs[i].name))
    i++;
  if (i == G_N_ELEMENTS (codecs)) {
    g_printerr ("--codec %s: pcmu or pcma is wanted\n", codec);
    return FALSE;
  }
  description = g_strdup_printf (PIPELINE, codecs[i].encoding,
      codecs[i].payload, codecs[i].name, codecs[i].coder, codecs[i].coder,
      codecs[i].name);
  phone->pipeline = gst_parse_launch (description, &error);
  g_free (description);
  if (error) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  phone->in = gst_bin_get_by_name (GST_BIN (phone->pipeline), "in");
  phone->out = gst_bin_get_by_name (GST_BIN (phone->pipeline), "out");
  words = gst_bin_get_by_name (GST_BIN (phone->pipeline), "words");
  gst_app_sink_set_callbacks (GST_APP_SINK (words), &callbacks, phone, NULL);
  gst_object_unref (words);
  pad = gst_element_get_static_pad (phone->in, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_packet, phone, NULL);
  gst_object_unref (pad);
  return share_socket (phone) && set_destination (phone);
}

static const GOptionEntry options[] = {
  {"listen", 0, 0, G_OPTION_ARG_INT, &port, "UDP port (default 5004)", "PORT"},
  {"codec", 0, 0, G_OPTION_ARG_STRING, &codec,
      "pcmu (default) or pcma, both ways", "CODEC"},
  {"to", 0, 0, G_OPTION_ARG_STRING, &to,
      "Where the answer goes (default: where the call comes from)",
      "HOST:PORT"},
  {NULL}
};

int
main (int argc, char **argv)
{
  Phone phone = { NULL };
  GOptionContext *context = g_option_context_new ("- Moshi on the telephone");
  GError *error = NULL;
  GstBus *bus;

  setvbuf (stdout, NULL, _IONBF, 0);
  g_option_context_add_main_entries (context, options, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    g_printerr ("%s\n", error->message);
    return 2;
  }
  if (!build (&phone))
    return 1;
  phone.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_element_get_bus (phone.pipeline);
  gst_bus_add_watch (bus, on_message, &phone);
  g_unix_signal_add (SIGINT, on_interrupt, &phone);
  gst_element_set_state (phone.pipeline, GST_STATE_PLAYING);
  g_main_loop_run (phone.loop);

  gst_element_set_state (phone.pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  gst_object_unref (bus);
  gst_object_unref (phone.in);
  gst_object_unref (phone.out);
  gst_object_unref (phone.pipeline);
  g_main_loop_unref (phone.loop);
  g_option_context_free (context);
  return phone.status;
}
