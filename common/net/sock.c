/* sock.c - ZeroMQ sockets on the loop.
 *
 * A ROUTER that is bound to ipc://PATH and may be direct listens on PATH.direct beside; a
 * DEALER that may be direct connects there, unless it finds only the former.  Which way a peer
 * of the ROUTER came is seen from its route.
 */
#include "common/net/sock.h"

#include "common/base/metrics.h"
#include "common/net/direct.h"
#include "common/net/loop_sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>
#include <zmq.h>

#define LINGER_MS          500  /* last words get this long when a socket closes */
#define PEER_HEARTBEAT_MS  1000 /* ZMTP PING: finds connections that were cut in silence */
#define PEER_TIMEOUT_MS    4000
#define RECONNECT_MIN_MS   50
#define RECONNECT_MAX_MS   2000
#define CONNECT_TIMEOUT_MS 3000 /* a host that swallows packets */
#define LISTEN_BACKLOG     1024
#define IPC                "ipc://"
#define DIRECT_SUFFIX      ".direct"

static struct metric_family bad_messages = {
    .name = "maas_net_bad_messages_total",
    .help = "messages dropped for having too many frames",
    .type = METRIC_COUNTER,
};
static struct metric_family lost_messages = {
    .name = "maas_net_lost_messages_total",
    .help = "messages whose connection broke while they were handed over",
    .type = METRIC_COUNTER,
};

struct sock {
    struct drain drain; /* first: the loop hands it back */
    struct loop *loop;
    void *zmq;
    uv_poll_t poll;
    sock_fn *fn;
    void *arg;
    bool paused;
    struct sock *monitor; /* PAIR that hears of lost connections */
    loop_fn *on_disconnect;
    void *disconnect_arg;
    struct sock_config config;
    struct direct *direct; /* or NULL */
    char endpoint[MAX_ENDPOINT + 1];
};

static zmq_msg_t *raw(const struct frame *f)
{
    return (zmq_msg_t *)(uintptr_t)f->opaque;
}

static void must(int rc, const char *what)
{
    if (rc != 0)
        die("%s: %s", what, zmq_strerror(errno));
}

/* ---- the context: one per process, while there are sockets ------------------------------- */

/* ZeroMQ looks up host names on its I/O thread, on every attempt to connect: a name server
 * that does not answer stops everything on that thread for seconds.  So sockets that connect
 * have one, and those that are bound another: a gateway serves while the registry's name is
 * looked for. */
enum { IO_BOUND = 1, IO_CONNECTING = 2, IO_THREADS = 2 };

static struct {
    uv_once_t once;
    uv_mutex_t lock;
    void *zmq;
    size_t users;
} context = { .once = UV_ONCE_INIT };

static void context_init(void)
{
    uv_mutex_init(&context.lock);
}

static void *context_get(void)
{
    uv_once(&context.once, context_init);
    uv_mutex_lock(&context.lock);
    if (!context.users++) {
        context.zmq = zmq_ctx_new();
        if (!context.zmq)
            die("cannot start ZeroMQ: %s", zmq_strerror(errno));
        zmq_ctx_set(context.zmq, ZMQ_MAX_SOCKETS, 8192);
        zmq_ctx_set(context.zmq, ZMQ_IO_THREADS, IO_THREADS);
    }
    uv_mutex_unlock(&context.lock);
    return context.zmq;
}

static void context_put(void)
{
    uv_mutex_lock(&context.lock);
    if (!--context.users) {
        while (zmq_ctx_term(context.zmq) != 0 && errno == EINTR)
            ; /* a signal came; in all it waits for LINGER_MS at most */
        context.zmq = NULL;
    }
    uv_mutex_unlock(&context.lock);
}

/* ---- receive ---------------------------------------------------------------------------- */

/* Asking takes the signal back that the descriptor is readable, too. */
static int events_of(struct sock *s)
{
    int events = 0;
    size_t size = sizeof events;
    while (zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &size) != 0 && errno == EINTR)
        ;
    return events;
}

static bool sock_ready(struct drain *d)
{
    struct sock *s = (struct sock *)d;
    return !s->paused && (events_of(s) & ZMQ_POLLIN);
}

static bool has_more(struct sock *s)
{
    int more = 0;
    size_t size = sizeof more;
    zmq_getsockopt(s->zmq, ZMQ_RCVMORE, &more, &size);
    return more;
}

/* A signal handler that runs in between is no reason to give up: the message is there. */
static int receive(struct sock *s, struct frame *f)
{
    int rc;
    do
        rc = zmq_msg_recv(raw(f), s->zmq, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc;
}

/* Throws the frames away that are left of a message that is too long. */
static void skip_rest(struct sock *s)
{
    do {
        struct frame f;
        frame_init_empty(&f);
        receive(s, &f);
        frame_finish(&f);
    } while (has_more(s));
}

static bool sock_take(struct drain *d)
{
    struct sock *s = (struct sock *)d;
    struct frames frames;
    bool whole = true;
    frames.count = 0;
    if (s->paused) {
        events_of(s); /* or a readable descriptor would turn the loop without end */
        return false;
    }
    do {
        struct frame *f = frames_add(&frames);
        if (!f) {
            skip_rest(s);
            whole = false;
            break;
        }
        frame_init_empty(f);
        if (receive(s, f) < 0) {
            if (errno != EAGAIN)
                events_of(s);       /* a PUB: subscriptions are its only signal */
            frames_finish(&frames); /* later frames never fail: a message comes whole */
            return false;
        }
    } while (has_more(s));
    if (whole && !(s->direct && direct_route(frame_bytes(&frames.at[0]))))
        s->fn(s->arg, &frames);
    else
        metric_count(&bad_messages);
    frames_finish(&frames);
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct sock *s = poll->data;
    (void)status;
    (void)events;
    s->drain.wake = true;
}

/* ---- life ------------------------------------------------------------------------------- */

static void set_int(void *zmq, int option, int value)
{
    must(zmq_setsockopt(zmq, option, &value, sizeof value), "ZeroMQ refuses an option");
}

static void set_options(void *zmq, const struct sock_config *c)
{
    bool binds = c->type == SOCK_ROUTER || c->type == SOCK_PUB;
    uint64_t io_thread = binds ? IO_BOUND : IO_CONNECTING;
    int64_t frame_max = (int64_t)c->frame_bytes_max;
    set_int(zmq, ZMQ_SNDHWM, (int)c->queue_max);
    set_int(zmq, ZMQ_RCVHWM, (int)c->queue_max);
    set_int(zmq, ZMQ_LINGER, LINGER_MS);
    set_int(zmq, ZMQ_BACKLOG, LISTEN_BACKLOG);
    set_int(zmq, ZMQ_RECONNECT_IVL, RECONNECT_MIN_MS);
    set_int(zmq, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    set_int(zmq, ZMQ_HEARTBEAT_IVL, PEER_HEARTBEAT_MS);
    set_int(zmq, ZMQ_HEARTBEAT_TIMEOUT, PEER_TIMEOUT_MS);
    set_int(zmq, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
    must(zmq_setsockopt(zmq, ZMQ_AFFINITY, &io_thread, sizeof io_thread), "I/O thread");
    must(zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max), "frame limit");
    if (c->type == SOCK_ROUTER)
        set_int(zmq, ZMQ_ROUTER_MANDATORY, 1);
    if (c->type == SOCK_DEALER)
        set_int(zmq, ZMQ_IMMEDIATE, 1);
    if (c->type == SOCK_SUB)
        must(zmq_setsockopt(zmq, ZMQ_SUBSCRIBE, "", 0), "subscribe");
}

static struct sock *start(struct loop *l, void *zmq, sock_fn *fn, void *arg)
{
    struct sock *s = mem_zalloc(sizeof *s);
    int fd = -1;
    size_t size = sizeof fd;
    s->loop = l;
    s->zmq = zmq;
    s->fn = fn;
    s->arg = arg;
    s->drain.take = sock_take;
    s->drain.ready = sock_ready;
    s->poll.data = s;
    must(zmq_getsockopt(zmq, ZMQ_FD, &fd, &size), "ZMQ_FD");
    must(uv_poll_init(loop_uv(l), &s->poll, fd), "poll a ZeroMQ socket");
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    loop_add_drain(l, &s->drain);
    return s;
}

struct sock *sock_create(struct loop *l, const struct sock_config *config, sock_fn *fn, void *arg)
{
    static const int types[] = { ZMQ_ROUTER, ZMQ_DEALER, ZMQ_PUB, ZMQ_SUB };
    void *zmq = zmq_socket(context_get(), types[config->type]);
    if (!zmq)
        die("cannot open a ZeroMQ socket: %s", zmq_strerror(errno));
    set_options(zmq, config);
    struct sock *s = start(l, zmq, fn, arg);
    s->config = *config;
    return s;
}

static void on_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;
    zmq_close(s->zmq);
    context_put();
    free(s);
}

void sock_destroy(struct sock *s)
{
    if (!s)
        return;
    if (s->monitor) {
        zmq_socket_monitor(s->zmq, NULL, 0);
        sock_destroy(s->monitor);
    }
    direct_destroy(s->direct);
    s->direct = NULL;
    loop_remove_drain(s->loop, &s->drain);
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

/* ---- bind, connect, send ----------------------------------------------------------------- */

static enum status address_error(const char *verb, const char *endpoint, struct error *err)
{
    enum status st = errno == EADDRINUSE ? STATUS_CONFLICT : STATUS_INVALID;
    return error_set(err, st, "cannot %s to %s: %s", verb, endpoint, zmq_strerror(errno));
}

static void on_direct_message(void *arg, struct frames *frames)
{
    struct sock *s = arg;
    s->fn(s->arg, frames);
}

static void on_direct_lost(void *arg)
{
    struct sock *s = arg;
    if (s->on_disconnect)
        s->on_disconnect(s->disconnect_arg);
}

/* The path beside an ipc:// endpoint; false: this socket takes no short way. */
static bool direct_path(const struct sock *s, const char *endpoint, char path[MAX_ENDPOINT + 1])
{
    bool ipc = s->config.direct && strncmp(endpoint, IPC, sizeof IPC - 1) == 0;
    return ipc && snprintf(path, MAX_ENDPOINT + 1, "%s" DIRECT_SUFFIX, endpoint + sizeof IPC - 1) <=
                      MAX_ENDPOINT;
}

enum status sock_bind(struct sock *s, const char *endpoint, struct error *err)
{
    const struct direct_config config = { s->config.queue_max, s->config.frame_bytes_max };
    size_t size = sizeof s->endpoint;
    char path[MAX_ENDPOINT + 1];
    if (zmq_bind(s->zmq, endpoint) != 0)
        return address_error("bind", endpoint, err);
    if (zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, s->endpoint, &size) != 0)
        return address_error("bind", endpoint, err);
    s->drain.wake = true;
    if (!direct_path(s, s->endpoint, path))
        return STATUS_OK;
    s->direct = direct_listen(s->loop, path, &config, on_direct_message, on_direct_lost, s, err);
    return s->direct ? STATUS_OK : STATUS_INVALID;
}

/* A ROUTER is there that knows no short way. */
static bool only_zmq(const char *endpoint, const char *path)
{
    return access(endpoint + sizeof IPC - 1, F_OK) == 0 && access(path, F_OK) != 0;
}

enum status sock_connect(struct sock *s, const char *endpoint, struct error *err)
{
    const struct direct_config config = { s->config.queue_max, s->config.frame_bytes_max };
    char path[MAX_ENDPOINT + 1];
    if (bytes_copy_str(bytes_str(endpoint), s->endpoint, sizeof s->endpoint))
        return error_set(err, STATUS_INVALID, "an endpoint has at most %d bytes", MAX_ENDPOINT);
    if (direct_path(s, endpoint, path) && !only_zmq(endpoint, path)) {
        s->direct = direct_connect(s->loop, path, &config, on_direct_message, on_direct_lost, s);
        return STATUS_OK;
    }
    if (zmq_connect(s->zmq, endpoint) != 0)
        return address_error("connect", endpoint, err);
    s->drain.wake = true;
    return STATUS_OK;
}

const char *sock_endpoint(const struct sock *s)
{
    return s->endpoint;
}

static bool goes_direct(const struct sock *s, const struct frames *frames)
{
    return s->direct &&
           (s->config.type == SOCK_DEALER || direct_route(frame_bytes(&frames->at[0])));
}

enum status sock_send(struct sock *s, struct frames *frames)
{
    assert(frames->count > 0);
    if (goes_direct(s, frames))
        return direct_send(s->direct, frames);
    s->drain.wake = true; /* a send may swallow the signal of a message */
    for (size_t i = 0; i < frames->count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < frames->count ? ZMQ_SNDMORE : 0);
        int rc;
        do
            rc = zmq_msg_send(raw(&frames->at[i]), s->zmq, flags);
        while (rc < 0 && errno == EINTR); /* giving up would cut the message in two */
        if (rc >= 0)
            continue;
        if (i == 0)
            return errno == EHOSTUNREACH ? STATUS_NOT_FOUND : STATUS_BUSY;
        /* The connection broke between two frames: as if the network had lost the message. */
        metric_count(&lost_messages);
        break;
    }
    frames_finish(frames);
    return STATUS_OK;
}

void sock_pause(struct sock *s, bool paused)
{
    s->paused = paused;
    s->drain.wake = true;
    if (s->direct)
        direct_pause(s->direct, paused);
    loop_again(s->loop);
}

/* ---- monitor ----------------------------------------------------------------------------- */

static void on_monitor(void *arg, struct frames *frames)
{
    struct sock *s = arg;
    (void)frames; /* only DISCONNECTED was asked for */
    s->on_disconnect(s->disconnect_arg);
}

void sock_on_disconnect(struct sock *s, loop_fn *fn, void *arg)
{
    char name[64];
    snprintf(name, sizeof name, "inproc://monitor-%p", (void *)s);
    assert(!s->monitor);
    s->on_disconnect = fn;
    s->disconnect_arg = arg;
    if (s->direct && s->config.type == SOCK_DEALER)
        return; /* nothing goes by ZeroMQ */
    must(zmq_socket_monitor(s->zmq, name, ZMQ_EVENT_DISCONNECTED), "monitor");
    void *pair = zmq_socket(context_get(), ZMQ_PAIR);
    if (!pair)
        die("cannot open a ZeroMQ socket: %s", zmq_strerror(errno));
    set_int(pair, ZMQ_LINGER, 0);
    set_int(pair, ZMQ_RCVHWM, 0); /* a full one would block ZeroMQ's own thread */
    must(zmq_connect(pair, name), "monitor");
    s->monitor = start(s->loop, pair, on_monitor, s);
}
