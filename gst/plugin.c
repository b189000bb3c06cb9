/* The plugin: what it registers is the same on every machine; devices and
 * models are looked for when an element goes to READY. */
#include "gstmimidec.h"
#include "gstmimienc.h"
#include "gstmimimux.h"
#include "gstmimiparse.h"
#include "gstmoshilm.h"
#include "gstmoshimodel.h"

GST_DEBUG_CATEGORY (gst_moshi_debug);
GST_DEBUG_CATEGORY_STATIC (libmoshi_debug);

/* The library knows no objects; its words go to a category of their own. */
static void
log_to_gst (void *cookie, MoshiLogLevel level, const char *message)
{
  static const GstDebugLevel levels[] = {
    [MOSHI_LOG_WARNING] = GST_LEVEL_WARNING,
    [MOSHI_LOG_INFO] = GST_LEVEL_INFO,
    [MOSHI_LOG_DEBUG] = GST_LEVEL_DEBUG,
  };

  GST_CAT_LEVEL_LOG (libmoshi_debug, levels[level], NULL, "%s", message);
}

static gboolean
plugin_init (GstPlugin * plugin)
{
  GST_DEBUG_CATEGORY_INIT (gst_moshi_debug, "moshi", 0,
      "Moshi elements: models and what the elements share");
  GST_DEBUG_CATEGORY_INIT (libmoshi_debug, "libmoshi", 0,
      "The library that runs the models");
  moshi_set_log (log_to_gst, NULL);

  return GST_ELEMENT_REGISTER (mimienc, plugin) &&
      GST_ELEMENT_REGISTER (mimidec, plugin) &&
      GST_ELEMENT_REGISTER (mimimux, plugin) &&
      GST_ELEMENT_REGISTER (mimiparse, plugin) &&
      GST_ELEMENT_REGISTER (moshilm, plugin) &&
      GST_TYPE_FIND_REGISTER (mimi, plugin);
}

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, moshi,
    "Mimi neural audio codec and Moshi speech-text models",
    plugin_init, PACKAGE_VERSION, "MIT/X11", "gst-moshi",
    "Unknown package origin")
