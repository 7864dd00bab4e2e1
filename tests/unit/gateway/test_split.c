/* test_split.c - shares of the traffic are exact in the long run, and keys stay where they are. */
#include "services/gateway/recent.h"
#include "services/gateway/split.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#define KEYS 100000

static const struct msg_share canary[] = { { 7, 9500 }, { 8, 500 } };

static size_t place_of(const char *pattern, unsigned i, const struct msg_share *list, size_t count)
{
    char key[64];
    snprintf(key, sizeof key, pattern, i);
    return split_pick(list, count, split_hash(bytes_str("m"), bytes_str(key)));
}

/* Keys as clients have them: short, long, counted, and as the gateway numbers requests. */
static const char *const patterns[] = { "%u", "user-%u", "0011223344556677-%012x", "%u@example.org",
                                        "req/%08x" };

Test(split, shares_are_met_within_two_tenths_of_a_percent)
{
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        size_t second = 0;
        for (unsigned i = 0; i < KEYS; i++)
            second += place_of(patterns[p], i, canary, 2);
        double share = 100.0 * (double)second / KEYS;
        cr_expect(fabs(share - 5) <= 0.2, "%s: %g %%", patterns[p], share);
    }
}

Test(split, every_bit_of_the_hash_is_even)
{
    unsigned ones[64] = { 0 };
    char key[32];
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%u", i);
        uint64_t h = split_hash(bytes_str("m"), bytes_str(key));
        for (int b = 0; b < 64; b++)
            ones[b] += h >> b & 1;
    }
    for (int b = 0; b < 64; b++) /* six standard deviations */
        cr_expect(fabs(ones[b] - KEYS / 2.0) < 6 * sqrt(KEYS / 4.0), "bit %d: %u", b, ones[b]);
}

Test(split, a_key_stays_unless_its_part_changes_hands)
{
    static const struct msg_share more[] = { { 7, 9000 }, { 8, 1000 } };
    size_t moved = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        size_t before = place_of("user-%u", i, canary, 2), after = place_of("user-%u", i, more, 2);
        cr_assert_eq(before, place_of("user-%u", i, canary, 2));
        cr_assert(before <= after, "nobody goes back from the version that gets more");
        moved += before != after;
    }
    cr_assert(fabs(100.0 * (double)moved / KEYS - 5) < 0.3);
}

Test(split, models_do_not_split_alike)
{
    size_t same = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        static const struct msg_share half[] = { { 1, 5000 }, { 2, 5000 } };
        snprintf(key, sizeof key, "user-%u", i);
        same += split_pick(half, 2, split_hash(bytes_str("a"), bytes_str(key))) ==
                split_pick(half, 2, split_hash(bytes_str("b"), bytes_str(key)));
    }
    cr_assert(same > 400 && same < 600, "%zu of 1000", same);
}

Test(split, weights_need_not_make_a_whole)
{
    static const struct msg_share list[] = { { 1, 1 }, { 2, 2 }, { 3, 1 } };
    size_t got[3] = { 0 };
    for (uint64_t hash = 0; hash < 4000; hash++)
        got[split_pick(list, 3, hash)]++;
    cr_assert(got[0] == 1000 && got[1] == 2000 && got[2] == 1000);
}

/* ---- the last minute ---- */

Test(recent, counts_a_minute_and_forgets)
{
    struct recent r = { 0 };
    const uint64_t second = 1000000, start = 1000 * second;
    for (unsigned i = 0; i < 60; i++)
        recent_add(&r, start + i * second);
    cr_assert_eq(recent_sum(&r, start + 59 * second), 60);
    uint64_t later = recent_sum(&r, start + 90 * second);
    cr_assert(later >= 25 && later <= 35, "%zu", (size_t)later);
    cr_assert_eq(recent_sum(&r, start + 200 * second), 0);
    recent_add(&r, start + 1000 * second);
    cr_assert_eq(recent_sum(&r, start + 1000 * second), 1);
}
