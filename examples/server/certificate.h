#ifndef CERTIFICATE_H
#define CERTIFICATE_H

#include <gio/gio.h>

G_BEGIN_DECLS

/* The one of the files, or with NULL one for this machine, signed by itself:
 * made when there is none, and kept in the user's data directory, so that a
 * browser is to be persuaded once only. */
GTlsCertificate *certificate_load (const gchar * cert, const gchar * key,
    const gchar * host, GError ** error);

G_END_DECLS

#endif
