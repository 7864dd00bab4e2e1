/* ops.c - for those who run the suite: health, readiness, processes, metrics. */
#include "common/base/metrics.h"
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

static bool model_ready(struct gateway *g, const struct catalog_model *m)
{
    struct lane *l = queue_find_lane(&g->queue, bytes_str(m->name), route_serving(g, m));
    return l && lane_engines(l) > 0;
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
    const struct catalog *catalog = replica_catalog(g->replica);
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
    if (one && !catalog_find(catalog, bytes_str(name))) {
        api_error(c->http, STATUS_NOT_FOUND, "there is no model '%s'", name);
        return;
    }
    for (size_t i = 0; i < catalog->count; i++) {
        const struct catalog_model *m = catalog->models[i];
        bool asked = one ? strcmp(m->name, name) == 0 : m->deployment.version != 0;
        if (asked && !model_ready(g, m)) {
            answer_ready(c, false, "no engine serves ", m->name);
            return;
        }
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
        buf_append_str(out, ",\"engines\":[");
        for (size_t i = 0; i < p->engines_count; i++) {
            buf_append_str(out, i ? "," : "");
            put_engine(out, &p->engines[i]);
        }
        buf_append_str(out, "]");
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

/* ---- metrics ----------------------------------------------------------------------------------- */

static void put_gauge(struct buf *out, const char *name, const char *help, double value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %.9g\n", name, help, name, name, value);
}

static void put_count(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name,
               (unsigned long long)value);
}

/* Counters of the other processes, as they reported them: family by family. */
static void put_remote(struct buf *out, const struct msg_suite *suite)
{
    for (size_t p = 0; p < suite->processes_count; p++) {
        const struct msg_process *process = &suite->processes[p];
        if (process->role == ROLE_GATEWAY)
            continue; /* each is asked itself */
        for (size_t i = 0; i < process->counters_count; i++) {
            const struct msg_counter *k = &process->counters[i];
            const char *comma = k->labels.len ? "," : "";
            buf_printf(
                out,
                "maas_process_counter{family=\"%.*s\",role=\"%s\",process=\"%.*s\"%s%.*s} %llu\n",
                (int)k->name.len, (const char *)k->name.data, role_name(process->role),
                (int)process->id.len, (const char *)process->id.data, comma, (int)k->labels.len,
                (const char *)k->labels.data, (unsigned long long)k->value);
        }
    }
}

static void put_lanes(struct buf *out, struct gateway *g)
{
    const struct catalog *c = replica_catalog(g->replica);
    buf_append_str(out, "# HELP maas_gateway_queue_depth requests that wait\n"
                        "# TYPE maas_gateway_queue_depth gauge\n");
    for (size_t i = 0; i < c->count; i++) {
        for (uint32_t n = 1; n <= c->models[i]->versions_count; n++) {
            struct lane *l = queue_find_lane(&g->queue, bytes_str(c->models[i]->name), n);
            if (l)
                buf_printf(out, "maas_gateway_queue_depth{model=\"%s\",version=\"%u\"} %zu\n",
                           c->models[i]->name, n, lane_waiting(l));
        }
    }
}

static void metrics(struct call *c)
{
    struct gateway *g = c->gateway;
    struct buf out = { 0 };
    metrics_print(&out);
    put_count(&out, "maas_gateway_jobs_total", "jobs sent to engines", g->queue.jobs_sent);
    put_count(&out, "maas_gateway_job_rows_total", "rows sent to engines", g->queue.rows_sent);
    put_count(&out, "maas_gateway_requeued_total", "requests given to another engine",
              g->queue.requeued);
    put_count(&out, "maas_gateway_poisoned_total", "requests that crashed their model twice",
              g->queue.poisoned);
    put_gauge(&out, "maas_gateway_connections", "open HTTP connections",
              (double)http_connections(g->http));
    put_gauge(&out, "maas_gateway_open_requests", "requests that are not answered yet",
              (double)api_open());
    put_lanes(&out, g);
    buf_append_str(&out, "# HELP maas_process_counter counters of the other processes\n"
                         "# TYPE maas_process_counter counter\n");
    put_remote(&out, suite_view_get(g->suite));
    api_text(c->http, "text/plain; version=0.0.4", &out);
}

const struct route ops_routes[] = {
    { "GET", "/healthz", healthz, NULL },
    { "GET", "/readyz", readyz, NULL },
    { "GET", "/api/workers", workers, NULL },
    { "GET", "/metrics", metrics, NULL },
    { 0 },
};
