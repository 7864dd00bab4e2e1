/* parse.c - headers and chunked bodies out of bytes, by llhttp; see conn.h.
 *
 * A body with a length never goes through the parser: at the end of such a header the parser
 * is told that there is none, and conn.c counts the bytes itself.
 */
#include "services/gateway/http/conn.h"

#include <stdio.h>
#include <strings.h>

#define NO_BODY 1 /* on_headers_end's word to llhttp */

/* Remembers why; the parser stops, and conn_feed() answers. */
static int stop_with(struct conn *c, int status, const char *text)
{
    c->refuse = status;
    c->refuse_text = text;
    return HPE_USER;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    c->keep_fields = c->server->keep_fields;
    if (c->request.target.len + len > HTTP_TARGET_MAX)
        return stop_with(c, 414, "the request target is too long");
    buf_append(&c->request.target, at, len);
    return 0;
}

static int count_field_bytes(struct conn *c, size_t len)
{
    c->field_bytes += len;
    return c->field_bytes > HTTP_HEADERS_MAX ? stop_with(c, 431, "the header fields are too long")
                                             : 0;
}

/* "name:value\n": neither holds a line end, and what follows the header are trailers. */
static void keep_field(struct conn *c, const char *at, size_t len)
{
    if (c->keep_fields && c->state == CONN_HEAD)
        buf_append(&c->request.fields, at, len);
}

/* RFC 9110 section 5.5: spaces around a value are no part of it. */
static struct bytes trimmed(const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (begin < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return bytes_of(begin, (size_t)(end - begin));
}

struct bytes http_field(const struct http_request *r, struct bytes name)
{
    const char *p = (const char *)r->fields.data, *end = p + r->fields.len;
    for (const char *stop; p < end; p = stop + 1) {
        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            break; /* the connection kept the rest for itself */
        if ((size_t)(stop - p) > name.len && p[name.len] == ':' &&
            strncasecmp(p, name.data, name.len) == 0)
            return trimmed(p + name.len + 1, stop);
    }
    return bytes_of(NULL, 0);
}

static int on_extension(llhttp_t *p, const char *at, size_t len)
{
    (void)at;
    return count_field_bytes(p->data, len);
}

/* ---- header fields ---------------------------------------------------------------------------- */

static int on_name(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    if (c->name_len + len < sizeof c->name)
        memcpy(c->name + c->name_len, at, len);
    c->name_len += len;
    keep_field(c, at, len);
    return count_field_bytes(c, len);
}

static void keep_value(struct conn *c, char *to, size_t size)
{
    c->value = to;
    c->value_size = size;
}

/* The fields that somebody reads.  X(name, member of struct http_request) */
#define FIELD_LIST(X)                                 \
    X("x-request-id", request_id)                     \
    X("content-type", content_type)                   \
    X("content-encoding", encoding)                   \
    X("accept-encoding", accept_encoding)             \
    X("inference-header-content-length", json_length) \
    X("x-request-timeout-ms", timeout_ms)             \
    X("idempotency-key", idempotency_key)             \
    X("range", range)                                 \
    X("if-none-match", if_none_match)                 \
    X("if-range", if_range)                           \
    X("x-user", who)                                  \
    X("last-event-id", last_event)

static int on_name_end(llhttp_t *p)
{
    struct conn *c = p->data;
    c->value = NULL;
    c->value_len = 0;
    keep_field(c, ":", 1);
    if (++c->field_count > HTTP_FIELDS_MAX)
        return stop_with(c, 431, "there are too many header fields");
    if (c->state != CONN_HEAD || c->name_len >= sizeof c->name)
        return 0; /* a trailer, or none of ours */
    c->name[c->name_len] = 0;
#define X(text, member)                                                   \
    if (c->name_len == sizeof text - 1 && strcasecmp(c->name, text) == 0) \
        keep_value(c, c->request.member, sizeof c->request.member);
    FIELD_LIST(X)
#undef X
    if (c->name_len == 4 && strcasecmp(c->name, "host") == 0)
        c->hosts++;
    else if (c->name_len == 6 && strcasecmp(c->name, "expect") == 0)
        keep_value(c, c->expect, sizeof c->expect);
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    if (c->value && c->value_len + len < c->value_size)
        memcpy(c->value + c->value_len, at, len);
    c->value_len += len;
    keep_field(c, at, len);
    return count_field_bytes(c, len);
}

static int on_value_end(llhttp_t *p)
{
    struct conn *c = p->data;
    c->name_len = 0;
    keep_field(c, "\n", 1);
    if (!c->value)
        return 0;
    if (c->value_len >= c->value_size) { /* a value that we know is never that long */
        c->value[0] = '?';
        c->value_len = 1;
    }
    while (c->value_len &&
           (c->value[c->value_len - 1] == ' ' || c->value[c->value_len - 1] == '\t'))
        c->value_len--;
    c->value[c->value_len] = 0;
    c->value = NULL;
    return 0;
}

/* ---- the whole header --------------------------------------------------------------------------- */

/* "1a2b3c4d5e6f-00000000002a": which start of a gateway, and the how manieth request. */
static void make_id(struct conn *c)
{
    static const char hex[] = "0123456789abcdef";
    char *id = c->request.request_id;
    uint64_t prefix = c->server->id_prefix, number = ++c->server->id_count;
    for (int i = 0; i < 12; i++)
        id[i] = hex[prefix >> (60 - 4 * i) & 15];
    id[12] = '-';
    for (int i = 0; i < 12; i++)
        id[13 + i] = hex[number >> (44 - 4 * i) & 15];
    id[25] = 0;
}

/* It goes into answers and logs, so it must be a plain word. */
void conn_choose_id(struct conn *c)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "-_.:/+=@,;#~!$%&()[]{}|^*";
    char *id = c->request.request_id;
    if (c->value == id) /* refused before its end: who knows what is behind it there */
        id[0] = 0;
    c->own_id = id[0] && !id[strspn(id, plain)];
    if (!c->own_id)
        make_id(c);
}

static int check_head(struct conn *c, const llhttp_t *p)
{
    if (p->http_major != 1)
        return stop_with(c, 505, "this server speaks HTTP/1.1");
    if (p->http_minor >= 1 && c->hosts != 1)
        return stop_with(c, 400, "a request needs one Host header");
    if (c->expect[0] && strcasecmp(c->expect, "100-continue") != 0)
        return stop_with(c, 417, "the only expectation known is 100-continue");
    return 0;
}

/* A place for a body that is collected, which counts as it is filled: until then the kernel gives no
 * memory to it.  The client may be waiting for our word to send it. */
static int expect_body(struct conn *c)
{
    struct http_request *r = &c->request;
    if (!r->stream && r->has_length) {
        if (r->content_length > c->server->config.body_max_bytes)
            return stop_with(c, 413, "the body is too large");
        if (r->content_length > conn_room(c))
            return stop_with(c, 503, HTTP_BODIES_FULL);
        buf_reserve(&r->body, (size_t)r->content_length + HTTP_BODY_PADDING);
    }
    if (r->has_body && c->expect[0] && c->chunks)
        conn_send(c, bytes_str("HTTP/1.1 100 Continue\r\n\r\n"), &(struct payload){ 0 });
    return c->state != CONN_BODY ? HPE_USER : c->chunked ? 0 : NO_BODY;
}

/* All that the head says is known. */
static int begin(struct conn *c)
{
    c->request.begin_us = c->server->read_us;
    c->body_left = c->request.content_length;
    conn_move(c, CONN_BODY);
    c->server->events.begin(c->server->arg, &c->request);
    return c->state == CONN_BODY ? expect_body(c) : HPE_USER;
}

static int on_headers_end(llhttp_t *p)
{
    struct conn *c = p->data;
    struct http_request *r = &c->request;
    conn_choose_id(c);
    int refused = check_head(c, p);
    if (refused)
        return refused;
    p->upgrade = 0; /* RFC 9110 section 7.8: a server may ignore an Upgrade */
    c->chunked = (p->flags & F_CHUNKED) != 0;
    c->chunks = p->http_minor >= 1;
    c->head = llhttp_get_method(p) == HTTP_HEAD;
    c->keep_alive = llhttp_should_keep_alive(p);
    r->method = llhttp_method_name(llhttp_get_method(p));
    r->has_length = (p->flags & F_CONTENT_LENGTH) != 0;
    r->content_length = r->has_length ? p->content_length : 0;
    r->has_body = c->chunked || r->content_length;
    return begin(c);
}

/* ---- a head that comes again -------------------------------------------------------------------- */

static bool is_known(const struct conn *c, struct bytes data)
{
    return c->known.len && data.len >= c->known.len && c->keep_fields == c->server->keep_fields &&
           memcmp(data.data, c->known.data, c->known.len) == 0;
}

/* Whoever sends a second request on its connection has not asked for its end in the first. */
static size_t parse_again(struct conn *c)
{
    size_t len = c->known.len;
    c->keep_alive = true;
    if (!c->own_id)
        make_id(c);
    begin(c); /* a refusal is noted in c */
    return len;
}

/* If the parser has stopped behind it, which it does not where the body is chunked. */
static void remember(struct conn *c, struct bytes head)
{
    const struct http_request *r = &c->request;
    bool whole = c->state == CONN_BODY && !c->refuse && r->has_body == (r->content_length > 0);
    if (whole && !c->expect[0] && head.len <= HTTP_KNOWN_MAX)
        buf_append_bytes(&c->known, head);
}

size_t parse_first(struct conn *c, struct bytes data)
{
    if (is_known(c, data))
        return parse_again(c);
    parse_forget(c);
    size_t used = parse(c, data);
    remember(c, bytes_of(data.data, used));
    return used;
}

void parse_forget(struct conn *c)
{
    struct http_request *r = &c->request;
    c->known.len = r->target.len = r->fields.len = 0;
    r->request_id[0] = r->content_type[0] = r->encoding[0] = r->accept_encoding[0] = 0;
    r->json_length[0] = r->timeout_ms[0] = r->idempotency_key[0] = r->who[0] = 0;
    r->range[0] = r->if_none_match[0] = r->if_range[0] = r->last_event[0] = 0;
    r->has_length = r->has_body = c->head = false;
    r->content_length = 0;
    c->expect[0] = 0;
}

/* ---- chunked bodies ----------------------------------------------------------------------------- */

static int on_body(llhttp_t *p, const char *at, size_t len)
{
    struct conn *c = p->data;
    struct http_request *r = &c->request;
    if (r->stream) {
        c->server->events.body(c->server->arg, r, bytes_of(at, len));
        return c->state == CONN_BODY ? 0 : HPE_USER;
    }
    if (r->body.len + len > c->server->config.body_max_bytes)
        return stop_with(c, 413, "the body is too large");
    if (conn_reserve(c, len))
        return stop_with(c, 503, HTTP_BODIES_FULL);
    buf_append(&r->body, at, len);
    return 0;
}

static int on_message_end(llhttp_t *p)
{
    struct conn *c = p->data;
    c->chunked = false; /* what is to come of the body, if any, body_left says */
    return HPE_PAUSED;
}

size_t parse(struct conn *c, struct bytes data)
{
    llhttp_errno_t err = llhttp_execute(&c->parser, data.data, data.len);
    if (err == HPE_OK)
        return data.len;
    if (err == HPE_PAUSED)
        llhttp_resume(&c->parser);
    else if (!c->refuse)
        stop_with(c, 400, "this is not HTTP/1.1: see RFC 9112");
    return (size_t)(llhttp_get_error_pos(&c->parser) - (const char *)data.data);
}

void parse_reset(struct conn *c)
{
    llhttp_reset(&c->parser);
    c->field_bytes = c->field_count = c->name_len = 0;
    c->hosts = 0;
    c->value = NULL;
    c->refuse = 0;
}

void parse_init(llhttp_settings_t *settings)
{
    llhttp_settings_init(settings);
    settings->on_url = on_url;
    settings->on_header_field = on_name;
    settings->on_header_field_complete = on_name_end;
    settings->on_header_value = on_value;
    settings->on_header_value_complete = on_value_end;
    settings->on_headers_complete = on_headers_end;
    settings->on_chunk_extension_name = on_extension;
    settings->on_chunk_extension_value = on_extension;
    settings->on_body = on_body;
    settings->on_message_complete = on_message_end;
}
