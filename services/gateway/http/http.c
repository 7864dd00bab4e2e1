/* http.c - connections, their one present request, and answers. */
#include "services/gateway/http/conn.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define BACKLOG   1024
#define SWEEP_MS  1000
#define LINGER_MS 2000 /* a refused client may read its answer for so long */

static void server_free(struct http_server *s)
{
    if (!s->listener_closed || s->count)
        return;
    buf_finish(&s->scratch);
    free(s);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct http_server *s = c->server;
    DL_DELETE(s->conns, c);
    s->count--;
    buf_finish(&c->request.target);
    buf_finish(&c->request.body);
    buf_finish(&c->waiting);
    free(c);
    server_free(s);
}

/* The owner hears of it when it has a request that is not answered. */
static void close_conn(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    if (c->begun && !c->answered) {
        c->begun = false;
        c->server->events.gone(c->server->arg, &c->request);
    }
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* ---- answers --------------------------------------------------------------------------------- */

struct write {
    uv_write_t uv;
    struct conn *conn;
    struct buf data;
};

static void after_write(struct conn *c)
{
    if (c->state == CONN_CLOSING && c->writes == 0 && !c->closed) {
        /* Half-close, and let the client read: closing now might reset what it has not read. */
        c->deadline_ms = clock_ms() + LINGER_MS;
        uv_os_fd_t fd;
        if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
            shutdown(fd, SHUT_WR);
    }
}

static void on_written(uv_write_t *uv, int status)
{
    struct write *w = uv->data;
    struct conn *c = w->conn;
    buf_finish(&w->data);
    free(w);
    c->writes--;
    if (status < 0)
        close_conn(c);
    else
        after_write(c);
}

/* Writes what the kernel takes now, and queues a copy of the rest. */
void conn_send(struct conn *c, struct bytes head, struct bytes body)
{
    uv_buf_t bufs[2] = { uv_buf_init((char *)(uintptr_t)head.data, (unsigned)head.len),
                         uv_buf_init((char *)(uintptr_t)body.data, (unsigned)body.len) };
    size_t total = head.len + body.len;
    int n = c->writes ? UV_EAGAIN : uv_try_write((uv_stream_t *)&c->tcp, bufs, body.len ? 2 : 1);
    size_t done = n > 0 ? (size_t)n : 0;
    if (done == total)
        return;
    if (n < 0 && n != UV_EAGAIN) {
        close_conn(c);
        return;
    }
    struct write *w = mem_zalloc(sizeof *w);
    w->conn = c;
    w->uv.data = w;
    if (done < head.len)
        buf_append(&w->data, (const char *)head.data + done, head.len - done);
    size_t skip = done > head.len ? done - head.len : 0;
    buf_append(&w->data, (const char *)body.data + skip, body.len - skip);
    uv_buf_t rest = uv_buf_init((char *)w->data.data, (unsigned)w->data.len);
    c->writes++;
    if (uv_write(&w->uv, (uv_stream_t *)&c->tcp, &rest, 1, on_written)) {
        c->writes--;
        buf_finish(&w->data);
        free(w);
        close_conn(c);
    }
}

static const char *reason_of(int status)
{
    switch (status) {
#define X(number, name, text) \
    case number:              \
        return #text;
        HTTP_STATUS_MAP(X)
#undef X
    default:
        return "Unknown";
    }
}

static void send_answer(struct conn *c, int status, const char *content_type, struct bytes body)
{
    struct http_server *s = c->server;
    struct buf *head = &s->scratch;
    bool last = !c->keep_alive || s->draining;
    head->len = 0;
    buf_printf(head, "HTTP/1.1 %d %s\r\ncontent-length: %zu\r\n", status, reason_of(status),
               body.len);
    if (body.len || status != 204) {
        buf_append_str(head, "content-type: ");
        buf_append_str(head, content_type ? content_type : "application/json");
        buf_append_str(head, "\r\n");
    }
    if (c->request.request_id[0]) {
        buf_append_str(head, "x-request-id: ");
        buf_append_str(head, c->request.request_id);
        buf_append_str(head, "\r\n");
    }
    buf_append_str(head, c->request.headers);
    buf_append_str(head, last ? "connection: close\r\n\r\n" : "\r\n");
    if (last)
        c->state = CONN_CLOSING;
    conn_send(c, buf_bytes(head), c->head ? bytes_of(NULL, 0) : body);
    if (last)
        after_write(c);
}

static void reset_request(struct conn *c)
{
    struct http_request *r = &c->request;
    r->target.len = 0;
    if (r->body.cap > READ_BYTES)
        buf_finish(&r->body); /* an idle connection holds little */
    r->body.len = 0;
    r->request_id[0] = 0;
    r->encoding[0] = 0;
    r->headers[0] = 0;
    r->stream = false;
    r->has_length = false;
    r->content_length = 0;
    r->user = NULL;
    c->begun = c->answered = c->paused = false;
    c->header_bytes = 0;
    c->refuse = 0;
}

void http_respond(struct http_request *r, int status, const char *content_type, struct bytes body)
{
    struct conn *c = (struct conn *)r;
    if (c->state == CONN_READING) { /* the body has not ended: it will not be read any more */
        c->keep_alive = false;
        c->answered = true;
        send_answer(c, status, content_type, body);
        return;
    }
    c->answered = true;
    send_answer(c, status, content_type, body);
    if (c->state == CONN_CLOSING || c->closed)
        return;
    c->state = CONN_READING;
    c->deadline_ms = clock_ms() + c->server->config.idle_timeout_ms;
    reset_request(c);
    if (!c->parsing)
        conn_go_on(c);
}

/* Refuses what is not a request that anybody could handle. */
void conn_refuse(struct conn *c, int status, const char *text)
{
    struct buf body = { 0 };
    if (c->state == CONN_CLOSING || c->closed)
        return;
    c->server->events.refused(c->server->arg, status);
    if (c->begun && !c->answered) {
        c->begun = false;
        c->server->events.gone(c->server->arg, &c->request);
    }
    c->answered = true;
    c->keep_alive = false;
    c->request.headers[0] = 0;
    buf_printf(&body, "{\"error\":\"%s\"}", text);
    send_answer(c, status, NULL, buf_bytes(&body));
    buf_finish(&body);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->server->read_buffer, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (count == 0)
        return;
    if (count < 0) {
        close_conn(c);
        return;
    }
    struct bytes data = bytes_of(buf->base, (size_t)count);
    if (c->state == CONN_CLOSING)
        return; /* thrown away: the answer said so */
    if (c->state == CONN_HANDLING) {
        if (c->waiting.len + data.len > HTTP_PIPELINE_BYTES)
            close_conn(c);
        else
            buf_append_bytes(&c->waiting, data);
        return;
    }
    c->deadline_ms = clock_ms() + c->server->config.read_timeout_ms;
    conn_parse(c, data);
}

void http_pause(struct http_request *r)
{
    struct conn *c = (struct conn *)r;
    c->paused = true;
    uv_read_stop((uv_stream_t *)&c->tcp);
}

void http_resume(struct http_request *r)
{
    struct conn *c = (struct conn *)r;
    if (c->closed || !c->paused)
        return;
    c->paused = false;
    c->deadline_ms = clock_ms() + c->server->config.read_timeout_ms;
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *s = listener->data;
    if (status < 0)
        return;
    struct conn *c = mem_zalloc(sizeof *c);
    c->server = s;
    c->tcp.data = c;
    uv_tcp_init(loop_uv(s->loop), &c->tcp);
    DL_APPEND(s->conns, c);
    s->count++;
    llhttp_init(&c->parser, HTTP_REQUEST, &s->settings);
    c->parser.data = c;
    c->deadline_ms = clock_ms() + s->config.idle_timeout_ms;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) || s->draining ||
        s->count > s->config.connections_max) {
        close_conn(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static bool idle(const struct conn *c)
{
    return c->state == CONN_READING && !c->begun && c->request.target.len == 0;
}

static void sweep(void *arg)
{
    struct http_server *s = arg;
    uint64_t now = clock_ms();
    struct conn *c, *next;
    DL_FOREACH_SAFE(s->conns, c, next)
    {
        if (c->closed || c->state == CONN_HANDLING || c->paused || now < c->deadline_ms)
            continue;
        if (c->state == CONN_CLOSING || idle(c))
            close_conn(c);
        else
            conn_refuse(c, 408, "the request did not come in time");
    }
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
    conn_parse_init(&s->settings);
    loop_timer_start(s->sweep, SWEEP_MS, SWEEP_MS);
    return s;
}

static enum status parse_address(const char *address, struct sockaddr_storage *out,
                                 struct error *err)
{
    char host[64];
    char *end;
    const char *colon = strrchr(address, ':');
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    if (!colon || !colon[1] || *end || port < 0 || port > 65535 ||
        bytes_copy_str(bytes_of(address, (size_t)(colon - address)), host, sizeof host) ||
        (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out) &&
         uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)out)))
        return error_set(err, STATUS_INVALID, "\"%s\" is not an address HOST:PORT", address);
    return STATUS_OK;
}

enum status http_listen(struct http_server *s, const char *address, struct error *err)
{
    struct sockaddr_storage where = { 0 };
    struct sockaddr_in bound;
    int len = sizeof bound;
    if (parse_address(address, &where, err))
        return STATUS_INVALID;
    int rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&where, 0);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc)
        return error_set(err, rc == UV_EADDRINUSE ? STATUS_CONFLICT : STATUS_INVALID,
                         "cannot listen on %s: %s", address, uv_strerror(rc));
    s->listening = true;
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&bound, &len);
    snprintf(s->address, sizeof s->address, "%.*s:%d", (int)(strrchr(address, ':') - address),
             address, ntohs(bound.sin_port));
    return STATUS_OK;
}

const char *http_address(const struct http_server *s)
{
    return s->address;
}

size_t http_connections(const struct http_server *s)
{
    return s->count;
}

void http_drain(struct http_server *s)
{
    struct conn *c, *next;
    s->draining = true;
    DL_FOREACH_SAFE(s->conns, c, next)
    if (idle(c))
        close_conn(c);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    s->listener_closed = true;
    server_free(s);
}

void http_destroy(struct http_server *s)
{
    struct conn *c, *next;
    if (!s)
        return;
    DL_FOREACH_SAFE(s->conns, c, next)
    close_conn(c);
    loop_timer_destroy(s->sweep);
    uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}
