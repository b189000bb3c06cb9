/* What was asked of the emulated runtime so far, for tests that look for
 * emulation_count() in the module. */
#ifndef EMULATION_COUNTERS_H
#define EMULATION_COUNTERS_H

typedef struct {
  long launches; /* of single kernels */
  long graphs, captures;
  long kernels; /* that ran, in graphs or not */
  long early;   /* of them, that were allowed to start early */
  long copies_in, copies_out;
  long synchronisations, allocations;
} EmulationCounters;

#ifdef __cplusplus
extern "C"
#endif
    __attribute__((visibility("default"))) void
    emulation_count(EmulationCounters *to);

#endif
