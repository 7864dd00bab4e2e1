/* test_guarded.c - what is counted of a version that a rollout brings in. */
#include "services/gateway/guarded.h"
#include "tests/unit/gateway/queue_rig.h"
#include "tests/unit/tsan.h"

static struct gateway gateway;
static struct guard_counts counts;

static void init(void)
{
    static const struct gateway_config config = { .timeout_ms = 1000 };
    gateway.config = &config;
    gateway.loop = loop_create();
    gateway.guarded = guarded_create(&gateway);
    counts = (struct guard_counts){ .owner = gateway.guarded, .slow_us = 50000 };
}

static void finish(void)
{
    guarded_destroy(gateway.guarded);
    loop_destroy(gateway.loop);
}

TestSuite(guarded, .init = init, .fini = finish);

Test(guarded, failures_are_those_of_the_version)
{
    for (unsigned st = 1; st < STATUS_COUNT; st++)
        guard_count(&counts, (enum status)st, 1000000);
    cr_expect_eq(counts.errors, 7);
    cr_expect_eq(counts.requests, 7); /* a request that was wrong says nothing of the version */
    cr_expect_eq(counts.slow, 0);
    cr_expect_eq(counts.rejected, 5); /* who is wrong is seen from other versions */
    guard_count(&counts, STATUS_TIMEOUT, 1000000);
    cr_expect_eq(counts.errors, 8);
    guard_count_refused(&counts);
    cr_expect_eq(counts.errors, 9);
    cr_expect_eq(counts.requests, 9);
}

/* Else a client could end any rollout with deadlines that nobody keeps. */
Test(guarded, a_deadline_of_the_clients_own_is_no_failure)
{
    guard_count(&counts, STATUS_TIMEOUT, 1000);
    cr_expect_eq(counts.requests, 0);
    guard_count(&counts, STATUS_TIMEOUT, 500000); /* but it was slow until then */
    cr_expect_eq(counts.errors, 0);
    cr_expect_eq(counts.slow, 1);
}

Test(guarded, slow_is_what_takes_longer_than_the_limit)
{
    guard_count(&counts, STATUS_OK, 50000);
    guard_count(&counts, STATUS_OK, 50001);
    guard_count_gone(&counts, 50000); /* who leaves early has not seen a slow one */
    guard_count_gone(&counts, 60000);
    cr_expect_eq(counts.requests, 3);
    cr_expect_eq(counts.slow, 2);
    cr_expect_eq(counts.latency[latency_slot(50000)] + counts.latency[latency_slot(60000)], 3);
    counts.slow_us = 0;
    guard_count(&counts, STATUS_OK, 1000000);
    guard_count_gone(&counts, 1000000);
    cr_expect_eq(counts.requests, 4);
    cr_expect_eq(counts.slow, 2);
}

/* ---- what has not ended, and engines that crash ---- */

#define MANY 30

Test(guarded, requests_that_wait_or_run_are_seen)
{
    static struct answer answers[MANY];
    struct rig rig;
    struct rig_engine e;
    rig_init(&rig, MANY, 1u << 20);
    rig_join(&rig, &e, 4, 1);
    for (size_t i = 0; i < MANY; i++, rig.now_ms += 10) {
        struct inference *r = rig_request(&rig, 1, 0, rig_answered, &answers[i]);
        r->priority = 1 + (uint32_t)i % 4;
        cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
        if (i == 3)
            rig_turn(&rig); /* four run, the others wait */
    }
    cr_expect_eq(lane_older(rig.lane, 1000000, MANY), 0);
    for (uint64_t n = 1; n <= MANY; n++)
        cr_expect_eq(lane_older(rig.lane, 1000000 + n * 10000 - 1, MANY), n);
    cr_expect_eq(lane_older(rig.lane, UINT64_MAX, 2), 2 + 2 * PRIORITY_CLASSES);
    rig_die(&rig, &e, true);
    cr_expect_eq(lane_counts(rig.lane)->crashes, 1);
    rig_join(&rig, &e, 4, 1);
    rig_die(&rig, &e, true); /* it had nothing to do */
    cr_expect_eq(lane_counts(rig.lane)->crashes, 1);
    rig_finish(&rig);
}
