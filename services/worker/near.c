/* near.c - see near.h. */
#include "services/worker/near.h"

#include <string.h>

void near_init(struct near *n)
{
    memset(n, 0, sizeof *n);
    if (sched_getaffinity(0, sizeof n->home, &n->home))
        CPU_ZERO(&n->home); /* then no core is at home, and nothing is ever moved */
}

static bool at_home(const struct near *n, uint32_t core)
{
    return core && core <= CPU_SETSIZE && CPU_ISSET(core - 1, &n->home);
}

uint32_t near_choose(struct near *n, uint64_t now_us)
{
    uint64_t span_us = now_us - n->window_us;
    uint64_t share = span_us ? 100 * n->busy_us / span_us : 100;
    n->busy = share > (n->busy ? NEAR_BACK : NEAR_SHARE);
    bool quick = n->jobs && n->busy_us / n->jobs <= NEAR_JOB_US;
    return quick && !n->busy && at_home(n, n->told) ? n->told : 0;
}

static void move(struct near *n, uint32_t core)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    if (core)
        CPU_SET(core - 1, &one);
    if (!sched_setaffinity(0, sizeof one, core ? &one : &n->home))
        n->core = core; /* else it stays where it is */
}

void near_note(struct near *n, uint32_t core, uint64_t now_us, uint64_t job_us)
{
    n->busy_us += job_us;
    n->jobs++;
    n->told = core;
    if (now_us - n->window_us < NEAR_WINDOW_US)
        return;
    uint32_t chosen = near_choose(n, now_us);
    if (chosen != n->core)
        move(n, chosen);
    n->window_us = now_us;
    n->busy_us = n->jobs = 0;
}
