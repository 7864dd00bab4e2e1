/* shadow_pairs.h - what is counted per pair of versions: one that has answered, and a shadow of it.
 *
 * Private to shadow.c.  Counts are kept here and not as metrics of their own, so that they are in
 * no report to the registry; differences are histograms (common/base/metrics.h).
 */
#ifndef SERVICES_GATEWAY_SHADOW_PAIRS_H
#define SERVICES_GATEWAY_SHADOW_PAIRS_H

#include "common/base/metrics.h"
#include "services/gateway/compare.h"
#include "services/gateway/shadow.h"

#include <uthash.h>

/* Why a copy was not made, or not waited for. */
#define DROP_LIST(X)        \
    X(COUNT, "count")       \
    X(BYTES, "bytes")       \
    X(QUEUE, "queue")       \
    X(ENGINES, "engines")   \
    X(INPUTS, "inputs")     \
    X(DEADLINE, "deadline") \
    X(ENDED, "ended")

enum drop {
#define X(name, text) DROP_##name,
    DROP_LIST(X)
#undef X
        DROPS
};

struct shadow_output {
    struct metric *difference, *largest;
    double most; /* the value of largest */
    uint64_t rows, agreeing, not_finite, mismatched;
};

struct shadow_pair {
    UT_hash_handle hh;
    struct {
        struct lane *primary;
        uint64_t shadow; /* its version */
    } key;
    struct copy *open; /* with the queue, the oldest first; shadow.c's */
    size_t open_count; /* these, and those that are being compared */
    uint64_t copies, compared, failed, dropped[DROPS];
    size_t outputs_count;
    struct shadow_output outputs[]; /* of the primary's signature */
};

/* Made when new, in place of the oldest one without open copies where there are too many.  NULL: all
 * have some. */
struct shadow_pair *pair_find(struct shadow_pair **pairs, struct lane *primary, uint32_t shadow);
/* The comparison of each of its outputs. */
void pair_record(struct shadow_pair *p, const struct comparison *outputs);
void pairs_print(const struct shadow_pair *pairs, struct buf *out);
/* Those of which the lane is the primary.  false: one has open copies, and all stay. */
bool pairs_forget(struct shadow_pair **pairs, const struct lane *primary) MUST_CHECK;
void pairs_finish(struct shadow_pair **pairs);

#endif
