/* Which host is asked for a version. */
#include "services/gateway/rendezvous.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define HOSTS    8
#define VERSIONS 4000

static struct bytes host_name(size_t i, char name[16])
{
    snprintf(name, 16, "host-%zu", i);
    return bytes_str(name);
}

static size_t pick(size_t first, size_t count, uint32_t version, size_t turn)
{
    uint64_t scores[HOSTS];
    char name[16];
    for (size_t i = 0; i < count; i++)
        scores[i] = rendezvous_score(host_name(first + i, name), bytes_str("m"), version);
    return first + rendezvous_pick(scores, count, turn);
}

Test(rendezvous, every_host_has_its_turn_and_then_the_first_again)
{
    for (uint32_t v = 1; v < 50; v++) {
        unsigned seen = 0;
        for (size_t turn = 0; turn < HOSTS; turn++)
            seen |= 1u << pick(0, HOSTS, v, turn);
        cr_assert_eq(seen, (1u << HOSTS) - 1);
        cr_assert_eq(pick(0, HOSTS, v, HOSTS), pick(0, HOSTS, v, 0));
    }
}

Test(rendezvous, equal_scores_are_no_trap)
{
    const uint64_t same[] = { 7, 7, 7 };
    for (size_t turn = 0; turn < 6; turn++)
        cr_expect_eq(rendezvous_pick(same, 3, turn), turn % 3);
}

Test(rendezvous, versions_spread)
{
    size_t got[HOSTS] = { 0 };
    for (uint32_t v = 1; v <= VERSIONS; v++)
        got[pick(0, HOSTS, v, 0)]++;
    for (size_t i = 0; i < HOSTS; i++)
        cr_expect(got[i] > VERSIONS / HOSTS * 8 / 10 && got[i] < VERSIONS / HOSTS * 12 / 10,
                  "host %zu has %zu", i, got[i]);
}

Test(rendezvous, a_host_that_goes_moves_only_its_own)
{
    for (uint32_t v = 1; v <= VERSIONS; v++) {
        size_t with = pick(0, HOSTS, v, 0), without = pick(1, HOSTS - 1, v, 0);
        cr_assert(with == without || with == 0);
    }
}
