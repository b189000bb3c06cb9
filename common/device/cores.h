/* How many threads this process can really run at once. */
#ifndef MOSHI_CORES_H
#define MOSHI_CORES_H

/* Physical cores among the CPUs the process may use, at least 1. */
int moshi_cores(void);

#endif
