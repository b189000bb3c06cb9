#ifndef GST_MIMI_MUX_H
#define GST_MIMI_MUX_H

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_MIMI_MUX (gst_mimi_mux_get_type ())
G_DECLARE_FINAL_TYPE (GstMimiMux, gst_mimi_mux, GST, MIMI_MUX, GstElement)

GST_ELEMENT_REGISTER_DECLARE (mimimux);

G_END_DECLS

#endif
