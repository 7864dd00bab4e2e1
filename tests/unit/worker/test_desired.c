/* test_desired.c - which versions a worker serves while deployments change. */
#include "services/worker/desired.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>

static struct catalog catalog;

static void put(uint32_t number, enum version_check check)
{
    struct msg_version v = { .model = bytes_str("m"), .number = number, .check = check };
    struct msg_catalog change = { .versions = &v, .versions_count = 1 };
    catalog_apply(&catalog, &change, false);
}

static void deploy(uint32_t version, uint32_t previous)
{
    static uint64_t revision;
    struct msg_deployment d = {
        .model = bytes_str("m"), .version = version, .previous = previous, .revision = ++revision
    };
    struct msg_catalog change = { .deployments = &d, .deployments_count = 1 };
    catalog_apply(&catalog, &change, false);
}

static bool wants(uint32_t number, bool deployed_was_ready)
{
    return desired_wants(catalog_find(&catalog, bytes_str("m")), number, deployed_was_ready);
}

static void init(void)
{
    for (uint32_t n = 1; n <= 3; n++)
        put(n, CHECK_PASSED);
}

static void finish(void)
{
    catalog_finish(&catalog);
}

TestSuite(desired, .init = init, .fini = finish);

Test(desired, nothing_is_deployed)
{
    for (uint32_t n = 0; n <= 4; n++)
        cr_expect_not(wants(n, false), "version %u", n);
}

Test(desired, the_deployed_version_always)
{
    deploy(2, 0);
    cr_expect(wants(2, false));
    cr_expect(wants(2, true));
    cr_expect_not(wants(1, false));
    cr_expect_not(wants(0, false), "previous 0 means nothing");
}

Test(desired, the_previous_until_the_new_one_was_ready)
{
    deploy(2, 1);
    cr_expect(wants(1, false));
    cr_expect_not(wants(1, true));
    cr_expect(wants(2, true));
    deploy(3, 2);
    cr_expect_not(wants(1, false));
    cr_expect(wants(2, false));
    deploy(2, 3); /* back again */
    cr_expect(wants(3, false));
    cr_expect_not(wants(3, true));
}

Test(desired, a_failed_version_is_not_wanted_and_the_previous_stays)
{
    put(3, CHECK_PENDING);
    deploy(3, 2);
    cr_expect(wants(3, false));
    put(3, CHECK_FAILED);
    cr_expect_not(wants(3, false));
    cr_expect(wants(2, false));
}

Test(desired, all_that_share_the_traffic_and_its_shadows)
{
    struct msg_share traffic[] = { { 1, 9500 }, { 2, 500 } };
    const int64_t shadow[] = { 3 };
    struct msg_deployment d = { .model = bytes_str("m"),
                                .version = 1,
                                .revision = UINT32_MAX,
                                .traffic = traffic,
                                .traffic_count = 2,
                                .shadow = { shadow, 1 } };
    uint32_t list[DESIRED_MAX];
    catalog_apply(&catalog, &(struct msg_catalog){ .deployments = &d, .deployments_count = 1 },
                  false);
    for (uint32_t n = 1; n <= 3; n++)
        cr_expect(wants(n, true), "version %u", n);
    cr_expect_eq(desired_versions(&d, list), 3);
    cr_expect(desired_is_present(&d, 3) && !desired_is_present(&d, 4));
    cr_expect(desired_in_pool(&d, "default") && !desired_in_pool(&d, "gold"));
    d.pool = bytes_str("gold");
    cr_expect(desired_in_pool(&d, "gold") && !desired_in_pool(&d, "default"));
}

Test(desired, those_before_stay_while_a_rollout_is_under_way)
{
    struct msg_deployment d = { .model = bytes_str("m"),
                                .version = 2,
                                .previous = 1,
                                .revision = UINT32_MAX - 1,
                                .rollout = 2 };
    const struct msg_catalog change = { .deployments = &d, .deployments_count = 1 };
    catalog_apply(&catalog, &change, false);
    cr_expect(wants(1, true) && wants(2, true) && !wants(3, true));
    d.rollout = 0;
    catalog_apply(&catalog, &change, false);
    cr_expect(!wants(1, true) && wants(2, true));
}

Test(desired, unknown_versions_are_not_wanted)
{
    deploy(9, 8);
    cr_expect_not(wants(9, false));
    cr_expect_not(wants(8, false));
}

Test(desired, checks_while_something_is_pending)
{
    cr_expect_not(desired_checks(&catalog));
    put(5, CHECK_PENDING); /* 4 is not known */
    cr_expect(desired_checks(&catalog));
    put(5, CHECK_FAILED);
    cr_expect_not(desired_checks(&catalog));
}

/* ---- how many engines of a version ---- */

/* "R" ready, "l" loading, "S" stale and ready, "s" stale and not ready; the answer has "." for
 * what is to end and "+" for each that is to be started. */
static void expect(const char *have, size_t want, const char *then)
{
    struct desired_engine list[16];
    char got[32];
    size_t count = strlen(have);
    for (size_t i = 0; i < count; i++)
        list[i] = (struct desired_engine){ .ready = have[i] == 'R' || have[i] == 'S',
                                           .stale = have[i] == 'S' || have[i] == 's' };
    size_t start = desired_engines(list, count, want);
    for (size_t i = 0; i < count; i++)
        got[i] = list[i].stop ? '.' : have[i];
    memset(got + count, '+', start);
    got[count + start] = 0;
    cr_expect_str_eq(got, then, "%s for %zu: %s, not %s", have, want, got, then);
}

Test(engines, as_many_as_are_wanted)
{
    expect("", 1, "+");
    expect("", 3, "+++");
    expect("R", 1, "R");
    expect("Rl", 4, "Rl++");
}

Test(engines, the_youngest_end_and_first_those_that_are_not_ready)
{
    expect("RRR", 1, "R..");
    expect("lRR", 2, ".RR");
    expect("lRl", 2, "lR.");
    expect("lll", 2, "ll.");
    expect("RlR", 0, "...");
}

Test(engines, a_stale_one_ends_when_its_successor_is_ready)
{
    expect("S", 1, "S+");
    expect("Sl", 1, "Sl");
    expect("SR", 1, ".R");
    expect("SSRl", 2, "S.Rl");
    expect("SSRR", 2, "..RR");
    expect("s", 1, ".+");
    expect("SSSS", 1, "S...+");
    expect("S", 3, "S+++");
}
