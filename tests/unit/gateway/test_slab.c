/* test_slab.c - pieces side by side. */
#include "services/gateway/slab.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#define PIECE 768

Test(slab, pieces_are_zeroed_aligned_and_apart)
{
    enum { COUNT = 3 * SLAB_FIRST_PIECES };
    struct slab s = { .piece_bytes = PIECE };
    static const unsigned char zeros[PIECE];
    unsigned char *piece[COUNT];
    for (int i = 0; i < COUNT; i++) {
        piece[i] = slab_take(&s);
        cr_expect_eq((uintptr_t)piece[i] % SLAB_ALIGNMENT, 0);
        cr_expect_eq(memcmp(piece[i], zeros, PIECE), 0);
        memset(piece[i], i + 1, PIECE);
    }
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < PIECE; k++)
            cr_assert_eq(piece[i][k], i + 1);
    slab_finish(&s);
}

Test(slab, many_pieces_are_on_huge_pages)
{
    struct slab s = { .piece_bytes = PIECE };
    for (int i = 0; i < 3 * (int)(SLAB_HUGE_BYTES / PIECE); i++)
        memset(slab_take(&s), 1, PIECE);
    cr_expect_eq((uintptr_t)s.blocks % SLAB_HUGE_BYTES, 0);
    slab_finish(&s);
    cr_expect_null(s.blocks);
    slab_finish(&s);
}

Test(slab, what_was_given_back_is_taken_again)
{
    struct slab s = { .piece_bytes = PIECE };
    static const unsigned char zeros[PIECE];
    unsigned char *first = slab_take(&s), *second = slab_take(&s);
    memset(first, 1, PIECE);
    slab_give(&s, first);
    unsigned char *again = slab_take(&s);
    cr_expect_eq(again, first);
    cr_expect_eq(memcmp(again, zeros, PIECE), 0);
    cr_expect_neq(slab_take(&s), second);
    slab_give(&s, again);
    slab_finish(&s);
}
