/* conn.c - the states of a connection, and what is read in each; see conn.h. */
#include "services/gateway/http/conn.h"

#include "common/base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <utlist.h>

#define IDLE_BODY_BYTES    2048 /* memory that an idle connection may keep for its next body */
#define IDLE_TARGET_BYTES  512  /* the same for its next target, */
#define IDLE_HEADERS_BYTES 128  /* for what its next answer says beside the usual, */
#define IDLE_FIELDS_BYTES  1024 /* and for its header fields, where they are kept */
#define LINGER_MS          2000 /* a client may read its last answer for so long */

/* ---- states ------------------------------------------------------------------------------------- */

static uint64_t time_allowed_ms(const struct conn *c, enum conn_state state)
{
    const struct http_config *config = &c->server->config;
    switch (state) {
    case CONN_IDLE:
        return config->idle_timeout_ms;
    case CONN_CLOSING:
        return LINGER_MS;
    default:
        return config->read_timeout_ms;
    }
}

/* The one function that changes a connection's state, and with it the list that holds it. */
void conn_move(struct conn *c, enum conn_state to)
{
    struct http_server *s = c->server;
    assert(c->state != CONN_DEAD);
    DL_DELETE(s->conns[c->state], c);
    DL_APPEND(s->conns[to], c);
    c->state = to;
    c->deadline_ms = loop_now_ms(s->loop) + time_allowed_ms(c, to);
}

static void release_body(struct conn *c, size_t keep)
{
    c->server->bodies_bytes -= c->reserved;
    c->reserved = 0;
    c->request.body.len = 0;
    if (c->request.body.cap > keep)
        buf_finish(&c->request.body);
}

uint64_t conn_room(const struct conn *c)
{
    const struct http_server *s = c->server;
    return s->bodies_bytes < s->config.bodies_max_bytes
               ? s->config.bodies_max_bytes - s->bodies_bytes
               : 0;
}

enum status conn_reserve(struct conn *c, uint64_t more)
{
    if (more > conn_room(c))
        return STATUS_BUSY;
    c->server->bodies_bytes += more;
    c->reserved += more;
    return STATUS_OK;
}

static void reset_request(struct conn *c)
{
    struct http_request *r = &c->request;
    release_body(c, IDLE_BODY_BYTES);
    if (r->headers.cap > IDLE_HEADERS_BYTES)
        buf_finish(&r->headers);
    r->headers.len = 0;
    if (r->target.cap > IDLE_TARGET_BYTES || r->fields.cap > IDLE_FIELDS_BYTES) {
        parse_forget(c);
        buf_finish(&r->target);
        buf_finish(&r->fields);
    }
    r->stream = r->unending = false;
    r->retry_after_s = 0;
    r->end_us = 0;
    r->route = r->user = NULL;
    parse_reset(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct http_server *s = c->server;
    DL_DELETE(s->conns[CONN_DEAD], c);
    s->count--;
    release_body(c, 0);
    buf_finish(&c->request.target);
    buf_finish(&c->request.headers);
    buf_finish(&c->request.fields);
    buf_finish(&c->waiting);
    buf_finish(&c->known);
    free(c);
    server_release(s);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    bool owned = c->state >= CONN_BODY && c->state <= CONN_STREAMING;
    conn_move(c, CONN_DEAD);
    c->reading = false;
    if (owned)
        c->server->events.gone(c->server->arg, &c->request);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* ---- requests out of bytes ------------------------------------------------------------------------ */

static void pad(struct buf *body)
{
    buf_reserve(body, HTTP_BODY_PADDING);
    memset(body->data + body->len, 0, HTTP_BODY_PADDING);
}

enum status http_set_body(struct http_request *r, struct buf *body)
{
    struct conn *c = (struct conn *)r;
    if (conn_reserve(c, body->len))
        return STATUS_BUSY;
    buf_finish(&r->body);
    r->body = *body;
    *body = (struct buf){ 0 };
    pad(&r->body);
    return STATUS_OK;
}

void conn_complete(struct conn *c)
{
    struct http_request *r = &c->request;
    if (!r->stream) {
        pad(&r->body);
        r->begin_us = c->server->read_us; /* how long the client took to send it is not our time */
    }
    conn_move(c, CONN_HANDLING);
    c->server->events.complete(c->server->arg, r);
}

void conn_extend_deadline(struct conn *c, size_t bytes)
{
    uint64_t most = loop_now_ms(c->server->loop) + c->server->config.read_timeout_ms;
    c->deadline_ms += (uint64_t)bytes * 1000 / http_least_rate(c->request.body.len);
    if (c->deadline_ms > most)
        c->deadline_ms = most;
}

/* A body with a length: it needs no parser. */
static size_t take_body(struct conn *c, struct bytes data)
{
    struct http_request *r = &c->request;
    size_t len = data.len < c->body_left ? data.len : (size_t)c->body_left;
    c->body_left -= len;
    if (r->stream)
        c->server->events.body(c->server->arg, r, bytes_of(data.data, len));
    else if (conn_reserve(c, len))
        conn_refuse(c, 503, HTTP_BODIES_FULL);
    else
        buf_append(&r->body, data.data, len);
    return len;
}

static size_t take_some(struct conn *c, struct bytes data)
{
    if (c->state == CONN_IDLE) {
        conn_move(c, CONN_HEAD);
        return parse_first(c, data);
    }
    if (c->state == CONN_BODY)
        conn_extend_deadline(c, data.len);
    return c->state == CONN_BODY && !c->chunked ? take_body(c, data) : parse(c, data);
}

static size_t take(struct conn *c, struct bytes data)
{
    size_t used = take_some(c, data);
    if (c->state == CONN_DEAD || c->state == CONN_CLOSING)
        return used; /* answered before its end */
    if (c->refuse)
        conn_refuse(c, c->refuse, c->refuse_text);
    else if (c->state == CONN_BODY && !c->chunked && !c->body_left)
        conn_complete(c);
    return used;
}

void conn_feed(struct conn *c, struct bytes data)
{
    c->feeding = true;
    while (data.len && c->state <= CONN_BODY) {
        size_t used = take(c, data);
        data = bytes_of((const char *)data.data + used, data.len - used);
    }
    c->feeding = false;
    if (!data.len || c->state >= CONN_CLOSING)
        return;
    buf_append_bytes(&c->waiting, data);
    if (c->waiting.len > HTTP_PIPELINE_BYTES)
        conn_set_reading(c, false);
}

void conn_next(struct conn *c)
{
    reset_request(c);
    if (c->eof) {
        conn_close(c);
        return;
    }
    conn_move(c, CONN_IDLE);
    if (c->feeding)
        return;
    conn_set_reading(c, true);
    if (!c->waiting.len)
        return;
    c->server->read_us = clock_us();
    struct buf waiting = c->waiting;
    c->waiting = (struct buf){ 0 };
    conn_feed(c, buf_bytes(&waiting));
    buf_finish(&waiting);
}

void http_pause(struct http_request *r)
{
    conn_set_reading((struct conn *)r, false);
}

void http_resume(struct http_request *r)
{
    struct conn *c = (struct conn *)r;
    c->deadline_ms = loop_now_ms(c->server->loop) + c->server->config.read_timeout_ms;
    conn_set_reading(c, true);
}

struct conn *conn_create(struct http_server *s)
{
    struct conn *c = mem_zalloc(sizeof *c);
    c->server = s;
    c->tcp.data = c;
    uv_tcp_init(loop_uv(s->loop), &c->tcp);
    llhttp_init(&c->parser, HTTP_REQUEST, &s->settings);
    c->parser.data = c;
    c->state = CONN_IDLE;
    c->deadline_ms = loop_now_ms(s->loop) + s->config.idle_timeout_ms;
    DL_APPEND(s->conns[CONN_IDLE], c);
    s->count++;
    return c;
}
