/* ops.c - for those who run the suite: health, readiness, processes. */
#include "services/gateway/api/dispatch.h"

#include <stdio.h>

/* ---- health ------------------------------------------------------------------------------------ */

static void healthz(struct call *c)
{
    struct buf out = { 0 };
    buf_printf(&out, "{\"status\":\"ok\",\"registry\":%s}",
               replica_live(c->gateway->replica) ? "true" : "false");
    api_json(c->http, 200, &out);
}

static void answer_ready(struct call *c, bool ready, const char *why, const char *model)
{
    struct buf out = { 0 };
    buf_printf(&out, "{\"ready\":%s", ready ? "true" : "false");
    if (!ready)
        buf_printf(&out, ",\"error\":\"%s%s\"", why, model);
    buf_append_str(&out, "}");
    if (!ready)
        api_add_header(c->http, "retry-after", "1");
    api_json(c->http, ready ? 200 : 503, &out);
}

static void readyz(struct call *c)
{
    struct gateway *g = c->gateway;
    const struct catalog_model *m = NULL;
    char name[MAX_NAME * 2];
    bool one = !api_query(c, "model", name, sizeof name);
    if (gateway_draining(g)) {
        answer_ready(c, false, "the gateway is draining", "");
        return;
    }
    if (!replica_synced(g->replica)) {
        answer_ready(c, false, "the catalog has not come yet", "");
        return;
    }
    if (one && !(m = catalog_find(replica_catalog(g->replica), bytes_str(name)))) {
        api_error(c->http, STATUS_NOT_FOUND, "there is no model '%s'", name);
        return;
    }
    if (!one)
        m = route_unready(g);
    else if (route_ready(g, m, route_serving(g, m)))
        m = NULL;
    if (m) {
        answer_ready(c, false, "no engine serves ", m->name);
        return;
    }
    answer_ready(c, true, "", "");
}

/* ---- processes --------------------------------------------------------------------------------- */

static void put_engine(struct buf *out, const struct msg_engine *e)
{
    buf_append_str(out, "{");
    api_put_string(out, "model", e->model);
    buf_printf(out,
               ",\"version\":\"%u\",\"state\":\"%s\",\"pid\":%u,\"rss_bytes\":%llu,"
               "\"restarts\":%u",
               e->version, engine_state_name(e->state), e->pid, (unsigned long long)e->rss_bytes,
               e->restarts);
    if (e->reason.len) {
        buf_append_str(out, ",");
        api_put_string(out, "reason", e->reason);
    }
    buf_append_str(out, "}");
}

static void put_process(struct buf *out, const struct msg_process *p)
{
    buf_append_str(out, "{");
    api_put_string(out, "id", p->id);
    buf_append_str(out, ",");
    api_put_string(out, "host", p->host);
    buf_printf(out, ",\"pid\":%u", p->pid);
    if (p->role == ROLE_WORKER) {
        buf_append_str(out, ",");
        api_put_string(out, "pool", p->pool);
        buf_append_str(out, ",\"engines\":[");
        for (size_t i = 0; i < p->engines_count; i++) {
            buf_append_str(out, i ? "," : "");
            put_engine(out, &p->engines[i]);
        }
        buf_append_str(out, "]");
        buf_printf(out, ",\"memory_bytes\":%llu,\"memory_budget_bytes\":%llu,\"on_demand\":%u",
                   (unsigned long long)p->memory_bytes, (unsigned long long)p->memory_budget_bytes,
                   p->on_demand);
    }
    if (p->training.len) {
        buf_append_str(out, ",");
        api_put_string(out, "training", p->training);
    }
    buf_append_str(out, "}");
}

static void put_role(struct buf *out, const struct msg_suite *suite, enum role role)
{
    size_t some = 0;
    for (size_t i = 0; i < suite->processes_count; i++) {
        if (suite->processes[i].role != (uint32_t)role)
            continue;
        buf_append_str(out, some++ ? "," : "");
        put_process(out, &suite->processes[i]);
    }
}

static void workers(struct call *c)
{
    static const struct {
        const char *name;
        enum role role;
    } groups[] = { { "workers", ROLE_WORKER },
                   { "trainers", ROLE_TRAINER },
                   { "gateways", ROLE_GATEWAY },
                   { "registries", ROLE_REGISTRY } };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        buf_printf(&out, "%s\"%s\":[", i ? "," : "{", groups[i].name);
        put_role(&out, suite_view_get(c->gateway->suite), groups[i].role);
        buf_append_str(&out, "]");
    }
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

const struct route ops_routes[] = {
    { "GET", "/healthz", healthz, NULL },
    { "GET", "/readyz", readyz, NULL },
    { "GET", "/api/workers", workers, NULL },
    { 0 },
};
