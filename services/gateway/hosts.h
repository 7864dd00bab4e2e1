/* hosts.h - the hosts of workers, at the jobs socket: they are told which versions requests wait
 * for while no engine is there, and start one.
 *
 * One host is asked for a version, always the same one as long as it is there (rendezvous.h);
 * when no engine has come after a while, and none is on its way, the next one is asked too.
 */
#ifndef SERVICES_GATEWAY_HOSTS_H
#define SERVICES_GATEWAY_HOSTS_H

#include "services/gateway/gateway.h"

#define HOST_TIMEOUT_MS 5000 /* HOST comes each second */

struct hosts *hosts_create(struct gateway *g);
void hosts_destroy(struct hosts *h); /* NULL is fine */
void hosts_hello(struct hosts *h, struct bytes route, const struct msg_name *m);
/* A request waits for this version, which has no engine.  It is looked after until none waits. */
void hosts_want(struct hosts *h, struct bytes model, uint32_t version);

#endif
