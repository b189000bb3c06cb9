#ifndef OPTIONS_H
#define OPTIONS_H

#include <glib.h>

G_BEGIN_DECLS

/* As given, or the default. Strings may be NULL. */
typedef struct
{
  gchar *model, *device, *threads, *context, *quantization;
  gchar *host;
  gint port, sessions, queue;
  gchar *token, *token_file, *origins;
  gboolean tls;
  gchar *tls_cert, *tls_key;
  gchar *static_dir, *instance;
  gchar *stun, *turn, *ice_address;
  gint silence, max_seconds, drain;
  gboolean verbose, version;
} Options;

/* Of the command line, after those of the file that --config names. */
gboolean options_read (Options * options, int argc, char **argv,
    GError ** error);
void options_clear (Options * options);

G_END_DECLS

#endif
