/* hold.h - requests that came before their model was loaded for the first time.
 *
 * Nobody knows yet what inputs the model takes, so they cannot be queued.  They wait here as
 * they came and go through their handler again once an engine or the catalog tells more; or
 * they are answered 503 at their deadline, with the reason if a worker has given one.
 */
#ifndef SERVICES_GATEWAY_API_HOLD_H
#define SERVICES_GATEWAY_API_HOLD_H

#include "services/gateway/api/api.h"

#define HELD_MAX 1024 /* requests; more are answered BUSY */

/* version 0: the plain name. */
void hold_request(struct call *c, struct bytes model, uint32_t version);
void hold_retry(struct gateway *g);
void hold_want(struct gateway *g); /* asks the hosts of workers for each that is waited for */
/* Answers those whose deadline has passed.  The next deadline, or 0 when there is none. */
uint64_t hold_expire(struct gateway *g, uint64_t now_ms);

#endif
