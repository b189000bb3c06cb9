#ifndef TRANSCRIPT_H
#define TRANSCRIPT_H

#include <glib.h>

G_BEGIN_DECLS

/* What was said, line by line with its time, as text, or as WebVTT when the
 * file's name ends so. Times are seconds of the reply. */
typedef struct _Transcript Transcript;

Transcript *transcript_open (const gchar * name, GError ** error);
void transcript_add (Transcript * transcript, const gchar * text, gsize size,
    gdouble time);
void transcript_close (Transcript * transcript);

G_END_DECLS

#endif
