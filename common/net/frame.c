/* frame.c - frames: reference-counted memory, by ZeroMQ's messages. */
#include "common/net/frame.h"

#include "common/net/chunk_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

_Static_assert(sizeof(struct frame) == sizeof(zmq_msg_t), "frame.opaque hides a zmq_msg_t");

static zmq_msg_t *raw(const struct frame *f)
{
    return (zmq_msg_t *)(uintptr_t)f->opaque;
}

static void must(int rc, const char *what)
{
    if (rc != 0)
        die("%s: %s", what, zmq_strerror(errno));
}

void frame_init_empty(struct frame *f)
{
    zmq_msg_init(raw(f));
}

void *frame_init_size(struct frame *f, size_t len)
{
    must(zmq_msg_init_size(raw(f), len), "out of memory for a frame");
    return zmq_msg_data(raw(f));
}

void *frame_init_chunk(struct frame *f, size_t len)
{
    assert(len <= CHUNK_BYTES);
    void *data = chunk_memory_take();
    if (data)
        frame_init_take(f, data, len, chunk_memory_give, NULL);
    return data;
}

void frame_init_copy(struct frame *f, struct bytes data)
{
    void *to = frame_init_size(f, data.len);
    if (data.len)
        memcpy(to, data.data, data.len);
}

void frame_init_take(struct frame *f, void *data, size_t len, frame_free_fn *free_fn, void *hint)
{
    must(zmq_msg_init_data(raw(f), data, len, free_fn, hint), "out of memory for a frame");
}

static void free_data(void *data, void *hint)
{
    (void)hint;
    free(data);
}

void frame_init_buf(struct frame *f, struct buf *b)
{
    size_t len;
    void *data = buf_take(b, &len);
    frame_init_take(f, data, len, free_data, NULL);
}

void frame_init_share(struct frame *f, const struct frame *of)
{
    zmq_msg_init(raw(f));
    must(zmq_msg_copy(raw(f), raw(of)), "share a frame");
}

static void free_whole(void *data, void *hint)
{
    struct frame *whole = hint;
    (void)data;
    frame_finish(whole);
    free(whole);
}

void frame_init_slice(struct frame *f, const struct frame *of, size_t offset, size_t len)
{
    struct frame *whole = mem_alloc(sizeof *whole);
    frame_init_share(whole, of);
    struct bytes all = frame_bytes(whole); /* of `whole`: a short frame holds its bytes itself */
    assert(offset <= all.len && len <= all.len - offset);
    frame_init_take(f, (char *)(uintptr_t)all.data + offset, len, free_whole, whole);
}

struct bytes frame_bytes(const struct frame *f)
{
    return bytes_of(zmq_msg_data(raw(f)), zmq_msg_size(raw(f)));
}

void frame_move(struct frame *to, struct frame *from)
{
    zmq_msg_move(raw(to), raw(from));
}

void frame_finish(struct frame *f)
{
    zmq_msg_close(raw(f));
}

void frames_finish(struct frames *f)
{
    for (size_t i = 0; i < f->count; i++)
        frame_finish(&f->at[i]);
    f->count = 0;
}

struct frame *frames_add(struct frames *f)
{
    return f->count < MAX_FRAMES ? &f->at[f->count++] : NULL;
}
