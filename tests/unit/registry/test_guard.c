/* test_guard.c - when a step of a rollout is done, and when it was one too many. */
#include "services/registry/guard.h"

#include <criterion/criterion.h>
#include <math.h>

#define RATE 0.01

static struct msg_rollout rollout(void)
{
    return (struct msg_rollout){ .version = 8,
                                 .state = ROLLOUT_RUNNING,
                                 .hold_ms = 1000,
                                 .limits = 1u << LIMIT_ERRORS | 1u << LIMIT_P99,
                                 .error_rate = RATE,
                                 .slow_us = 50000 };
}

static enum guard_verdict judge(struct msg_rollout r, const char *word)
{
    struct error why = { .text = "" };
    enum guard_verdict v = guard_judge(&r, &why);
    cr_expect((v == GUARD_ABORT) == (why.text[0] != 0), "%s", why.text);
    cr_expect(strstr(why.text, word), "%s", why.text);
    return v;
}

Test(guard, a_hold_ends_when_it_is_over)
{
    struct msg_rollout r = rollout();
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.held_ms = 999;
    r.requests = 100000;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.held_ms = 1000;
    cr_expect_eq(judge(r, ""), GUARD_NEXT);
    r.requests = 0; /* nobody came: nothing speaks against it */
    cr_expect_eq(judge(r, ""), GUARD_NEXT);
    r.away_ms = 1; /* just now it has no engine */
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.away_ms = 0;
    r.state = ROLLOUT_DONE;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
}

Test(guard, a_bad_version_is_found_at_once)
{
    struct msg_rollout r = rollout();
    r.requests = r.errors = 1;
    cr_expect_eq(judge(r, ""), GUARD_WAIT); /* one may be an accident */
    r.requests = r.errors = 2;
    cr_expect_eq(judge(r, "2 of 2 requests failed"), GUARD_ABORT);
    r.requests = 50;
    r.errors = 1;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.errors = 5;
    cr_expect_eq(judge(r, "error_rate 0.01"), GUARD_ABORT);
    r.limits = 1u << LIMIT_P99;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
}

Test(guard, a_slow_version_is_found_even_while_nothing_ends)
{
    struct msg_rollout r = rollout();
    r.overdue = 2;
    cr_expect_eq(judge(r, "2 of 2 requests took longer than 50 ms"), GUARD_ABORT);
    r.overdue = 0;
    r.requests = 1000;
    r.slow = 10;
    r.held_ms = 1000;
    cr_expect_eq(judge(r, ""), GUARD_NEXT); /* one of a hundred may */
    r.slow = 11;
    cr_expect_eq(judge(r, "p99_ms"), GUARD_ABORT);
    r.held_ms = 0;
    cr_expect_eq(judge(r, ""), GUARD_WAIT); /* not decided yet */
    r.limits = 1u << LIMIT_ERRORS;
    r.slow = 900;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
}

Test(guard, an_engine_must_come)
{
    struct msg_rollout r = rollout();
    r.away_ms = GUARD_READY_MS - 1;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.away_ms++;
    cr_expect_eq(judge(r, "within 600 s"), GUARD_ABORT);
    r.trouble = bytes_str("no room for it");
    r.away_ms = GUARD_FAILED_MS;
    cr_expect_eq(judge(r, "no room for it"), GUARD_ABORT);
    r.away_ms--; /* an engine that crashed once is started again */
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
}

Test(guard, limits_at_their_ends)
{
    cr_expect(guard_passed(1, 1, 0, false)); /* no failure at all is allowed */
    cr_expect(guard_passed(1, 1000000, 0, false));
    cr_expect(!guard_passed(0, 1000000, 0, true));
    cr_expect(!guard_passed(1000000, 1000000, 1, true));
    cr_expect(!guard_passed(0, 0, 0.5, true));
    cr_expect(!guard_passed(99, 99, 1, true));
    cr_expect(guard_passed(1000000, 1000000, 0.999, true));
}

/* Against the sum of all terms. */
static double slow_tail(unsigned bad, unsigned all, double p)
{
    double sum = 0;
    for (unsigned k = bad; k <= all; k++)
        sum += exp(lgamma(all + 1) - lgamma(k + 1) - lgamma(all - k + 1) + k * log(p) +
                   (all - k) * log1p(-p));
    return sum;
}

Test(guard, the_test_is_the_binomial_one)
{
    static const double limits[] = { 0.0001, 0.01, 0.05, 0.5, 0.9 };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        for (unsigned all = 1; all < 300; all += 7) {
            bool before = false;
            for (unsigned bad = 0; bad <= all; bad++) {
                bool passed = guard_passed(bad, all, limits[i], false);
                double chance = slow_tail(bad, all, limits[i]);
                if (fabs(chance - GUARD_CHANCE) > 1e-9 && bad > all * limits[i])
                    cr_assert_eq(passed, chance < GUARD_CHANCE, "%u of %u, %g", bad, all,
                                 limits[i]);
                cr_assert(passed >= before, "more failures are never better");
                cr_assert(!passed || guard_passed(bad, all, limits[i], true) || all * limits[i] < 1,
                          "what is decided stays so");
                before = passed;
            }
        }
    }
}

/* A generator of our own, so that every run sees the same requests. */
static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0;
}

/* How many requests of a version that fails with this chance are touched; 0: it was not found. */
static unsigned touched(double chance, unsigned most, uint64_t seed)
{
    uint64_t state = seed * 7919 + 1;
    unsigned errors = 0;
    for (unsigned n = 1; n <= most; n++) {
        errors += uniform(&state) < chance;
        if (guard_passed(errors, n, RATE, false))
            return n;
    }
    return 0;
}

Test(guard, bad_versions_touch_few_and_good_ones_stay)
{
    unsigned worst = 0, wrong = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        unsigned n = touched(0.5, 1000, seed);
        cr_assert(n, "a version that fails half of its requests was not found");
        worst = n > worst ? n : worst;
        cr_assert(touched(0.05, 5000, seed), "five times the limit");
        wrong += touched(RATE / 5, 10000, seed) != 0;
    }
    cr_expect(worst <= 40, "%u", worst);
    cr_expect(wrong <= 4, "%u of 200 good versions were aborted", wrong);
}

/* A client may send what every version refuses: that ends no rollout. */
Test(guard, refusals_count_beyond_those_of_the_others)
{
    struct msg_rollout r = rollout();
    r.requests = 1000;
    r.rejected = 100000; /* nobody to compare with */
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.rejected = 500;
    r.others = 3000;
    r.others_rejected = 1000;
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
    r.held_ms = r.hold_ms; /* a little more than theirs is chance */
    r.rejected = 520;
    cr_expect_eq(judge(r, ""), GUARD_NEXT);
    r.others_rejected = 10;
    cr_expect_eq(judge(r, "refused 10 of 3000"), GUARD_ABORT);
    r.others = r.others_rejected = 0;
    r.errors = 100; /* failures need no comparison */
    cr_expect_eq(judge(r, "100 of 1000 requests failed"), GUARD_ABORT);
}

Test(guard, a_version_that_refuses_all_is_found_soon)
{
    struct msg_rollout r = rollout();
    r.rejected = 20;
    r.others = 100;
    cr_expect_eq(judge(r, "20 of 20 requests failed or were refused"), GUARD_ABORT);
    r.others = 1; /* too few to tell what is usual */
    cr_expect_eq(judge(r, ""), GUARD_WAIT);
}
