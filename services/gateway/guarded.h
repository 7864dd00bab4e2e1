/* guarded.h - the versions that rollouts bring in are watched: what becomes of their requests is counted, and
 * told to the registry, which judges.
 *
 * Counts begin when this gateway hears of a step, and only grow until the next one.  They are told
 * twice a second, and at once when a request has failed or was slow.  Nothing is counted of other
 * versions.  Loop thread only.
 */
#ifndef SERVICES_GATEWAY_GUARDED_H
#define SERVICES_GATEWAY_GUARDED_H

#include "services/gateway/gateway.h"

/* Of one version.  Its lane has a pointer to it while it is watched. */
struct guard_counts {
    struct guarded *owner;
    uint64_t slow_us; /* who takes longer is slow; 0: nobody is */
    bool soon;        /* this is worth a report before the next is due */
    uint64_t requests, errors, slow;
    uint64_t latency[LATENCY_SLOTS];
};

struct guarded *guarded_create(struct gateway *g);
void guarded_destroy(struct guarded *w); /* NULL is fine; before the queue is finished */
void guarded_refresh(struct guarded *w); /* the catalog has changed */

/* A request has ended like this after so long.  What is the client's fault does not count. */
void guard_count(struct guard_counts *c, enum status st, uint64_t us);
/* Its client has not waited for the end: it counts if it was slow until then. */
void guard_count_gone(struct guard_counts *c, uint64_t us);

#endif
