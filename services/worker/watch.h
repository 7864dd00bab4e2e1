/* watch.h - the run of the moment, as the heartbeat thread sees it.
 *
 * The job thread says what it begins and ends; the other thread asks what goes on, for the BEAT,
 * and interrupts a run whose deadline has passed: nobody waits for its answer any more, and who
 * waits behind it need not wait longer.  A run that does not heed that is stuck: only the end of
 * the process ends it.
 */
#ifndef SERVICES_WORKER_WATCH_H
#define SERVICES_WORKER_WATCH_H

#include "services/worker/model.h"

#include <uv.h>

#define STUCK_MS 10000

struct watch {
    uv_mutex_t lock;
    const struct model *model;
    uint64_t job; /* 0: none runs */
    uint64_t since_ms;
    uint64_t deadline_ms;    /* 0: none */
    uint64_t interrupted_ms; /* 0: it was not */
};

void watch_init(struct watch *w, const struct model *m); /* borrowed */
void watch_finish(struct watch *w);

/* ---- job thread ---- */
/* timeout_ms 0: as long as it takes. */
void watch_begin(struct watch *w, uint64_t job, uint64_t now_ms, uint32_t timeout_ms);
/* true: the run was interrupted; the next one will not be. */
bool watch_end(struct watch *w);

/* ---- the other thread ---- */
struct watch_state {
    uint64_t job;     /* 0: none */
    uint64_t busy_ms; /* since it began */
    uint64_t left_ms; /* until it is to be interrupted; UINT64_MAX: never, or it was */
    bool stuck;       /* it was, and has not heeded that for STUCK_MS */
};
struct watch_state watch_look(struct watch *w, uint64_t now_ms);

#endif
