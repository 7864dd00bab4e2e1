/* dispatch.c - from an HTTP request to its handler, and the counting of both.
 *
 * The route is found when the header is there.  What nobody would read is refused then,
 * before its body comes.
 */
#include "services/gateway/api/dispatch.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/gateway/api/encoding.h"

#include <assert.h>
#include <stdio.h>

#define ENDPOINTS_MAX 128
#define PARAM_MAX     (3 * MAX_NAME + 1) /* a name that is encoded throughout is refused later */

static const struct route *const tables[] = { predict_routes,  oip_model_routes, oip_routes,
                                              kserve_routes,   models_routes,    deploy_routes,
                                              rollout_routes,  describe_routes,  artifact_routes,
                                              uploads_routes,  backup_routes,    datasets_routes,
                                              training_routes, events_routes,    ops_routes,
                                              metrics_routes };

static struct metric_family requests = {
    .name = "maas_gateway_requests_total",
    .help = "HTTP requests by route and status",
    .type = METRIC_COUNTER,
};
static struct metric_family seconds = {
    .name = "maas_gateway_request_seconds",
    .help = "time from the whole request to its answer",
    .type = METRIC_HISTOGRAM,
    .bounds = METRIC_SECONDS,
};

/* A route and its numbers.  The first one stands for everything that has no route. */
struct endpoint {
    const struct route *route; /* NULL: none */
    int status;                /* of the series in count, which is the usual one */
    struct metric *count;
    struct metric *seconds;
};

static struct endpoint endpoints[ENDPOINTS_MAX];
static size_t endpoints_count;

static void fill_endpoints(void)
{
    endpoints_count = 1;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const struct route *r = tables[t]; r->method; r++) {
            assert(endpoints_count < ENDPOINTS_MAX);
            endpoints[endpoints_count++].route = r;
        }
    }
}

/* ---- counting ----------------------------------------------------------------------------------- */

static size_t open_requests; /* begun and neither answered nor gone */

size_t api_open(void)
{
    return open_requests;
}

static struct metric *count_series(const struct endpoint *e, int status)
{
    char text[16];
    snprintf(text, sizeof text, "%d", status);
    struct metric_label labels[] = { { "method", e->route ? e->route->method : "" },
                                     { "route", e->route ? e->route->pattern : "" },
                                     { "status", text } };
    return metrics_series(&requests, labels, 3);
}

static void count(struct endpoint *e, int status)
{
    if (!e->count) {
        e->status = status;
        e->count = count_series(e, status);
    }
    metric_add(status == e->status ? e->count : count_series(e, status), 1);
}

void dispatch_answered(struct http_request *r, int status)
{
    struct endpoint *e = (struct endpoint *)(uintptr_t)r->route;
    uint64_t us = (r->end_us ? r->end_us : clock_us()) - r->begin_us;
    r->user = NULL;
    open_requests--;
    count(e, status);
    if (!e->seconds)
        e->seconds = metrics_series(
            &seconds,
            (struct metric_label[]){ { "method", e->route ? e->route->method : "" },
                                     { "route", e->route ? e->route->pattern : "" } },
            2);
    metric_observe(&seconds, e->seconds, (double)us / 1e6);
    log_debug("answer", LOG_S("request_id", r->request_id), LOG_S("method", r->method),
              LOG_B("target", buf_bytes(&r->target)), LOG_I("status", status), LOG_U("us", us));
}

/* ---- routes ------------------------------------------------------------------------------------- */

/* Matches path against pattern; "{}" takes one segment that is not empty, or what is left of ':'
 * where the pattern has that. */
static bool match(const char *pattern, struct bytes path, struct bytes *params)
{
    const char *p = path.data, *end = p + path.len;
    size_t n = 0;
    while (*pattern) {
        if (pattern[0] == '{') {
            const char *stop = p;
            while (stop < end && *stop != '/' && *stop != pattern[2])
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

/* allow: gets the methods that the path knows. */
static struct endpoint *find_endpoint(const char *method, struct bytes path, struct buf *allow)
{
    struct bytes params[API_PARAMS_MAX];
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    if (!endpoints_count)
        fill_endpoints();
    for (struct endpoint *e = endpoints + 1; e < endpoints + endpoints_count; e++) {
        if (!match(e->route->pattern, path, params))
            continue;
        if (strcmp(e->route->method, wanted) == 0)
            return e;
        buf_append_str(allow, allow->len ? ", " : "");
        buf_append_str(allow, e->route->method);
    }
    return endpoints;
}

/* RFC 9112 section 3.2.2: "http://host/path" means "/path". */
static struct bytes origin_form(struct bytes target)
{
    const char *p = target.data, *end = p + target.len;
    if (target.len && *p == '/')
        return target;
    const char *authority = memmem(p, target.len, "://", 3);
    const char *path = authority ? memchr(authority + 3, '/', (size_t)(end - authority - 3)) : NULL;
    return path ? bytes_of(path, (size_t)(end - path)) : target;
}

static struct bytes split_target(const struct http_request *r, struct bytes *query)
{
    struct bytes target = origin_form(buf_bytes(&r->target));
    const char *begin = target.data;
    const char *mark = target.len ? memchr(begin, '?', target.len) : NULL;
    size_t len = mark ? (size_t)(mark - begin) : target.len;
    *query = mark ? bytes_of(mark + 1, target.len - len - 1) : bytes_of(NULL, 0);
    if (len > 1 && begin[len - 1] == '/')
        len--; /* "/v2/" is "/v2" */
    return bytes_of(begin, len);
}

static void no_route(struct http_request *r, const struct buf *allow, struct bytes path)
{
    if (!allow->len) {
        api_error(r, STATUS_NOT_FOUND, "there is nothing at %.*s",
                  (int)(path.len < 200 ? path.len : 200), (const char *)path.data);
        return;
    }
    struct buf body = { 0 };
    char methods[64];
    snprintf(methods, sizeof methods, "%.*s", (int)allow->len, (const char *)allow->data);
    api_add_header(r, "allow", methods);
    buf_printf(&body, "{\"error\":\"%s is not allowed here; use %s\"}", r->method, methods);
    api_json(r, 405, &body);
}

/* Calls the handler, with the parameters of the path decoded. */
static void call_handler(struct gateway *g, struct http_request *r, bool stream,
                         struct parsed_body *parsed, uint64_t now_us)
{
    const struct route *route = ((const struct endpoint *)r->route)->route;
    struct call c = { .gateway = g, .http = r, .parsed = parsed, .now_us = now_us };
    char text[API_PARAMS_MAX][PARAM_MAX];
    struct bytes path = split_target(r, &c.query);
    bool matches = match(route->pattern, path, c.params);
    assert(matches); /* it did when the header came */
    for (size_t i = 0; i < API_PARAMS_MAX && c.params[i].data; i++) {
        int len = api_decode(c.params[i], text[i], sizeof text[i]);
        if (len < 0) {
            api_error(r, STATUS_INVALID, "a part of the path is too long, or has a NUL");
            return;
        }
        c.params[i] = bytes_of(text[i], (size_t)len);
    }
    (stream ? route->stream : route->handle)(&c);
}

static void handle(struct gateway *g, struct http_request *r)
{
    call_handler(g, r, false, NULL, clock_us());
}

void dispatch_again(struct gateway *g, struct http_request *r, struct parsed_body *parsed)
{
    r->user = NULL;
    call_handler(g, r, false, parsed, clock_us());
}

/* ---- events of the HTTP server -------------------------------------------------------------------- */

static void begin(void *arg, struct http_request *r)
{
    struct buf allow = { 0 };
    struct bytes query, path = split_target(r, &query);
    const struct endpoint *e = find_endpoint(r->method, path, &allow);
    open_requests++;
    r->route = e;
    if (!e->route && r->has_body)
        no_route(r, &allow, path);
    else if (r->has_body && !encoding_none(r->encoding) &&
             (!encoding_known(r->encoding) || e->route->stream))
        api_error(r, STATUS_UNSUPPORTED,
                  "the content-encoding '%s' is not supported here; send it plain", r->encoding);
    else if (e->route && e->route->stream)
        call_handler(arg, r, true, NULL, r->begin_us);
    buf_finish(&allow);
}

static void complete(void *arg, struct http_request *r)
{
    struct buf allow = { 0 };
    struct bytes query;
    struct pending *p = r->user;
    if (r->stream) {
        if (p)
            p->complete(p);
    } else if (((const struct endpoint *)r->route)->route) {
        if (r->body.len && !encoding_none(r->encoding))
            encoding_decode(arg, r, handle);
        else
            call_handler(arg, r, false, NULL, r->begin_us);
    } else {
        struct bytes path = split_target(r, &query);
        find_endpoint(r->method, path, &allow);
        no_route(r, &allow, path);
        buf_finish(&allow);
    }
}

static void body(void *arg, struct http_request *r, struct bytes piece)
{
    struct pending *p = r->user;
    (void)arg;
    if (p)
        p->body(p, piece);
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

static void drained(void *arg, struct http_request *r)
{
    struct pending *p = r->user;
    (void)arg;
    p->drained(p);
}

static void refused(void *arg, int status)
{
    (void)arg;
    count(endpoints, status);
}

const struct http_events dispatch_events = {
    .begin = begin,
    .body = body,
    .complete = complete,
    .gone = gone,
    .refused = refused,
    .drained = drained,
};
