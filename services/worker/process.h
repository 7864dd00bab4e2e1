/* process.h - one engine process: started, heard, reaped.
 *
 * Its stderr is passed on to ours, and the end of it is kept as last words.  Lives in the
 * owner's memory, which must stay until `ended` was called.  Loop thread.
 */
#ifndef SERVICES_WORKER_PROCESS_H
#define SERVICES_WORKER_PROCESS_H

#include "common/net/loop.h"
#include "services/worker/words.h"

#include <sys/types.h>
#include <uv.h>

#define PROCESS_PIPE_FD 3 /* where the process finds its end of the socket pair */

/* The process is gone and everything that it wrote has been read; it may be started again. */
typedef void process_ended_fn(void *arg);

struct process {
    pid_t pid; /* read-only; 0: it does not run */

    /* private */
    uv_process_t uv;
    uv_pipe_t err;
    unsigned handles; /* uv handles that are not closed yet */
    int start_error;  /* of uv_spawn, or 0 */
    int64_t exit_status;
    int exit_signal;
    struct words words;
    process_ended_fn *ended;
    void *arg;
    char chunk[512];
};

/* Starts this program again with argv (ends with NULL) and fd as its PROCESS_PIPE_FD, with few
 * variables of our environment.  `ended` is called later in any case: a process that could not
 * be started has ended. */
void process_start(struct process *p, struct loop *l, char **argv, int fd, process_ended_fn *ended,
                   void *arg);
/* From process_start until `ended`. */
bool process_busy(const struct process *p);
void process_signal(const struct process *p, int number); /* nothing when it does not run */
/* A sentence: how it ended, and its last words. */
void process_describe_end(struct process *p, char *out, size_t size);
uint64_t process_rss_bytes(const struct process *p); /* 0: it does not run */
/* The same without what belongs to files, such as libraries that all engines share: what comes
 * back when it ends. */
uint64_t process_private_bytes(const struct process *p);

#endif
