/* The CPU as a device, shared between its files. */
#ifndef MOSHI_CPU_H
#define MOSHI_CPU_H

#include "device.h"
#include "pool.h"

typedef struct {
  MoshiDevice base;
  MoshiKernels k;
  MoshiPool *pool;
} MoshiCpu;

static inline MoshiCpu *
moshi_cpu(MoshiDevice *d)
{
  return (MoshiCpu *)d;
}

/* Calls job(ctx, begin, end) for pieces of [0,total) that are multiples of
 * grain, on as many threads as `work`, the whole's cost in multiply-adds, is
 * worth. */
void moshi_cpu_split(MoshiCpu *cpu, int total, int grain, double work,
    void (*job)(void *ctx, int begin, int end), void *ctx);

void moshi_cpu_linear(MoshiDevice *d, const MoshiLinearOp *op);
void moshi_cpu_quantize(MoshiDevice *d, const MoshiCodebook *book, float *residual,
    float *scores, int32_t *codes, size_t code_stride, int n);
void moshi_cpu_attend(MoshiDevice *d, const MoshiAttendOp *op);
void moshi_cpu_cross(MoshiDevice *d, const MoshiCrossOp *op);
void moshi_cpu_sample(MoshiDevice *d, const float *logits, int n, int size,
    const MoshiDraw *draws, int32_t *tokens, size_t token_stride);

/* Zeroed, 64-byte aligned; NULL when there is none. huge: ask for large pages,
 * for what is read as a whole again and again. */
void *moshi_cpu_alloc(size_t bytes, bool huge);
void moshi_cpu_free(void *p);

#endif
