/* pipe.c - length-prefixed envelopes over a socket pair. */
#include "common/net/pipe.h"

#include <stdlib.h>
#include <uv.h>

#define READ_BYTES   4096
#define PENDING_MAX  (1u << 20) /* bytes that wait for a reader */
#define PREFIX_BYTES 4

struct pipe {
    uv_pipe_t uv;
    struct buf in;
    size_t pending;
    bool ended;
    bool closing;
    pipe_fn *fn;
    void *arg;
    struct msg_decoder decoder;
    char chunk[READ_BYTES];
};

struct pipe_write {
    uv_write_t uv;
    struct pipe *pipe;
    struct buf data;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct pipe *p = handle->data;
    (void)suggested;
    *buf = uv_buf_init(p->chunk, sizeof p->chunk);
}

static void end(struct pipe *p)
{
    if (p->ended)
        return;
    p->ended = true;
    uv_read_stop((uv_stream_t *)&p->uv);
    p->fn(p->arg, NULL);
}

/* Hands over every whole envelope that has come in. */
static void deliver(struct pipe *p)
{
    size_t used = 0;
    while (!p->ended && !p->closing && p->in.len - used >= PREFIX_BYTES) {
        struct msg m;
        struct error err;
        const unsigned char *at = p->in.data + used;
        uint32_t len = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        if (len > MAX_SMALL_ENVELOPE) {
            end(p);
            return;
        }
        if (p->in.len - used - PREFIX_BYTES < len)
            break;
        used += PREFIX_BYTES + len;
        if (msg_decode(&p->decoder, bytes_of(at + PREFIX_BYTES, len), &m, &err)) {
            end(p);
            return;
        }
        p->fn(p->arg, &m);
    }
    if (!p->closing)
        buf_consume(&p->in, used);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct pipe *p = stream->data;
    if (count < 0) {
        end(p);
        return;
    }
    buf_append(&p->in, buf->base, (size_t)count);
    deliver(p);
}

struct pipe *pipe_create(struct loop *l, int fd, pipe_fn *fn, void *arg)
{
    struct pipe *p = mem_zalloc(sizeof *p);
    p->fn = fn;
    p->arg = arg;
    p->uv.data = p;
    uv_pipe_init(loop_uv(l), &p->uv, 0);
    if (uv_pipe_open(&p->uv, fd) || uv_read_start((uv_stream_t *)&p->uv, on_alloc, on_read))
        p->ended = true; /* pipe_send will say so */
    return p;
}

static void on_closed(uv_handle_t *handle)
{
    struct pipe *p = handle->data;
    buf_finish(&p->in);
    msg_decoder_finish(&p->decoder);
    free(p);
}

void pipe_destroy(struct pipe *p)
{
    if (!p || p->closing)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->uv, on_closed);
}

static void on_written(uv_write_t *uv, int status)
{
    struct pipe_write *w = uv->data;
    w->pipe->pending -= w->data.len;
    (void)status; /* a reader that is gone shows as the end of the stream */
    buf_finish(&w->data);
    free(w);
}

enum status pipe_send(struct pipe *p, enum msg_kind kind, const void *body)
{
    if (p->ended || p->closing)
        return STATUS_UNAVAILABLE;
    if (p->pending > PENDING_MAX)
        return STATUS_BUSY;
    struct pipe_write *w = mem_zalloc(sizeof *w);
    w->pipe = p;
    w->uv.data = w;
    buf_append(&w->data, "\0\0\0", PREFIX_BYTES);
    msg_encode(&w->data, kind, 0, body);
    uint32_t len = (uint32_t)(w->data.len - PREFIX_BYTES);
    for (int i = 0; i < PREFIX_BYTES; i++)
        w->data.data[i] = (unsigned char)(len >> 8 * i);
    p->pending += w->data.len;
    uv_buf_t out = uv_buf_init((char *)w->data.data, (unsigned)w->data.len);
    if (uv_write(&w->uv, (uv_stream_t *)&p->uv, &out, 1, on_written)) {
        p->pending -= w->data.len;
        buf_finish(&w->data);
        free(w);
        return STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}
