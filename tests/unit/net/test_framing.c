/* test_framing.c - messages out of a stream of bytes, and what is no message. */
#include "common/net/framing.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define LIMIT (1u << 20)
#define LARGE 200000 /* more than is copied without a second thought */

static struct framing f;

static void init(void)
{
    f = (struct framing){ .frame_bytes_max = LIMIT };
}

static void finish(void)
{
    framing_finish(&f);
}

TestSuite(framing, .init = init, .fini = finish);

static void put(struct buf *out, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++, n >>= 8)
        buf_append(out, &(unsigned char){ (unsigned char)n }, 1);
}

/* A message of count frames; frame i has sizes[i] bytes of the letter 'a' + i. */
static struct buf message(const size_t *sizes, size_t count)
{
    struct buf out = { 0 };
    put(&out, count, 4);
    for (size_t i = 0; i < count; i++)
        put(&out, sizes[i], 8);
    for (size_t i = 0; i < count; i++) {
        buf_reserve(&out, sizes[i] + 1);
        memset(out.data + out.len, 'a' + (int)(i % 26), sizes[i]);
        out.len += sizes[i];
    }
    return out;
}

static void check_frames(const size_t *sizes, size_t count)
{
    cr_assert(framing_whole(&f));
    cr_assert_eq(f.frames.count, f.from + count);
    for (size_t i = 0; i < count; i++) {
        struct bytes data = frame_bytes(&f.frames.at[f.from + i]);
        const char *p = data.data;
        cr_assert_eq(data.len, sizes[i]);
        for (size_t k = 0; k < data.len; k++)
            cr_assert_eq(p[k], 'a' + (int)(i % 26));
    }
}

#define SIZES(...) \
    (const size_t[]){ __VA_ARGS__ }, sizeof((size_t[]){ __VA_ARGS__ }) / sizeof(size_t)

static void comes_in_pieces(size_t piece, const size_t *sizes, size_t count)
{
    struct buf wire = message(sizes, count);
    for (size_t at = 0; at < wire.len; at += piece) {
        size_t len = wire.len - at < piece ? wire.len - at : piece;
        struct bytes data = bytes_of(wire.data + at, len);
        cr_assert_not(framing_whole(&f));
        cr_assert_eq(framing_take(&f, &data), STATUS_OK);
        cr_assert_eq(data.len, 0);
    }
    check_frames(sizes, count);
    framing_next(&f);
    buf_finish(&wire);
}

Test(framing, a_message_in_pieces_of_any_size)
{
    static const size_t pieces[] = { 1, 2, 3, 5, 7, 11, 13, 64, 1000, 1 << 20 };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        comes_in_pieces(pieces[i], SIZES(5));
        comes_in_pieces(pieces[i], SIZES(0, 1, 0, 300, 0));
        comes_in_pieces(pieces[i], SIZES(0));
        comes_in_pieces(pieces[i], SIZES(3, LARGE, 2));
    }
}

Test(framing, what_follows_a_message_is_left)
{
    struct buf wire = message(SIZES(3, 0));
    buf_append(&wire, wire.data, wire.len);
    struct bytes data = buf_bytes(&wire);
    for (size_t left = wire.len / 2; data.len; left = 0) {
        cr_assert_eq(framing_take(&f, &data), STATUS_OK);
        cr_assert_eq(data.len, left);
        check_frames(SIZES(3, 0));
        framing_next(&f);
    }
    cr_assert_not(framing_whole(&f));
    buf_finish(&wire);
}

Test(framing, a_frame_of_the_owner_stays_before_the_streams)
{
    struct buf wire = message(SIZES(4));
    struct bytes data = buf_bytes(&wire);
    f.from = 1;
    frame_init_copy(frames_add(&f.frames), bytes_str("route"));
    cr_assert_eq(framing_take(&f, &data), STATUS_OK);
    check_frames(SIZES(4));
    cr_assert(bytes_equal_str(frame_bytes(&f.frames.at[0]), "route"));
    buf_finish(&wire);
}

Test(framing, the_rest_of_a_frame_can_be_read_to_its_place)
{
    struct buf wire = message(SIZES(LARGE, 1));
    struct bytes head = bytes_of(wire.data, 4 + 2 * 8 + 10), none = bytes_of("", 0);
    uint64_t room;
    cr_assert_null(framing_room(&f, &room));
    cr_assert_eq(room, 0);
    cr_assert_eq(framing_take(&f, &head), STATUS_OK);
    void *to = framing_room(&f, &room);
    cr_assert_eq(room, LARGE - 10);
    memset(to, 'a', room);
    framing_filled(&f, room);
    cr_assert_eq(framing_take(&f, &none), STATUS_OK);
    cr_assert_not(framing_whole(&f));
    framing_room(&f, &room);
    cr_assert_eq(room, 1, "the second frame has begun");
    struct bytes last = bytes_of("b", 1);
    cr_assert_eq(framing_take(&f, &last), STATUS_OK);
    check_frames(SIZES(LARGE, 1));
    framing_next(&f);
    cr_assert_null(framing_room(&f, &room));
    buf_finish(&wire);
}

static void refuses(struct buf *wire)
{
    struct bytes data = buf_bytes(wire);
    cr_assert_eq(framing_take(&f, &data), STATUS_INVALID);
    framing_finish(&f);
    init();
    buf_finish(wire);
}

Test(framing, what_is_no_message_is_refused)
{
    struct buf none = { 0 }, many = { 0 }, huge = { 0 }, negative = { 0 };
    put(&none, 0, 4);
    refuses(&none);
    put(&many, MAX_FRAMES + 1, 4);
    refuses(&many);
    put(&huge, 1, 4);
    put(&huge, LIMIT + 1, 8);
    refuses(&huge);
    put(&negative, UINT32_MAX, 4);
    refuses(&negative);
}

Test(framing, the_most_frames_count_the_owners)
{
    size_t sizes[MAX_FRAMES] = { 1, 2, 3 };
    comes_in_pieces(100, sizes, MAX_FRAMES);
    f.from = 1;
    frame_init_empty(frames_add(&f.frames));
    comes_in_pieces(100, sizes, MAX_FRAMES - 1);
    frame_init_empty(frames_add(&f.frames));
    struct buf wire = message(sizes, MAX_FRAMES);
    refuses(&wire);
}

Test(framing, a_lie_about_lengths_costs_one_frame)
{
    struct buf wire = { 0 };
    uint64_t room;
    put(&wire, MAX_FRAMES, 4);
    for (size_t i = 0; i < MAX_FRAMES; i++)
        put(&wire, LIMIT, 8);
    struct bytes data = buf_bytes(&wire);
    cr_assert_eq(framing_take(&f, &data), STATUS_OK);
    cr_assert_eq(f.frames.count, 1, "memory is asked for one frame after the other");
    framing_room(&f, &room);
    cr_assert_eq(room, LIMIT);
    data = bytes_of("x", 1);
    cr_assert_eq(framing_take(&f, &data), STATUS_OK);
    cr_assert_eq(f.frames.count, 1);
    buf_finish(&wire);
}

Test(framing, a_head_says_what_is_sent)
{
    unsigned char head[FRAMING_HEAD_MAX];
    struct frames frames = { .count = 0 };
    struct buf wire = { 0 };
    frame_init_copy(frames_add(&frames), bytes_str("route"));
    frame_init_copy(frames_add(&frames), bytes_str("aaa"));
    frame_init_empty(frames_add(&frames));
    frame_init_copy(frames_add(&frames), bytes_str("cc"));
    buf_append(&wire, head, framing_head(&frames, 1, head));
    cr_assert_eq(wire.len, 4 + 3 * 8);
    buf_append_str(&wire, "aaacc");
    struct bytes data = buf_bytes(&wire);
    cr_assert_eq(framing_take(&f, &data), STATUS_OK);
    check_frames(SIZES(3, 0, 2));
    frames_finish(&frames);
    buf_finish(&wire);
}
