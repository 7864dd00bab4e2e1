/* direct.c - see direct.h.
 *
 * A connection reads into one buffer that all share.  What is small is copied from there into
 * its frames; once a large frame has begun, the rest of it is read straight into its memory.
 */
#include "common/net/direct.h"

#include "common/net/framing.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>
#include <uv.h>

#define READ_BYTES       8192
#define BACKLOG          128
#define PEERS_MAX        8192 /* connections of one listener */
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 2000
#define ROUTE_MARK       1 /* ZeroMQ's own routes begin with 0 */
#define ROUTE_BYTES      5

struct peer {
    UT_hash_handle hh;
    struct direct *direct;
    uint32_t number;
    uv_pipe_t pipe;
    uv_connect_t connect;
    bool connected;
    bool closing;
    bool reading;
    uint32_t waiting; /* messages that the kernel has not taken yet */
    struct framing in;
};

struct direct {
    struct loop *loop;
    struct direct_config config;
    direct_message_fn *message;
    loop_fn *lost;
    void *arg;
    bool listens;
    bool paused;
    bool closing;
    size_t handles; /* that libuv still knows */
    uint32_t next_number;
    struct peer *peers; /* hash by number; the side that connects has one at most */
    uv_pipe_t listener;
    uv_timer_t timer; /* the next try to connect */
    uint64_t pause_ms;
    char path[MAX_ENDPOINT + 1];
    char buffer[READ_BYTES];
};

struct write {
    uv_write_t uv;
    struct peer *peer;
    unsigned char head[FRAMING_HEAD_MAX];
    size_t count;
    struct frame frames[];
};

static void try_connect(uv_timer_t *timer);

/* ---- the end of a connection -------------------------------------------------------------------- */

static void release(struct direct *d)
{
    if (--d->handles == 0 && d->closing)
        free(d);
}

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;
    struct direct *d = p->direct;
    bool tell = p->connected && !d->closing && d->lost;
    if (!d->closing && !d->listens)
        uv_timer_start(&d->timer, try_connect, d->pause_ms, 0);
    framing_finish(&p->in);
    free(p);
    if (tell)
        d->lost(d->arg);
    release(d);
}

static void peer_close(struct peer *p)
{
    if (p->closing)
        return;
    p->closing = true;
    HASH_DEL(p->direct->peers, p);
    uv_close((uv_handle_t *)&p->pipe, on_peer_closed);
}

/* ---- receive ------------------------------------------------------------------------------------ */

static size_t route_frames(const struct peer *p)
{
    return p->direct->listens ? 1 : 0;
}

static void add_route(struct peer *p)
{
    unsigned char *to = frame_init_size(frames_add(&p->in.frames), ROUTE_BYTES);
    to[0] = ROUTE_MARK;
    memcpy(to + 1, &p->number, sizeof p->number);
}

static void deliver(struct peer *p)
{
    struct direct *d = p->direct;
    d->message(d->arg, &p->in.frames);
    framing_next(&p->in);
}

/* Takes what has come; with no data, looks at what was read to its place. */
static void feed(struct peer *p, struct bytes data)
{
    do {
        if (route_frames(p) && !p->in.frames.count)
            add_route(p);
        if (framing_take(&p->in, &data))
            peer_close(p);
        else if (framing_whole(&p->in))
            deliver(p);
    } while (data.len && !p->closing);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *p = handle->data;
    uint64_t len;
    void *room = framing_room(&p->in, &len);
    (void)suggested;
    *buf = len > READ_BYTES ? uv_buf_init(room, (unsigned)len)
                            : uv_buf_init(p->direct->buffer, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    if (count < 0) {
        peer_close(p);
    } else if (buf->base != p->direct->buffer) {
        framing_filled(&p->in, (size_t)count);
        feed(p, bytes_of("", 0));
    } else if (count > 0) {
        feed(p, bytes_of(buf->base, (size_t)count));
    }
}

static void set_reading(struct peer *p, bool on)
{
    if (p->reading == on || !p->connected || p->closing)
        return;
    p->reading = on;
    if (on)
        uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&p->pipe);
}

void direct_pause(struct direct *d, bool paused)
{
    struct peer *p, *next;
    d->paused = paused;
    HASH_ITER(hh, d->peers, p, next)
    set_reading(p, !paused);
}

/* ---- send --------------------------------------------------------------------------------------- */

bool direct_route(struct bytes route)
{
    return route.len == ROUTE_BYTES && *(const unsigned char *)route.data == ROUTE_MARK;
}

static struct peer *find_peer(struct direct *d, const struct frames *frames)
{
    struct peer *p = d->peers;
    if (d->listens) {
        uint32_t number;
        memcpy(&number, (const char *)frame_bytes(&frames->at[0]).data + 1, sizeof number);
        HASH_FIND(hh, d->peers, &number, sizeof number, p);
    }
    return p;
}

static void on_written(uv_write_t *uv, int status)
{
    struct write *w = uv->data;
    w->peer->waiting--;
    if (status < 0)
        peer_close(w->peer);
    for (size_t i = 0; i < w->count; i++)
        frame_finish(&w->frames[i]);
    free(w);
}

/* Leaves out what has been written, of a list of buffers. */
static unsigned skip(uv_buf_t *bufs, unsigned count, size_t done)
{
    unsigned first = 0;
    while (first < count && done >= bufs[first].len)
        done -= bufs[first++].len;
    if (first < count) {
        bufs[first].base += done;
        bufs[first].len -= done;
    }
    return first;
}

/* The kernel has taken `done` bytes; the rest waits until it takes more. */
static enum status send_later(struct peer *p, struct frames *frames, size_t done)
{
    uv_buf_t bufs[MAX_FRAMES + 1];
    size_t from = route_frames(p), count = frames->count - from;
    struct write *w = mem_alloc(sizeof *w + count * sizeof w->frames[0]);
    w->peer = p;
    w->uv.data = w;
    w->count = count;
    bufs[0] = uv_buf_init((char *)w->head, (unsigned)framing_head(frames, from, w->head));
    for (size_t i = 0; i < count; i++) {
        frame_init_empty(&w->frames[i]);
        frame_move(&w->frames[i], &frames->at[from + i]);
        struct bytes data = frame_bytes(&w->frames[i]);
        bufs[i + 1] = uv_buf_init((char *)(uintptr_t)data.data, (unsigned)data.len);
    }
    frames_finish(frames);
    unsigned first = skip(bufs, (unsigned)count + 1, done);
    p->waiting++;
    if (uv_write(&w->uv, (uv_stream_t *)&p->pipe, bufs + first, (unsigned)count + 1 - first,
                 on_written))
        on_written(&w->uv, -1); /* the message is lost with its connection */
    return STATUS_OK;
}

enum status direct_send(struct direct *d, struct frames *frames)
{
    struct peer *p = find_peer(d, frames);
    unsigned char head[FRAMING_HEAD_MAX];
    uv_buf_t bufs[MAX_FRAMES + 1];
    if (!p || !p->connected)
        return d->listens ? STATUS_NOT_FOUND : STATUS_BUSY;
    if (p->waiting >= d->config.queue_max)
        return STATUS_BUSY;
    size_t from = route_frames(p), count = frames->count - from;
    size_t total = framing_head(frames, from, head);
    bufs[0] = uv_buf_init((char *)head, (unsigned)total);
    for (size_t i = 0; i < count; i++) {
        struct bytes data = frame_bytes(&frames->at[from + i]);
        bufs[i + 1] = uv_buf_init((char *)(uintptr_t)data.data, (unsigned)data.len);
        total += data.len;
    }
    int n =
        p->waiting ? UV_EAGAIN : uv_try_write((uv_stream_t *)&p->pipe, bufs, (unsigned)count + 1);
    if (n < 0 && n != UV_EAGAIN) {
        peer_close(p);
        return d->listens ? STATUS_NOT_FOUND : STATUS_BUSY;
    }
    if (n < 0 || (size_t)n < total)
        return send_later(p, frames, n < 0 ? 0 : (size_t)n);
    frames_finish(frames);
    return STATUS_OK;
}

/* ---- connections come ------------------------------------------------------------------------------ */

static struct peer *peer_create(struct direct *d)
{
    struct peer *p = mem_zalloc(sizeof *p);
    p->direct = d;
    p->number = ++d->next_number;
    p->in.from = route_frames(p);
    p->in.frame_bytes_max = d->config.frame_bytes_max;
    p->pipe.data = p;
    uv_pipe_init(loop_uv(d->loop), &p->pipe, 0);
    d->handles++;
    HASH_ADD(hh, d->peers, number, sizeof p->number, p);
    return p;
}

static void peer_start(struct peer *p)
{
    p->connected = true;
    set_reading(p, !p->direct->paused);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct direct *d = listener->data;
    if (status < 0)
        return;
    struct peer *p = peer_create(d);
    if (uv_accept(listener, (uv_stream_t *)&p->pipe) || HASH_COUNT(d->peers) > PEERS_MAX)
        peer_close(p);
    else
        peer_start(p);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct peer *p = connect->data;
    struct direct *d = p->direct;
    if (status == UV_ECANCELED)
        return; /* it is being closed */
    if (status < 0) {
        d->pause_ms = d->pause_ms < RECONNECT_MAX_MS / 2 ? 2 * d->pause_ms : RECONNECT_MAX_MS;
        peer_close(p);
        return;
    }
    d->pause_ms = RECONNECT_MIN_MS;
    peer_start(p);
}

static void try_connect(uv_timer_t *timer)
{
    struct direct *d = timer->data;
    struct peer *p = peer_create(d);
    p->connect.data = p;
    int rc = uv_pipe_connect2(&p->connect, &p->pipe, d->path, strlen(d->path), UV_PIPE_NO_TRUNCATE,
                              on_connected);
    if (rc)
        peer_close(p); /* the path is too long: no later try is better, but none harms */
}

/* ---- life ------------------------------------------------------------------------------------------ */

static struct direct *create(struct loop *l, const char *path, const struct direct_config *config,
                             direct_message_fn *message, loop_fn *lost, void *arg)
{
    struct direct *d = mem_zalloc(sizeof *d);
    d->loop = l;
    d->config = *config;
    d->message = message;
    d->lost = lost;
    d->arg = arg;
    d->pause_ms = RECONNECT_MIN_MS;
    d->listener.data = d->timer.data = d;
    bool fits = !bytes_copy_str(bytes_str(path), d->path, sizeof d->path);
    assert(fits); /* endpoints have been checked */
    uv_timer_init(loop_uv(l), &d->timer);
    uv_pipe_init(loop_uv(l), &d->listener, 0);
    d->handles = 2;
    return d;
}

struct direct *direct_listen(struct loop *l, const char *path, const struct direct_config *config,
                             direct_message_fn *message, loop_fn *lost, void *arg,
                             struct error *err)
{
    struct direct *d = create(l, path, config, message, lost, arg);
    uv_fs_t remove;
    d->listens = true;
    uv_fs_unlink(NULL, &remove, path, NULL); /* of a process that was killed */
    uv_fs_req_cleanup(&remove);
    int rc = uv_pipe_bind2(&d->listener, path, strlen(path), UV_PIPE_NO_TRUNCATE);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&d->listener, BACKLOG, on_connection);
    if (!rc)
        return d;
    error_set(err, STATUS_INVALID, "cannot listen on %s: %s", path, uv_strerror(rc));
    direct_destroy(d);
    return NULL;
}

struct direct *direct_connect(struct loop *l, const char *path, const struct direct_config *config,
                              direct_message_fn *message, loop_fn *lost, void *arg)
{
    struct direct *d = create(l, path, config, message, lost, arg);
    try_connect(&d->timer);
    return d;
}

static void on_own_closed(uv_handle_t *handle)
{
    release(handle->data);
}

void direct_destroy(struct direct *d)
{
    struct peer *p, *next;
    if (!d || d->closing)
        return;
    d->closing = true;
    HASH_ITER(hh, d->peers, p, next)
    peer_close(p);
    uv_close((uv_handle_t *)&d->listener, on_own_closed);
    uv_close((uv_handle_t *)&d->timer, on_own_closed);
}
