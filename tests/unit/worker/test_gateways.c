/* test_gateways.c - gateways come, go, and are not forgotten for a registry's sake. */
#include "services/worker/gateways.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct gateways known;

static bool update(uint64_t now_ms, size_t count, const char *const list[][2])
{
    struct msg_process processes[8] = { { 0 } };
    for (size_t i = 0; i < count; i++)
        processes[i] = (struct msg_process){ .role = ROLE_GATEWAY,
                                             .id = bytes_str(list[i][0]),
                                             .jobs = bytes_str(list[i][1]) };
    struct msg_suite suite = { processes, count };
    return gateways_update(&known, &suite, now_ms);
}

static const char *const one[][2] = { { "a", "tcp://a:1" } };
static const char *const two[][2] = { { "a", "tcp://a:1" }, { "b", "tcp://b:1" } };

static bool knows(const char *id)
{
    struct msg_endpoint list[MAX_GATEWAYS];
    struct msg_gateways m;
    gateways_list(&known, list, &m);
    for (size_t i = 0; i < m.gateways_count; i++)
        if (bytes_equal_str(m.gateways[i].id, id))
            return true;
    return false;
}

Test(gateways, listed_ones_are_known_and_only_changes_are_told)
{
    cr_expect(update(1000, 2, two));
    cr_expect(knows("a") && knows("b"));
    cr_expect_not(update(2000, 2, two));
}

Test(gateways, a_missing_one_is_kept_for_a_while)
{
    update(1000, 2, two);
    cr_expect_not(update(2000, 1, one));
    cr_expect_not(update(2000 + GATEWAY_KEPT_MS, 1, one));
    cr_expect(knows("b"));
    cr_expect(update(2001 + GATEWAY_KEPT_MS, 1, one));
    cr_expect_not(knows("b"));
    cr_expect(knows("a"));
}

/* The time that the registry was away does not count. */
Test(gateways, a_registry_that_comes_back_empty_handed_takes_nothing_away)
{
    update(1000, 2, two);
    cr_expect_not(update(1000 + 10 * GATEWAY_KEPT_MS, 0, NULL));
    cr_expect(knows("a") && knows("b"));
    cr_expect_not(update(2000 + 10 * GATEWAY_KEPT_MS, 2, two));
    cr_expect_not(update(1000 + 20 * GATEWAY_KEPT_MS, 0, NULL));
    cr_expect(knows("a") && knows("b"));
}

Test(gateways, a_new_process_at_the_same_endpoint_replaces_the_old)
{
    static const char *const again[][2] = { { "a2", "tcp://a:1" } };
    update(1000, 1, one);
    cr_expect(update(1100, 1, again));
    cr_expect(knows("a2"));
    cr_expect_not(knows("a"));
    cr_expect_eq(known.count, 1);
}

Test(gateways, others_and_nonsense_are_not_taken)
{
    char longest[MAX_ENDPOINT + 8];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *const odd[][2] = { { "", "tcp://a:1" }, { "c", "" }, { "d", longest } };
    cr_expect_not(update(1000, 3, odd));
    struct msg_process worker = { .role = ROLE_WORKER,
                                  .id = bytes_str("w"),
                                  .jobs = bytes_str("tcp://w:1") };
    struct msg_suite suite = { &worker, 1 };
    cr_expect_not(gateways_update(&known, &suite, 1000));
    cr_expect_eq(known.count, 0);
}

Test(gateways, more_than_fit_are_left_out)
{
    struct msg_process processes[MAX_GATEWAYS + 5] = { { 0 } };
    char ids[MAX_GATEWAYS + 5][16], jobs[MAX_GATEWAYS + 5][16];
    for (int i = 0; i < MAX_GATEWAYS + 5; i++) {
        snprintf(ids[i], sizeof ids[i], "g%d", i);
        snprintf(jobs[i], sizeof jobs[i], "tcp://g:%d", i);
        processes[i] = (struct msg_process){ .role = ROLE_GATEWAY,
                                             .id = bytes_str(ids[i]),
                                             .jobs = bytes_str(jobs[i]) };
    }
    struct msg_suite suite = { processes, MAX_GATEWAYS + 5 };
    cr_expect(gateways_update(&known, &suite, 1000));
    cr_expect_eq(known.count, MAX_GATEWAYS);
}
