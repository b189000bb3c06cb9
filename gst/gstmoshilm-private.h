/* Inside of moshilm, in the order of the data: moshilminput.c takes events and
 * frames of tokens; moshilmtalk.c is the conversation, one step per 80 ms, over
 * the library's session that moshilmsession.c makes, and moshilmpace.c watches
 * the clock for it; moshilmoutput.c gives speech and text. gstmoshilm.c is the
 * element around them, moshilmproperties.c its properties. */
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

/**
 * GstMoshiKvType:
 * @GST_MOSHI_KV_TYPE_F32: exact
 * @GST_MOSHI_KV_TYPE_BF16: half the memory
 * @GST_MOSHI_KV_TYPE_INT8: a quarter of the memory
 *
 * Since: 0.1
 */
typedef enum {
  GST_MOSHI_KV_TYPE_F32,
  GST_MOSHI_KV_TYPE_BF16,
  GST_MOSHI_KV_TYPE_INT8,
} GstMoshiKvType;

typedef struct
{
  MoshiSampling sampling;
  guint sampling_set;           /* MOSHI_SET_* */
  guint context;
  GstMoshiKvType kv_type;
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
  gint64 time;                  /* ns in the segment; may be < 0 */
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
  gboolean refused;             /* an event that upstream will send again */
  GstMimiFormat in, out;
  GstSegment segment;           /* of the input */
  GstFlowCombiner *combiner;
  GQueue events;                /* MoshiLmEvent, waiting for their frame */

  MoshiSlot *session;
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

#define MOSHI_LM_TOKEN_EOS 2    /* of the family's tokenizers */

extern GstStaticPadTemplate moshi_lm_text_template;

/* moshilmproperties.c */
void moshi_lm_install_properties (GObjectClass * klass);
void moshi_lm_settings_init (MoshiLmSettings * settings);
void moshi_lm_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec);
void moshi_lm_get_property (GObject * object, guint id, GValue * value,
    GParamSpec * pspec);

/* moshilminput.c */
GstFlowReturn moshi_lm_input_chain (GstPad * pad, GstObject * parent,
    GstBuffer * buffer);
GstFlowReturn moshi_lm_input_event (GstPad * pad, GstObject * parent,
    GstEvent * event);

/* moshilmsession.c: makes what is missing of session, text and silence; waits
 * for the model. */
GstFlowReturn moshi_lm_session_ensure (GstMoshiLm * self);
void moshi_lm_session_free (GstMoshiLm * self);
/* Takes over the properties that can change while playing. */
void moshi_lm_session_update (GstMoshiLm * self, GstClockTime timestamp);
/* What was set of the properties, and for the rest what the model's
 * configuration wants. */
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
/* Hands out the unfinished word and the events that waited. */
void moshi_lm_talk_finish (GstMoshiLm * self);
/* A new conversation. */
void moshi_lm_talk_reset (GstMoshiLm * self);

/* moshilmoutput.c */
void moshi_lm_output_init (GstMoshiLm * self);
/* The caps of src. */
gboolean moshi_lm_output_negotiate (GstMoshiLm * self);
/* The frame of speech that the step just made has completed. */
GstFlowReturn moshi_lm_output_speech (GstMoshiLm * self, const gint32 * codes);
/* The text token of a step at `time`. */
GstFlowReturn moshi_lm_output_text (GstMoshiLm * self, gint32 token,
    gint64 time);
/* Nothing is written up to the step at `time`. */
void moshi_lm_output_no_text (GstMoshiLm * self, gint64 time);
/* Hands out the unfinished word. */
void moshi_lm_output_finish_text (GstMoshiLm * self);
/* A serialized event takes its place among the frames of src; takes it over. */
gboolean moshi_lm_output_event (GstMoshiLm * self, GstEvent * event);
/* Pushes those that precede the frame. */
gboolean moshi_lm_output_events (GstMoshiLm * self, guint64 frame);
/* After a flush: sticky ones go on, but for segments. */
void moshi_lm_output_drop_events (GstMoshiLm * self, gboolean keep_sticky);

/* moshilmpace.c */
/* Whether the frame comes so late that it is better not heard. */
gboolean moshi_lm_pace_skip (GstMoshiLm * self, GstClockTime pts);
void moshi_lm_pace_reset (GstMoshiLm * self);
/* Latency that the element adds on a pad. */
GstClockTime moshi_lm_latency (GstMoshiLm * self, GstPad * pad);

G_END_DECLS

#endif
