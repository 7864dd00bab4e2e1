/* near.h - on which core the job thread runs.
 *
 * A job that takes some ten microseconds is handed over, and its answer back, in less time where
 * the gateway runs than on another core: no core has to be woken, and what is in the caches stays
 * there.  So while jobs are short and few enough to leave the gateway its core, the thread follows
 * the gateway of its host, which says its core with each job (a window of NEAR_WINDOW_US decides
 * for the next).  Else the thread runs wherever its process may.
 */
#ifndef SERVICES_WORKER_NEAR_H
#define SERVICES_WORKER_NEAR_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define NEAR_WINDOW_US 10000
#define NEAR_JOB_US    100 /* a longer job, on average, is better off on a core of its own */
#define NEAR_SHARE     25  /* percent of the time; busier threads, too */
#define NEAR_BACK      15  /* percent; one that was too busy comes back below that */

struct near {
    cpu_set_t home;     /* where the thread may run */
    uint32_t core;      /* where it stays, 1 + the core's number; 0: anywhere at home */
    bool busy;          /* it was too busy to stay */
    uint64_t window_us; /* when the present window began */
    uint64_t busy_us;   /* of jobs in it */
    uint64_t jobs;
    uint32_t told; /* by the last job */
};

void near_init(struct near *n); /* of the calling thread */

/* A job is done.  core: of struct msg_job.  May move the calling thread. */
void near_note(struct near *n, uint32_t core, uint64_t now_us, uint64_t job_us);

/* Pure: where the thread shall be, when its window ends (0: anywhere). */
uint32_t near_choose(struct near *n, uint64_t now_us);

#endif
