/* api.c - what all protocols share: answers, parts of requests, questions to the registry. */
#include "services/gateway/api/api.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/gateway/api/catch_up.h"
#include "services/gateway/api/dispatch.h"
#include "services/gateway/tensor_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define LOG_EVERY_MS 1000 /* at most, of failures that come in floods */

/* ---- answers ---------------------------------------------------------------------------------- */

void api_json(struct http_request *r, int status, struct buf *body)
{
    dispatch_answered(r, status);
    http_respond(r, status, NULL, body);
}

void api_parts(struct http_request *r, const char *content_type, struct buf *text,
               struct frame *parts, size_t count)
{
    dispatch_answered(r, 200);
    http_respond_parts(r, 200, content_type, text, parts, count);
}

void api_text(struct http_request *r, const char *content_type, struct buf *body)
{
    dispatch_answered(r, 200);
    http_respond(r, 200, content_type, body);
}

void api_add_header(struct http_request *r, const char *name, const char *value)
{
    buf_append_str(&r->headers, name);
    buf_append_str(&r->headers, ": ");
    buf_append_str(&r->headers, value);
    buf_append_str(&r->headers, "\r\n");
}

/* Our own failures are logged, each; those that the state of the suite explains, now and then. */
static void log_failure(const struct http_request *r, enum status st, const char *text)
{
    static uint64_t last_ms, left_out;
    bool ours = st == STATUS_INTERNAL || st == STATUS_CORRUPT || st == STATUS_POISON ||
                st == STATUS_IO || st == STATUS_FULL;
    if (!ours && st != STATUS_UNAVAILABLE && st != STATUS_TIMEOUT)
        return;
    if (!ours && clock_ms() - last_ms < LOG_EVERY_MS) {
        left_out++;
        return;
    }
    log_warn("request failed", LOG_S("request_id", r->request_id),
             LOG_B("target", buf_bytes(&r->target)), LOG_I("status", status_http(st)),
             LOG_S("error", text), LOG_U("left_out", left_out));
    if (!ours) {
        last_ms = clock_ms();
        left_out = 0;
    }
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
        buf_printf(&r->headers, "retry-after: %u\r\n", r->retry_after_s ? r->retry_after_s : 1);
    if (st == STATUS_POISON)
        api_add_header(r, "x-should-retry", "false");
    log_failure(r, st, text);
    buf_append_str(&body, "{\"error\":");
    json_string(&body, bytes_str(text));
    buf_append_str(&body, "}");
    api_json(r, status_http(st), &body);
}

/* ---- streamed answers ------------------------------------------------------------------------- */

bool api_stream_begin(struct http_request *r, int status, const char *content_type, uint64_t length)
{
    if (strcmp(r->method, "HEAD") == 0)
        dispatch_answered(r, status);
    r->stream_status = status;
    return http_stream_begin(r, status, content_type, length);
}

bool api_stream_write(struct http_request *r, struct frame *piece)
{
    return http_stream_write(r, piece);
}

void api_stream_end(struct http_request *r)
{
    dispatch_answered(r, r->stream_status);
    http_stream_end(r);
}

void api_stream_abort(struct http_request *r, const struct error *err)
{
    log_failure(r, err->status, err->text);
    dispatch_answered(r, status_http(err->status));
    http_stream_abort(r);
}

/* ---- requests --------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* plus: what stands for a space in the query, as forms and most clients write it. */
static int decode(struct bytes in, bool plus, char *out, size_t size)
{
    const char *p = in.data;
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = p[i];
        if (c == '%' && i + 2 < in.len && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            c = (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (n + 1 >= size || c == 0)
            return -1;
        out[n++] = c;
    }
    out[n] = 0;
    return (int)n;
}

int api_decode(struct bytes in, char *out, size_t size)
{
    return decode(in, false, out, size);
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
            return decode(bytes_of(p, (size_t)(stop - p)), true, out, size) < 0 ? STATUS_INVALID
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

static bool is_number(struct bytes text)
{
    const char *p = text.data;
    size_t digits = 0;
    while (digits < text.len && p[digits] >= '0' && p[digits] <= '9')
        digits++;
    return digits == text.len;
}

enum status api_version_of(struct gateway *g, struct bytes model, struct bytes text, uint32_t *out,
                           struct error *err)
{
    if (is_number(text))
        return api_version(text, out, err);
    if (name_check(text, "the version's number or alias", err))
        return err->status;
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), model);
    if (!m)
        return error_set(err, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)model.len,
                         (const char *)model.data);
    *out = catalog_alias(m, text);
    return *out ? STATUS_OK
                : error_set(err, STATUS_NOT_FOUND, "model '%s' has no alias '%.*s'", m->name,
                            (int)text.len, (const char *)text.data);
}

bool api_user(struct call *c, struct bytes *who)
{
    struct error err;
    *who = bytes_str(c->http->who[0] ? c->http->who : "api");
    if (!name_check(*who, "X-User", &err))
        return true;
    api_error(c->http, err.status, "%s", err.text);
    return false;
}

enum status api_timeout(const struct http_request *r, uint64_t *ms, struct error *err)
{
    const char *text = r->timeout_ms;
    char *end;
    if (!text[0])
        return STATUS_OK;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end || text[0] < '0' || text[0] > '9' || n == 0)
        return error_set(err, STATUS_INVALID,
                         "X-Request-Timeout-Ms is \"%s\", which is no number of milliseconds",
                         text);
    *ms = n < REQUEST_MS_MAX ? n : REQUEST_MS_MAX;
    return STATUS_OK;
}

enum status api_key(const struct http_request *r, char key[MAX_NAME + 1], struct error *err)
{
    struct bytes own = bytes_str(r->idempotency_key);
    const char *text = own.data;
    uint64_t random = 0;
    if (own.len >= 2 && text[0] == '"' && text[own.len - 1] == '"')
        own = bytes_of(text + 1, own.len - 2); /* a string as in RFC 8941 */
    if (bytes_equal_str(own, "?"))
        return error_set(err, STATUS_INVALID, "Idempotency-Key has more than %zu bytes",
                         sizeof r->idempotency_key - 1);
    if (r->idempotency_key[0]) {
        if (name_check(own, "Idempotency-Key", err))
            return err->status;
        snprintf(key, MAX_NAME + 1, "c-%.*s", (int)own.len, (const char *)own.data);
        return STATUS_OK;
    }
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = clock_wall_ms();
    snprintf(key, MAX_NAME + 1, "g%016llx%llx", (unsigned long long)random,
             (unsigned long long)clock_us());
    return STATUS_OK;
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

bool api_catalog(struct call *c)
{
    if (replica_synced(c->gateway->replica))
        return true;
    api_error(c->http, STATUS_UNAVAILABLE,
              "the catalog has not come from the registry yet; try again");
    return false;
}

bool api_model_named(struct call *c)
{
    struct error err;
    if (!name_check(c->params[0], "the model's name", &err))
        return true;
    api_error(c->http, err.status, "%s", err.text);
    return false;
}

struct catalog_model *api_model(struct call *c)
{
    if (!api_catalog(c))
        return NULL;
    struct catalog_model *m = catalog_find(replica_catalog(c->gateway->replica), c->params[0]);
    if (!m)
        api_error(c->http, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)c->params[0].len,
                  (const char *)c->params[0].data);
    return m;
}

/* ---- pieces ----------------------------------------------------------------------------------- */

void api_put_string(struct buf *out, const char *name, struct bytes value)
{
    buf_printf(out, "\"%s\":", name);
    json_string(out, value);
}

void api_put_tensors(struct buf *out, const char *name, const struct msg_tensor *list, size_t count)
{
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i ? ",{" : "{");
        api_put_string(out, "name", list[i].name);
        buf_printf(out, ",\"datatype\":\"%s\",\"shape\":",
                   datatype_name(datatype_from_wire(list[i].datatype)));
        shape_text(list[i].shape.at, list[i].shape.count, out);
        buf_append_str(out, "}");
    }
    buf_append_str(out, "]");
}

void api_put_digest(struct buf *out, struct bytes digest)
{
    char hex[DIGEST_HEX_SIZE] = "";
    struct digest d;
    if (digest.len == DIGEST_SIZE) {
        memcpy(d.byte, digest.data, DIGEST_SIZE);
        digest_hex(&d, hex);
    }
    buf_printf(out, "\"digest\":\"%s\"", hex);
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
    struct rpc_call *call; /* NULL: it was answered */
    api_reply_fn *fn;
    struct catch_up catch_up; /* the answer, which is there, waits */
    int status;
    struct buf answer;
};

static void ask_gone(struct pending *p)
{
    struct ask *a = (struct ask *)p;
    rpc_cancel(a->call);
    catch_up_finish(&a->catch_up);
    buf_finish(&a->answer);
    free(a);
}

static void answer_ask(void *arg)
{
    struct ask *a = arg;
    api_json(a->http, a->status, &a->answer);
    free(a);
}

static void on_reply(void *arg, const struct rpc_reply *reply)
{
    struct ask *a = arg;
    struct http_request *r = a->http;
    a->call = NULL;
    if (!reply->status) {
        a->status = a->fn(a->gateway, r, reply, &a->answer);
        if (!catch_up_wait(&a->catch_up, a->gateway, reply, answer_ask, a))
            answer_ask(a);
        return;
    }
    if (reply->status == STATUS_CANCELLED)
        api_error(r, STATUS_UNAVAILABLE, "the gateway is stopping");
    else
        api_error(r, reply->status, "%s", reply->text);
    free(a);
}

void api_ask(struct call *c, enum msg_kind kind, const void *body, api_reply_fn *fn)
{
    struct ask *a = mem_alloc(sizeof *a);
    *a = (struct ask){
        .base = { .gone = ask_gone }, .gateway = c->gateway, .http = c->http, .fn = fn
    };
    c->http->user = &a->base;
    a->call = rpc_call(c->gateway->registry, kind, body, NULL, RPC_TIMEOUT_MS, on_reply, a);
    if (!a->call) {
        free(a);
        api_error(c->http, STATUS_BUSY, "too many requests wait for the registry; try again");
    }
}
