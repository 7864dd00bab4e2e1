/* reader.h - an artifact's bytes from the registry, in order, as fast as they are taken.
 *
 * At most READER_WINDOW chunks are in memory, asked for or waiting for their turn.  The registry
 * has verified each.  Loop thread only.
 */
#ifndef COMMON_NET_READER_H
#define COMMON_NET_READER_H

#include "common/base/digest.h"
#include "common/net/rpc.h"

#define READER_WINDOW 4

/* A part of a chunk. */
struct span {
    struct digest digest;
    uint32_t skip; /* bytes of the chunk before it */
    uint32_t take; /* its own; 0: all of the chunk, however long that is */
};

struct reader;

struct reader_events {
    /* The next bytes; may be moved out.  Not while the reader is paused. */
    void (*piece)(void *arg, struct frame *data);
    /* Once.  err: NULL when all has been delivered. */
    void (*done)(void *arg, const struct error *err);
};

/* Takes the list's memory (struct span).  Events come later, not inside. */
struct reader *reader_create(struct loop *l, struct rpc_client *registry, struct buf *spans,
                             const struct reader_events *events, void *arg);
void reader_pause(struct reader *r);
void reader_resume(struct reader *r);  /* events may come inside */
void reader_destroy(struct reader *r); /* NULL is fine; in the events too */

/* Appends to spans the bytes [first, first + length) of an artifact with these chunks (digests, in
 * order).  The range lies within. */
void reader_add_range(struct buf *spans, struct bytes chunks, uint64_t first, uint64_t length);

#endif
