/* Inside of moshilm. gstmoshilm.c is the element (properties, pads, events,
 * queries); moshilmtalk.c is the conversation (one step per 80 ms, what goes in
 * and what comes out); moshilmsession.c makes the library's session and applies
 * the properties to it; moshilmpace.c watches the clock. */
#ifndef GST_MOSHI_LM_PRIVATE_H
#define GST_MOSHI_LM_PRIVATE_H

#include <gst/base/base.h>
#include "gstmoshilm.h"
#include "gstmoshimodel.h"
#include "gstmoshisteps.h"
#include "mimicaps.h"
#include "moshiwords.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN (gst_moshi_lm_debug);

/**
 * GstMoshiQuantization:
 * @GST_MOSHI_QUANTIZATION_NONE: weights as the file has them
 * @GST_MOSHI_QUANTIZATION_Q8: 8 bits a weight
 * @GST_MOSHI_QUANTIZATION_Q4: 4 bits a weight
 *
 * What weights are converted to when they are loaded.
 *
 * Since: 0.1
 */
typedef enum {
  GST_MOSHI_QUANTIZATION_NONE,
  GST_MOSHI_QUANTIZATION_Q8,
  GST_MOSHI_QUANTIZATION_Q4,
} GstMoshiQuantization;

/* Which sampling properties the application has set; the model's own
 * configuration rules the others. */
enum
{
  MOSHI_SET_TEMPERATURE = 1 << 0,
  MOSHI_SET_TEXT_TEMPERATURE = 1 << 1,
  MOSHI_SET_TOP_K = 1 << 2,
  MOSHI_SET_TEXT_TOP_K = 1 << 3,
};

typedef struct
{
  MoshiSampling sampling;
  guint sampling_set;           /* MOSHI_SET_* */
  guint context;
  GstMoshiQuantization quantization;
  gchar *condition;
  gfloat cfg_coef;
  GstClockTime latency;
  GstClockTime max_gap;
  GstClockTimeDiff max_lateness;
  guint drain_frames;
  gboolean repeat_first_frame;
  GstMoshiTextMode text_mode;
  gboolean post_messages;
} MoshiLmSettings;

typedef struct
{
  GstMoshiSteps steps;
  guint64 silent;               /* frames that were missing, run as silence */
  guint64 skipped;              /* frames not heard, to catch up */
  guint64 duplicates;           /* frames heard before */
  guint64 drained;              /* frames after the end of the input */
  guint64 words;                /* buffers of text */
  GstClockTimeDiff lateness;    /* of the last frame */
} MoshiLmStats;

/* What is known of a step whose frame has not come out yet. */
typedef struct
{
  gint64 time;                  /* of the frame, ns in the segment; may be < 0 */
  gboolean discont;
} MoshiLmFrame;

struct _GstMoshiLm
{
  GstElement parent;

  GstPad *sinkpad, *srcpad, *textpad;
  GstMoshiModel model;

  /* Under the object lock */
  MoshiLmSettings settings;
  MoshiLmStats stats;
  gboolean live;                /* as upstream answered the latency query */
  GstClockTime upstream_latency;
  GstClockTime step_latency;    /* measured; NONE until then */
  guint32 last_seek;            /* seqnum */

  /* All below belongs to the streaming thread. */
  gboolean negotiated;
  GstMimiFormat in, out;
  GstSegment segment;           /* of the input */
  GstFlowCombiner *combiner;
  GQueue events;                /* MoshiLmEvent, waiting for their frame */

  MoshiSession *session;
  MoshiText *text;
  MoshiWords words;
  MoshiModelInfo info;          /* valid while there is a session */
  MoshiSampling sampling;       /* that the session has */
  gint32 silence[MIMI_MAX_CODEBOOKS];
  MoshiLmFrame *frames;         /* ring of max_delay + 1 */

  guint64 heard;                /* steps of this conversation */
  GstClockTime next_pts;        /* of the frame to come; NONE: any */
  gint64 lead;                  /* step's time minus its input's */
  gint32 last_text;             /* token of the last step */
  guint quiet;                  /* steps without text up to the last one */
  gboolean discont;             /* of the next step */
  gboolean text_discont;
  gboolean skipping;
  gint64 text_position;         /* up to which text_src has been told */
  GstFlowReturn flow;           /* of pushes made from callbacks */
  GstClockTime told;            /* monotonic time of the last QOS message */
};

/* moshilmsession.c: makes what is missing of session, text and silence; waits
 * for the model. */
GstFlowReturn moshi_lm_session_ensure (GstMoshiLm * self);
void moshi_lm_session_free (GstMoshiLm * self);
/* Takes over the properties that can change while playing. */
void moshi_lm_session_update (GstMoshiLm * self, GstClockTime timestamp);
/* What was set of the properties, and of the rest what the model's configuration
 * wants. */
MoshiSampling moshi_lm_merge_sampling (const MoshiSampling * property,
    guint set, const MoshiModelInfo * info);
/* FALSE when the model is not open. */
gboolean moshi_lm_get_info (GstMoshiLm * self, MoshiModelInfo * info);

/* moshilmtalk.c */
void moshi_lm_talk_init (GstMoshiLm * self);
/* A frame of tokens. */
GstFlowReturn moshi_lm_talk_hear (GstMoshiLm * self, const guint16 * codes,
    GstClockTime pts, gboolean discont);
/* There is nothing to hear until `end`. */
GstFlowReturn moshi_lm_talk_gap (GstMoshiLm * self, GstClockTime pts,
    GstClockTime end);
/* The user has hung up; Moshi may finish. */
GstFlowReturn moshi_lm_talk_drain (GstMoshiLm * self);
/* The last, unfinished word. */
void moshi_lm_talk_finish_text (GstMoshiLm * self);
/* That, and the events that waited. */
void moshi_lm_talk_finish (GstMoshiLm * self);
/* A new conversation. */
void moshi_lm_talk_reset (GstMoshiLm * self);
/* A serialized event takes its place among the frames of src; takes over event. */
gboolean moshi_lm_talk_queue_event (GstMoshiLm * self, GstEvent * event);
void moshi_lm_talk_drop_events (GstMoshiLm * self, gboolean keep_sticky);
gboolean moshi_lm_negotiate (GstMoshiLm * self);

/* moshilmpace.c */
/* Whether the frame comes so late that it is better not heard. */
gboolean moshi_lm_pace_skip (GstMoshiLm * self, GstClockTime pts);
void moshi_lm_pace_reset (GstMoshiLm * self);
/* Latency that the element adds on a pad. */
GstClockTime moshi_lm_latency (GstMoshiLm * self, GstPad * pad);

G_END_DECLS

#endif
