/* What the gateway asks of the cores: the rule, and what it writes, to a file that stands for the device. */
#include "services/gateway/awake.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

Test(awake, begins_at_a_high_rate_and_ends_at_a_low_one)
{
    uint64_t begin = AWAKE_RATE * AWAKE_WINDOW_MS / 1000;
    uint64_t least = AWAKE_LEAST * AWAKE_RELEASE_MS / 1000;
    cr_assert(!awake_choose(false, begin - 1, AWAKE_WINDOW_MS));
    cr_assert(awake_choose(false, begin, AWAKE_WINDOW_MS));
    cr_assert(awake_choose(true, least, AWAKE_RELEASE_MS));
    cr_assert(!awake_choose(true, least - 1, AWAKE_RELEASE_MS));
    cr_assert(!awake_choose(false, begin, 60000), "that many in a minute are few");
}

struct rig {
    struct loop *loop;
    struct awake awake;
    struct loop_timer *step;
    uint64_t requests;
    int device;
    bool rest;    /* no requests come any more */
    int32_t last; /* that was read from the device */
};

/* Requests come, until the device says 0; then none, until it says something else. */
static void on_step(void *arg)
{
    struct rig *r = arg;
    if (!r->rest)
        awake_note(&r->awake, r->requests += 10000);
    if (pread(r->device, &r->last, sizeof r->last, 0) != sizeof r->last)
        return;
    if (!r->rest && r->last == 0) {
        cr_assert(r->awake.held);
        r->rest = true;
    } else if (r->rest && r->last > 0) {
        loop_stop(r->loop);
    }
}

Test(awake, the_device_is_told_when_it_begins_and_when_requests_end)
{
    char path[] = "/tmp/maas-awake-XXXXXX";
    struct rig r = { .loop = loop_create(), .last = -1 };
    r.device = mkstemp(path);
    cr_assert(r.device >= 0);
    awake_init(&r.awake, r.loop, path);
    r.step = loop_timer_create(r.loop, on_step, &r);
    loop_timer_start(r.step, 1, 1);
    loop_run(r.loop);
    cr_assert(!r.awake.held);
    loop_timer_destroy(r.step);
    awake_finish(&r.awake);
    loop_destroy(r.loop);
    close(r.device);
    unlink(path);
}

Test(awake, without_a_device_nothing_is_held)
{
    struct awake a;
    struct loop *l = loop_create();
    awake_init(&a, l, "/nowhere/cpu_dma_latency");
    awake_note(&a, 1000000000);
    cr_assert(!a.held && a.device < 0);
    awake_finish(&a);
    awake_init(&a, l, NULL);
    cr_assert_lt(a.device, 0);
    awake_finish(&a);
    loop_destroy(l);
}
