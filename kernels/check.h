/* The kernel check, in the manner of dav1d's checkasm: every tier of every kernel
 * against the reference, on random and nasty data; and the same calls timed (--bench;
 * --json: as one object a line). A tool: it allocates and prints, and is no part
 * of the library.
 *
 * Arguments: [--seed N] [--rounds N] [--tier NAME] [--bench] [--threads N] [--json]
 * [FILTER…] where a filter is a part of a kernel's name. Returns an exit status: 0, 1 after
 * a failed check or a wrong argument. */
#ifndef MOSHI_KERNELS_CHECK_H
#define MOSHI_KERNELS_CHECK_H

#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

int moshi_check_kernels(int argc, char **argv);
/* The same check of a table of the caller's, without --tier and --bench. */
int moshi_check_tier(const MoshiKernels *tier, int argc, char **argv);

/* The machine's limits: bytes a second that so many threads read together from
 * memory, in GB, and their f32 multiply-adds, in GFLOP; 0 where they cannot be
 * measured. */
double moshi_check_read_gb_s(int threads);
double moshi_check_gflop_s(int threads);
/* What so many threads read at this moment, in some 10 ms, for each byte that comes from
 * `in`: a double of GB/s to `out`, until there are no more. */
void moshi_check_answer_reads(int threads, int in, int out);

#ifdef __cplusplus
}
#endif

#endif
