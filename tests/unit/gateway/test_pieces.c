/* test_pieces.c - ranges in any order: what counts, what is missing; compared with a plain array. */
#include "services/gateway/pieces.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define SMALL_SIZE 3000 /* bytes in each of the slots that the random test uses */

static struct buf list;

static void finish(void)
{
    buf_finish(&list);
}

TestSuite(pieces, .fini = finish);

/* The digest tells which piece it is. */
static enum status add(uint64_t offset, uint32_t length, unsigned char id)
{
    unsigned char digest[DIGEST_SIZE] = { id };
    struct msg_piece piece = { offset, length, bytes_of(digest, sizeof digest) };
    struct msg_upload page = { .pieces = &piece, .pieces_count = 1 };
    return pieces_add(&list, &page) ? STATUS_OK : STATUS_INVALID;
}

static const struct piece *at(size_t i)
{
    cr_assert_lt(i, list.len / sizeof(struct piece));
    return (const struct piece *)(void *)list.data + i;
}

static void expect(size_t i, uint64_t offset, uint32_t length, uint32_t skip, unsigned char id)
{
    const struct piece *p = at(i);
    cr_expect(p->offset == offset && p->length == length && p->skip == skip &&
                  p->digest.byte[0] == id,
              "%zu: %llu + %u, skip %u, %u", i, (unsigned long long)p->offset, p->length, p->skip,
              p->digest.byte[0]);
}

Test(pieces, the_last_counts)
{
    cr_assert_eq(add(0, 100, 1), STATUS_OK);
    cr_assert_eq(add(50, 10, 2), STATUS_OK);
    cr_assert_eq(add(90, 20, 3), STATUS_OK);
    cr_assert_eq(add(CHUNK_BYTES, CHUNK_BYTES, 4), STATUS_OK);
    pieces_resolve(&list, 0);
    cr_assert_eq(list.len, 5 * sizeof(struct piece));
    expect(0, 0, 50, 0, 1);
    expect(1, 50, 10, 0, 2);
    expect(2, 60, 30, 60, 1);
    expect(3, 90, 20, 0, 3);
    expect(4, CHUNK_BYTES, CHUNK_BYTES, 0, 4);
    cr_expect_eq(pieces_received(&list), 110 + CHUNK_BYTES);
    cr_expect_eq(pieces_end(&list), 2 * CHUNK_BYTES);
}

Test(pieces, gaps)
{
    struct gap gaps[2];
    pieces_resolve(&list, 0);
    cr_expect_eq(pieces_missing(&list, 0, gaps, 2), 0);
    cr_expect_eq(pieces_missing(&list, 7, gaps, 2), 1);
    cr_expect(gaps[0].offset == 0 && gaps[0].length == 7);
    cr_assert_eq(add(10, 10, 1), STATUS_OK);
    cr_assert_eq(add(30, 10, 2), STATUS_OK);
    cr_assert_eq(add(CHUNK_BYTES + 5, 5, 3), STATUS_OK);
    pieces_resolve(&list, 0);
    cr_expect_eq(pieces_missing(&list, CHUNK_BYTES + 10, gaps, 2), 3);
    cr_expect(gaps[0].offset == 0 && gaps[0].length == 10);
    cr_expect(gaps[1].offset == 20 && gaps[1].length == 10);
    cr_expect_eq(pieces_missing(&list, 35, gaps, 2), 2);
    cr_expect_eq(pieces_missing(&list, 25, gaps, 2), 2);
    cr_expect(gaps[1].offset == 20 && gaps[1].length == 5);
}

Test(pieces, whole_chunks_are_known)
{
    size_t place = 0;
    add(0, CHUNK_BYTES, 1);
    add(CHUNK_BYTES, 10, 2);
    add(CHUNK_BYTES + 10, CHUNK_BYTES - 10, 3);
    add(3ull * CHUNK_BYTES, 7, 4);
    pieces_resolve(&list, 0);
    const uint64_t size = 3ull * CHUNK_BYTES + 7;
    cr_expect_eq(pieces_whole(&list, size, 0, &place)->byte[0], 1);
    cr_expect_null(pieces_whole(&list, size, 1, &place));
    cr_expect_null(pieces_whole(&list, size, 2, &place));
    cr_expect_eq(pieces_whole(&list, size, 3, &place)->byte[0], 4);
    cr_expect_null(pieces_whole(&list, size + 1, 3, &place), "it is longer");
    cr_expect_null(pieces_whole(&list, size, 4, &place));
}

Test(pieces, what_cannot_be_is_refused)
{
    cr_expect_eq(add(0, 0, 1), STATUS_INVALID);
    cr_expect_eq(add(1, CHUNK_BYTES, 1), STATUS_INVALID);
    cr_expect_eq(add(UINT64_MAX, 1, 1), STATUS_INVALID);
    cr_expect_eq(add((uint64_t)MAX_CHUNKS * CHUNK_BYTES, 1, 1), STATUS_INVALID);
    struct msg_piece piece = { 0, 1, bytes_of("short", 5) };
    cr_expect_not(pieces_add(&list, &(struct msg_upload){ .pieces = &piece, .pieces_count = 1 }));
}

/* Many pieces at random in two slots, beside an array that says who wrote each byte last. */
static void one_round(unsigned seed)
{
    static unsigned char owner[2][SMALL_SIZE];
    static uint32_t from[256];
    unsigned id = 0;
    srand(seed);
    memset(owner, 0, sizeof owner);
    for (uint64_t slot = 0; slot < 2; slot++) {
        for (int i = rand() % 40; i; i--) {
            uint32_t offset = (uint32_t)rand() % SMALL_SIZE;
            uint32_t length = 1 + (uint32_t)rand() % (SMALL_SIZE - offset);
            id++;
            from[id] = offset;
            memset(&owner[slot][offset], (int)id, length);
            cr_assert_eq(add(slot * CHUNK_BYTES + offset, length, (unsigned char)id), STATUS_OK);
        }
    }
    pieces_resolve(&list, 0);
    uint64_t end = 0, bytes = 0;
    for (size_t i = 0; i < list.len / sizeof(struct piece); i++) {
        const struct piece *p = at(i);
        uint32_t within = (uint32_t)(p->offset % CHUNK_BYTES);
        cr_assert_geq(p->offset, end, "in order, without overlap");
        end = p->offset + p->length;
        bytes += p->length;
        cr_assert_eq(p->skip, within - from[p->digest.byte[0]]);
        for (uint32_t k = 0; k < p->length; k++)
            cr_assert_eq(owner[p->offset / CHUNK_BYTES][within + k], p->digest.byte[0]);
    }
    for (size_t k = 0; k < sizeof owner; k++)
        bytes -= owner[k / SMALL_SIZE][k % SMALL_SIZE] != 0;
    cr_assert_eq(bytes, 0, "nothing is left out");
    finish();
}

Test(pieces, at_random)
{
    for (unsigned seed = 1; seed <= 200; seed++)
        one_round(seed);
}
