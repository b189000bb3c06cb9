#ifndef SIGNALLING_H
#define SIGNALLING_H

#include <glib.h>

G_BEGIN_DECLS

/* What two peers say to each other until they are connected, as flat JSON:
 *
 *   {"type": "offer", "sdp": "…"}
 *   {"type": "answer", "sdp": "…"}
 *   {"type": "candidate", "candidate": "candidate:…", "sdpMLineIndex": 0}
 */
typedef enum
{
  SIGNAL_OFFER,
  SIGNAL_ANSWER,
  SIGNAL_CANDIDATE
} SignalKind;

typedef struct
{
  SignalKind kind;
  gchar *text;                  /* SDP, or the candidate */
  guint line;                   /* of the SDP that the candidate is for */
} Signal;

/* FALSE: it is none, and nothing is to be cleared. */
gboolean signal_read (Signal * signal, const gchar * json, gsize size);
void signal_clear (Signal * signal);
gchar *signal_write (const Signal * signal);

G_END_DECLS

#endif
