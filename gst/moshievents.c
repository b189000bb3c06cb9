/* Understanding moshi/reset. */
#include "moshievents.h"

gboolean
moshi_event_is_reset (GstEvent * event, GstElement * element)
{
  GstElementFactory *factory = gst_element_get_factory (element);
  const gchar *name;

  if (!gst_event_has_name (event, MOSHI_EVENT_RESET))
    return FALSE;

  name = gst_structure_get_string (gst_event_get_structure (event), "element");
  return !name || (factory
      && g_str_equal (name, gst_plugin_feature_get_name (factory)));
}
