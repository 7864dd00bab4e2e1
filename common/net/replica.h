/* replica.h - a copy of the registry's catalog that follows its events.
 *
 * Snapshot first, then changes in order; a gap in the numbers, or a tick that is
 * ahead of us, asks for a new snapshot; so do ticks that stay away while the registry
 * answers.  A snapshot comes in pages, and the copy is exchanged when the last one is there;
 * until then changes go into both.  While the registry is away the copy stays as it is: the owner goes on
 * serving from it.
 *
 * Several registries on one Redis publish the same events, so what comes twice is left out.  The
 * numbers count within one history: after a failover of Redis, which may have lost the last
 * changes, events name another history, and that asks for a snapshot too.
 */
#ifndef COMMON_NET_REPLICA_H
#define COMMON_NET_REPLICA_H

#include "common/msg/catalog.h"
#include "common/net/rpc.h"

struct replica;

/* The catalog has changed.  Pointers into it from before are stale. */
typedef void replica_fn(void *arg);

/* events_endpoints: one, or several with commas. */
struct replica *replica_create(struct loop *l, struct rpc_client *registry,
                               const char *events_endpoints, replica_fn *changed, void *arg);
void replica_destroy(struct replica *r);
const struct catalog *replica_catalog(const struct replica *r);
/* Applies what an answer of the registry has told already; its event will come, harmlessly. */
void replica_put(struct replica *r, const struct msg_catalog *change);
/* Somebody knows of a change that has not come here: asks for a snapshot, but not too often. */
void replica_hint(struct replica *r);
bool replica_synced(const struct replica *r); /* has had a snapshot */
bool replica_live(const struct replica *r);   /* heard the registry lately */
uint64_t replica_seq(const struct replica *r);
/* The change of that number is in the copy, or was; history 0: whichever it counts in. */
bool replica_has(const struct replica *r, uint64_t history, uint64_t seq);

#endif
