#ifndef PAGE_H
#define PAGE_H

#include <libsoup/soup.h>

G_BEGIN_DECLS

/* Answers with a file of the directory; "/" is its index.html. Nothing outside
 * of it, nothing hidden. directory NULL: a few words. */
void page_answer (const gchar * directory, SoupServerMessage * message,
    const gchar * path);

G_END_DECLS

#endif
