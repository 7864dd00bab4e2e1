/* pieces.h - an upload that has come in ranges: what is there, what is missing, and which range
 * counts where several overlap (the one that came last).  Pure.
 */
#ifndef SERVICES_GATEWAY_PIECES_H
#define SERVICES_GATEWAY_PIECES_H

#include "common/base/digest.h"
#include "common/msg/schema.h"

/* A range that is there.  In a list as the registry sends it: by slot of CHUNK_BYTES, those of one
 * slot in the order of their coming, none in two slots.  After pieces_resolve: by offset, without
 * overlaps. */
struct piece {
    uint64_t offset;
    uint32_t length;
    uint32_t skip; /* bytes of its chunk before those that count */
    struct digest digest;
};

struct gap {
    uint64_t offset, length;
};

/* Appends a page of the registry's answer to a list.  false: a piece that cannot be. */
bool pieces_add(struct buf *list, const struct msg_upload *page) MUST_CHECK;
/* Replaces what is behind the first `from` bytes of the list by what counts of it: a page that was
 * just added, for a slot is on one page. */
void pieces_resolve(struct buf *list, size_t from);

/* Of a resolved list: */
uint64_t pieces_end(const struct buf *list);      /* behind the last byte that is there */
uint64_t pieces_received(const struct buf *list); /* bytes that are there */
/* What is missing of [0, size), in order: the first `max` gaps.  How many there are. */
size_t pieces_missing(const struct buf *list, uint64_t size, struct gap *gaps, size_t max);
/* The digest of the chunk of that index when it is there in one piece, as it will be in an artifact
 * of that size; NULL otherwise.  *at: a place in the list, to be 0 at first; indexes must grow. */
const struct digest *pieces_whole(const struct buf *list, uint64_t size, size_t index, size_t *at);

#endif
