/* gateways.h - the gateways that a worker knows of.
 *
 * A gateway that an answer of the registry no longer lists is kept for a while, counted from
 * the first such answer: a registry that was away, or that comes back empty-handed, takes
 * nothing away at once.  Loop thread; times are milliseconds of clock_ms().
 */
#ifndef SERVICES_WORKER_GATEWAYS_H
#define SERVICES_WORKER_GATEWAYS_H

#include "common/msg/schema.h"

#define GATEWAY_KEPT_MS 30000

struct known_gateway {
    char id[MAX_NAME + 1];
    char jobs[MAX_ENDPOINT + 1];
    uint64_t missing_ms; /* when it was first not listed; 0: it is listed */
};

struct gateways {
    struct known_gateway at[MAX_GATEWAYS];
    size_t count;
};

/* Takes an answer of the registry.  true: the list has changed. */
bool gateways_update(struct gateways *g, const struct msg_suite *suite, uint64_t now_ms);
/* list has room for MAX_GATEWAYS; *out borrows from it and from g. */
void gateways_list(const struct gateways *g, struct msg_endpoint *list, struct msg_gateways *out);

#endif
