/* rig.h - what the tests of net share: a loop whose waits have an end, and an address
 * of their own.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include "common/base/clock.h"
#include "common/net/sock.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#define RIG_WAIT_MS 20000 /* an event that has not come by then will not come */

struct rig {
    struct loop *loop;
    struct loop_timer *tick; /* so that a wait without events sees its end */
    char dir[32];
    char endpoint[64]; /* ipc, in dir */
};

static inline void rig_nothing(void *arg)
{
    (void)arg;
}

static inline void rig_init(struct rig *r)
{
    *r = (struct rig){ .dir = "/tmp/maas-unit-XXXXXX" };
    cr_assert_not_null(mkdtemp(r->dir));
    snprintf(r->endpoint, sizeof r->endpoint, "ipc://%s/socket", r->dir);
    r->loop = loop_create();
    r->tick = loop_timer_create(r->loop, rig_nothing, NULL);
    loop_timer_start(r->tick, 50, 50);
}

/* Everything that the test made on the loop must be destroyed by now. */
static inline void rig_finish(struct rig *r)
{
    char command[64];
    loop_timer_destroy(r->tick);
    loop_destroy(r->loop);
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    cr_assert_eq(system(command), 0);
}

static inline void rig_turn(struct rig *r)
{
    uv_run(loop_uv(r->loop), UV_RUN_ONCE);
}

/* Turns the loop until the condition holds; the test fails if that takes too long. */
#define rig_wait(r, condition)                                                      \
    do {                                                                            \
        uint64_t rig_end = clock_ms() + RIG_WAIT_MS;                                \
        while (!(condition)) {                                                      \
            cr_assert_lt(clock_ms(), rig_end, "waited in vain for %s", #condition); \
            rig_turn(r);                                                            \
        }                                                                           \
    } while (0)

/* Turns the loop for so long: for things that must not happen. */
static inline void rig_idle(struct rig *r, uint64_t ms)
{
    uint64_t end = clock_ms() + ms;
    while (clock_ms() < end)
        rig_turn(r);
}

#endif
