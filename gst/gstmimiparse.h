#ifndef GST_MIMI_PARSE_H
#define GST_MIMI_PARSE_H

#include <gst/base/gstbaseparse.h>

G_BEGIN_DECLS

#define GST_TYPE_MIMI_PARSE (gst_mimi_parse_get_type ())
G_DECLARE_FINAL_TYPE (GstMimiParse, gst_mimi_parse, GST, MIMI_PARSE,
    GstBaseParse)

GST_ELEMENT_REGISTER_DECLARE (mimiparse);
GST_TYPE_FIND_REGISTER_DECLARE (mimi);

G_END_DECLS

#endif
