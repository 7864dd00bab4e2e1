/* show.c - see show.h. */
#include "services/gateway/api/show.h"

#include "common/base/clock.h"
#include "services/gateway/tensor_json.h"

/* ---- versions ---------------------------------------------------------------------------------- */

struct msg_version show_known(struct gateway *g, const struct msg_version *v)
{
    struct msg_version out = *v;
    struct lane *l = v->inputs_count ? NULL : queue_find_lane(&g->queue, v->model, v->number);
    if (!l)
        return out;
    const struct msg_hello *s = lane_signature(l);
    out.inputs = s->inputs;
    out.inputs_count = s->inputs_count;
    out.outputs = s->outputs;
    out.outputs_count = s->outputs_count;
    out.batchable = lane_max_batch(l) > 1;
    return out;
}

static void put_state(struct gateway *g, struct buf *out, const struct msg_version *v)
{
    struct lane *l = queue_find_lane(&g->queue, v->model, v->number);
    size_t count = l ? lane_engines(l) : 0;
    struct suite_engines view = suite_engines(g->suite, v->model, v->number);
    const char *state = v->check == CHECK_FAILED ? "failed"
                        : count                  ? "ready"
                        : view.loading           ? "loading"
                                                 : "registered";
    buf_printf(out, "\"state\":\"%s\",\"engines\":%zu", state, count);
    struct bytes reason = v->check == CHECK_FAILED ? v->reason : view.reason;
    if (reason.len && !count) {
        buf_append_str(out, ",");
        api_put_string(out, "reason", reason);
    }
}

static void put_files(struct buf *out, const struct msg_version *v)
{
    buf_append_str(out, ",\"files\":[");
    for (size_t i = 0; i < v->files_count; i++) {
        const struct msg_file *f = &v->files[i];
        buf_append_str(out, i ? ",{" : "{");
        api_put_string(out, "name", f->name);
        buf_append_str(out, ",");
        api_put_digest(out, f->digest);
        buf_printf(out, ",\"size\":%llu}", (unsigned long long)f->size_bytes);
    }
    buf_append_str(out, "]");
}

void show_version(struct gateway *g, struct buf *out, const struct msg_version *v, bool whole)
{
    static const char *const checks[] = { "pending", "passed", "failed" };
    char hex[DIGEST_HEX_SIZE] = "";
    struct digest digest;
    if (v->digest.len == DIGEST_SIZE) {
        memcpy(digest.byte, v->digest.data, DIGEST_SIZE);
        digest_hex(&digest, hex);
    }
    buf_printf(out, "{\"version\":\"%u\",", v->number);
    put_state(g, out, v);
    buf_printf(out, ",\"check\":\"%s\",", checks[v->check < 3 ? v->check : 0]);
    api_put_string(out, "format", v->format);
    buf_printf(out, ",\"digest\":\"%s\",\"size\":%llu,", hex, (unsigned long long)v->size_bytes);
    api_put_string(out, "source", v->source);
    buf_append_str(out, ",");
    api_put_time(out, "created", v->created_ms);
    buf_append_str(out, ",");
    api_put_json(out, "metrics", v->metrics, "{}");
    buf_append_str(out, ",");
    api_put_json(out, "tags", v->tags, "{}");
    buf_append_str(out, ",");
    api_put_string(out, "description", v->description);
    if (whole) {
        const struct msg_version known = show_known(g, v);
        buf_append_str(out, ",");
        api_put_json(out, "lineage", v->lineage, "{}");
        buf_printf(out, ",\"batchable\":%s", known.batchable ? "true" : "false");
        put_files(out, v);
        api_put_tensors(out, "inputs", known.inputs, known.inputs_count);
        api_put_tensors(out, "outputs", known.outputs, known.outputs_count);
    }
    buf_append_str(out, "}");
}

/* ---- deployments ------------------------------------------------------------------------------- */

/* Engines that the workers of the pool are to run of each version. */
static size_t wanted_engines(struct gateway *g, const struct msg_deployment *d)
{
    const struct msg_suite *suite = suite_view_get(g->suite);
    size_t workers = 0;
    for (size_t i = 0; i < suite->processes_count; i++)
        workers += suite->processes[i].role == ROLE_WORKER &&
                   bytes_equal(suite->processes[i].pool, deployment_pool(d));
    return workers * (d->instances ? d->instances : 1);
}

/* "version":"7","state":...,"engines":2,"wanted":2 */
static void put_engines(struct gateway *g, struct buf *out, const struct msg_deployment *d,
                        uint32_t version)
{
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), d->model);
    const struct msg_version *v = m ? catalog_version(m, version) : NULL;
    const struct msg_version unknown = { .model = d->model, .number = version };
    buf_printf(out, "\"version\":\"%u\",", version);
    put_state(g, out, v ? v : &unknown);
    buf_printf(out, ",\"wanted\":%zu", wanted_engines(g, d));
}

static uint64_t recent(struct gateway *g, const struct msg_deployment *d, uint32_t version)
{
    struct lane *l = queue_find_lane(&g->queue, d->model, version);
    return l ? lane_recent(l, clock_us()) : 0;
}

/* What has come of this gateway's copies of requests. */
static void put_copies(struct gateway *g, struct buf *out, const struct msg_deployment *d,
                       uint32_t version)
{
    struct shadow_totals t = shadow_totals(g->shadows, d->model, version);
    buf_printf(out,
               ",\"copies\":%llu,\"open\":%llu,\"compared\":%llu,\"failed\":%llu,\"dropped\":%llu,"
               "\"rows\":%llu,\"agreeing\":%llu,\"mean_difference\":",
               (unsigned long long)t.copies, (unsigned long long)t.open,
               (unsigned long long)t.compared, (unsigned long long)t.failed,
               (unsigned long long)t.dropped, (unsigned long long)t.rows,
               (unsigned long long)t.agreeing);
    if (t.outputs)
        buf_printf(out, "%.9g", t.mean_difference);
    else
        buf_append_str(out, "null");
}

/* share: percent of the requests of the last minute that this gateway has had for the deployment. */
static void put_traffic(struct gateway *g, struct buf *out, const struct msg_deployment *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->traffic_count; i++)
        sum += recent(g, d, d->traffic[i].version);
    buf_append_str(out, "\"traffic\":[");
    for (size_t i = 0; i < d->traffic_count; i++) {
        const struct msg_share *s = &d->traffic[i];
        uint64_t count = recent(g, d, s->version);
        buf_append_str(out, i ? ",{" : "{");
        put_engines(g, out, d, s->version);
        buf_printf(out, ",\"weight\":%g,\"requests\":%llu,\"share\":%.2f}",
                   (double)s->weight * 100 / SHARES_WHOLE, (unsigned long long)count,
                   sum ? (double)count * 100 / (double)sum : 0.0);
    }
    buf_append_str(out, "],\"shadow\":[");
    for (size_t i = 0; i < d->shadow.count; i++) {
        buf_append_str(out, i ? ",{" : "{");
        put_engines(g, out, d, (uint32_t)d->shadow.at[i]);
        put_copies(g, out, d, (uint32_t)d->shadow.at[i]);
        buf_append_str(out, "}");
    }
    buf_append_str(out, "],");
}

void show_deployment(struct gateway *g, struct buf *out, const struct msg_deployment *d)
{
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), d->model);
    if (!d->version) {
        buf_append_str(out, "null");
        return;
    }
    buf_printf(out, "{\"version\":\"%u\",\"serving\":\"%u\",", d->version,
               m ? route_serving(g, m) : 0);
    if (d->previous)
        buf_printf(out, "\"previous\":\"%u\",", d->previous);
    if (d->rollout)
        buf_printf(out, "\"rollout\":\"%u\",", d->rollout);
    put_traffic(g, out, d);
    api_put_string(out, "sticky", d->sticky);
    buf_printf(out,
               ",\"instances\":%u,\"max_batch\":%u,\"max_batch_delay_ms\":%u,\"queue_max\":%u,",
               d->instances, d->max_batch, d->max_batch_delay_ms, d->queue_max);
    api_put_string(out, "pool", deployment_pool(d));
    buf_printf(out, ",\"revision\":%llu,", (unsigned long long)d->revision);
    api_put_time(out, "changed", d->changed_ms);
    buf_append_str(out, "}");
}

/* ---- models ------------------------------------------------------------------------------------ */

void show_aliases(struct buf *out, const struct msg_aliases *aliases)
{
    buf_append_str(out, "{");
    for (size_t i = 0; i < aliases->aliases_count; i++) {
        buf_append_str(out, i ? "," : "");
        json_string(out, aliases->aliases[i].name);
        buf_printf(out, ":\"%u\"", aliases->aliases[i].version);
    }
    buf_append_str(out, "}");
}

void show_model(struct gateway *g, struct buf *out, const struct catalog_model *m, bool whole)
{
    size_t some = 0;
    buf_append_str(out, "{");
    api_put_string(out, "name", bytes_str(m->name));
    buf_append_str(out, ",\"deployment\":");
    show_deployment(g, out, &m->deployment);
    buf_append_str(out, ",\"aliases\":");
    show_aliases(out, &m->aliases);
    buf_append_str(out, ",\"versions\":[");
    for (uint32_t n = 1; n <= m->versions_count; n++) {
        const struct msg_version *v = catalog_version(m, n);
        if (!v)
            continue;
        buf_append_str(out, some++ ? "," : "");
        show_version(g, out, v, whole);
    }
    buf_append_str(out, "]}");
}
