/* Who steps a shared batch, and when: see turns.c. */
#ifndef MOSHI_ENGINE_TURNS_H
#define MOSHI_ENGINE_TURNS_H

#include <stdbool.h>

#include "../moshi.h"

typedef struct MoshiTurns MoshiTurns;

/* Steps the members of run [members], all of which came with the same `variant`.
 * Called by one thread at a time; what it returns is the return of all of them. */
typedef int (*MoshiTurnStep)(
    void *ctx, const uint8_t *run, int variant, MoshiError *error);

/* NULL without memory. */
MoshiTurns *moshi_turns_new(int members, MoshiTurnStep step, void *ctx);
void moshi_turns_free(MoshiTurns *t);
/* Returns when the member has been in a step, or MOSHI_ERROR_CANCELLED. A variant is
 * what the members of one step must have in common. */
int moshi_turns_take(
    MoshiTurns *t, int member, int variant, MoshiTurn *turn, MoshiError *error);
/* From any thread: the member is to wait no longer, or may again. */
void moshi_turns_cancel(MoshiTurns *t, int member, bool cancelled);
/* For tests: whether the member waits for a step, or is in one. */
bool moshi_turns_has_come(MoshiTurns *t, int member);

#endif
