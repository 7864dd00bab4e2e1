/* replica.h - a copy of the registry's catalog that follows its events.
 *
 * Snapshot first, then changes in order; a gap in the numbers, or a tick that is
 * ahead of us, asks for a new snapshot.  While the registry is away the copy stays
 * as it is: the owner goes on serving from it.
 */
#ifndef COMMON_NET_REPLICA_H
#define COMMON_NET_REPLICA_H

#include "common/net/rpc.h"

struct replica;

/* changed: the catalog was put: versions and deployments in it replace what the owner knew
 * of them.  full: it is a snapshot, so what is not in it is gone.  Borrowed during the call. */
typedef void replica_fn(void *arg, const struct msg_catalog *catalog, bool full);

struct replica *replica_create(struct loop *l, struct rpc_client *registry,
                               const char *events_endpoint, replica_fn *changed, void *arg);
void            replica_destroy(struct replica *r);
bool            replica_synced(const struct replica *r);    /* has had a snapshot */
bool            replica_live(const struct replica *r);      /* heard the registry lately */
uint64_t        replica_seq(const struct replica *r);

#endif
