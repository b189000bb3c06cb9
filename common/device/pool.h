/* A pool of parked worker threads that split one job at a time with its
 * caller. A caller that finds the pool busy does its job alone instead of
 * waiting: results never depend on who computes them. */
#ifndef MOSHI_POOL_H
#define MOSHI_POOL_H

typedef struct MoshiPool MoshiPool;

/* threads: callers included; 0: the machine's cores. NULL without memory. */
MoshiPool *moshi_pool_new(int threads);
void moshi_pool_free(MoshiPool *pool);
int moshi_pool_threads(const MoshiPool *pool);
/* Calls job(ctx, i) for i in [0,n), from several threads; returns when all are
 * done. */
void moshi_pool_run(MoshiPool *pool, int n, void (*job)(void *ctx, int i), void *ctx);

#endif
