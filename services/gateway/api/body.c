/* body.c - JSON bodies.  A large one is parsed on a pool thread; then its handler is called once
 * more, with what was parsed.
 */
#include "services/gateway/api/dispatch.h"

#include <stdlib.h>

struct parsed_body {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http; /* NULL: the client has gone */
    struct buf text;           /* the request's body, while it is being parsed */
    size_t len;                /* of the JSON in it */
    yyjson_doc *doc;
    yyjson_read_err err;
};

static void on_gone(struct pending *p)
{
    ((struct parsed_body *)p)->http = NULL; /* the thread still works: on_parsed frees */
}

static void parse(void *arg) /* pool thread */
{
    struct parsed_body *p = arg;
    p->doc = yyjson_read_opts((char *)p->text.data, p->len, 0, NULL, &p->err);
}

static void on_parsed(void *arg)
{
    struct parsed_body *p = arg;
    if (p->http) {
        p->http->body = p->text;
        p->text = (struct buf){ 0 };
        dispatch_again(p->gateway, p->http, p);
    }
    yyjson_doc_free(p->doc); /* NULL when the handler has taken it */
    buf_finish(&p->text);
    free(p);
}

static void start_parsing(struct call *c, size_t len)
{
    struct parsed_body *p = mem_zalloc(sizeof *p);
    p->base.gone = on_gone;
    p->gateway = c->gateway;
    p->http = c->http;
    p->len = len;
    p->text = c->http->body;
    c->http->body = (struct buf){ 0 };
    c->http->user = &p->base;
    loop_work(c->gateway->loop, parse, on_parsed, p);
}

static yyjson_doc *read_json(struct call *c, size_t len, yyjson_read_err *err)
{
    if (!c->parsed)
        return yyjson_read_opts((char *)c->http->body.data, len, 0, NULL, err);
    yyjson_doc *doc = c->parsed->doc;
    c->parsed->doc = NULL;
    *err = c->parsed->err;
    return doc;
}

yyjson_doc *api_json_body(struct call *c, size_t len)
{
    yyjson_read_err err;
    if (!len) {
        api_error(c->http, STATUS_INVALID, "the body is not JSON: it is empty");
        return NULL;
    }
    if (!c->parsed && len > API_INLINE_BYTES) {
        start_parsing(c, len);
        return NULL;
    }
    yyjson_doc *doc = read_json(c, len, &err);
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

yyjson_doc *api_body(struct call *c)
{
    return api_json_body(c, c->http->body.len);
}
