/* placement.h - which engines run on this host: compares what the catalog wants (desired.h) with
 * the children there are and with the memory they may have (memory.h), starts what is missing and
 * ends what is too much.
 *
 * Where not all fit, those that do not are on demand: one is started when a gateway wants it, and
 * the longest unused ones make room.  A version that is rolled out where the one before it runs is
 * wanted too.  When all fit again, all are started.
 */
#ifndef SERVICES_WORKER_PLACEMENT_H
#define SERVICES_WORKER_PLACEMENT_H

#include "services/worker/host.h"

struct placement;

/* What all engines have, and may have. */
struct placement_view {
    uint64_t used_bytes;
    uint64_t budget_bytes;
    uint32_t on_demand; /* deployed versions that are not running, but start when wanted */
};

struct placement *placement_create(struct host *h);
void placement_destroy(struct placement *p); /* NULL is fine */

/* After any change; does nothing before the first catalog or when the host is stopping. */
void placement_reconcile(struct placement *p);
/* A gateway has requests for a version that has no engine; it says so again while that is so. */
void placement_want(struct placement *p, struct bytes model, uint32_t version);
/* May a version be loaded beside the others, to check it?  If not, room is being made. */
bool placement_room_for_check(struct placement *p);
/* What an engine of such an artifact is expected to have. */
uint64_t placement_estimate(const struct placement *p, uint64_t artifact_bytes);
/* An engine has loaded and was measured.  false: it has more than all may have together. */
bool placement_loaded(struct placement *p, const struct child *c) MUST_CHECK;
struct placement_view placement_view(const struct placement *p);

/* How many engines are here to stay, those that load too: not what is checked, or replaced by
 * another. */
size_t placement_engines(struct host *h);

#endif
