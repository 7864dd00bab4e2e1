/* sort.c - runs that qsort makes, merged; between them is a look at the flag. */
#include "services/trainer/data/sort.h"

#include "common/base/bytes.h"

#include <stdlib.h>

#define RUN (1u << 17) /* items of a run, and between two looks: some 20 ms */

struct merge {
    size_t size;
    int (*compare)(const void *, const void *);
    const atomic_bool *cancelled;
};

static bool given_up(const struct merge *m)
{
    return cancel_is_set(m->cancelled);
}

/* from[0 .. left) and from[left .. all), both sorted, into `to`. */
static void merge_two(const struct merge *m, const char *from, size_t left, size_t all, char *to)
{
    size_t a = 0, b = left;
    for (size_t i = 0; i < all; i++, to += m->size) {
        if (i % RUN == 0 && given_up(m))
            return;
        bool second =
            a == left || (b < all && m->compare(from + b * m->size, from + a * m->size) < 0);
        size_t at = second ? b++ : a++;
        memcpy(to, from + at * m->size, m->size);
    }
}

void sort_list(void *list, size_t count, size_t size, int (*compare)(const void *, const void *),
               const atomic_bool *cancelled)
{
    const struct merge m = { size, compare, cancelled };
    for (size_t at = 0; at < count && !given_up(&m); at += RUN)
        qsort((char *)list + at * size, count - at < RUN ? count - at : RUN, size, compare);
    if (count <= RUN)
        return;
    char *from = list, *to = mem_alloc(count * size);
    for (size_t run = RUN; run < count && !given_up(&m); run *= 2) {
        for (size_t at = 0; at < count; at += 2 * run) {
            size_t all = count - at < 2 * run ? count - at : 2 * run;
            merge_two(&m, from + at * size, all < run ? all : run, all, to + at * size);
        }
        char *other = from;
        from = to;
        to = other;
    }
    if (from != list) {
        memcpy(list, from, count * size);
        to = from;
    }
    free(to);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void sort_floats(float *list, size_t count, const atomic_bool *cancelled)
{
    sort_list(list, count, sizeof *list, by_size, cancelled);
}
