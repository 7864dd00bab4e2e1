/* uploads.c - /api/uploads: files that come in ranges, in any order, through any gateway.
 *
 * All that is known of an upload is with the registry, so a client goes on where it was after any
 * process has died, its own too.  assemble.c makes a version of it.
 */
#include "services/gateway/api/assemble.h"
#include "services/gateway/api/upload.h"
#include "services/gateway/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define BEGIN_BODY_MAX 4096 /* bytes of JSON */
#define GAPS_SHOWN     1000

/* ---- begin -------------------------------------------------------------------------------------- */

static int answer_begun(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                        struct buf *out)
{
    const struct msg_upload *m = reply->body;
    (void)g;
    (void)r;
    buf_append_str(out, "{");
    api_put_string(out, "id", m->id);
    buf_append_str(out, "}");
    return 201;
}

/* Nobody guesses another's. */
static bool make_id(char out[MAX_NAME + 1])
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    snprintf(out, MAX_NAME + 1, "u%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    return true;
}

/* *size: as the body says, or 0. */
static enum status read_size(const struct call *c, uint64_t *size, struct error *err)
{
    yyjson_val *key, *value;
    size_t i, max;
    *size = 0;
    if (!c->http->body.len)
        return STATUS_OK;
    if (c->http->body.len > BEGIN_BODY_MAX)
        return error_set(err, STATUS_TOO_LARGE, "the body says the size, in at most %d bytes",
                         BEGIN_BODY_MAX);
    yyjson_doc *doc = yyjson_read((const char *)c->http->body.data, c->http->body.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    enum status st = STATUS_OK;
    if (!yyjson_is_obj(root))
        st = error_set(err, STATUS_INVALID, "the body must be a JSON object, or empty");
    yyjson_obj_foreach(root, i, max, key, value)
    {
        if (!st && (!yyjson_equals_str(key, "size") || !yyjson_is_uint(value)))
            st = error_set(err, STATUS_INVALID,
                           "\"size\", a number of bytes, is all that may be said");
        *size = yyjson_get_uint(value);
    }
    yyjson_doc_free(doc);
    if (!st && *size > c->gateway->config->max_artifact_bytes)
        st = error_set(err, STATUS_TOO_LARGE, "the upload has %llu bytes; at most %llu are allowed",
                       (unsigned long long)*size,
                       (unsigned long long)c->gateway->config->max_artifact_bytes);
    return st;
}

static void begin_upload(struct call *c)
{
    char id[MAX_NAME + 1];
    struct msg_upload body = { 0 };
    struct error err;
    if (read_size(c, &body.size_bytes, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (!make_id(id)) {
        api_error(c->http, STATUS_INTERNAL, "there is no random number");
        return;
    }
    body.id = bytes_str(id);
    api_ask(c, MSG_UPLOAD_BEGIN, &body, answer_begun);
}

/* ---- ranges ------------------------------------------------------------------------------------- */

static int answer_range(struct gateway *g, const struct upload_target *t,
                        const struct rpc_reply *reply, struct buf *out)
{
    (void)g;
    (void)reply;
    buf_printf(out, "{\"id\":\"%s\",\"offset\":%llu,\"length\":%llu}", t->upload,
               (unsigned long long)t->offset, (unsigned long long)t->size_bytes);
    return 200;
}

static enum status read_offset(const struct call *c, uint64_t *offset, struct error *err)
{
    char text[32], *end = text;
    enum status st = api_query(c, "offset", text, sizeof text);
    *offset = 0;
    if (st == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (!st)
        *offset = strtoull(text, &end, 10);
    if (st || text[0] < '0' || text[0] > '9' || *end || strlen(text) > 19)
        return error_set(err, STATUS_INVALID, "offset must be a number of bytes");
    return STATUS_OK;
}

static void put_range(struct call *c)
{
    struct upload_target target = { 0 };
    uint64_t limit = c->gateway->config->max_artifact_bytes;
    struct error err;
    enum status st = name_check(c->params[0], "the upload's id", &err);
    if (!st && bytes_copy_str(c->params[0], target.upload, sizeof target.upload))
        st = error_set(&err, STATUS_INVALID, "the upload's id is too long");
    if (!st)
        st = read_offset(c, &target.offset, &err);
    if (!st && (target.offset > limit || c->http->content_length > limit - target.offset))
        st =
            error_set(&err, STATUS_TOO_LARGE, "the range ends behind byte %llu, which is the limit",
                      (unsigned long long)limit);
    if (st)
        api_error(c->http, st, "%s", err.text);
    else
        upload_begin(c, &target, NULL, answer_range);
}

/* ---- what there is ------------------------------------------------------------------------------ */

static void put_missing(struct buf *out, const struct buf *list, uint64_t size)
{
    struct gap *gaps = mem_alloc(GAPS_SHOWN * sizeof *gaps);
    size_t count = pieces_missing(list, size, gaps, GAPS_SHOWN);
    buf_append_str(out, "\"missing\":[");
    for (size_t i = 0; i < count && i < GAPS_SHOWN; i++)
        buf_printf(out, "%s{\"offset\":%llu,\"length\":%llu}", i ? "," : "",
                   (unsigned long long)gaps[i].offset, (unsigned long long)gaps[i].length);
    buf_printf(out, "],\"missing_count\":%zu", count);
    free(gaps);
}

static void show(struct http_request *r, const struct upload_state *u)
{
    struct buf out = { 0 };
    uint64_t end = pieces_end(&u->pieces);
    uint64_t size = u->size_bytes ? u->size_bytes : end;
    buf_printf(&out, "{\"id\":\"%s\",", u->id);
    if (u->size_bytes)
        buf_printf(&out, "\"size\":%llu,", (unsigned long long)u->size_bytes);
    else
        buf_append_str(&out, "\"size\":null,");
    if (u->place[0]) {
        const char *colon = strrchr(u->place, ':');
        buf_printf(&out, "\"state\":\"committed\",\"model\":\"%.*s\",\"version\":\"%s\",",
                   (int)(colon - u->place), u->place, colon + 1);
    } else {
        buf_printf(&out, "\"state\":\"open\",\"received\":%llu,",
                   (unsigned long long)pieces_received(&u->pieces));
        put_missing(&out, &u->pieces, size);
        buf_printf(&out, ",\"kept_ms\":%llu,", (unsigned long long)u->left_ms);
    }
    api_put_time(&out, "created", u->created_ms);
    buf_append_str(&out, "}");
    api_json(r, 200, &out);
}

struct question {
    struct pending base;
    struct http_request *http;
    struct upload_look look;
};

static void question_gone(struct pending *p)
{
    struct question *q = (struct question *)p;
    upload_look_finish(&q->look);
    free(q);
}

static void on_looked(void *arg, const struct error *err)
{
    struct question *q = arg;
    if (err)
        api_error(q->http, err->status, "%s", err->text);
    else
        show(q->http, &q->look.state);
    question_gone(&q->base);
}

static void get_upload(struct call *c)
{
    struct error err;
    if (name_check(c->params[0], "the upload's id", &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    struct question *q = mem_zalloc(sizeof *q);
    q->base.gone = question_gone;
    q->http = c->http;
    c->http->user = &q->base;
    upload_look_start(&q->look, c->gateway, c->params[0], on_looked, q);
}

/* ---- giving up ---------------------------------------------------------------------------------- */

static int answer_dropped(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    (void)g;
    (void)r;
    (void)reply;
    buf_append_str(out, "{\"state\":\"dropped\"}");
    return 200;
}

static void drop_upload(struct call *c)
{
    struct msg_name body = { .name = c->params[0] };
    api_ask(c, MSG_UPLOAD_DROP, &body, answer_dropped);
}

const struct route uploads_routes[] = {
    { "POST", "/api/uploads", begin_upload, NULL },
    { "GET", "/api/uploads/{}", get_upload, NULL },
    { "PUT", "/api/uploads/{}", NULL, put_range },
    { "DELETE", "/api/uploads/{}", drop_upload, NULL },
    { "POST", "/api/uploads/{}/commit", assemble_upload, NULL },
    { 0 },
};
