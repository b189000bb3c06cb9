#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "settings.h"

G_BEGIN_DECLS

/* Which model all conversations have; strings may be NULL: the default. */
typedef struct
{
  const gchar *model, *device, *threads, *context, *quantization;
} ModelOptions;

/* ---- the model ---- */

/* Holds the model in memory between conversations. Loads it, and computes a few
 * frames, in a thread; func is called in the main loop, error NULL: loaded. */
typedef struct _ModelKeeper ModelKeeper;
typedef void (*ModelKeeperFunc) (const gchar * error, gpointer user_data);

ModelKeeper *model_keeper_new (const ModelOptions * options,
    ModelKeeperFunc func, gpointer user_data);
/* What the elements were told to load. */
const gchar *model_keeper_get_model (ModelKeeper * keeper);
void model_keeper_free (ModelKeeper * keeper);

/* ---- a conversation ---- */

typedef enum
{
  SOUND_OGG,                    /* the packets of Opus, outside of their Ogg */
  SOUND_PCM                     /* S16LE, 24 kHz, mono */
} SoundFormat;

typedef struct
{
  /* All in the main loop, none after conversation_end(). */
  void (*ready) (const Settings * effective, gpointer user_data);
  void (*sound) (GBytes * data, gpointer user_data);
  void (*word) (GBytes * text, gpointer user_data);
  void (*failed) (const gchar * message, gpointer user_data);
} ConversationFuncs;

/* A pipeline. What takes time, its beginning and its end, happens in threads,
 * so that nobody else waits for it. */
typedef struct _Conversation Conversation;

Conversation *conversation_new (const ModelOptions * options,
    const Settings * settings, SoundFormat format,
    const ConversationFuncs * funcs, gpointer user_data);
/* Sound in the format of the conversation, lasting duration. */
void conversation_push (Conversation * conversation, const guint8 * data,
    gsize size, GstClockTime duration);
/* Frames spoken. */
guint64 conversation_get_frames (Conversation * conversation);
/* How much longer the sound that was taken is than what was spoken. */
GstClockTimeDiff conversation_get_lag (Conversation * conversation);
/* Gives the conversation up; func is called when nothing of it is left. */
void conversation_end (Conversation * conversation, GSourceFunc func,
    gpointer user_data);

G_END_DECLS

#endif
