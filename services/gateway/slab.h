/* slab.h - pieces of memory of one size, side by side.
 *
 * Ten thousand versions have their lanes on some two thousand pages when each is allocated by itself
 * among other things, which is more than a processor keeps the addresses of.  Here they are together,
 * and what is large is on huge pages, where the kernel has them.  Blocks double, so that little is
 * taken for few pieces; none is given back before the end.
 */
#ifndef SERVICES_GATEWAY_SLAB_H
#define SERVICES_GATEWAY_SLAB_H

#include <stddef.h>

#define SLAB_ALIGNMENT    64
#define SLAB_FIRST_PIECES 16
#define SLAB_HUGE_BYTES   (2u << 20)

struct slab {
    size_t piece_bytes;        /* a multiple of SLAB_ALIGNMENT; the owner's, before the first use */
    struct slab_block *blocks; /* private: the newest first */
    size_t unused;             /* private: pieces of the newest */
    struct slab_piece *given;  /* private: to be taken again */
};

void *slab_take(struct slab *s); /* zeroed */
void slab_give(struct slab *s, void *piece);
void slab_finish(struct slab *s); /* and all its pieces */

#endif
