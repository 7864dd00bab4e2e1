/* test_resources.c - cores and memory: what the kernel's files say, and each engine's share. */
#include "common/base/resources.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>

Test(resources, cpu_max)
{
    cr_expect_eq(resources_parse_cpu_max("max 100000\n"), NO_LIMIT);
    cr_expect_eq(resources_parse_cpu_max("150000 100000\n"), 1500);
    cr_expect_eq(resources_parse_cpu_max("1000 100000\n"), 10);
    cr_expect_eq(resources_parse_cpu_max("400000 50000"), 8000);
    cr_expect_eq(resources_parse_cpu_max(""), NO_LIMIT);
    cr_expect_eq(resources_parse_cpu_max("100 0"), NO_LIMIT);
    cr_expect_eq(resources_parse_cpu_max("nonsense"), NO_LIMIT);
    cr_expect_eq(resources_parse_cpu_max("18446744073709551615 1"), NO_LIMIT);
}

Test(resources, memory_max)
{
    cr_expect_eq(resources_parse_memory_max("max\n"), NO_LIMIT);
    cr_expect_eq(resources_parse_memory_max("1073741824\n"), 1u << 30);
    cr_expect_eq(resources_parse_memory_max(""), NO_LIMIT);
}

Test(resources, lines_in_kib)
{
    const char *text = "MemTotal:       16 kB\nMemFree:  2 kB\nMemAvailable:    12 kB\n";
    cr_expect_eq(resources_parse_kib(text, "MemAvailable"), 12 * 1024);
    cr_expect_eq(resources_parse_kib(text, "MemTotal"), 16 * 1024);
    cr_expect_eq(resources_parse_kib(text, "Mem"), 0, "not a part of a name");
    cr_expect_eq(resources_parse_kib("", "MemFree"), 0);
}

Test(resources, cores_are_shared_by_the_engines)
{
    cr_expect_eq(resources_threads(0, 8, 1), 8);
    cr_expect_eq(resources_threads(0, 8, 3), 2);
    cr_expect_eq(resources_threads(0, 8, 8), 1);
    cr_expect_eq(resources_threads(0, 8, 50), 1);
    cr_expect_eq(resources_threads(0, 8, 0), 8);
    cr_expect_eq(resources_threads(3, 8, 50), 3, "as told");
    cr_expect_eq(resources_threads(16, 8, 1), 16, "as told");
}

Test(resources, budget)
{
    cr_expect_eq(resources_budget(7, 1000, 500), 7, "as told");
    cr_expect_eq(resources_budget(0, 1000, NO_LIMIT), 800);
    cr_expect_eq(resources_budget(0, 1000, 500), 400);
}

Test(resources, of_this_machine)
{
    cr_expect_geq(resources_cores(), 1);
    cr_expect_leq(resources_cores(), 100000);
    cr_expect_gt(resources_memory_available(), 0);
    cr_expect_gt(resources_memory_limit(), 0);
}
