/* guard.c - see guard.h. */
#include "services/registry/guard.h"

#include <inttypes.h>
#include <math.h>

#define P99_SHARE     0.01
#define SMALLEST_TERM 1e-9 /* of a sum: what follows adds nothing that counts */
#define OTHERS_UNSEEN 7    /* -ln(GUARD_CHANCE): so many may chance have kept from the others */
#define TEXT_OF_REASON \
    300 /* bytes of a worker's words; the rest of the sentence fits beside them */

/* ln of the chance that exactly `bad` of `all` requests are bad, if each is with the chance p. */
static double log_chance(double bad, double all, double p)
{
    int sign;
    return lgamma_r(all + 1, &sign) - lgamma_r(bad + 1, &sign) - lgamma_r(all - bad + 1, &sign) +
           bad * log(p) + (all - bad) * log1p(-p);
}

/* The chance that `bad` or more of `all` are bad. */
static double tail(uint64_t bad, uint64_t all, double p)
{
    double term = exp(log_chance((double)bad, (double)all, p)), sum = term;
    for (uint64_t k = bad; k < all && term > sum * SMALLEST_TERM; k++) {
        term *= (double)(all - k) / (double)(k + 1) * p / (1 - p);
        sum += term;
    }
    return sum;
}

bool guard_passed(uint64_t bad, uint64_t all, double limit, bool hold_is_over)
{
    double expected = (double)all * limit;
    if ((double)bad <= expected || limit >= 1)
        return false;
    if (limit <= 0 || (hold_is_over && expected >= 1))
        return true;
    return tail(bad, all, limit) < GUARD_CHANCE;
}

static bool check_engines(const struct msg_rollout *r, struct error *why)
{
    if (r->trouble.len && r->away_ms >= GUARD_FAILED_MS)
        error_set(why, STATUS_CONFLICT, "version %u has no engine: %.*s", r->version,
                  (int)(r->trouble.len < TEXT_OF_REASON ? r->trouble.len : TEXT_OF_REASON),
                  (const char *)r->trouble.data);
    else if (r->away_ms >= GUARD_READY_MS)
        error_set(why, STATUS_CONFLICT, "no engine of version %u was ready within %d s", r->version,
                  GUARD_READY_MS / 1000);
    else
        return true;
    return false;
}

/* The share of requests that the other versions refuse, or might. */
static double usual_share(const struct msg_rollout *r)
{
    return (double)(r->others_rejected + OTHERS_UNSEEN) / (double)(r->others + OTHERS_UNSEEN);
}

/* Both shares are measured, so it has to be decided at the end of the hold, too. */
static bool refuses_too_much(const struct msg_rollout *r)
{
    return r->rejected && guard_passed(r->errors + r->rejected, r->requests + r->rejected,
                                       r->error_rate + usual_share(r), false);
}

static bool check_limits(const struct msg_rollout *r, bool over, struct error *why)
{
    uint64_t slow = r->slow + r->overdue, timed = r->requests - r->errors + r->overdue;
    if (r->limits & 1u << LIMIT_ERRORS && guard_passed(r->errors, r->requests, r->error_rate, over))
        error_set(why, STATUS_CONFLICT,
                  "%" PRIu64 " of %" PRIu64 " requests failed, more than error_rate %g allows",
                  r->errors, r->requests, r->error_rate);
    else if (r->limits & 1u << LIMIT_ERRORS && refuses_too_much(r))
        error_set(why, STATUS_CONFLICT,
                  "%" PRIu64 " of %" PRIu64 " requests failed or were refused by the model (4xx), "
                  "where the other versions refused %" PRIu64 " of %" PRIu64
                  ": more than error_rate %g allows",
                  r->errors + r->rejected, r->requests + r->rejected, r->others_rejected, r->others,
                  r->error_rate);
    else if (r->limits & 1u << LIMIT_P99 && guard_passed(slow, timed, P99_SHARE, over))
        error_set(why, STATUS_CONFLICT,
                  "%" PRIu64 " of %" PRIu64 " requests took longer than %g ms, more than p99_ms "
                  "allows",
                  slow, timed, (double)r->slow_us / 1000);
    else
        return true;
    return false;
}

enum guard_verdict guard_judge(const struct msg_rollout *r, struct error *why)
{
    bool over = r->held_ms >= r->hold_ms && !r->away_ms;
    if (r->state != ROLLOUT_RUNNING)
        return GUARD_WAIT;
    if (!check_limits(r, over, why) || !check_engines(r, why))
        return GUARD_ABORT;
    return over ? GUARD_NEXT : GUARD_WAIT;
}
