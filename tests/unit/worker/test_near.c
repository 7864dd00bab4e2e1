/* test_near.c - when the job thread stays with the gateway. */
#include "services/worker/near.h"

#include <criterion/criterion.h>
#include <string.h>

#define WINDOW 10000

/* At home on core 0 alone (its number as told is 1), and told to be there. */
static struct near begin(void)
{
    struct near n;
    memset(&n, 0, sizeof n);
    CPU_SET(0, &n.home);
    n.told = 1;
    return n;
}

static uint32_t window(struct near *n, uint64_t jobs, uint64_t busy_us)
{
    n->jobs = jobs;
    n->busy_us = busy_us;
    return near_choose(n, n->window_us + WINDOW);
}

Test(near, short_jobs_are_run_where_the_gateway_is)
{
    struct near n = begin();
    cr_expect_eq(window(&n, 10, 200), 1);
    cr_expect_eq(window(&n, 1, NEAR_JOB_US), 1);
}

Test(near, long_jobs_are_not)
{
    struct near n = begin();
    cr_expect_eq(window(&n, 1, NEAR_JOB_US + 1), 0);
    cr_expect_eq(window(&n, 10, 200), 1, "and come back when they are short");
}

Test(near, a_busy_thread_leaves_the_gateway_its_core)
{
    struct near n = begin();
    uint64_t percent = WINDOW / 100;
    cr_expect_eq(window(&n, 1000, NEAR_SHARE * percent), 1);
    cr_expect_eq(window(&n, 1000, (NEAR_SHARE + 1) * percent), 0);
    cr_expect_eq(window(&n, 1000, (NEAR_BACK + 1) * percent), 0, "it does not come back so soon");
    cr_expect_eq(window(&n, 1000, NEAR_BACK * percent), 1);
    cr_expect_eq(window(&n, 1000, (NEAR_BACK + 1) * percent), 1, "and then it stays");
}

Test(near, only_a_core_of_our_own_that_was_told)
{
    struct near n = begin();
    n.told = 0;
    cr_expect_eq(window(&n, 10, 200), 0, "another host, or a gateway that does not say");
    n.told = 2;
    cr_expect_eq(window(&n, 10, 200), 0, "a core that this process may not use");
    n.told = CPU_SETSIZE + 1;
    cr_expect_eq(window(&n, 10, 200), 0, "no core at all");
    n.told = UINT32_MAX;
    cr_expect_eq(window(&n, 10, 200), 0);
}

Test(near, the_thread_really_moves_and_is_let_go)
{
    struct near n;
    cpu_set_t now;
    near_init(&n);
    uint32_t core = 0;
    while (!CPU_ISSET(core, &n.home))
        core++;
    near_note(&n, core + 1, NEAR_WINDOW_US, 10);
    cr_assert_eq(sched_getaffinity(0, sizeof now, &now), 0);
    cr_expect_eq(n.core, core + 1);
    cr_expect(CPU_COUNT(&now) == 1 && CPU_ISSET(core, &now));
    near_note(&n, 0, 2 * NEAR_WINDOW_US, 10);
    cr_assert_eq(sched_getaffinity(0, sizeof now, &now), 0);
    cr_expect_eq(n.core, 0);
    cr_expect(CPU_EQUAL(&now, &n.home));
}
