/* latency.h - how long things have taken, counted in slots an eighth of an octave wide.  Pure.
 *
 * Counts of several processes can be added, and quantiles read from the sum, which are at most
 * nine percent too high.
 */
#ifndef COMMON_BASE_LATENCY_H
#define COMMON_BASE_LATENCY_H

#include <stddef.h>
#include <stdint.h>

#define LATENCY_SLOTS 192 /* from 0.1 ms to 25 minutes; the last has all that is longer */

size_t latency_slot(uint64_t us);
/* The longest that falls into the slot. */
uint64_t latency_bound_us(size_t slot);
/* What the share q (0 to 1) of all has taken at most, rounded up to its slot; 0: nothing was counted. */
uint64_t latency_quantile_us(const uint64_t counts[LATENCY_SLOTS], double q);

#endif
