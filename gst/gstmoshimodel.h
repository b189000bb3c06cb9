/* The model of an element: its properties, opening, loading and sharing. */
#ifndef GST_MOSHI_MODEL_H
#define GST_MOSHI_MODEL_H

#include <gst/gst.h>
#include "moshi.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN (gst_moshi_debug);

/* Ids of the properties; an element's own begin at GST_MOSHI_MODEL_PROP_LAST. */
enum
{
  GST_MOSHI_MODEL_PROP_MODEL = 1,
  GST_MOSHI_MODEL_PROP_DEVICE,
  GST_MOSHI_MODEL_PROP_THREADS,
  GST_MOSHI_MODEL_PROP_WEIGHTS, /* of the codec's elements */
  GST_MOSHI_MODEL_PROP_LAST
};

/* What the codec's matrices are rounded to. */
typedef enum
{
  GST_MIMI_WEIGHTS_F32,
  GST_MIMI_WEIGHTS_BF16
} GstMimiWeights;

typedef enum
{
  GST_MOSHI_MODEL_CLOSED,
  GST_MOSHI_MODEL_LOADING,
  GST_MOSHI_MODEL_LOADED,
  GST_MOSHI_MODEL_FAILED
} GstMoshiModelState;

/* Embedded in an element. Between NULL→READY and READY→NULL the model is open:
 * gst_moshi_model_info() tells its shape, and a thread loads it. The streaming
 * thread calls gst_moshi_model_wait() before it uses the weights. */
typedef struct
{
  GstElement *element;          /* not owned: the element owns us */
  guint parts;                  /* MOSHI_PART_* */

  GMutex lock;                  /* all below */
  GCond cond;
  gchar *path, *device;         /* properties */
  guint threads;
  const gchar *quantization;    /* not owned */
  GstMimiWeights weights;
  gboolean changed;             /* a property since the model was opened */
  MoshiModel *model;
  GstMoshiModelState state;
  gboolean cancel;              /* the load */
  gboolean stopped, flushing;   /* the wait: by state change, by event */
  MoshiSlot *slot;              /* the streaming thread's; NULL: it has none */
  GThread *thread;
  gint percent;                 /* last one told; of the thread alone */
  gint64 told;                  /* when, monotonic */
} GstMoshiModel;

void gst_moshi_model_install_properties (GObjectClass * klass);
/* The property "weights" too. */
void gst_moshi_model_install_weights (GObjectClass * klass);

void gst_moshi_model_init (GstMoshiModel * self, GstElement * element,
    guint parts);
void gst_moshi_model_clear (GstMoshiModel * self);
/* Of a language model, as in MoshiModelOptions; a string that stays. */
void gst_moshi_model_set_quantization (GstMoshiModel * self,
    const gchar * quantization);
/* FALSE when the property is not one of the model's. */
gboolean gst_moshi_model_set_property (GstMoshiModel * self, guint id,
    const GValue * value);
gboolean gst_moshi_model_get_property (GstMoshiModel * self, guint id,
    GValue * value);

/* To be called around the parent class's change_state. The first opens the
 * model on NULL→READY, and returns FALSE when that failed, with the error
 * posted. */
gboolean gst_moshi_model_before_change (GstMoshiModel * self,
    GstStateChange transition);
void gst_moshi_model_after_change (GstMoshiModel * self,
    GstStateChange transition, GstStateChangeReturn result);

/* From FLUSH_START to FLUSH_STOP nobody waits. */
void gst_moshi_model_set_flushing (GstMoshiModel * self, gboolean flushing);
/* GST_FLOW_OK with the loaded model (not owned, valid until READY→NULL),
 * GST_FLOW_FLUSHING, or GST_FLOW_ERROR after an error that has been posted. */
GstFlowReturn gst_moshi_model_wait (GstMoshiModel * self, MoshiModel ** model);
/* The slot that the streaming thread steps: as it does not wait for the model, it
 * does not wait for its turn when the element stops or flushes. */
void gst_moshi_model_set_slot (GstMoshiModel * self, MoshiSlot * slot);
/* Frees *slot, if it is there, and sets it to NULL. */
void gst_moshi_model_free_slot (GstMoshiModel * self, MoshiSlot ** slot);
/* A reference to the open model, or NULL. */
MoshiModel *gst_moshi_model_ref (GstMoshiModel * self);

/* Posts the library's error as the element's. */
void gst_moshi_element_error (GstElement * element, const MoshiError * error,
    const gchar * model);

G_END_DECLS

#endif
