/* framing.c - see framing.h. */
#include "common/net/framing.h"

#include <stdlib.h>

#define SMALL_BYTES  65536 /* frames up to this need no second thought about memory */
#define COUNT_BYTES  4
#define LENGTH_BYTES 8

static uint64_t load_le(const unsigned char *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n |= (uint64_t)p[i] << 8 * i;
    return n;
}

static void store_le(unsigned char *p, size_t bytes, uint64_t n)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(n >> 8 * i);
}

size_t framing_head(const struct frames *frames, size_t from, unsigned char head[FRAMING_HEAD_MAX])
{
    unsigned char *at = head + COUNT_BYTES;
    store_le(head, COUNT_BYTES, frames->count - from);
    for (size_t i = from; i < frames->count; i++, at += LENGTH_BYTES)
        store_le(at, LENGTH_BYTES, frame_bytes(&frames->at[i]).len);
    return (size_t)(at - head);
}

/* ---- the head -------------------------------------------------------------------------------- */

static void use(struct bytes *data, size_t len)
{
    *data = bytes_of((const char *)data->data + len, data->len - len);
}

static enum status read_lengths(struct framing *f, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        f->lengths[i] = load_le(f->head + COUNT_BYTES + i * LENGTH_BYTES, LENGTH_BYTES);
        if (f->lengths[i] > f->frame_bytes_max)
            return STATUS_INVALID;
    }
    f->expected = count;
    return STATUS_OK;
}

static enum status take_head(struct framing *f, struct bytes *data)
{
    while (data->len && !f->expected) {
        uint64_t count = f->head_len < COUNT_BYTES ? 0 : load_le(f->head, COUNT_BYTES);
        size_t left = COUNT_BYTES + count * LENGTH_BYTES - f->head_len;
        size_t len = left < data->len ? left : data->len;
        memcpy(f->head + f->head_len, data->data, len);
        f->head_len += len;
        use(data, len);
        if (len < left)
            break;
        if (count && read_lengths(f, count))
            return STATUS_INVALID;
        count = load_le(f->head, COUNT_BYTES);
        if (!count || count > MAX_FRAMES - f->from)
            return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* ---- the frames ------------------------------------------------------------------------------ */

/* Bytes of the last frame that are still to come. */
static uint64_t frame_left(const struct framing *f)
{
    size_t begun = f->frames.count - f->from;
    return begun ? f->lengths[begun - 1] - f->filled : 0;
}

bool framing_whole(const struct framing *f)
{
    return f->expected && f->frames.count == f->expected + f->from && !frame_left(f);
}

static void free_data(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static enum status begin_frame(struct framing *f)
{
    uint64_t len = f->lengths[f->frames.count - f->from];
    if (len <= SMALL_BYTES) {
        f->place = frame_init_size(frames_add(&f->frames), len);
    } else if (len > CHUNK_BYTES / 2 && len <= CHUNK_BYTES) {
        f->place = frame_init_chunk(&f->frames.at[f->frames.count], len);
        if (!f->place)
            return STATUS_FULL;
        f->frames.count++;
    } else {
        f->place = malloc(len);
        if (!f->place)
            return STATUS_FULL;
        frame_init_take(frames_add(&f->frames), f->place, len, free_data, NULL);
    }
    f->filled = 0;
    return STATUS_OK;
}

static enum status take_frames(struct framing *f, struct bytes *data)
{
    while (!framing_whole(f)) {
        uint64_t left = frame_left(f);
        if (left && !data->len)
            break;
        if (!left && begin_frame(f))
            return STATUS_FULL;
        if (!left || !data->len)
            continue;
        size_t len = left < data->len ? (size_t)left : data->len;
        memcpy(f->place + f->filled, data->data, len);
        f->filled += len;
        use(data, len);
    }
    return STATUS_OK;
}

enum status framing_take(struct framing *f, struct bytes *data)
{
    enum status st = take_head(f, data);
    return st || !f->expected ? st : take_frames(f, data);
}

void framing_next(struct framing *f)
{
    frames_finish(&f->frames);
    f->expected = f->head_len = 0;
}

void framing_finish(struct framing *f)
{
    frames_finish(&f->frames);
}

void *framing_room(const struct framing *f, uint64_t *len)
{
    *len = f->expected ? frame_left(f) : 0;
    return *len ? f->place + f->filled : NULL;
}

void framing_filled(struct framing *f, size_t len)
{
    f->filled += len;
}
