/* parse.c - requests out of bytes, by llhttp; see http.h. */
#include "services/gateway/http/conn.h"

#include "common/base/clock.h"

#include <strings.h>

/* ---- parsing --------------------------------------------------------------------------------- */

/* Remembers why; the parser stops, and conn_parse() answers. */
static int stop_with(struct conn *c, int status, const char *text)
{
    c->refuse = status;
    c->refuse_text = text;
    return HPE_USER;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    if (c->request.target.len + len > HTTP_TARGET_MAX)
        return stop_with(c, 414, "the request target is too long");
    buf_append(&c->request.target, at, len);
    return 0;
}

static int on_header_name(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    c->header_bytes += len;
    if (c->header_bytes > HTTP_HEADERS_MAX)
        return stop_with(c, 431, "the header fields are too long");
    if (c->name_len + len < sizeof c->name)
        memcpy(c->name + c->name_len, at, len);
    c->name_len += len;
    return 0;
}

static int on_header_name_end(llhttp_t *p)
{
    struct conn *c = p->data;
    c->value = NULL;
    if (c->name_len == 12 && strncasecmp(c->name, "x-request-id", 12) == 0)
        c->value = c->request.request_id;
    else if (c->name_len == 16 && strncasecmp(c->name, "content-encoding", 16) == 0)
        c->value = c->request.encoding;
    c->value_len = 0;
    if (c->name_len == 6 && strncasecmp(c->name, "expect", 6) == 0)
        c->name[0] = 'E'; /* marks the value that on_headers_end must answer */
    return 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    c->header_bytes += len;
    if (c->header_bytes > HTTP_HEADERS_MAX)
        return stop_with(c, 431, "the header fields are too long");
    if (!c->value)
        return 0;
    for (size_t i = 0; i < len && c->value_len < HTTP_VALUE_MAX; i++)
        if (at[i] > ' ' && at[i] < 0x7f) /* it goes into answers and logs */
            c->value[c->value_len++] = at[i];
    return 0;
}

static int on_header_value_end(llhttp_t *p)
{
    struct conn *c = p->data;
    if (c->value)
        c->value[c->value_len] = 0;
    c->name_len = 0;
    return 0;
}

static int on_headers_end(llhttp_t *p)
{
    struct conn *c = p->data;
    struct http_server *s = c->server;
    struct http_request *r = &c->request;
    r->method = llhttp_method_name(llhttp_get_method(p));
    r->begin_us = clock_us();
    r->has_length = (p->flags & F_CONTENT_LENGTH) != 0;
    r->content_length = p->content_length;
    c->head = llhttp_get_method(p) == HTTP_HEAD;
    c->keep_alive = llhttp_should_keep_alive(p);
    c->begun = true;
    s->events.begin(s->arg, r);
    if (c->answered || c->closed)
        return HPE_USER;
    if (!r->stream && r->has_length) {
        if (r->content_length > s->config.body_max_bytes)
            return stop_with(c, 413, "the body is too large");
        buf_reserve(&r->body, (size_t)r->content_length + 1);
    }
    if ((r->content_length || !r->has_length) && p->http_minor >= 1 && c->name[0] == 'E')
        conn_send(c, bytes_str("HTTP/1.1 100 Continue\r\n\r\n"), bytes_of(NULL, 0));
    c->name[0] = 0;
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    struct http_server *s = c->server;
    if (c->request.stream) {
        s->events.body(s->arg, &c->request, bytes_of(at, len));
        return c->answered || c->closed ? HPE_USER : 0;
    }
    if (c->request.body.len + len > s->config.body_max_bytes)
        return stop_with(c, 413, "the body is too large");
    buf_append(&c->request.body, at, len);
    return 0;
}

/* The parser pauses here: the next request on the connection waits for this one's answer. */
static int on_message_end(llhttp_t *p)
{
    struct conn *c = p->data;
    c->state = CONN_HANDLING;
    return HPE_PAUSED;
}

static void hand_over(struct conn *c)
{
    struct http_server *s = c->server;
    s->events.complete(s->arg, &c->request);
}

/* Feeds the parser until the data is used up or a request is under way. */
void conn_parse(struct conn *c, struct bytes data)
{
    while (data.len && c->state == CONN_READING && !c->closed) {
        c->parsing = true;
        llhttp_errno_t err = llhttp_execute(&c->parser, data.data, data.len);
        size_t used = err == HPE_OK
                          ? data.len
                          : (size_t)(llhttp_get_error_pos(&c->parser) - (const char *)data.data);
        data = bytes_of((const char *)data.data + used, data.len - used);
        if (err == HPE_PAUSED && c->state == CONN_HANDLING) {
            llhttp_resume(&c->parser);
            hand_over(c); /* may answer at once: then the loop goes on */
        } else if (c->refuse) {
            conn_refuse(c, c->refuse, c->refuse_text);
        } else if (err == HPE_PAUSED_UPGRADE) {
            conn_refuse(c, 400, "upgrades are not supported");
        } else if (err != HPE_OK && !c->answered) {
            conn_refuse(c, 400, "this is not HTTP/1.1: see RFC 9112");
        }
        c->parsing = false;
    }
    if (data.len && c->state == CONN_HANDLING)
        buf_append_bytes(&c->waiting, data);
}

/* After an answer: what has been read meanwhile. */
void conn_go_on(struct conn *c)
{
    if (!c->waiting.len)
        return;
    struct buf waiting = c->waiting;
    c->waiting = (struct buf){ 0 };
    conn_parse(c, buf_bytes(&waiting));
    buf_finish(&waiting);
}

void conn_parse_init(llhttp_settings_t *settings)
{
    llhttp_settings_init(settings);
    settings->on_url = on_url;
    settings->on_header_field = on_header_name;
    settings->on_header_field_complete = on_header_name_end;
    settings->on_header_value = on_header_value;
    settings->on_header_value_complete = on_header_value_end;
    settings->on_headers_complete = on_headers_end;
    settings->on_body = on_body;
    settings->on_message_complete = on_message_end;
}
