/* child.h - one engine that the host looks after, from the download of its artifact to its end.
 *
 *     FETCHING -> LOADING -> READY
 *
 * Everything that goes wrong ends in a pause that doubles, and then another try:
 *   FETCHING  the registry or the disk failed, or the file in the cache was damaged
 *   FAILED    it crashed, or could not load here; `reason` has its last words
 * FAILED and given_up: no other try.  The model is to blame, and the registry has been told; or it
 * is too large for this host (child_refuse), and its process ends, if there is one.
 * LEAVING: it was told to end (child_stop) and destroys itself when its process is gone.
 */
#ifndef SERVICES_WORKER_CHILD_H
#define SERVICES_WORKER_CHILD_H

#include "common/net/pipe.h"
#include "services/worker/backoff.h"
#include "services/worker/fetch.h"
#include "services/worker/host.h"
#include "services/worker/process.h"

#define LOAD_CRASHES_MAX 2 /* crashes while loading make a version fail its check */

/* What the engine has said since its start. */
enum child_said { SAID_NOTHING, SAID_READY, SAID_DAMAGED, SAID_UNABLE, SAID_REFUSED };

struct child {
    /* read-only */
    struct host *host;
    struct child *next, *prev;
    struct child *sibling; /* placement's: the next one of its version */
    bool comes_back;       /* placement's: it made room, and its version stays wanted here */
    char model[MAX_NAME + 1];
    uint32_t version;
    struct version_files files;
    bool check;         /* load and describe only */
    uint32_t max_batch; /* of its deployment when it was made */
    bool given_up;
    enum engine_state state;
    char reason[MAX_REASON + 1];
    uint32_t restarts;
    uint64_t ready_ms;       /* when it last became ready; 0: never */
    uint64_t used_ms;        /* when it last had a job, or became ready; placement sets it too */
    bool busy;               /* it has jobs to do */
    uint64_t bytes;          /* memory, as of child_measure */
    uint64_t estimate_bytes; /* what is assumed until it is ready */
    struct process process;

    /* private */
    char format[MAX_NAME + 1];
    char *path; /* of the main file */
    char *list; /* of the list of all, or NULL */
    struct fetch *fetch;
    bool waits;       /* for another child that fetches the same */
    bool was_damaged; /* what was fetched, or has rotted since: the next time with more care */
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

struct child *child_create(struct host *h, const struct msg_version *v, uint32_t max_batch,
                           uint64_t estimate_bytes, bool check);
/* It is larger than what all engines may have: it ends, and stays as one that failed here. */
void child_refuse(struct child *c, uint64_t bytes, uint64_t budget_bytes);
void child_measure(struct child *c); /* sets bytes */
void child_tell_gateways(struct child *c);
/* Ends the process gently; the child leaves the host's list and destroys itself when it is gone.
 * It may be gone when this returns. */
void child_stop(struct child *c);

#endif
