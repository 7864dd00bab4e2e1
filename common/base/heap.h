/* heap.h - a binary heap of deadlines; the owner embeds struct heap_node.
 *
 * One heap stands behind one timer, so a request needs no timer of its own.
 * push, remove and pop are O(log n).
 */
#ifndef COMMON_BASE_HEAP_H
#define COMMON_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key; /* smallest first; milliseconds of clock_ms() by habit */
    size_t place; /* private: 1 + index in the heap, 0 when not in one */
};

struct heap {
    struct heap_node **nodes; /* private */
    size_t count;             /* read-only */
    size_t cap;               /* private */
};

void heap_finish(struct heap *h); /* the nodes are not touched */
void heap_push(struct heap *h, struct heap_node *n, uint64_t key);
void heap_remove(struct heap *h, struct heap_node *n); /* fine when not in it */
struct heap_node *heap_first(const struct heap *h);    /* NULL when empty */
static inline bool heap_holds(const struct heap_node *n)
{
    return n->place != 0;
}

#endif
