/* The words of a conversation as a file. */
#include "transcript.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>

#define PAUSE 1.0               /* s: a new line after it */
#define STAYS 1.0               /* s: a line of WebVTT after its last word */

struct _Transcript
{
  FILE *file;
  gboolean vtt;
  GString *line;
  gdouble began, last;
};

Transcript *
transcript_open (const gchar * name, GError ** error)
{
  Transcript *self;
  FILE *file = g_fopen (name, "w");

  if (!file) {
    g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (errno),
        "%s: %s", name, g_strerror (errno));
    return NULL;
  }
  self = g_new0 (Transcript, 1);
  self->file = file;
  self->vtt = g_str_has_suffix (name, ".vtt");
  self->line = g_string_new (NULL);
  if (self->vtt)
    fputs ("WEBVTT\n\n", file);
  return self;
}

static void
write_time (Transcript * self, gdouble time)
{
  gint64 ms = time * 1000;

  fprintf (self->file, "%02d:%02d:%02d.%03d", (int) (ms / 3600000),
      (int) (ms / 60000 % 60), (int) (ms / 1000 % 60), (int) (ms % 1000));
}

static void
end_line (Transcript * self)
{
  gchar *text = g_strstrip (self->line->str);

  if (*text) {
    write_time (self, self->began);
    if (self->vtt) {
      fputs (" --> ", self->file);
      write_time (self, self->last + STAYS);
      fprintf (self->file, "\n%s\n\n", text);
    } else
      fprintf (self->file, "  %s\n", text);
    fflush (self->file);
  }
  g_string_truncate (self->line, 0);
}

void
transcript_add (Transcript * self, const gchar * text, gsize size,
    gdouble time)
{
  gsize i;

  if (self->line->len && time - self->last > PAUSE)
    end_line (self);
  if (self->line->len == 0)
    self->began = time;
  for (i = 0; i < size; i++)
    g_string_append_c (self->line, text[i] == '\n' ? ' ' : text[i]);
  self->last = time;
}

void
transcript_close (Transcript * self)
{
  end_line (self);
  fclose (self->file);
  g_string_free (self->line, TRUE);
  g_free (self);
}
