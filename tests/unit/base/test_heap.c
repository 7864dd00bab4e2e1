/* test_heap.c - the heap against a sorted array, with random operations. */
#include "common/base/heap.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NODES 300

static void check_order(const struct heap *h, const struct heap_node *nodes)
{
    uint64_t least = UINT64_MAX;
    size_t held = 0;
    for (size_t i = 0; i < NODES; i++) {
        if (!heap_holds(&nodes[i]))
            continue;
        held++;
        if (nodes[i].key < least)
            least = nodes[i].key;
    }
    cr_assert_eq(h->count, held);
    const struct heap_node *first = heap_first(h);
    if (held)
        cr_assert_eq(first->key, least);
    else
        cr_assert_null(first);
}

Test(heap, the_least_is_first_after_any_operations)
{
    for (unsigned seed = 1; seed <= 5; seed++) {
        struct heap h = { 0 };
        struct heap_node nodes[NODES] = { 0 };
        srand(seed);
        for (int step = 0; step < 20000; step++) {
            struct heap_node *n = &nodes[rand() % NODES];
            if (heap_holds(n))
                heap_remove(&h, n);
            else
                heap_push(&h, n, (uint64_t)(rand() % 50));
            check_order(&h, nodes);
        }
        heap_finish(&h);
    }
}

Test(heap, comes_out_sorted)
{
    struct heap h = { 0 };
    struct heap_node nodes[NODES] = { 0 };
    srand(7);
    for (size_t i = 0; i < NODES; i++)
        heap_push(&h, &nodes[i], i % 3 ? (uint64_t)rand() : UINT64_MAX - i);
    uint64_t last = 0;
    for (size_t i = 0; i < NODES; i++) {
        struct heap_node *n = heap_first(&h);
        cr_assert_geq(n->key, last);
        last = n->key;
        heap_remove(&h, n);
        cr_assert(!heap_holds(n));
        heap_remove(&h, n);
    }
    cr_assert_null(heap_first(&h));
    heap_finish(&h);
    heap_finish(&h);
}
