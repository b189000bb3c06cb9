/* What the tests of the elements share: the mini codec, its vectors, buffers
 * of exact size, and ways to look at what a harness got. */
#ifndef TESTS_ELEMENTS_FIXTURES_H
#define TESTS_ELEMENTS_FIXTURES_H

#include <gst/audio/audio.h>
#include <gst/check/gstharness.h>
#include "moshi.h"

#define FRAME 1920
#define MINI_CODEBOOK_SIZE 64
#define MINI_CODEBOOKS 32
#define MS GST_MSECOND

#define F32_CAPS "audio/x-raw, format=" GST_AUDIO_NE (F32) \
    ", rate=24000, channels=1, layout=interleaved"
#define S16_CAPS "audio/x-raw, format=" GST_AUDIO_NE (S16) \
    ", rate=24000, channels=1, layout=interleaved"

/* Initialises GStreamer and GLib's tests; MOSHI_MODEL becomes the mini codec. */
void fixture_init (int *argc, char ***argv);
/* Runs the tests, and then ends GStreamer, so that the leaks tracer reports. */
int fixture_run (void);
/* A path below the directory of the vectors; to be freed. */
gchar *fixture_path (const gchar * name);

/* What the reference made of a sound: codes [codebooks][frames]. */
typedef struct
{
  gsize samples;
  const gint16 *pcm;
  gint codebooks, frames;
  const gint32 *codes;
  const gfloat *pcm_dec;        /* frames × FRAME, or NULL */
  gpointer file;
} Vector;

void vector_open (Vector * vector, const gchar * name);
void vector_close (Vector * vector);
/* The codes of one frame. */
void vector_frame (const Vector * vector, gint frame, guint16 * codes);

/* In memory of exactly that size, so that a read beyond it is seen. */
GstBuffer *exact_buffer (gconstpointer data, gsize size);
/* Samples of the vector's sound from..from+n at their time, as S16 or F32. */
GstBuffer *pcm_buffer (const Vector * vector, gsize from, gsize n,
    gboolean f32);

/* A harness around an element or a chain of them, written as for
 * gst-launch-1.0, with a bus; NULL sink caps: anything. */
GstHarness *harness_new (const gchar * launch, const gchar * src_caps,
    const gchar * sink_caps);
void harness_free (GstHarness * h);
/* The next message of that type that the element has posted, NULL: none. */
GstMessage *harness_pop_message (GstHarness * h, GstMessageType type);
/* Asserts that the next error is of that code and says both words. */
void assert_error (GstHarness * h, GQuark domain, gint code,
    const gchar * word, const gchar * other);
/* Asserts that there was no error. */
void assert_no_error (GstHarness * h);
/* The first event of that type that came out, NULL: none. */
GstEvent *harness_find_event (GstHarness * h, GstEventType type);
guint64 get_stat (GstHarness * h, const gchar * field);

/* The indices of a buffer of the harness's current output caps. */
void read_tokens (GstHarness * h, GstBuffer * buffer, guint16 * codes);

#endif
