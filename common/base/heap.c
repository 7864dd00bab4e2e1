/* heap.c - array-backed binary heap with back pointers. */
#include "common/base/heap.h"

#include "common/base/bytes.h"

#include <assert.h>
#include <stdlib.h>

static void put(struct heap *h, size_t i, struct heap_node *n)
{
    h->nodes[i] = n;
    n->place = i + 1;
}

static void sift_up(struct heap *h, size_t i, struct heap_node *n)
{
    while (i > 0 && h->nodes[(i - 1) / 2]->key > n->key) {
        put(h, i, h->nodes[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(h, i, n);
}

static void sift_down(struct heap *h, size_t i, struct heap_node *n)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->nodes[child + 1]->key < h->nodes[child]->key)
            child++;
        if (h->nodes[child]->key >= n->key)
            break;
        put(h, i, h->nodes[child]);
        i = child;
    }
    put(h, i, n);
}

void heap_finish(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){ 0 };
}

void heap_push(struct heap *h, struct heap_node *n, uint64_t key)
{
    assert(!n->place);
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->nodes = mem_resize(h->nodes, h->cap * sizeof(struct heap_node *));
    }
    n->key = key;
    sift_up(h, h->count++, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (!n->place)
        return;
    size_t i = n->place - 1;
    struct heap_node *last = h->nodes[--h->count];
    n->place = 0;
    if (last == n)
        return;
    if (i > 0 && h->nodes[(i - 1) / 2]->key > last->key)
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}
