/* api.c - finds the route of a request, and what all protocols share. */
#include "services/gateway/api/api.h"

#include "services/gateway/api/upload.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/gateway/tensor_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static const struct route *const tables[] = { predict_routes,  oip_routes,      models_routes,
                                              datasets_routes, training_routes, ops_routes };

static struct metric_family requests = {
    .name = "maas_gateway_requests_total",
    .help = "HTTP requests by class of status",
    .type = METRIC_COUNTER,
};

/* ---- answers ---------------------------------------------------------------------------------- */

static void count_answer(int status)
{
    static struct metric *classes[6]; /* by the first digit of the status */
    int class = status / 100 % 6;
    if (!classes[class]) {
        char text[8];
        snprintf(text, sizeof text, "%dxx", class);
        classes[class] = metrics_series(&requests, &(struct metric_label){ "status", text }, 1);
    }
    metric_add(classes[class], 1);
}

static size_t open_requests; /* begun and neither answered nor gone */

size_t api_open(void)
{
    return open_requests;
}

static void respond(struct http_request *r, int status, const char *type, struct bytes body)
{
    count_answer(status);
    r->user = NULL;
    open_requests--;
    if (log_enabled(LOG_DEBUG))
        log_debug("answer", LOG_S("request_id", r->request_id), LOG_S("method", r->method),
                  LOG_B("target", buf_bytes(&r->target)), LOG_I("status", status),
                  LOG_U("us", clock_us() - r->begin_us));
    http_respond(r, status, type, body);
}

void api_json(struct http_request *r, int status, struct buf *body)
{
    respond(r, status, NULL, buf_bytes(body));
    buf_finish(body);
}

void api_text(struct http_request *r, const char *content_type, struct buf *body)
{
    respond(r, 200, content_type, buf_bytes(body));
    buf_finish(body);
}

void api_add_header(struct http_request *r, const char *name, const char *value)
{
    size_t len = strlen(r->headers);
    if (len + strlen(name) + strlen(value) + 5 < sizeof r->headers)
        snprintf(r->headers + len, sizeof r->headers - len, "%s: %s\r\n", name, value);
}

void api_error(struct http_request *r, enum status st, const char *fmt, ...)
{
    char text[ERROR_TEXT_MAX];
    struct buf body = { 0 };
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (st == STATUS_BUSY || st == STATUS_UNAVAILABLE)
        api_add_header(r, "retry-after", "1");
    if (st == STATUS_POISON)
        api_add_header(r, "x-should-retry", "false");
    if (st == STATUS_INTERNAL || st == STATUS_CORRUPT || st == STATUS_POISON)
        log_warn("request failed", LOG_S("request_id", r->request_id),
                 LOG_B("target", buf_bytes(&r->target)), LOG_S("error", text));
    buf_append_str(&body, "{\"error\":");
    json_string(&body, bytes_str(text));
    buf_append_str(&body, "}");
    api_json(r, status_http(st), &body);
}

/* ---- requests --------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoding (RFC 3986 section 2.1) into out; the length, or -1 when it does not fit. */
static int decode(struct bytes in, char *out, size_t size)
{
    const char *p = in.data;
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = p[i];
        if (c == '%' && i + 2 < in.len && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            c = (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
            i += 2;
        }
        if (n + 1 >= size || c == 0)
            return -1;
        out[n++] = c;
    }
    out[n] = 0;
    return (int)n;
}

enum status api_query(const struct call *c, const char *name, char *out, size_t size)
{
    const char *p = c->query.data, *end = p + c->query.len;
    size_t name_len = strlen(name);
    while (p && p < end) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        if (!stop)
            stop = end;
        if ((size_t)(stop - p) > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=') {
            p += name_len + 1;
            return decode(bytes_of(p, (size_t)(stop - p)), out, size) < 0 ? STATUS_INVALID
                                                                          : STATUS_OK;
        }
        p = stop + 1;
    }
    return STATUS_NOT_FOUND;
}

enum status api_version(struct bytes text, uint32_t *out, struct error *err)
{
    const char *p = text.data;
    uint64_t n = 0;
    for (size_t i = 0; i < text.len && n <= UINT32_MAX; i++)
        n = p[i] >= '0' && p[i] <= '9' ? n * 10 + (uint64_t)(p[i] - '0') : (uint64_t)UINT32_MAX + 1;
    if (!text.len || n == 0 || n > UINT32_MAX)
        return error_set(err, STATUS_INVALID, "\"%.*s\" is not a version: versions are 1, 2, 3 ...",
                         (int)(text.len < 64 ? text.len : 64), p ? p : "");
    *out = (uint32_t)n;
    return STATUS_OK;
}

yyjson_doc *api_body(struct call *c)
{
    struct buf *body = &c->http->body;
    yyjson_read_err err;
    yyjson_doc *doc = yyjson_read_opts((char *)body->data, body->len, 0, NULL, &err);
    if (!doc)
        api_error(c->http, STATUS_INVALID, "the body is not JSON: %s at byte %zu", err.msg,
                  err.pos);
    else if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        api_error(c->http, STATUS_INVALID, "the body must be a JSON object");
        yyjson_doc_free(doc);
        return NULL;
    }
    return doc;
}

enum status api_string(yyjson_val *object, const char *name, struct bytes *out, struct error *err)
{
    yyjson_val *v = yyjson_obj_get(object, name);
    *out = bytes_of(NULL, 0);
    if (!v || yyjson_is_null(v))
        return STATUS_OK;
    if (!yyjson_is_str(v))
        return error_set(err, STATUS_INVALID, "\"%s\" must be a string", name);
    *out = bytes_of(yyjson_get_str(v), yyjson_get_len(v));
    return STATUS_OK;
}

/* ---- pieces ----------------------------------------------------------------------------------- */

void api_put_string(struct buf *out, const char *name, struct bytes value)
{
    buf_printf(out, "\"%s\":", name);
    json_string(out, value);
}

void api_put_time(struct buf *out, const char *name, uint64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_text(wall_ms, text);
    if (wall_ms)
        buf_printf(out, "\"%s\":\"%s\"", name, text);
    else
        buf_printf(out, "\"%s\":null", name);
}

void api_put_json(struct buf *out, const char *name, struct bytes json, const char *otherwise)
{
    buf_printf(out, "\"%s\":", name);
    if (json.len)
        buf_append_bytes(out, json);
    else
        buf_append_str(out, otherwise);
}

/* ---- the registry ----------------------------------------------------------------------------- */

struct ask {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct rpc_call *call;
    api_reply_fn *fn;
};

static void ask_gone(struct pending *p)
{
    struct ask *a = (struct ask *)p;
    rpc_cancel(a->call);
    free(a);
}

static void on_reply(void *arg, const struct rpc_reply *reply)
{
    struct ask *a = arg;
    struct buf out = { 0 };
    struct http_request *r = a->http;
    if (reply->status == STATUS_CANCELLED)
        api_error(r, STATUS_UNAVAILABLE, "the gateway is stopping");
    else if (reply->status)
        api_error(r, reply->status, "%s", reply->text);
    else
        api_json(r, a->fn(a->gateway, r, reply, &out), &out);
    free(a);
}

void api_ask(struct call *c, enum msg_kind kind, const void *body, api_reply_fn *fn)
{
    struct ask *a = mem_alloc(sizeof *a);
    *a = (struct ask){ { ask_gone }, c->gateway, c->http, NULL, fn };
    c->http->user = &a->base;
    a->call = rpc_call(c->gateway->registry, kind, body, NULL, RPC_TIMEOUT_MS, on_reply, a);
    if (!a->call) {
        free(a);
        api_error(c->http, STATUS_BUSY, "too many requests wait for the registry; try again");
    }
}

/* ---- routes ----------------------------------------------------------------------------------- */

/* Matches path against pattern; "{}" takes one segment that is not empty. */
static bool match(const char *pattern, struct bytes path, struct bytes *params)
{
    const char *p = path.data, *end = p + path.len;
    size_t n = 0;
    while (*pattern) {
        if (pattern[0] == '{') {
            const char *stop = p;
            while (stop < end && *stop != '/')
                stop++;
            if (stop == p)
                return false;
            params[n++] = bytes_of(p, (size_t)(stop - p));
            p = stop;
            pattern += 2;
        } else if (p < end && *p == *pattern) {
            p++;
            pattern++;
        } else {
            return false;
        }
    }
    return p == end;
}

static const struct route *find_route(const char *method, struct bytes path, struct bytes *params,
                                      struct buf *allow)
{
    bool head = strcmp(method, "HEAD") == 0;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const struct route *r = tables[t]; r->method; r++) {
            if (!match(r->pattern, path, params))
                continue;
            if (strcmp(r->method, head ? "GET" : method) == 0)
                return r;
            buf_append_str(allow, allow->len ? ", " : "");
            buf_append_str(allow, r->method);
        }
    }
    return NULL;
}

static void fill_call(struct call *c, struct gateway *g, struct http_request *r, struct bytes *path)
{
    const char *target = (const char *)r->target.data;
    const char *mark = memchr(target, '?', r->target.len);
    *c = (struct call){ .gateway = g, .http = r };
    *path = bytes_of(target, mark ? (size_t)(mark - target) : r->target.len);
    if (mark)
        c->query = bytes_of(mark + 1, r->target.len - path->len - 1);
    if (path->len > 1 && target[path->len - 1] == '/')
        path->len--; /* "/v2/" is "/v2" */
}

static void ensure_request_id(struct http_request *r)
{
    static uint64_t prefix, count;
    if (!prefix && getrandom(&prefix, sizeof prefix, 0) != sizeof prefix)
        prefix = clock_us();
    if (!r->request_id[0])
        snprintf(r->request_id, sizeof r->request_id, "%012llx-%llx",
                 (unsigned long long)(prefix >> 16), (unsigned long long)++count);
}

static void no_route(struct http_request *r, struct buf *allow, struct bytes path)
{
    struct buf body = { 0 };
    if (!allow->len) {
        api_error(r, STATUS_NOT_FOUND, "there is nothing at %.*s",
                  (int)(path.len < 200 ? path.len : 200), (const char *)path.data);
        return;
    }
    api_add_header(r, "allow", buf_cstr(allow));
    buf_printf(&body, "{\"error\":\"%s is not allowed here; use %s\"}", r->method, buf_cstr(allow));
    api_json(r, 405, &body);
}

/* Finds the route and decodes its parameters into text.  NULL: it has been answered. */
static const struct route *resolve(struct call *c, struct gateway *g, struct http_request *r,
                                   char text[API_PARAMS_MAX][MAX_NAME * 3 + 1])
{
    struct buf allow = { 0 };
    struct bytes path;
    fill_call(c, g, r, &path);
    const struct route *route = find_route(r->method, path, c->params, &allow);
    if (!route)
        no_route(r, &allow, path);
    buf_finish(&allow);
    for (size_t i = 0; route && i < API_PARAMS_MAX && c->params[i].data; i++) {
        int len = decode(c->params[i], text[i], MAX_NAME * 3 + 1);
        if (len < 0) {
            api_error(r, STATUS_INVALID, "a part of the path is too long");
            return NULL;
        }
        c->params[i] = bytes_of(text[i], (size_t)len);
    }
    return route;
}

static void begin(void *arg, struct http_request *r)
{
    struct gateway *g = arg;
    struct call c;
    char text[API_PARAMS_MAX][MAX_NAME * 3 + 1];
    ensure_request_id(r);
    open_requests++;
    const struct route *route = resolve(&c, g, r, text);
    if (route && route->stream)
        route->stream(&c);
}

static void complete(void *arg, struct http_request *r)
{
    struct gateway *g = arg;
    struct call c;
    char text[API_PARAMS_MAX][MAX_NAME * 3 + 1];
    if (r->stream) {
        upload_complete(r);
        return;
    }
    const struct route *route = resolve(&c, g, r, text);
    if (route)
        route->handle(&c);
}

static void body(void *arg, struct http_request *r, struct bytes piece)
{
    (void)arg;
    upload_piece(r, piece);
}

static void gone(void *arg, struct http_request *r)
{
    struct pending *p = r->user;
    (void)arg;
    open_requests--;
    r->user = NULL;
    if (p)
        p->gone(p);
}

static void refused(void *arg, int status)
{
    (void)arg;
    count_answer(status);
}

const struct http_events api_events = {
    .begin = begin, .body = body, .complete = complete, .gone = gone, .refused = refused
};
