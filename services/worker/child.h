/* child.h - one engine process, from the download of its artifact to its exit.
 *
 *     FETCHING -> LOADING -> READY
 *         \          \         \-> (crash) LOADING again after a pause that doubles
 *          \          \-> FAILED (the model cannot be loaded: no other try)
 *           \-> FETCHING again after a pause (the registry or the disk failed)
 *
 * LEAVING: it was told to end (child_stop) and destroys itself when its process is gone.
 */
#ifndef SERVICES_WORKER_CHILD_H
#define SERVICES_WORKER_CHILD_H

#include "common/net/artifact.h"
#include "common/net/pipe.h"
#include "services/worker/host.h"

#include <sys/types.h>
#include <uv.h>

#define LAST_WORDS_BYTES 400 /* of an engine's stderr are kept */
#define LOAD_CRASHES_MAX 2   /* crashes while loading make a version fail */

struct child {
    /* read-only */
    struct host *host;
    struct child *next, *prev;
    char model[MAX_NAME + 1];
    uint32_t version;
    uint32_t max_batch;
    bool check; /* load and describe only */
    enum engine_state state;
    char reason[MAX_REASON + 1];
    uint32_t restarts;
    pid_t pid; /* 0: no process */

    /* private */
    char format[MAX_NAME + 1];
    struct digest digest;
    char *path;
    struct download *download;
    uv_process_t process;
    uv_pipe_t err_pipe;
    unsigned handles; /* uv handles of this start that are not closed yet */
    struct pipe *pipe;
    struct loop_timer *timer; /* next try, or the end of patience */
    uint64_t pause_ms;
    uint64_t ready_ms; /* when it became ready */
    uint32_t load_crashes;
    uint64_t bad_messages;
    bool spoke; /* ENGINE_STATUS has come from this start */
    bool stopping;
    bool reported;     /* the outcome of the check has been sent */
    struct buf status; /* packed engine_status, when ready: for VERSION_CHECKED */
    char words[LAST_WORDS_BYTES + 1];
    size_t words_len;
    char err_chunk[512];
};

struct child *child_create(struct host *h, const struct msg_version *v, uint32_t max_batch,
                           bool check);
void child_tell_gateways(struct child *c);
/* Ends the process gently; the child leaves the host's list and destroys itself when it is gone.
 * It may be gone when this returns. */
void child_stop(struct child *c);
uint64_t child_rss_bytes(const struct child *c);

#endif
