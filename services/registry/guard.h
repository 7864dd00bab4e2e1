/* guard.h - whether a step of a rollout goes on, is done, or was one too many.  Pure.
 *
 * During a hold a limit has been passed when it is decided: when a version that just keeps to the limit
 * would do as badly as this one, or worse, once in a thousand times (a one-sided binomial test, so
 * two failures of two requests are enough for a limit of 1 %, and one of fifty is not).  At
 * the end of the hold the plain share counts, once there were so many requests that the limit
 * would have let one of them pass.  A p99 is passed when more than one of a hundred requests takes
 * longer; what has not ended yet and has taken longer already is one of them.
 *
 * A request that the model itself refuses (4xx) may be wrong, and then the other versions refuse it, too:
 * such refusals count beside the failures, as far as they are more than the others' share of
 * them in the same step lets expect.  Where the others had no requests there is nothing to
 * compare with, and refusals do not count.
 *
 * A hold counts while an engine is ready.  One that ends without a request has shown nothing, and
 * the rollout goes on.
 */
#ifndef SERVICES_REGISTRY_GUARD_H
#define SERVICES_REGISTRY_GUARD_H

#include "common/msg/schema.h"

#define GUARD_CHANCE    0.001
#define GUARD_READY_MS  600000 /* an engine may take so long to come */
#define GUARD_FAILED_MS 3000   /* the same after a worker has said that one has failed */

enum guard_verdict { GUARD_WAIT, GUARD_NEXT, GUARD_ABORT };

/* r: as record_rollout makes it.  GUARD_ABORT: why has the sentence. */
enum guard_verdict guard_judge(const struct msg_rollout *r, struct error *why);

/* bad of all requests are more than the share `limit` (0 to 1) lets pass. */
bool guard_passed(uint64_t bad, uint64_t all, double limit, bool hold_is_over);

#endif
