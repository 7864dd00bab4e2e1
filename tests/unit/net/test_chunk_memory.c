/* test_chunk_memory.c - blocks are used again, and go back to the kernel when nobody needs them. */
#include "common/net/chunk_memory.h"

#include "common/msg/limits.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define ROUNDS 20000

/* Is it the process's memory still? */
static bool mapped(void *block)
{
    return msync(block, CHUNK_BYTES, MS_ASYNC) == 0;
}

Test(chunk_memory, what_is_given_back_is_used_again)
{
    void *one = chunk_memory_take(), *other = chunk_memory_take();
    cr_assert(one && other && one != other);
    memset(one, 1, CHUNK_BYTES);
    memset(other, 2, CHUNK_BYTES);
    chunk_memory_give(one, NULL);
    chunk_memory_give(other, NULL);
    cr_assert_eq(chunk_memory_take(), other, "the last one is in the cache");
    cr_assert_eq(chunk_memory_take(), one);
    chunk_memory_give(one, NULL);
    chunk_memory_give(other, NULL);
}

Test(chunk_memory, no_more_than_a_few_wait)
{
    void *block[CHUNK_MEMORY_KEPT + 2];
    for (size_t i = 0; i < CHUNK_MEMORY_KEPT + 2; i++)
        block[i] = chunk_memory_take();
    for (size_t i = 0; i < CHUNK_MEMORY_KEPT + 2; i++)
        chunk_memory_give(block[i], NULL);
    for (size_t i = 0; i < CHUNK_MEMORY_KEPT + 2; i++)
        cr_assert_eq(mapped(block[i]), i < CHUNK_MEMORY_KEPT);
}

Test(chunk_memory, what_waits_from_one_tidying_to_the_next_goes)
{
    void *one = chunk_memory_take(), *other = chunk_memory_take();
    chunk_memory_give(one, NULL);
    chunk_memory_give(other, NULL);
    chunk_memory_tidy();
    cr_assert(mapped(one) && mapped(other));
    chunk_memory_give(chunk_memory_take(), NULL); /* one at a time is needed */
    chunk_memory_tidy();
    cr_assert_eq(mapped(one) + mapped(other), 1);
    chunk_memory_tidy();
    chunk_memory_tidy();
    cr_assert_not(mapped(one) || mapped(other));
}

static void *use(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        unsigned char *block = chunk_memory_take();
        memset(block, *(const unsigned char *)arg, 64);
        cr_assert_eq(block[63], *(const unsigned char *)arg);
        chunk_memory_give(block, NULL);
        if (i % 64 == 0)
            chunk_memory_tidy();
    }
    return NULL;
}

Test(chunk_memory, threads_have_their_own_blocks)
{
    pthread_t thread;
    unsigned char one = 1, other = 2;
    cr_assert_eq(pthread_create(&thread, NULL, use, &one), 0);
    use(&other);
    pthread_join(thread, NULL);
}
