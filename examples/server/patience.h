#ifndef PATIENCE_H
#define PATIENCE_H

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Whoever takes too long to say what he wants, or to take the answer, is cut
 * off. */
void patience_add (SoupServer * server);
/* Its connection is something else now, and not timed here. */
void patience_end (SoupServerMessage * message);

G_END_DECLS

#endif
