/* Counts physical cores: two hyper-threads of one core share its multipliers
 * and its way to memory, so that a second thread there only adds waiting. A
 * container may see all cores of its machine and yet be given the time of two;
 * more threads than that are put to sleep in the middle of a frame. */
#include "cores.h"

#include <limits.h>
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

/* Whole CPUs of the control group's share of time, INT_MAX without a limit. */
static int
quota(void)
{
  long long time, period;
  int cores = INT_MAX;

  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file)
    return cores;
  if (fscanf(file, "%lld %lld", &time, &period) == 2 && time > 0 && period > 0 &&
      time / period < INT_MAX)
    cores = (int)((time + period - 1) / period);
  fclose(file);
  return cores;
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
  const int most = quota();
  if (cores > most)
    cores = most;
  return cores > 0 ? cores : 1;
}
