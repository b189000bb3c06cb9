/* moshilm in a harness, with a model of tests/vectors or the one in the box,
 * and golden vectors to hold against what comes out. */
#ifndef TEST_LM_HARNESS_H
#define TEST_LM_HARNESS_H

#include <gst/check/check.h>
#include <gst/check/gstharness.h>
#include <gst/check/gsttestclock.h>

#include "mimitokens.h"

#define FRAME (80 * GST_MSECOND)

/* A vector file's integers, by row. */
typedef struct
{
  gint rows, columns;
  gint32 *data;
} Table;

/* tests/vectors/FILE, the tensor of that name; aborts where it is missing. */
Table read_table (const gchar * file, const gchar * tensor);
void free_table (Table * table);

typedef struct
{
  GstElement *element;
  GstBus *bus;
  GstHarness *speech;           /* sink and src */
  GstHarness *text;             /* text_src; NULL when not linked */
  gint hears, size;             /* codebooks and their size */
  gboolean packed;
  gint32 noise[MIMI_MAX_CODEBOOKS];     /* lm_noise's last row */
} LmHarness;

/* checkpoint: a directory, absolute or of tests/vectors, or NULL for the model
 * in the box.
 * properties as gst_element_factory_make_full(): name, value, …, NULL. Sampling
 * is greedy. */
LmHarness *lm_harness_new (const gchar * checkpoint, gboolean with_text,
    const gchar * first_property, ...);
void lm_harness_free (LmHarness * lm);

gchar *lm_caps (gint codebooks, gint size, gboolean packed);
/* The caps of the model on sink, in either format; src takes both. */
void lm_set_caps (LmHarness * lm, gboolean packed);
GstBuffer *lm_frame (LmHarness * lm, const gint32 * codes, GstClockTime pts);
GstFlowReturn lm_push (LmHarness * lm, const gint32 * codes, GstClockTime pts);
/* Row `i` of a made-up input that never repeats; valid until the next. */
const gint32 *lm_noise (LmHarness * lm, guint i);
/* n frames of noise from row `first` on, at first × 80 ms + offset. */
void lm_push_noise (LmHarness * lm, guint first, guint n, GstClockTime offset);
/* The codes of a buffer of src; packed as the caps say. */
void lm_read (LmHarness * lm, GstBuffer * buffer, gint codebooks,
    gint32 * codes);
/* All codes that came out of src, as bytes. */
GBytes *lm_pull_speech (LmHarness * lm);
/* All text that came out of text_src, joined. */
gchar *lm_pull_text (LmHarness * lm, const gchar * between);
guint64 lm_stat (LmHarness * lm, const gchar * field);
/* The next message of the type, or aborts; the caller unrefs it. */
GstMessage *lm_message (LmHarness * lm, GstMessageType type);
/* The text of the next error, which must be of that domain and code. */
gchar *lm_error (LmHarness * lm, GQuark domain, gint code);

#endif
