/* test_sort.c - sorting that can be given up. */
#include "services/trainer/data/sort.h"
#include "tests/unit/trainer/fixture.h"

#define RUN (1u << 17)

static int by_key(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Pairs of a key, of which there are few, and the place where it was. */
static uint32_t (*make(size_t count))[2]
{
    struct random r = { .state = count };
    uint32_t(*pairs)[2] = mem_alloc((count + 1) * sizeof *pairs);
    for (size_t i = 0; i < count; i++) {
        pairs[i][0] = (uint32_t)(random_u64(&r) % (count / 4 + 1));
        pairs[i][1] = (uint32_t)i;
    }
    return pairs;
}

static int by_both(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    int order = by_key(a, b);
    return order ? order : (x[1] > y[1]) - (x[1] < y[1]);
}

Test(sort, is_as_qsort)
{
    static const size_t counts[] = { 0, 1, 2, 1000, RUN - 1, RUN, RUN + 1, 2 * RUN, 3 * RUN + 5 };
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        uint32_t(*ours)[2] = make(counts[k]), (*theirs)[2] = make(counts[k]);
        sort_list(ours, counts[k], sizeof *ours, by_both, NULL);
        qsort(theirs, counts[k], sizeof *theirs, by_both);
        cr_assert_arr_eq(ours, theirs, counts[k] * sizeof *ours, "%zu", counts[k]);
        free(ours);
        free(theirs);
    }
}

Test(sort, floats_in_order)
{
    float list[] = { 3, -1, 0.5f, -7, 3 };
    const float sorted[] = { -7, -1, 0.5f, 3, 3 };
    sort_floats(list, 5, NULL);
    cr_assert_arr_eq(list, sorted, sizeof sorted);
}

static atomic_bool cancelled;
static size_t compared;

static int by_key_for_a_while(const void *a, const void *b)
{
    if (++compared == 1000000)
        atomic_store(&cancelled, true);
    return by_key(a, b);
}

/* Of thirty runs, one is under way when the flag is set. */
Test(sort, ends_early_when_it_is_cancelled)
{
    size_t count = 30 * RUN;
    uint32_t(*pairs)[2] = make(count);
    sort_list(pairs, count, sizeof *pairs, by_key_for_a_while, &cancelled);
    cr_assert(atomic_load(&cancelled));
    cr_assert_lt(compared, 4000000);
    free(pairs);
}
