/* resources.h - the cores and the memory that this process may use: what the machine has, what
 * its CPU affinity allows, and the limits of its cgroup (v2) and of those above it.
 */
#ifndef COMMON_BASE_RESOURCES_H
#define COMMON_BASE_RESOURCES_H

#include "common/base/bytes.h"

#define NO_LIMIT UINT64_MAX

/* ---- pure ---- */
/* cpu.max of a cgroup, "QUOTA PERIOD" or "max PERIOD": thousandths of a core.  NO_LIMIT: none. */
uint64_t resources_parse_cpu_max(const char *text);
/* memory.max of a cgroup, bytes or "max". */
uint64_t resources_parse_memory_max(const char *text);
/* A line "NAME:  N kB" of /proc/meminfo or smaps_rollup, in bytes; 0: it has none. */
uint64_t resources_parse_kib(const char *text, const char *name);
/* How many threads one of so many engines gets: as the option says, or where that is 0 its share
 * of the cores; at least 1. */
unsigned resources_threads(unsigned option, unsigned cores, size_t engines);
/* What all engines may have together: as the option says, or where that is 0 four fifths of the
 * smaller of what is available and what is allowed. */
uint64_t resources_budget(uint64_t option, uint64_t available, uint64_t limit);

/* ---- of this process ---- */
unsigned resources_cores(void); /* at least 1 */
uint64_t resources_memory_available(void);
uint64_t resources_memory_limit(void); /* NO_LIMIT: none */

#endif
