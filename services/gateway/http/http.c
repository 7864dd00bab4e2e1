/* http.c - the server: its listener, its connections, and their time. */
#include "services/gateway/http/conn.h"

#include "common/base/clock.h"

#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <utlist.h>

#define BACKLOG     1024
#define SWEEP_MS    1000
#define OTHER_FILES 256 /* descriptors that are no HTTP connections */

void server_release(struct http_server *s)
{
    if (!s->listener_closed || s->arrivals >= 0 || s->count || s->sweep)
        return;
    buf_finish(&s->scratch);
    free(s);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *s = listener->data;
    if (status < 0)
        return;
    struct conn *c = conn_create(s);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) || s->count > s->config.connections_max ||
        reading_begin(c))
        conn_close(c);
    else
        uv_tcp_nodelay(&c->tcp, 1);
}

/* ---- time ------------------------------------------------------------------------------------------ */

size_t conn_untaken(const struct conn *c)
{
    int in_kernel = 0;
    if (ioctl(c->fd, SIOCOUTQ, &in_kernel))
        in_kernel = 0;
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) + (size_t)in_kernel;
}

/* A client that takes its answer slowly is still a client; one that only pretends to is none. */
static bool progresses(struct conn *c)
{
    size_t left = conn_untaken(c), before = c->untaken;
    uint64_t least = http_least_rate(left) * c->server->config.read_timeout_ms / 1000;
    c->untaken = left;
    return c->writes && left + least <= before;
}

/* The owner has no piece of its answer ready: that is not the client's fault. */
static bool waits_for_us(const struct conn *c)
{
    return c->state == CONN_STREAMING && !c->writes && !c->broken;
}

static void expire(struct conn *c, uint64_t now)
{
    switch (c->state) {
    case CONN_HEAD:
    case CONN_BODY:
        if (c->reading) /* else it is we who wait */
            conn_refuse(c, 408, "the request did not come in time");
        break;
    case CONN_STREAMING:
    case CONN_FLUSHING:
    case CONN_CLOSING:
        if (waits_for_us(c) || progresses(c))
            c->deadline_ms = now + c->server->config.read_timeout_ms;
        else
            conn_close(c);
        break;
    default:
        conn_close(c);
    }
}

static void sweep(void *arg)
{
    static const enum conn_state timed[] = { CONN_IDLE,      CONN_HEAD,     CONN_BODY,
                                             CONN_STREAMING, CONN_FLUSHING, CONN_CLOSING };
    struct http_server *s = arg;
    uint64_t now = loop_now_ms(s->loop);
    struct conn *c, *next;
    for (size_t i = 0; i < sizeof timed / sizeof *timed; i++) {
        DL_FOREACH_SAFE(s->conns[timed[i]], c, next)
        {
            if (now >= c->deadline_ms)
                expire(c, now);
            else if (timed[i] <= CONN_HEAD)
                break; /* those behind have more time left */
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* Each connection is a file; the usual soft limit of 1024 is soon used up. */
static void raise_file_limit(uint32_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* if not: fewer connections */
}

struct http_server *http_create(struct loop *l, const struct http_config *config,
                                const struct http_events *events, void *arg)
{
    struct http_server *s = mem_zalloc(sizeof *s);
    s->loop = l;
    s->config = *config;
    s->events = *events;
    s->arg = arg;
    s->sweep = loop_timer_create(l, sweep, s);
    s->listener.data = s;
    uv_tcp_init(loop_uv(l), &s->listener);
    reading_open(s);
    parse_init(&s->settings);
    raise_file_limit(config->connections_max);
    if (getrandom(&s->id_prefix, sizeof s->id_prefix, 0) != sizeof s->id_prefix)
        s->id_prefix = clock_us() << 16;
    loop_timer_start(s->sweep, SWEEP_MS, SWEEP_MS);
    return s;
}

static enum status parse_address(const char *address, struct sockaddr_storage *out,
                                 struct error *err)
{
    char host[64];
    char *end = NULL;
    const char *colon = strrchr(address, ':');
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    bool ok = colon && colon[1] && !*end && port >= 0 && port <= 65535;
    size_t len = ok ? (size_t)(colon - address) : 0;
    bool bracketed = len > 2 && address[0] == '[' && address[len - 1] == ']';
    ok = ok && !bytes_copy_str(bracketed ? bytes_of(address + 1, len - 2) : bytes_of(address, len),
                               host, sizeof host);
    if (!ok || (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out) &&
                uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)out)))
        return error_set(err, STATUS_INVALID, "\"%s\" is not an address HOST:PORT", address);
    return STATUS_OK;
}

static unsigned bound_port(struct http_server *s)
{
    struct sockaddr_storage bound = { 0 };
    int len = sizeof bound;
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&bound, &len);
    return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                             : ((struct sockaddr_in *)&bound)->sin_port);
}

enum status http_listen(struct http_server *s, const char *address, struct error *err)
{
    struct sockaddr_storage where = { 0 };
    if (parse_address(address, &where, err))
        return STATUS_INVALID;
    int rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&where, 0);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc)
        return error_set(err, rc == UV_EADDRINUSE ? STATUS_CONFLICT : STATUS_INVALID,
                         "cannot listen on %s: %s", address, uv_strerror(rc));
    snprintf(s->address, sizeof s->address, "%.*s:%u", (int)(strrchr(address, ':') - address),
             address, bound_port(s));
    return STATUS_OK;
}

const char *http_address(const struct http_server *s)
{
    return s->address;
}

void http_keep_fields(struct http_server *s, bool keep)
{
    if (s)
        s->keep_fields = keep;
}

size_t http_connections(const struct http_server *s)
{
    return s->count;
}

void http_drain(struct http_server *s)
{
    s->draining = true;
}

bool conn_has_sent(const struct conn *c)
{
    int bytes = 0;
    return ioctl(c->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

size_t http_end_idle(struct http_server *s)
{
    struct conn *c, *next;
    size_t open = 0;
    DL_FOREACH_SAFE(s->conns[CONN_IDLE], c, next)
    {
        if (conn_has_sent(c))
            open++;
        else
            conn_close(c);
    }
    for (int state = CONN_HEAD; state <= CONN_CLOSING; state++)
        DL_FOREACH(s->conns[state], c)
    open += state != CONN_CLOSING || c->writes;
    return open;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    s->listener_closed = true;
    server_release(s);
}

void http_stop_listening(struct http_server *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->listener))
        uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}

void http_destroy(struct http_server *s)
{
    struct conn *c, *next;
    if (!s)
        return;
    for (int state = 0; state < CONN_DEAD; state++)
        DL_FOREACH_SAFE(s->conns[state], c, next)
    conn_close(c);
    loop_timer_destroy(s->sweep);
    s->sweep = NULL;
    http_stop_listening(s);
    reading_close(s);
}
