/* child.h - one engine that the host looks after, from the download of its artifact to its end.
 *
 *     FETCHING -> LOADING -> READY
 *
 * Everything that goes wrong ends in a pause that doubles, and then another try:
 *   FETCHING  the registry or the disk failed, or the file in the cache was damaged
 *   FAILED    it crashed, or could not load here; `reason` has its last words
 * FAILED and given_up: the model is to blame, the registry has been told, no other try.
 * LEAVING: it was told to end (child_stop) and destroys itself when its process is gone.
 */
#ifndef SERVICES_WORKER_CHILD_H
#define SERVICES_WORKER_CHILD_H

#include "common/net/artifact.h"
#include "common/net/pipe.h"
#include "services/worker/backoff.h"
#include "services/worker/host.h"
#include "services/worker/process.h"

#define LOAD_CRASHES_MAX 2 /* crashes while loading make a version fail its check */

/* What the engine has said since its start. */
enum child_said { SAID_NOTHING, SAID_READY, SAID_DAMAGED, SAID_UNABLE, SAID_REFUSED };

struct child {
    /* read-only */
    struct host *host;
    struct child *next, *prev;
    char model[MAX_NAME + 1];
    uint32_t version;
    struct digest digest;
    bool check;         /* load and describe only */
    uint32_t max_batch; /* of its deployment when it was made */
    bool given_up;
    enum engine_state state;
    char reason[MAX_REASON + 1];
    uint32_t restarts;
    uint64_t ready_ms; /* when it last became ready; 0: never */
    struct process process;

    /* private */
    char format[MAX_NAME + 1];
    char *path;
    struct download *download;
    bool waits; /* for another child's download of the same artifact */
    struct pipe *pipe;
    struct loop_timer *timer; /* the next try, or the end of patience with its process */
    struct backoff backoff;
    enum child_said said;
    bool late; /* it was killed for not being ready in time */
    uint32_t load_crashes;
    uint64_t bad_messages;
    bool reported;     /* the outcome of the check has been sent, or was known */
    struct buf status; /* packed engine_status, when ready: for VERSION_CHECKED */
};

void child_create(struct host *h, const struct msg_version *v, uint32_t max_batch, bool check);
void child_tell_gateways(struct child *c);
/* Ends the process gently; the child leaves the host's list and destroys itself when it is gone.
 * It may be gone when this returns. */
void child_stop(struct child *c);

#endif
