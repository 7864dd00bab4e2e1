/* direct.c - see direct.h.
 *
 * A connection reads into one buffer that all share.  What is small is copied from there into
 * its frames; once a large frame has begun, the rest of it is read straight into its memory.
 */
#include "common/net/direct.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>
#include <uv.h>

#define READ_BYTES       8192
#define SMALL_BYTES      65536 /* frames up to this need no second thought about memory */
#define BACKLOG          128
#define PEERS_MAX        8192 /* connections of one listener */
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 2000
#define ROUTE_MARK       1 /* ZeroMQ's own routes begin with 0 */
#define ROUTE_BYTES      5
#define COUNT_BYTES      4
#define LENGTH_BYTES     8
#define HEAD_MAX         (COUNT_BYTES + LENGTH_BYTES * MAX_FRAMES)

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
    /* the message that is coming */
    unsigned char head[HEAD_MAX];
    size_t head_len;
    uint64_t lengths[MAX_FRAMES];
    size_t expected; /* frames; 0: the head is not whole */
    size_t filled;   /* bytes of the last frame */
    char *place;     /* of the last frame */
    struct frames frames;
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
    unsigned char head[HEAD_MAX];
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
    frames_finish(&p->frames);
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

static size_t route_frames(const struct peer *p)
{
    return p->direct->listens ? 1 : 0;
}

/* The head is whole; false: a frame is too long. */
static bool read_lengths(struct peer *p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        p->lengths[i] = load_le(p->head + COUNT_BYTES + i * LENGTH_BYTES, LENGTH_BYTES);
        if (p->lengths[i] > p->direct->config.frame_bytes_max)
            return false;
    }
    p->expected = count;
    return true;
}

static void take(struct bytes *data, size_t len)
{
    *data = bytes_of((const char *)data->data + len, data->len - len);
}

/* Takes bytes of the head; false: it is none of ours. */
static bool take_head(struct peer *p, struct bytes *data)
{
    while (data->len && !p->expected) {
        uint64_t count = p->head_len < COUNT_BYTES ? 0 : load_le(p->head, COUNT_BYTES);
        size_t left = COUNT_BYTES + count * LENGTH_BYTES - p->head_len;
        size_t len = left < data->len ? left : data->len;
        memcpy(p->head + p->head_len, data->data, len);
        p->head_len += len;
        take(data, len);
        if (len < left)
            break;
        if (count && !read_lengths(p, count))
            return false;
        count = load_le(p->head, COUNT_BYTES);
        if (!count || count > MAX_FRAMES - route_frames(p))
            return false;
    }
    return true;
}

static void free_data(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* Room for the next frame; false: there is no memory for it. */
static bool begin_frame(struct peer *p)
{
    uint64_t len = p->lengths[p->frames.count - route_frames(p)];
    if (len <= SMALL_BYTES) {
        p->place = frame_init_size(frames_add(&p->frames), len);
    } else {
        p->place = malloc(len);
        if (!p->place)
            return false;
        frame_init_take(frames_add(&p->frames), p->place, len, free_data, NULL);
    }
    p->filled = 0;
    return true;
}

static void add_route(struct peer *p)
{
    unsigned char *to = frame_init_size(frames_add(&p->frames), ROUTE_BYTES);
    to[0] = ROUTE_MARK;
    store_le(to + 1, sizeof p->number, p->number);
}

/* Bytes of the last frame that are still to come. */
static uint64_t frame_left(const struct peer *p)
{
    size_t index = p->frames.count - route_frames(p);
    return index ? p->lengths[index - 1] - p->filled : 0;
}

static bool whole(const struct peer *p)
{
    return p->expected && p->frames.count == p->expected + route_frames(p) && !frame_left(p);
}

static bool take_frames(struct peer *p, struct bytes *data)
{
    if (p->frames.count == 0 && route_frames(p))
        add_route(p);
    while (!whole(p)) {
        uint64_t left = frame_left(p);
        if (!left) {
            if (!begin_frame(p))
                return false;
            continue;
        }
        if (!data->len)
            break;
        size_t len = left < data->len ? (size_t)left : data->len;
        memcpy(p->place + p->filled, data->data, len);
        p->filled += len;
        take(data, len);
    }
    return true;
}

static void deliver(struct peer *p)
{
    struct direct *d = p->direct;
    p->expected = p->head_len = 0;
    d->message(d->arg, &p->frames);
    frames_finish(&p->frames);
}

static void feed(struct peer *p, struct bytes data)
{
    while (data.len && !p->closing) {
        if (!take_head(p, &data) || (p->expected && !take_frames(p, &data))) {
            peer_close(p);
            return;
        }
        if (whole(p))
            deliver(p);
    }
}

/* A frame that has begun and is large is read straight to its place. */
static bool straight(const struct peer *p)
{
    return p->expected && frame_left(p) > READ_BYTES;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *p = handle->data;
    (void)suggested;
    *buf = straight(p) ? uv_buf_init(p->place + p->filled, (unsigned)frame_left(p))
                       : uv_buf_init(p->direct->buffer, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    if (count < 0) {
        peer_close(p);
    } else if (buf->base != p->direct->buffer) {
        struct bytes none = { "", 0 };
        p->filled += (size_t)count;
        if (!take_frames(p, &none))
            peer_close(p);
        else if (whole(p))
            deliver(p);
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
        const unsigned char *route = frame_bytes(&frames->at[0]).data;
        uint32_t number = (uint32_t)load_le(route + 1, sizeof number);
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
static enum status send_later(struct peer *p, const unsigned char *head, struct frames *frames,
                              size_t done)
{
    uv_buf_t bufs[MAX_FRAMES + 1];
    size_t from = route_frames(p), count = frames->count - from;
    struct write *w = mem_alloc(sizeof *w + count * sizeof w->frames[0]);
    w->peer = p;
    w->uv.data = w;
    w->count = count;
    memcpy(w->head, head, COUNT_BYTES + count * LENGTH_BYTES);
    bufs[0] = uv_buf_init((char *)w->head, (unsigned)(COUNT_BYTES + count * LENGTH_BYTES));
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
                 on_written)) {
        on_written(&w->uv, -1); /* the message is lost with its connection */
    }
    return STATUS_OK;
}

enum status direct_send(struct direct *d, struct frames *frames)
{
    struct peer *p = find_peer(d, frames);
    unsigned char head[HEAD_MAX];
    uv_buf_t bufs[MAX_FRAMES + 1];
    if (!p || !p->connected)
        return d->listens ? STATUS_NOT_FOUND : STATUS_BUSY;
    if (p->waiting >= d->config.queue_max)
        return STATUS_BUSY;
    size_t from = route_frames(p), count = frames->count - from;
    size_t total = COUNT_BYTES + count * LENGTH_BYTES;
    store_le(head, COUNT_BYTES, count);
    bufs[0] = uv_buf_init((char *)head, (unsigned)total);
    for (size_t i = 0; i < count; i++) {
        struct bytes data = frame_bytes(&frames->at[from + i]);
        store_le(head + COUNT_BYTES + i * LENGTH_BYTES, LENGTH_BYTES, data.len);
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
        return send_later(p, head, frames, n < 0 ? 0 : (size_t)n);
    frames_finish(frames);
    return STATUS_OK;
}

/* ---- connections come ------------------------------------------------------------------------------ */

static struct peer *peer_create(struct direct *d)
{
    struct peer *p = mem_zalloc(sizeof *p);
    p->direct = d;
    p->number = ++d->next_number;
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
                             direct_message_fn *message, void *arg)
{
    struct direct *d = mem_zalloc(sizeof *d);
    d->loop = l;
    d->config = *config;
    d->message = message;
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
    struct direct *d = create(l, path, config, message, arg);
    uv_fs_t remove;
    d->listens = true;
    d->lost = lost;
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
                              direct_message_fn *message, void *arg)
{
    struct direct *d = create(l, path, config, message, arg);
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
