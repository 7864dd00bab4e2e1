/* demand.h - a worker host at the jobs sockets of gateways: it says that it is there (HOST, each
 * second), and hears which versions requests wait for (WANT).  Loop thread.
 */
#ifndef SERVICES_WORKER_DEMAND_H
#define SERVICES_WORKER_DEMAND_H

#include "common/net/loop.h"
#include "services/worker/gateways.h"

struct demand;

/* model: good until it returns. */
typedef void demand_fn(void *arg, struct bytes model, uint32_t version);

struct demand *demand_create(struct loop *l, const char *worker, const char *pool, demand_fn *fn,
                             void *arg);
void demand_gateways(struct demand *d, const struct gateways *gateways); /* NULL d is fine */
void demand_destroy(struct demand *d);                                   /* NULL is fine */

#endif
