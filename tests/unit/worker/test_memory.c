/* test_memory.c - who fits into the memory of a host, and who makes room. */
#include "services/worker/memory.h"

#include <criterion/criterion.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static size_t evicted(const struct memory_engine *list, size_t count)
{
    size_t mask = 0;
    for (size_t i = 0; i < count; i++)
        mask |= (size_t)list[i].evict << i;
    return mask;
}

Test(memory, fits_to_the_last_byte)
{
    struct memory_engine list[] = { { .bytes = 40 }, { .bytes = 30 } };
    cr_expect_eq(memory_make_room(list, 2, 100, 30), MEMORY_FITS);
    cr_expect_eq(memory_make_room(list, 2, 100, 31), MEMORY_FULL);
    cr_expect_eq(memory_make_room(list, 0, 100, 100), MEMORY_FITS);
    cr_expect_eq(memory_make_room(list, 2, 100, 101), MEMORY_NEVER);
}

Test(memory, the_longest_unused_idle_one_goes)
{
    struct memory_engine list[] = { { .bytes = 30, .idle = true, .used_ms = 7 },
                                    { .bytes = 30, .idle = false, .used_ms = 1 },
                                    { .bytes = 30, .idle = true, .used_ms = 3 } };
    cr_expect_eq(memory_make_room(list, 3, 100, 40), MEMORY_SOON);
    cr_expect_eq(evicted(list, 3), 4);
    cr_expect_eq(memory_make_room(list, 3, 100, 40), MEMORY_SOON, "it is still there");
    cr_expect_eq(evicted(list, 3), 4);
    cr_expect_eq(memory_make_room(list, 3, 100, 70), MEMORY_SOON, "for the next one too");
    cr_expect_eq(evicted(list, 3), 5);
    cr_expect_eq(memory_make_room(list, 3, 100, 71), MEMORY_FULL, "the busy one stays");
}

Test(memory, nobody_goes_in_vain)
{
    struct memory_engine list[] = { { .bytes = 30, .idle = true }, { .bytes = 60, .idle = false } };
    cr_expect_eq(memory_make_room(list, 2, 100, 50), MEMORY_FULL);
    cr_expect_eq(evicted(list, 2), 0);
}

Test(memory, what_leaves_counts_until_it_is_gone)
{
    struct memory_engine list[] = { { .bytes = 50, .leaving = true },
                                    { .bytes = 50, .idle = true } };
    cr_expect_eq(memory_make_room(list, 2, 100, 50), MEMORY_SOON);
    cr_expect_eq(evicted(list, 2), 0, "the one that leaves is enough");
    list[0].bytes = 0;
    cr_expect_eq(memory_make_room(list, 2, 100, 50), MEMORY_FITS);
}

Test(memory, engines_that_have_grown_too_large_go)
{
    struct memory_engine list[] = { { .bytes = 80, .idle = true, .used_ms = 2 },
                                    { .bytes = 70, .idle = true, .used_ms = 1 } };
    cr_expect_eq(memory_make_room(list, 2, 100, 0), MEMORY_SOON);
    cr_expect_eq(evicted(list, 2), 2);
}

Test(memory, an_engine_without_memory_is_no_victim)
{
    struct memory_engine list[] = { { .bytes = 0, .idle = true, .used_ms = 1 },
                                    { .bytes = 100, .idle = true, .used_ms = 2 } };
    cr_expect_eq(memory_make_room(list, COUNT(list), 100, 10), MEMORY_SOON);
    cr_expect_eq(evicted(list, 2), 2);
}

Test(memory, estimates)
{
    struct memory_base base = { 0 };
    cr_expect_eq(memory_estimate(0, 1000, memory_base(&base)), 1000 + MEMORY_BASE_BYTES);
    memory_learn(&base, 1500, 1000);
    memory_learn(&base, 300, 200);
    memory_learn(&base, 10, 40); /* less than its artifact: it is mapped, or has not been read */
    cr_expect_eq(memory_base(&base), 200);
    cr_expect_eq(memory_estimate(0, 1000, memory_base(&base)), 1200);
    cr_expect_eq(memory_estimate(700, 1000, memory_base(&base)), 700, "known is known");
}

Test(memory, a_reserve_is_as_large_as_the_mean_engine)
{
    cr_expect_eq(memory_reserve(90, 9, 100), 10);
    cr_expect_eq(memory_reserve(0, 0, 100), 0);
    cr_expect_eq(memory_reserve(90, 6, 100), 0, "it would cost too many engines their place");
}

/* Whatever there is: what is said to fit does, and what is marked was allowed to go. */
Test(memory, random_hosts)
{
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        struct memory_engine list[8] = { 0 };
        uint64_t budget = (uint64_t)rand_r(&seed) % 200, need = (uint64_t)rand_r(&seed) % 100;
        uint64_t used = 0, staying = 0, fixed = 0;
        for (size_t i = 0; i < COUNT(list); i++) {
            list[i].bytes = (uint64_t)rand_r(&seed) % 50;
            list[i].idle = rand_r(&seed) % 2;
            list[i].leaving = rand_r(&seed) % 4 == 0;
            list[i].used_ms = (uint64_t)rand_r(&seed) % 4;
            used += list[i].bytes;
            fixed += list[i].leaving || list[i].idle ? 0 : list[i].bytes;
        }
        enum memory_room room = memory_make_room(list, COUNT(list), budget, need);
        for (size_t i = 0; i < COUNT(list); i++) {
            cr_assert(!list[i].evict || (list[i].idle && !list[i].leaving && room == MEMORY_SOON));
            staying += list[i].leaving || list[i].evict ? 0 : list[i].bytes;
        }
        cr_assert_eq(room == MEMORY_NEVER, need > budget);
        cr_assert_eq(room == MEMORY_FITS, need <= budget && used + need <= budget);
        cr_assert(room != MEMORY_SOON || staying + need <= budget);
        cr_assert_eq(room == MEMORY_FULL, need <= budget && fixed + need > budget);
    }
}
