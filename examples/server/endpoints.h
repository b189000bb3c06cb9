#ifndef ENDPOINTS_H
#define ENDPOINTS_H

#include <libsoup/soup.h>

#include "../webrtc/peer.h"
#include "hall.h"

G_BEGIN_DECLS

typedef struct
{
  Hall *hall;
  const gchar *token;           /* NULL: none is asked for */
  gchar **origins;              /* NULL: all */
  const gchar *static_dir;      /* NULL: no page */
  const gchar *version, *model, *device;
  PeerNetwork network;
} Endpoints;

/* Answers the server's requests; endpoints live as long. */
void endpoints_add (Endpoints * endpoints, SoupServer * server);

G_END_DECLS

#endif
