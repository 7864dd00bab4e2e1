/* report.h - a process says to the registry, each second, that it lives and how it is.
 *
 * The answer lists the processes that the sender wants to know of: that is how workers
 * find gateways, and how a gateway knows everybody.
 */
#ifndef COMMON_NET_REPORT_H
#define COMMON_NET_REPORT_H

#include "common/net/rpc.h"

#define REPORT_INTERVAL_MS 1000
#define REPORT_TIMEOUT_MS  3000

/* What every report contains: role, id, host, pid, counters. */
struct identity {
    enum role role;
    char id[MAX_NAME + 1]; /* HOST-PID-RANDOM: unique per start */
    char host[MAX_NAME + 1];
    struct msg_counter *counters; /* private, MAX_COUNTERS once used */
};

void identity_init(struct identity *me, enum role role);
void identity_finish(struct identity *me);
/* Fills role, id, host, pid and the counters of this process; valid until the next call. */
void identity_describe(struct identity *me, struct msg_process *out);

struct reporter;

/* fill: adds to the report what only this service knows (engines, jobs, training). */
typedef void reporter_fill_fn(void *arg, struct msg_process *me);
/* suite: good until it returns. */
typedef void reporter_suite_fn(void *arg, const struct msg_suite *suite);

/* want: 1 << ROLE_x for each role to be told of.  fill and suite may be NULL. */
struct reporter *reporter_create(struct loop *l, struct rpc_client *registry, enum role role,
                                 uint32_t want, reporter_fill_fn *fill, reporter_suite_fn *suite,
                                 void *arg);
const char *reporter_id(const struct reporter *r);
const char *reporter_host(const struct reporter *r);
void reporter_now(struct reporter *r); /* something changed: do not wait for the second */
/* Says goodbye (nobody waits for the answer) and ends the reports. */
void reporter_leave(struct reporter *r);
void reporter_destroy(struct reporter *r); /* NULL is fine */

#endif
