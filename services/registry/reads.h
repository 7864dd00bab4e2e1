/* reads.h - chunks out of the store, each read once for all who want it now.
 *
 * It is verified, once for all, unless all who wait for it verify it themselves.
 * The workers that fetch a new version want the same chunks at about the same time: who asks for
 * one that is being read waits for that one.  While several peers read, a chunk stays until all of
 * them have got it; one peer alone always gets what the store has.  At most READS_OPEN are read at
 * a time and READS_KEPT are there in all, the others wait: that bounds the memory.  So who is ahead
 * waits for who is a little behind, but no longer than some milliseconds: a slow peer is left
 * behind, and joins the others where they are (reads_now).  Loop thread only, but for the hashing.
 */
#ifndef SERVICES_REGISTRY_READS_H
#define SERVICES_REGISTRY_READS_H

#include "common/net/rpc.h"
#include "services/registry/store.h"

#define READS_OPEN 6
#define READS_KEPT 12

struct reads;

/* data: when OK; to be shared (frame_init_share), for others may get it, too.  CORRUPT (unless raw):
 * the store has other bytes under this digest, which was logged and counted. */
typedef void read_done_fn(void *arg, enum status st, const char *text, const struct frame *data);

struct read_wish {
    const struct digest *digest;
    const struct rpc_peer *peer; /* who asks */
    bool raw;                    /* and verifies by itself */
};

struct reads *reads_create(struct loop *l, struct store *store);
/* Before the store.  What waits ends with CANCELLED, inside; what is under way, later. */
void reads_destroy(struct reads *r); /* NULL is fine */
/* done runs once, later or inside. */
void reads_get(struct reads *r, const struct read_wish *wish, read_done_fn *done, void *arg);
/* What was begun last, lately, or empty: who goes on there, too, reads along with the others. */
struct bytes reads_now(const struct reads *r);
void reads_tidy(struct reads *r); /* now and then: gives up what nobody wants any more */

#endif
