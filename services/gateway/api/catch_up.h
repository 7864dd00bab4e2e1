/* catch_up.h - what the registry has told waits until this gateway's catalog has it too.
 *
 * An answer of the registry may come before the event of what it tells: a job is done, and its version is not
 * in the catalog yet.  A client that hears of it asks for it next, so it hears of it a moment
 * later.  Answers that hold the changed record itself need no wait: replica_put.
 */
#ifndef SERVICES_GATEWAY_API_CATCH_UP_H
#define SERVICES_GATEWAY_API_CATCH_UP_H

#include "services/gateway/gateway.h"

#define CATCH_UP_MS \
    2000 /* the registry's ticks tell of a lost event sooner; then it is told anyway */

/* Private, all of it.  Zeroed: does not wait. */
struct catch_up {
    struct catch_up *next, *prev; /* of the gateway's list */
    struct gateway *gateway;      /* NULL: not in it */
    struct loop_timer *timer;
    uint64_t history, seq;
    loop_fn *done;
    void *arg;
};

/* false: the catalog has what the reply tells of.  true: done(arg) will be called when it has it, or
 * after CATCH_UP_MS. */
bool catch_up_wait(struct catch_up *c, struct gateway *g, const struct rpc_reply *reply,
                   loop_fn *done, void *arg) MUST_CHECK;
void catch_up_finish(struct catch_up *c); /* done is not called any more */
void catch_up_look(struct gateway *g);    /* the catalog has changed */

#endif
