/* hold.c - requests that wait for the first load of their model; see hold.h. */
#include "services/gateway/api/hold.h"

#include "services/gateway/api/dispatch.h"
#include "services/gateway/hosts.h"

#include <stdlib.h>
#include <utlist.h>

struct held {
    struct pending base;
    struct held *next, *prev;
    struct gateway *gateway;
    struct http_request *http;
    char model[MAX_NAME + 1];
    uint32_t version;
    uint64_t deadline_ms;
};

/* Takes it off the list; the request is somebody else's from now on. */
static struct http_request *release(struct held *h)
{
    struct http_request *http = h->http;
    DL_DELETE(h->gateway->held, h);
    h->gateway->held_count--;
    free(h);
    return http;
}

static void on_gone(struct pending *p)
{
    release((struct held *)p);
}

static uint32_t version_of(const struct held *h)
{
    struct gateway *g = h->gateway;
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), bytes_str(h->model));
    return h->version ? h->version : m ? route_serving(g, m) : 0;
}

static void want(const struct held *h)
{
    hosts_want(h->gateway->hosts, bytes_str(h->model), version_of(h));
}

void hold_request(struct call *c, struct bytes model, uint32_t version)
{
    struct gateway *g = c->gateway;
    uint64_t timeout_ms = g->config->timeout_ms;
    struct error err;
    if (api_timeout(c->http, &timeout_ms, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (g->held_count >= HELD_MAX) {
        api_error(c->http, STATUS_BUSY, "%zu requests wait for models that are loading already",
                  g->held_count);
        return;
    }
    struct held *h = mem_zalloc(sizeof *h);
    h->base.gone = on_gone;
    h->gateway = g;
    h->http = c->http;
    h->version = version;
    h->deadline_ms = c->http->begin_us / 1000 + timeout_ms;
    if (bytes_copy_str(model, h->model, sizeof h->model))
        h->model[0] = 0; /* cannot be: the catalog has this name */
    DL_APPEND(g->held, h);
    g->held_count++;
    c->http->user = &h->base;
    g->changed = true; /* so that the turn watches its deadline */
    want(h);
}

void hold_want(struct gateway *g)
{
    struct held *h;
    DL_FOREACH(g->held, h)
    want(h);
}

void hold_retry(struct gateway *g)
{
    struct held *h, *next;
    struct error err;
    struct routed to;
    DL_FOREACH_SAFE(g->held, h, next)
    {
        const struct route_ask ask = { bytes_str(h->model), h->version, h->http };
        if (!route_find(g, &ask, &to, &err) || !to.loading)
            dispatch_again(g, release(h), NULL);
    }
}

static void give_up(struct held *h)
{
    struct gateway *g = h->gateway;
    uint32_t version = version_of(h);
    struct suite_engines view = suite_engines(g->suite, bytes_str(h->model), version);
    api_error(h->http, STATUS_UNAVAILABLE,
              "version %u of '%s' was not loaded within the deadline%s%.*s", version, h->model,
              view.reason.len ? ": " : "", (int)view.reason.len, (const char *)view.reason.data);
}

uint64_t hold_expire(struct gateway *g, uint64_t now_ms)
{
    struct held *h, *next;
    uint64_t first = 0;
    DL_FOREACH_SAFE(g->held, h, next)
    {
        if (h->deadline_ms <= now_ms) {
            h->http->user = NULL;
            give_up(h);
            release(h);
        } else if (!first || h->deadline_ms < first) {
            first = h->deadline_ms;
        }
    }
    return first;
}
