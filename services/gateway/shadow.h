/* shadow.h - copies of answered requests, for the shadow versions of their deployment.
 *
 * When a version has answered a request, each shadow version gets the same inputs: as a request of
 * the lowest class, in its own lane, that nobody waits for.  When its outputs come they are compared
 * with those of the answer (compare.h), and counted per pair of versions.  So a copy can neither
 * delay an answer nor fail one; a request that was not answered well has no copy.
 *
 * A copy shares the memory of its request's inputs and of the answer.  Copies are bounded per pair of
 * versions and by the memory that they keep alive; what does not fit is dropped and counted, as is a
 * copy whose engine is gone, or that was not answered in time.  Nothing is tried again.
 *
 * Loop thread only; large outputs are compared on a pool thread.
 */
#ifndef SERVICES_GATEWAY_SHADOW_H
#define SERVICES_GATEWAY_SHADOW_H

#include "common/msg/catalog.h"
#include "common/net/loop.h"
#include "services/gateway/queue.h"

#define SHADOW_COPIES_MAX 256         /* open at a time, of one pair of versions */
#define SHADOW_BYTES_MAX  (64u << 20) /* that all open copies keep alive */
#define SHADOW_PAIRS_MAX  256         /* of versions that are remembered, with their counts */
#define SHADOW_COPY_BYTES (64u << 10) /* outputs up to this are copied: kept.h */
#define SHADOW_INLINE_BYTES \
    (16u << 10) /* outputs up to this are compared on the loop: some 20 us */

struct shadows;

/* q and l are borrowed.  timeout_ms: deadline of a copy, from the answer to its request on. */
struct shadows *shadows_create(struct queue *q, struct loop *l, uint32_t timeout_ms);
/* After the queue's end, which ends all copies.  Comparisons may still be under way: the last one
 * frees what is left. */
void shadows_destroy(struct shadows *s);

/* In the callback of r, whose outcome is OK: copies it to the shadows of its model.  body_bytes: of
 * the memory that its inputs are parts of, if they are. */
void shadow_copy(struct shadows *s, const struct catalog *c, const struct inference *r,
                 const struct outcome *o, size_t body_bytes, uint64_t now_us);
/* Engines or the catalog have changed: ends copies for those that are no shadows, or have no engine. */
void shadow_refresh(struct shadows *s, const struct catalog *c);

/* The lane is about to go: so do its pairs.  false: one has open copies. */
bool shadow_forget(struct shadows *s, const struct lane *primary) MUST_CHECK;

/* What became of the requests of a model that a shadow was to have copies of, since it is one here:
 * copies were queued; each is compared, failed, dropped or open. */
struct shadow_totals {
    uint64_t copies, open, compared, failed;
    uint64_t dropped; /* before they were queued, or after */
    uint64_t rows, agreeing;
    uint64_t outputs;       /* that have a mean difference */
    double mean_difference; /* of these */
};
struct shadow_totals shadow_totals(const struct shadows *s, struct bytes model, uint32_t version);
/* Appends, as Prometheus text, the counts of all pairs; their histograms are in metrics_print. */
void shadow_print(const struct shadows *s, struct buf *out);

#endif
