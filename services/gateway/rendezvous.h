/* rendezvous.h - which of several hosts is asked first, second, ... for a version: every gateway
 * finds the same order, and a host that comes or goes moves nobody else's versions.  Pure.
 */
#ifndef SERVICES_GATEWAY_RENDEZVOUS_H
#define SERVICES_GATEWAY_RENDEZVOUS_H

#include "common/base/bytes.h"

/* The highest score is asked first. */
uint64_t rendezvous_score(struct bytes host, struct bytes model, uint32_t version);
/* The index of the score that is asked in this turn (0: first); after the last, the first again.
 * count is not 0. */
size_t rendezvous_pick(const uint64_t *scores, size_t count, size_t turn);

#endif
