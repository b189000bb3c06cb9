/* Counts physical cores: two hyper-threads of one core share its multipliers
 * and its way to memory, so that a second thread there only adds waiting. */
#include "cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>

/* The first CPU of the core that `cpu` belongs to; itself where the system does
 * not say. */
static int
first_sibling(int cpu)
{
  char path[96];
  int first = cpu;

  snprintf(path, sizeof path,
      "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  FILE *file = fopen(path, "r");
  if (!file)
    return cpu;
  if (fscanf(file, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE)
    first = cpu;
  fclose(file);
  return first;
}

int
moshi_cores(void)
{
  cpu_set_t allowed, seen;
  int cores = 0;

  if (sched_getaffinity(0, sizeof allowed, &allowed))
    return 1;
  CPU_ZERO(&seen);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed))
      continue;
    const int core = first_sibling(cpu);
    if (!CPU_ISSET(core, &seen)) {
      CPU_SET(core, &seen);
      cores++;
    }
  }
  return cores > 0 ? cores : 1;
}
