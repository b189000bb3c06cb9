/* What comes out: frames of speech on src, text on text_src, and the events
 * that keep their place among the frames. */
#include "gstmoshilm-private.h"

#include <string.h>

#define GST_CAT_DEFAULT gst_moshi_lm_debug

#define DURATION ((gint64) GST_MIMI_FRAME_DURATION)

/* Text tokens that end a word: what the tokenizers of the family agree on,
 * beside the padding that a model's configuration names. */
#define TOKEN_WORD_STARTS 0

typedef struct
{
  GstEvent *event;
  guint64 frame;                /* of this conversation, that it precedes */
} MoshiLmEvent;

static GstFlowReturn
combine (GstMoshiLm * self, GstPad * pad, GstFlowReturn ret)
{
  return gst_flow_combiner_update_pad_flow (self->combiner, pad, ret);
}

/* ------------------------------------------------------------------ events */

gboolean
moshi_lm_output_events (GstMoshiLm * self, guint64 frame)
{
  MoshiLmEvent *e;
  gboolean ok = TRUE;

  while ((e = g_queue_peek_head (&self->events)) && e->frame <= frame) {
    g_queue_pop_head (&self->events);
    ok = gst_pad_push_event (self->srcpad, e->event) && ok;
    g_free (e);
  }
  return ok;
}

/* Frames heard and not answered yet; own_codebooks 0 never answers. */
static gboolean
nothing_outstanding (GstMoshiLm * self)
{
  return self->heard == 0 || self->session == NULL ||
      self->info.own_codebooks == 0 || self->info.max_delay == 0;
}

gboolean
moshi_lm_output_event (GstMoshiLm * self, GstEvent * event)
{
  MoshiLmEvent *e;

  if (nothing_outstanding (self) && g_queue_is_empty (&self->events))
    return gst_pad_push_event (self->srcpad, event);

  e = g_new (MoshiLmEvent, 1);
  e->event = event;
  e->frame = self->heard;
  g_queue_push_tail (&self->events, e);

  return TRUE;
}

void
moshi_lm_output_drop_events (GstMoshiLm * self, gboolean keep_sticky)
{
  MoshiLmEvent *e;

  while ((e = g_queue_pop_head (&self->events))) {
    if (keep_sticky && GST_EVENT_IS_STICKY (e->event) &&
        GST_EVENT_TYPE (e->event) != GST_EVENT_SEGMENT)
      gst_pad_push_event (self->srcpad, e->event);
    else
      gst_event_unref (e->event);
    g_free (e);
  }
}

/* ------------------------------------------------------------------ speech */

/* packed, unless downstream takes only u16. */
gboolean
moshi_lm_output_negotiate (GstMoshiLm * self)
{
  static const MimiStreamFormat formats[] = {
    MIMI_STREAM_PACKED, MIMI_STREAM_U16
  };
  GstCaps *allowed = gst_pad_get_allowed_caps (self->srcpad), *caps = NULL;
  gboolean ok;

  for (guint i = 0; i < G_N_ELEMENTS (formats) && caps == NULL; i++) {
    self->out.stream_format = formats[i];
    caps = gst_mimi_format_to_caps (&self->out);
    if (allowed && !gst_caps_can_intersect (allowed, caps))
      gst_clear_caps (&caps);
  }
  if (caps == NULL)
    goto refused;
  if (allowed)
    gst_caps_unref (allowed);
  ok = gst_pad_set_caps (self->srcpad, caps);
  gst_caps_unref (caps);
  self->refused = FALSE;

  return ok;

  /* ERRORS */
refused:
  {
    if (!self->refused)
      GST_ELEMENT_ERROR (self, CORE, NEGOTIATION,
          ("The model speaks frames of %d codebooks of %d entries, and what "
              "follows %s does not take them.", self->out.codebooks,
              self->out.codebook_size, GST_OBJECT_NAME (self)),
          ("downstream takes %" GST_PTR_FORMAT, allowed));
    self->refused = TRUE;
    gst_caps_unref (allowed);
    return FALSE;
  }
}

static GstBuffer *
make_buffer (GstMoshiLm * self, const gint32 * codes,
    const MoshiLmFrame * frame)
{
  gsize size = gst_mimi_format_frame_size (&self->out);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);
  guint16 indices[MIMI_MAX_CODEBOOKS];
  guint8 bytes[MIMI_MAX_FRAME_BYTES];

  for (gint i = 0; i < self->out.codebooks; i++)
    indices[i] = codes[i];
  mimi_tokens_write (self->out.stream_format, self->out.codebooks,
      self->out.codebook_size, indices, bytes);
  gst_buffer_fill (buffer, 0, bytes, size);
  GST_BUFFER_PTS (buffer) = MAX (frame->time, 0);
  GST_BUFFER_DURATION (buffer) = GST_MIMI_FRAME_DURATION;
  if (frame->discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);

  return buffer;
}

/* The frame of speech that the step just made has completed. */
GstFlowReturn
moshi_lm_output_speech (GstMoshiLm * self, const gint32 * codes)
{
  guint64 number = self->heard - 1 - self->info.max_delay;
  const MoshiLmFrame *frame =
      &self->frames[number % (self->info.max_delay + 1)];

  if (gst_pad_check_reconfigure (self->srcpad)
      && !moshi_lm_output_negotiate (self)) {
    gst_pad_mark_reconfigure (self->srcpad);
    if (GST_PAD_IS_FLUSHING (self->srcpad))
      return GST_FLOW_FLUSHING;
    return GST_FLOW_NOT_NEGOTIATED;
  }
  moshi_lm_output_events (self, number);

  return combine (self, self->srcpad,
      gst_pad_push (self->srcpad, make_buffer (self, codes, frame)));
}

/* -------------------------------------------------------------------- text */

/* MoshiWordFunc */
static void
push_word (const gchar * text, GstClockTime start, GstClockTime end,
    gpointer user_data)
{
  GstMoshiLm *self = user_data;
  GstBuffer *buffer = gst_buffer_new_memdup (text, strlen (text));

  GST_LOG_OBJECT (self, "\"%s\" from %" GST_TIME_FORMAT " to %"
      GST_TIME_FORMAT, text, GST_TIME_ARGS (start), GST_TIME_ARGS (end));
  GST_BUFFER_PTS (buffer) = start;
  GST_BUFFER_DURATION (buffer) = end - start;
  if (self->text_discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->text_discont = FALSE;
  self->text_position = end;

  GST_OBJECT_LOCK (self);
  self->stats.words++;
  GST_OBJECT_UNLOCK (self);
  self->flow = combine (self, self->textpad,
      gst_pad_push (self->textpad, buffer));
}

/* Up to `end` there is no more text than was pushed. */
static void
push_text_gap (GstMoshiLm * self, gint64 end)
{
  gint64 start = self->text_position;

  if (end <= start || moshi_words_pending (&self->words) != GST_CLOCK_TIME_NONE)
    return;
  self->text_position = end;
  if (start >= 0 && gst_pad_is_linked (self->textpad))
    gst_pad_push_event (self->textpad, gst_event_new_gap (start, end - start));
}

static gboolean
is_pause (GstMoshiLm * self, gint32 token)
{
  return token == self->info.text_padding || token == TOKEN_WORD_STARTS ||
      token == MOSHI_LM_TOKEN_EOS;
}

/* When what is written in a step at `time` was, or will be, said. */
static gint64
text_time (GstMoshiLm * self, gint64 time)
{
  if (self->info.own_codebooks == 0)
    time -= self->info.audio_delay * GST_SECOND;
  return MAX (time, 0);
}

GstFlowReturn
moshi_lm_output_text (GstMoshiLm * self, gint32 token, gint64 time)
{
  const gchar *text = moshi_text_push (self->text, token);
  gint64 start = text_time (self, time);
  gint64 end = text_time (self, time + DURATION);

  if (self->text_position < 0)
    self->text_position = start;
  self->flow = GST_FLOW_OK;
  self->quiet = is_pause (self, token) ? self->quiet + 1 : 0;
  self->last_text = token;
  moshi_words_push (&self->words, is_pause (self, token)
      && *text == '\0' ? NULL : text, start, end);
  push_text_gap (self, end);

  return self->flow;
}

/* Hands out the unfinished word; the flow is told with the next push. */
void
moshi_lm_output_finish_text (GstMoshiLm * self)
{
  const gchar *rest;

  if (self->text == NULL)
    return;
  rest = moshi_text_flush (self->text);
  if (*rest != '\0' && self->text_position >= 0)
    moshi_words_push (&self->words, rest, self->text_position,
        self->text_position);
  moshi_words_finish (&self->words);
}

void
moshi_lm_output_no_text (GstMoshiLm * self, gint64 time)
{
  push_text_gap (self, text_time (self, time));
}

void
moshi_lm_output_init (GstMoshiLm * self)
{
  moshi_words_init (&self->words, GST_MOSHI_TEXT_MODE_WORD, push_word, self);
  g_queue_init (&self->events);
}
