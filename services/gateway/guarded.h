/* guarded.h - the versions that rollouts bring in are watched: what becomes of their requests is counted, and
 * told to the registry, which judges.
 *
 * Counts begin when this gateway hears of a step, and only grow until the next one.  They are told
 * twice a second, and at once when a request has failed or was slow.  What the model's other versions
 * have answered, and refused, meanwhile is told beside them.  Loop thread only.
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
    uint64_t rejected; /* beside requests */
    uint64_t latency[LATENCY_SLOTS];
};

struct guarded *guarded_create(struct gateway *g);
void guarded_destroy(struct guarded *w); /* NULL is fine; before the queue is finished */
void guarded_refresh(struct guarded *w); /* the catalog has changed */

/* A request has ended like this after so long. */
void guard_count(struct guard_counts *c, enum status st, uint64_t us);
/* A request was refused by what the version says of its inputs and outputs, and the version before would have
 * taken it: the version has failed it.  Who is refused by both does not count. */
void guard_count_refused(struct guard_counts *c);
/* The model has refused the request: who is at fault is seen from how often others refuse. */
bool guard_rejection(enum status st);
/* Its client has not waited for the end: it counts if it was slow until then. */
void guard_count_gone(struct guard_counts *c, uint64_t us);

#endif
