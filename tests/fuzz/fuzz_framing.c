/* fuzz_framing.c - any bytes as a stream of messages, in several cuts.
 *
 * However the stream is cut, the same messages come out of it, and what comes out is, written
 * again, the stream that was read.
 */
#include "common/net/framing.h"

#include <assert.h>
#include <stdlib.h>

#define FRAME_BYTES_MAX (1u << 20)
#define ROUTE           "route"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum cut { WHOLE, SINGLE_BYTES, PIECES, STRAIGHT, CUTS };

/* What was read: the messages as they are on the wire, and how it ended. */
struct reading {
    struct buf wire;
    size_t messages;
    enum status status;
};

static void begin(struct framing *f)
{
    if (f->from && !f->frames.count)
        frame_init_copy(frames_add(&f->frames), bytes_str(ROUTE));
}

/* A message is whole: the frames before it are untouched, and none is beyond the limits. */
static void take_message(struct framing *f, struct reading *r)
{
    unsigned char head[FRAMING_HEAD_MAX];
    assert(f->frames.count > f->from && f->frames.count <= MAX_FRAMES);
    if (f->from)
        assert(bytes_equal_str(frame_bytes(&f->frames.at[0]), ROUTE));
    buf_append(&r->wire, head, framing_head(&f->frames, f->from, head));
    for (size_t i = f->from; i < f->frames.count; i++) {
        assert(frame_bytes(&f->frames.at[i]).len <= f->frame_bytes_max);
        buf_append_bytes(&r->wire, frame_bytes(&f->frames.at[i]));
    }
    r->messages++;
    framing_next(f);
    begin(f);
}

static void feed(struct framing *f, struct reading *r, struct bytes data)
{
    do {
        size_t before = data.len;
        r->status = framing_take(f, &data);
        bool whole = !r->status && framing_whole(f);
        assert(r->status == STATUS_OK || r->status == STATUS_INVALID);
        assert(r->status || whole || !data.len);
        assert(!whole || !before || data.len < before);
        if (whole)
            take_message(f, r);
    } while (data.len && !r->status);
}

/* The rest of a frame that has begun goes to its place, as direct.c reads it. */
static size_t feed_straight(struct framing *f, struct reading *r, struct bytes data)
{
    uint64_t room;
    void *to = framing_room(f, &room);
    if (!room)
        return 0;
    size_t len = room < data.len ? (size_t)room : data.len;
    memcpy(to, data.data, len);
    framing_filled(f, len);
    feed(f, r, bytes_of("", 0));
    return len;
}

static size_t piece_len(enum cut cut, unsigned *random, size_t left)
{
    *random = *random * 1664525u + 1013904223u;
    size_t len = cut == WHOLE ? left : cut == SINGLE_BYTES ? 1 : 1 + (*random >> 16) % 700;
    return len < left ? len : left;
}

static struct reading read_all(struct bytes data, size_t from, enum cut cut)
{
    struct framing *f = mem_zalloc(sizeof *f);
    struct reading r = { 0 };
    unsigned random = (unsigned)data.len;
    f->from = from;
    f->frame_bytes_max = FRAME_BYTES_MAX;
    begin(f);
    while (data.len && !r.status) {
        size_t len = piece_len(cut, &random, data.len);
        struct bytes piece = bytes_of(data.data, len);
        size_t used = cut == STRAIGHT ? feed_straight(f, &r, piece) : 0;
        if (!used) {
            feed(f, &r, piece);
            used = len;
        }
        data = bytes_of((const char *)data.data + used, data.len - used);
    }
    framing_finish(f);
    free(f);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t from = len ? data[0] & 1 : 0;
    struct bytes stream = len ? bytes_of(data + 1, len - 1) : bytes_of("", 0);
    struct reading whole = read_all(stream, from, WHOLE);
    assert(whole.wire.len <= stream.len);
    if (whole.wire.len)
        assert(memcmp(whole.wire.data, stream.data, whole.wire.len) == 0);
    for (enum cut cut = SINGLE_BYTES; cut < CUTS; cut++) {
        struct reading r = read_all(stream, from, cut);
        assert(r.status == whole.status && r.messages == whole.messages);
        assert(bytes_equal(buf_bytes(&r.wire), buf_bytes(&whole.wire)));
        buf_finish(&r.wire);
    }
    buf_finish(&whole.wire);
    return 0;
}
