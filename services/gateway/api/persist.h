/* persist.h - a request to the registry that is sent again until it is decided, or its time is over.
 *
 * Only for requests that may arrive twice: they have a key, or are puts.
 */
#ifndef SERVICES_GATEWAY_API_PERSIST_H
#define SERVICES_GATEWAY_API_PERSIST_H

#include "services/gateway/api/api.h"

#define PERSIST_TIMEOUT_MS 30000 /* with all tries, unless the client says another deadline */

/* reply: decided, or the last failure.  Not called after persist_finish. */
typedef void persist_done_fn(void *arg, const struct rpc_reply *reply);

struct persist {
    struct gateway *gateway; /* private, all of it */
    loop_fn *send;
    persist_done_fn *done;
    void *arg;
    struct rpc_call *call;
    struct loop_timer *retry;
    uint64_t deadline_ms;
    uint64_t pause_ms; /* before the next try */
};

/* send(arg) calls persist_send with the request, each time. */
void persist_init(struct persist *p, struct gateway *g, loop_fn *send, persist_done_fn *done,
                  void *arg);
/* The time begins; send is called.  done may come inside. */
void persist_start(struct persist *p, uint64_t timeout_ms);
void persist_send(struct persist *p, enum msg_kind kind, const void *body);
void persist_finish(struct persist *p); /* zeroed is fine */

#endif
