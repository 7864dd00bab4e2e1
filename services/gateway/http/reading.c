/* reading.c - what clients send, as it arrives; see conn.h.
 *
 * Connections are in an epoll instance of their own, which the loop watches as one file, and are told
 * of by edges: a connection is looked at when something new has come, and costs nothing else.  (libuv
 * watches levels, for which the kernel looks at each connection twice.)  So whoever stops before the
 * kernel has no more, because it has had its share of the turn or is to wait, asks for a new edge later.
 */
#include "services/gateway/http/conn.h"

#include "common/base/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX     256 /* connections that are looked at before others of the loop */
#define READS_PER_TURN 16  /* of one connection: a fast one leaves the others their time */

#define EDGES (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* The rest of a body that is collected goes straight to its place. */
static bool straight(const struct conn *c)
{
    return c->state == CONN_BODY && !c->chunked && !c->request.stream;
}

static void take_straight(struct conn *c, size_t len)
{
    if (conn_reserve(c, len)) {
        conn_refuse(c, 503, HTTP_BODIES_FULL);
        return;
    }
    c->request.body.len += len;
    c->body_left -= len;
    conn_extend_deadline(c, len);
    if (!c->body_left)
        conn_complete(c);
}

/* The client sends no more, but it may still read: what is being written to it goes on. */
static void on_end(struct conn *c)
{
    c->eof = true;
    bool writing = c->writes && (c->state == CONN_FLUSHING || c->state == CONN_CLOSING);
    if (writing || (c->state == CONN_STREAMING && !c->request.unending))
        conn_set_reading(c, false);
    else
        conn_close(c);
}

/* One read; whether there may be more. */
static bool read_once(struct conn *c, bool to_end)
{
    struct http_server *s = c->server;
    struct buf *body = &c->request.body;
    bool direct = straight(c);
    char *to = direct ? (char *)body->data + body->len : s->read_buffer;
    size_t size = direct ? (size_t)c->body_left : READ_BYTES;
    ssize_t n = recv(c->fd, to, size, 0);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    s->read_us = clock_us();
    if (n < 0)
        conn_close(c);
    else if (!n)
        on_end(c);
    else if (direct)
        take_straight(c, (size_t)n);
    else
        conn_feed(c, bytes_of(to, (size_t)n));
    return to_end || (size_t)n == size;
}

/* Asks for an edge if there is something to be read, and for those to come. */
static int watch(struct conn *c, int operation)
{
    struct epoll_event event = { .events = EDGES, .data.ptr = c };
    return epoll_ctl(c->server->arrivals, operation, c->fd, &event);
}

void conn_look(struct conn *c, bool to_end)
{
    for (int i = 0; c->reading; i++) {
        if (i == READS_PER_TURN)
            watch(c, EPOLL_CTL_MOD);
        if (i == READS_PER_TURN || !read_once(c, to_end))
            return;
    }
}

static void on_arrivals(uv_poll_t *poll, int status, int events)
{
    struct http_server *s = poll->data;
    struct epoll_event found[EVENTS_MAX];
    (void)status;
    (void)events;
    int n = epoll_wait(s->arrivals, found, EVENTS_MAX, 0);
    for (int i = 0; i < n;
         i++) /* the memory of those that are closed here lives until the turn ends */
        conn_look(found[i].data.ptr, found[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

enum status reading_begin(struct conn *c)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd))
        return STATUS_UNAVAILABLE;
    c->fd = fd;
    c->reading = true;
    return watch(c, EPOLL_CTL_ADD) ? STATUS_UNAVAILABLE : STATUS_OK;
}

void conn_set_reading(struct conn *c, bool on)
{
    if (c->reading == on || c->state == CONN_DEAD || (on && c->eof))
        return;
    c->reading = on;
    if (on)
        watch(c, EPOLL_CTL_MOD);
}

void reading_open(struct http_server *s)
{
    s->arrivals = epoll_create1(EPOLL_CLOEXEC);
    if (s->arrivals < 0 || uv_poll_init(loop_uv(s->loop), &s->poll, s->arrivals))
        die("cannot watch connections (too many open files?)");
    s->poll.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_arrivals);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    close(s->arrivals);
    s->arrivals = -1;
    server_release(s);
}

void reading_close(struct http_server *s)
{
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
}
