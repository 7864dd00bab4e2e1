/* slab.c - see slab.h. */
#include "services/gateway/slab.h"

#include "common/base/bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

struct slab_piece {
    struct slab_piece *next;
};

/* Followed, at the next multiple of the alignment, by its pieces. */
struct slab_block {
    struct slab_block *next;
    size_t pieces;
};

static void add_block(struct slab *s)
{
    size_t pieces = s->blocks ? 2 * s->blocks->pieces : SLAB_FIRST_PIECES;
    size_t bytes = SLAB_ALIGNMENT + pieces * s->piece_bytes;
    bool huge = bytes >= SLAB_HUGE_BYTES;
    size_t unit = huge ? SLAB_HUGE_BYTES : SLAB_ALIGNMENT;
    bytes = (bytes + unit - 1) / unit * unit;
    struct slab_block *b = aligned_alloc(unit, bytes);
    if (!b)
        die("out of memory: %zu bytes", bytes);
    if (huge)
        madvise(b, bytes, MADV_HUGEPAGE); /* where there are none: as before */
    *b = (struct slab_block){ s->blocks, (bytes - SLAB_ALIGNMENT) / s->piece_bytes };
    s->unused = b->pieces;
    s->blocks = b;
}

static void *next_unused(struct slab *s)
{
    if (!s->unused)
        add_block(s);
    size_t used = s->blocks->pieces - s->unused--;
    return (char *)s->blocks + SLAB_ALIGNMENT + used * s->piece_bytes;
}

void *slab_take(struct slab *s)
{
    void *piece = s->given;
    assert(s->piece_bytes && s->piece_bytes % SLAB_ALIGNMENT == 0);
    if (piece) {
        ASAN_UNPOISON_MEMORY_REGION(piece, s->piece_bytes);
        s->given = s->given->next;
    } else {
        piece = next_unused(s);
    }
    return memset(piece, 0, s->piece_bytes);
}

void slab_give(struct slab *s, void *piece)
{
    struct slab_piece *p = piece;
    p->next = s->given;
    s->given = p;
    ASAN_POISON_MEMORY_REGION(piece, s->piece_bytes); /* so that a use of it is seen */
}

void slab_finish(struct slab *s)
{
    while (s->blocks) {
        struct slab_block *b = s->blocks;
        ASAN_UNPOISON_MEMORY_REGION(b, SLAB_ALIGNMENT + b->pieces * s->piece_bytes);
        s->blocks = b->next;
        free(b);
    }
    s->unused = 0;
    s->given = NULL;
}
