/* memory.h - which engines fit into a host's memory, and which ones make room.  Pure.
 *
 * An engine counts with what it was measured to have, or with an estimate until it is ready.
 * One that ends counts until its process is gone.  Times are milliseconds of clock_ms().
 */
#ifndef SERVICES_WORKER_MEMORY_H
#define SERVICES_WORKER_MEMORY_H

#include "common/base/bytes.h"

#define MEMORY_BASE_BYTES (32ull << 20) /* of an engine beside its artifact, before any is ready */
#define MEMORY_SHARE_MIN  8             /* no reserve where fewer engines fit */
#define MEMORY_SETTLE_MS  250 /* an engine that became ready less long ago is not evicted */

struct memory_engine {
    uint64_t bytes;
    uint64_t used_ms; /* when it last had a job, or became ready */
    bool leaving;     /* its memory comes back by itself */
    bool idle;        /* it may be evicted */
    bool evict;       /* set by memory_make_room */
};

enum memory_room {
    MEMORY_FITS,  /* there is room now */
    MEMORY_SOON,  /* there will be when those that leave, or are marked `evict`, are gone */
    MEMORY_FULL,  /* those that could go are too few: look again later; nothing was marked */
    MEMORY_NEVER, /* it is more than the whole budget */
};

/* Is there room for so many bytes more?  Marks idle engines, the longest unused first, if their
 * end makes it.  Marks of an earlier call stay and count as leaving. */
enum memory_room memory_make_room(struct memory_engine *list, size_t count, uint64_t budget,
                                  uint64_t need);

/* What an engine will have: as much as the last one of its version (0: not known), else its
 * artifact and the base. */
uint64_t memory_estimate(uint64_t known, uint64_t artifact, uint64_t base);

/* What is kept free while versions are on demand, so that the next one need not wait until another
 * has ended: the mean of the engines there are.  0 where that is much of the budget. */
uint64_t memory_reserve(uint64_t used, size_t engines, uint64_t budget);

/* The mean of what ready engines have beside their artifacts. */
struct memory_base {
    uint64_t sum;
    size_t count;
};
void memory_learn(struct memory_base *b, uint64_t bytes, uint64_t artifact);
uint64_t memory_base(const struct memory_base *b);

#endif
