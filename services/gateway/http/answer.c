/* answer.c - answers and their way to the client; see conn.h. */
#include "services/gateway/http/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define JOIN_BYTES 16384 /* a body up to this is sent in one piece with its head */

struct write {
    uv_write_t uv;
    struct conn *conn;
    struct buf head; /* what the kernel has not taken yet */
    struct buf body;
    size_t bytes; /* of bodies_bytes */
    size_t count;
    struct frame parts[];
};

static void write_finish(struct write *w)
{
    w->conn->server->bodies_bytes -= w->bytes;
    buf_finish(&w->head);
    buf_finish(&w->body);
    for (size_t i = 0; i < w->count; i++)
        frame_finish(&w->parts[i]);
    free(w);
}

static void payload_finish(struct payload *p)
{
    buf_finish(&p->body);
    for (size_t i = 0; i < p->count; i++)
        frame_finish(&p->parts[i]);
    p->count = 0;
}

static size_t payload_bytes(const struct payload *p)
{
    size_t len = p->body.len;
    for (size_t i = 0; i < p->count; i++)
        len += frame_bytes(&p->parts[i]).len;
    return len;
}

/* Nothing is left to be written. */
static void after_flush(struct conn *c)
{
    if (c->state == CONN_STREAMING) {
        c->server->events.drained(c->server->arg, &c->request);
        return;
    }
    if (c->state == CONN_FLUSHING)
        conn_next(c);
    if (c->state != CONN_CLOSING)
        return;
    if (c->eof) {
        conn_close(c);
        return;
    }
    /* Half-close, and let the client read: closing now might reset what it has not read. */
    conn_move(c, CONN_CLOSING);
    shutdown(c->fd, SHUT_WR);
}

/* The client takes nothing any more.  Who writes a piece is not told inside that call. */
static void give_up(struct conn *c)
{
    if (c->state != CONN_STREAMING) {
        conn_close(c);
        return;
    }
    c->broken = true;
    c->deadline_ms = 0; /* the next sweep closes it */
}

static void on_written(uv_write_t *uv, int status)
{
    struct write *w = uv->data;
    struct conn *c = w->conn;
    write_finish(w);
    c->writes--;
    if (status < 0)
        conn_close(c);
    else if (!c->writes)
        after_flush(c);
}

/* The buffers of an answer; how many. */
static unsigned list_buffers(uv_buf_t bufs[HTTP_PARTS_MAX + 2], struct bytes head,
                             const struct buf *body, const struct frame *parts, size_t count)
{
    unsigned n = 0;
    bufs[n++] = (uv_buf_t){ (char *)(uintptr_t)head.data, head.len };
    if (body->len)
        bufs[n++] = (uv_buf_t){ (char *)body->data, body->len };
    for (size_t i = 0; i < count; i++) {
        struct bytes part = frame_bytes(&parts[i]);
        if (part.len)
            bufs[n++] = (uv_buf_t){ (char *)(uintptr_t)part.data, part.len };
    }
    return n;
}

/* Queues what is left behind the first done bytes. */
static void send_later(struct conn *c, struct bytes head, struct payload *payload, size_t done)
{
    struct write *w = mem_zalloc(sizeof *w + payload->count * sizeof w->parts[0]);
    uv_buf_t bufs[HTTP_PARTS_MAX + 2];
    unsigned first = 0;
    w->conn = c;
    w->uv.data = w;
    w->bytes = payload_bytes(payload);
    c->server->bodies_bytes += w->bytes;
    buf_append_bytes(&w->head, head);
    w->body = payload->body;
    payload->body = (struct buf){ 0 };
    for (; w->count < payload->count; w->count++) {
        frame_init_empty(&w->parts[w->count]);
        frame_move(&w->parts[w->count], &payload->parts[w->count]);
    }
    unsigned n = list_buffers(bufs, buf_bytes(&w->head), &w->body, w->parts, w->count);
    while (first < n && done >= bufs[first].len)
        done -= bufs[first++].len;
    if (first < n) {
        bufs[first].base += done;
        bufs[first].len -= done;
    }
    c->writes++;
    c->deadline_ms = loop_now_ms(c->server->loop) + c->server->config.read_timeout_ms;
    if (uv_write(&w->uv, (uv_stream_t *)&c->tcp, bufs + first, n - first, on_written)) {
        c->writes--;
        write_finish(w);
        give_up(c);
        return;
    }
    c->untaken = conn_untaken(c); /* what was written before may be there still */
}

/* What the kernel takes now; -1: the client takes nothing any more. */
static ssize_t send_now(struct conn *c, struct bytes head, const struct payload *payload)
{
    uv_buf_t bufs[HTTP_PARTS_MAX + 2]; /* has the form of an iovec, says libuv */
    struct msghdr message = { .msg_iov = (struct iovec *)bufs };
    message.msg_iovlen = list_buffers(bufs, head, &payload->body, payload->parts, payload->count);
    ssize_t n = message.msg_iovlen == 1 ? send(c->fd, head.data, head.len, MSG_NOSIGNAL)
                                        : sendmsg(c->fd, &message, MSG_NOSIGNAL);
    return n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) ? 0 : n;
}

void conn_send(struct conn *c, struct bytes head, struct payload *payload)
{
    size_t total = head.len + payload_bytes(payload);
    ssize_t n = c->writes ? 0 : send_now(c, head, payload);
    if (n < 0)
        give_up(c);
    else if ((size_t)n < total)
        send_later(c, head, payload, (size_t)n);
    payload_finish(payload);
}

/* ---- the head -------------------------------------------------------------------------------------- */

/* X(status, reason): those that this program sends (RFC 9110 section 15) */
#define REASON_LIST(X)                        \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(206, "Partial Content")                 \
    X(304, "Not Modified")                    \
    X(400, "Bad Request")                     \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(422, "Unprocessable Content")           \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(499, "Client Closed Request")           \
    X(500, "Internal Server Error")           \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")      \
    X(507, "Insufficient Storage")

static const char *status_line(int status)
{
    switch (status) {
#define X(number, reason) \
    case number:          \
        return "HTTP/1.1 " #number " " reason "\r\n";
        REASON_LIST(X)
#undef X
    default:
        return "HTTP/1.1 500 Internal Server Error\r\n";
    }
}

/* RFC 9110 section 6.6.1; made once a second. */
static const char *date_line(struct http_server *s)
{
    time_t now = time(NULL);
    struct tm tm;
    if ((long)now != s->date_of && gmtime_r(&now, &tm) &&
        strftime(s->date, sizeof s->date, "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm))
        s->date_of = (long)now;
    return s->date;
}

static void put_line(struct buf *head, const char *name, const char *value)
{
    buf_append_str(head, name);
    buf_append_str(head, value);
    buf_append_str(head, "\r\n");
}

/* What is small goes out in one piece with its head. */
static void join(struct buf *head, struct payload *payload)
{
    buf_append_bytes(head, buf_bytes(&payload->body));
    for (size_t i = 0; i < payload->count; i++)
        buf_append_bytes(head, frame_bytes(&payload->parts[i]));
    payload_finish(payload);
}

static void put_framing(struct buf *head, const struct conn *c, uint64_t length)
{
    if (c->pieces) {
        buf_append_str(head, "transfer-encoding: chunked\r\n");
    } else if (length != HTTP_LENGTH_UNKNOWN) {
        buf_append_str(head, "content-length: ");
        buf_append_uint(head, length);
        buf_append_str(head, "\r\n");
    }
}

struct buf *conn_head(struct conn *c, int status, const char *content_type, uint64_t length)
{
    struct http_server *s = c->server;
    struct http_request *r = &c->request;
    struct buf *head = &s->scratch;
    c->keep_alive = c->keep_alive && !s->draining;
    head->len = 0;
    buf_append_str(head, status_line(status));
    buf_append_str(head, date_line(s));
    if (status != 304) /* RFC 9110 section 15.4.5: there is nothing that these would describe */
        put_line(head, "content-type: ", content_type ? content_type : "application/json");
    put_framing(head, c, length);
    put_line(head, "x-request-id: ", r->request_id);
    buf_append_bytes(head, buf_bytes(&r->headers));
    buf_append_str(head, c->keep_alive ? "\r\n" : "connection: close\r\n\r\n");
    return head;
}

void conn_answered(struct conn *c)
{
    conn_set_reading(c, !c->keep_alive || c->waiting.len <= HTTP_PIPELINE_BYTES);
    if (!c->writes)
        after_flush(c);
}

void conn_answer(struct conn *c, int status, const char *content_type, struct payload *payload)
{
    size_t len = payload_bytes(payload);
    c->pieces = false;
    struct buf *head =
        conn_head(c, status, content_type, status == 304 ? HTTP_LENGTH_UNKNOWN : len);
    if (c->head)
        payload_finish(payload);
    else if (len <= JOIN_BYTES)
        join(head, payload);
    conn_move(c, c->keep_alive ? CONN_FLUSHING : CONN_CLOSING);
    conn_send(c, buf_bytes(head), payload);
    if (c->state != CONN_DEAD)
        conn_answered(c);
}

void http_respond_parts(struct http_request *r, int status, const char *content_type,
                        struct buf *body, struct frame *parts, size_t count)
{
    struct conn *c = (struct conn *)r;
    struct payload payload = { *body, parts, count };
    *body = (struct buf){ 0 };
    if (c->state == CONN_BODY)
        c->keep_alive = false; /* the rest of the body will not be looked at */
    conn_answer(c, status, content_type, &payload);
}

void http_respond(struct http_request *r, int status, const char *content_type, struct buf *body)
{
    http_respond_parts(r, status, content_type, body, NULL, 0);
}

void conn_refuse(struct conn *c, int status, const char *text)
{
    struct http_server *s = c->server;
    struct payload payload = { 0 };
    s->events.refused(s->arg, status);
    if (c->state == CONN_BODY)
        s->events.gone(s->arg, &c->request);
    c->keep_alive = false;
    conn_choose_id(c);
    buf_finish(&c->request.headers);
    if (status == 503)
        buf_append_str(&c->request.headers, "retry-after: 1\r\n");
    buf_printf(&payload.body, "{\"error\":\"%s\"}", text);
    conn_answer(c, status, NULL, &payload);
}
