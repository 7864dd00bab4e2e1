/* latency.c - see latency.h. */
#include "common/base/latency.h"

#include <math.h>

#define FIRST_US   100.0 /* what takes no longer is in slot 0 */
#define PER_OCTAVE 8

size_t latency_slot(uint64_t us)
{
    if ((double)us <= FIRST_US)
        return 0;
    double slot = ceil(PER_OCTAVE * log2((double)us / FIRST_US) - 1e-9);
    return slot < LATENCY_SLOTS ? (size_t)slot : LATENCY_SLOTS - 1;
}

uint64_t latency_bound_us(size_t slot)
{
    return (uint64_t)(FIRST_US * exp2((double)slot / PER_OCTAVE));
}

uint64_t latency_quantile_us(const uint64_t counts[LATENCY_SLOTS], double q)
{
    uint64_t all = 0, sum = 0;
    for (size_t i = 0; i < LATENCY_SLOTS; i++)
        all += counts[i];
    for (size_t i = 0; i < LATENCY_SLOTS; i++) {
        sum += counts[i];
        if (sum && (double)sum >= q * (double)all)
            return latency_bound_us(i);
    }
    return 0;
}
