/* test_latency.c - slots of latencies, and what they say of the whole. */
#include "common/base/latency.h"

#include <criterion/criterion.h>

Test(latency, each_falls_into_the_slot_that_bounds_it)
{
    for (uint64_t us = 0; us < 2000000000; us += us / 50 + 1) {
        size_t slot = latency_slot(us);
        cr_assert_lt(slot, LATENCY_SLOTS);
        if (slot == LATENCY_SLOTS - 1)
            continue;
        cr_assert(latency_bound_us(slot) + 1 >= us, "%zu: slot %zu", (size_t)us, slot);
        cr_assert(!slot || latency_bound_us(slot - 1) <= us, "%zu: slot %zu", (size_t)us, slot);
    }
    cr_assert_eq(latency_slot(UINT64_MAX), LATENCY_SLOTS - 1);
    cr_assert_gt(latency_bound_us(LATENCY_SLOTS - 2), 600000000); /* the longest deadline */
}

Test(latency, quantiles_are_at_most_nine_percent_too_high)
{
    uint64_t counts[LATENCY_SLOTS] = { 0 };
    cr_assert_eq(latency_quantile_us(counts, 0.99), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        counts[latency_slot(i * 1000)]++;
    uint64_t p99 = latency_quantile_us(counts, 0.99), p50 = latency_quantile_us(counts, 0.5);
    cr_assert(p99 >= 990000 && p99 <= 990000 * 1.1, "%zu", (size_t)p99);
    cr_assert(p50 >= 500000 && p50 <= 500000 * 1.1, "%zu", (size_t)p50);
    cr_assert_geq(latency_quantile_us(counts, 1), 1000000);
}
