/* pulse.h - heartbeats from a thread that inference cannot block.
 *
 * The thread has a loop and sockets of its own; it says BEAT to every gateway each second
 * and passes on what a gateway answers: that it does not know the engine.  A gateway that is
 * silent is left to sock.h: ZeroMQ's own heartbeats find a connection that was cut, it
 * connects again, and then the gateway's answer says whether HELLO is needed.  The thread
 * also interrupts a run whose deadline has passed (within a second of it), and ends the process
 * when its host is gone and the job thread does not come to an end.
 */
#ifndef SERVICES_WORKER_PULSE_H
#define SERVICES_WORKER_PULSE_H

#include "common/msg/schema.h"
#include "common/net/loop.h"
#include "services/worker/watch.h"

#define PULSE_INTERVAL_MS 1000

struct pulse;

/* unknown(arg, gateway id) runs on the job loop: say hello again.  The id is good until it
 * returns. */
typedef void pulse_unknown_fn(void *arg, const char *gateway);

struct pulse *pulse_create(struct loop *jobs, const char *engine, struct watch *watch,
                           pulse_unknown_fn *unknown, void *arg);
void pulse_gateways(struct pulse *p, const struct msg_gateways *gateways); /* copies */
void pulse_destroy(struct pulse *p); /* joins the thread; NULL is fine */

#endif
