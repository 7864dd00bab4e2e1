/* oip_models.c - Open Inference Protocol v2, extensions that tell of models: configuration,
 * statistics, repository.
 *
 * To load a model is to deploy its newest version that can be loaded, unless one is deployed; to
 * unload it is to deploy none.  Both are answered once they are on record; requests that come
 * before an engine is there wait for it.
 */
#include "common/base/clock.h"
#include "services/gateway/api/oip.h"
#include "services/gateway/api/show.h"

/* ---- configuration ----------------------------------------------------------------------------- */

/* Triton's names of datatypes are ours, but for strings. */
static void put_config_tensors(struct buf *out, const char *name, const struct msg_tensor *list,
                               size_t count, bool batched)
{
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        enum datatype type = datatype_from_wire(list[i].datatype);
        size_t skip = batched && list[i].shape.count ? 1 : 0;
        buf_append_str(out, i ? ",{" : "{");
        api_put_string(out, "name", list[i].name);
        buf_printf(out, ",\"data_type\":\"TYPE_%s\",\"dims\":",
                   type == DT_BYTES ? "STRING" : datatype_name(type));
        shape_text(list[i].shape.at + skip, list[i].shape.count - skip, out);
        buf_append_str(out, "}");
    }
    buf_append_str(out, "]");
}

static void config(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m;
    const struct msg_version *v = oip_model(c, &m);
    if (!v)
        return;
    const struct msg_version known = show_known(c->gateway, v);
    struct lane *l = queue_find_lane(&c->gateway->queue, v->model, v->number);
    uint32_t max_batch = !known.batchable ? 0 : l && lane_max_batch(l) ? lane_max_batch(l) : 1;
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_append_str(&out, ",");
    api_put_string(&out, "platform",
                   bytes_equal_str(v->format, "onnx") ? bytes_str(OIP_PLATFORM_ONNX) : v->format);
    buf_append_str(&out, ",");
    api_put_string(&out, "backend",
                   bytes_equal_str(v->format, "onnx") ? bytes_str("onnxruntime") : v->format);
    buf_printf(&out, ",\"version_policy\":{\"specific\":{\"versions\":[%u]}},\"max_batch_size\":%u",
               v->number, max_batch);
    put_config_tensors(&out, "input", known.inputs, known.inputs_count, known.batchable);
    put_config_tensors(&out, "output", known.outputs, known.outputs_count, known.batchable);
    buf_append_str(&out, ",\"instance_group\":[{\"name\":");
    json_string(&out, bytes_str(m->name));
    buf_printf(&out, ",\"kind\":\"KIND_CPU\",\"count\":%zu}]", l ? lane_engines(l) : 0);
    if (known.batchable)
        buf_printf(&out,
                   ",\"dynamic_batching\":{\"max_queue_delay_microseconds\":%u,"
                   "\"priority_levels\":%d,\"default_priority_level\":%d}",
                   l ? lane_delay_us(l) : 0, PRIORITY_CLASSES, PRIORITY_DEFAULT);
    buf_append_str(&out, ",\"model_transaction_policy\":{\"decoupled\":false},"
                         "\"response_cache\":{\"enable\":false}}");
    api_json(c->http, 200, &out);
}

/* ---- statistics -------------------------------------------------------------------------------- */

static void put_duration(struct buf *out, const char *name, uint64_t count, uint64_t us)
{
    buf_printf(out, "\"%s\":{\"count\":%llu,\"ns\":%llu}", name, (unsigned long long)count,
               (unsigned long long)us * 1000);
}

static void put_batches(struct buf *out, const struct lane_counts *n)
{
    size_t some = 0;
    for (size_t i = 0; i < n->batches_count; i++) {
        const struct lane_batch *b = &n->batches[i];
        if (!b->jobs)
            continue;
        buf_printf(out, "%s{\"batch_size\":%zu,", some++ ? "," : "", i + 1);
        put_duration(out, "compute_input", b->jobs, b->transfer_us);
        buf_append_str(out, ",");
        put_duration(out, "compute_infer", b->jobs, b->compute_us);
        buf_append_str(out, ",");
        put_duration(out, "compute_output", b->jobs, 0);
        buf_append_str(out, "}");
    }
}

static void put_batch_ends(struct buf *out, const struct lane_counts *n)
{
    static const char *const names[] = {
#define X(name, text) [BATCH_##name] = text,
        BATCH_END_LIST(X)
#undef X
    };
    for (size_t i = 0; i < BATCH_ENDS; i++)
        buf_printf(out, "%s\"%s\":%llu", i ? "," : "", names[i], (unsigned long long)n->ends[i]);
}

static void put_engine_memory(struct buf *out, size_t n, const struct msg_engine *e)
{
    buf_printf(out, "%s{\"type\":\"CPU\",\"id\":%zu,\"byte_size\":%llu}", n ? "," : "", n,
               (unsigned long long)e->rss_bytes);
}

/* The engines' resident memory, as their workers have reported it. */
static void put_memory(struct gateway *g, struct buf *out, const struct msg_version *v)
{
    const struct msg_suite *suite = suite_view_get(g->suite);
    size_t some = 0;
    for (size_t p = 0; p < suite->processes_count; p++) {
        const struct msg_process *process = &suite->processes[p];
        for (size_t i = 0; i < process->engines_count; i++) {
            const struct msg_engine *e = &process->engines[i];
            if (e->version == v->number && bytes_equal(e->model, v->model))
                put_engine_memory(out, some++, e);
        }
    }
}

static void put_stats(struct gateway *g, struct buf *out, const struct msg_version *v)
{
    static const struct lane_counts nothing;
    struct lane *l = queue_find_lane(&g->queue, v->model, v->number);
    const struct lane_counts *n = l ? lane_counts(l) : &nothing;
    uint64_t refused = 0, ago_ms = (clock_us() - n->last_us) / 1000;
    for (size_t i = 0; i < REFUSALS; i++)
        refused += n->refused[i];
    buf_append_str(out, "{");
    api_put_string(out, "name", v->model);
    buf_printf(out,
               ",\"version\":\"%u\",\"last_inference\":%llu,\"inference_count\":%llu,"
               "\"execution_count\":%llu,\"inference_stats\":{",
               v->number, n->last_us ? (unsigned long long)(clock_wall_ms() - ago_ms) : 0ull,
               (unsigned long long)n->rows, (unsigned long long)n->jobs);
    put_duration(out, "success", n->succeeded, n->succeeded_us);
    buf_append_str(out, ",");
    put_duration(out, "fail", n->failed + refused, n->failed_us);
    buf_append_str(out, ",");
    put_duration(out, "queue", n->succeeded, n->queue_us);
    buf_append_str(out, ",");
    put_duration(out, "compute_input", n->succeeded, n->transfer_us);
    buf_append_str(out, ",");
    put_duration(out, "compute_infer", n->succeeded, n->compute_us);
    buf_append_str(out, ",");
    put_duration(out, "compute_output", n->succeeded, n->answer_us);
    buf_append_str(out, ",\"cache_hit\":{\"count\":0,\"ns\":0},\"cache_miss\":{\"count\":0,"
                        "\"ns\":0}},\"response_stats\":{},\"batch_stats\":[");
    put_batches(out, n);
    buf_printf(out, "],\"queue\":{\"waiting\":%zu,\"oldest_ms\":%llu,\"expected_ms\":%llu},",
               l ? lane_waiting(l) : 0,
               l && lane_oldest_us(l) ? (unsigned long long)(clock_us() - lane_oldest_us(l)) / 1000
                                      : 0ull,
               l ? (unsigned long long)lane_wait_us(l) / 1000 : 0ull);
    buf_append_str(out, "\"batch_ends\":{");
    put_batch_ends(out, n);
    buf_append_str(out, "},\"memory_usage\":[");
    put_memory(g, out, v);
    buf_append_str(out, "]}");
}

static void all_stats(struct call *c)
{
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    struct buf out = { 0 };
    size_t some = 0;
    if (!api_catalog(c))
        return;
    buf_append_str(&out, "{\"model_stats\":[");
    for (size_t i = 0; i < catalog->count; i++) {
        const struct catalog_model *m = catalog->models[i];
        const struct msg_version *v = catalog_version(m, route_serving(c->gateway, m));
        if (!v)
            continue;
        buf_append_str(&out, some++ ? "," : "");
        put_stats(c->gateway, &out, v);
    }
    buf_append_str(&out, "]}");
    api_json(c->http, 200, &out);
}

static void stats(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m;
    const struct msg_version *v = oip_model(c, &m);
    if (!v)
        return;
    buf_append_str(&out, "{\"model_stats\":[");
    put_stats(c->gateway, &out, v);
    buf_append_str(&out, "]}");
    api_json(c->http, 200, &out);
}

/* ---- repository -------------------------------------------------------------------------------- */

/* What a version is to Triton's clients, and why. */
static const char *state_of(struct gateway *g, const struct catalog_model *m,
                            const struct msg_version *v, struct bytes *reason)
{
    struct lane *l = queue_find_lane(&g->queue, v->model, v->number);
    bool wanted = deployment_uses(&m->deployment, v->number);
    *reason = v->reason;
    if (l && lane_engines(l))
        return wanted ? "READY" : "UNLOADING";
    if (v->check == CHECK_FAILED || !wanted)
        return "UNAVAILABLE";
    return route_ready(g, m, v->number) ? "READY" : "LOADING";
}

static void put_index(struct gateway *g, struct buf *out, const struct catalog_model *m,
                      bool ready_only, size_t *some)
{
    for (uint32_t n = 1; n <= m->versions_count; n++) {
        const struct msg_version *v = catalog_version(m, n);
        struct bytes reason;
        const char *state = v ? state_of(g, m, v, &reason) : "";
        if (!v || (ready_only && strcmp(state, "READY") != 0))
            continue;
        buf_append_str(out, (*some)++ ? ",{" : "{");
        api_put_string(out, "name", v->model);
        buf_printf(out, ",\"version\":\"%u\",\"state\":\"%s\",", n, state);
        api_put_string(out, "reason", reason);
        buf_append_str(out, "}");
    }
}

static void repository_index(struct call *c)
{
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    struct buf out = { 0 };
    size_t some = 0;
    bool ready_only = false;
    if (c->http->body.len) {
        yyjson_doc *doc = api_body(c);
        if (!doc)
            return;
        ready_only = yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(doc), "ready"));
        yyjson_doc_free(doc);
    }
    if (!api_catalog(c))
        return;
    buf_append_str(&out, "[");
    for (size_t i = 0; i < catalog->count; i++)
        put_index(c->gateway, &out, catalog->models[i], ready_only, &some);
    buf_append_str(&out, "]");
    api_json(c->http, 200, &out);
}

static int answer_repository(struct gateway *g, struct http_request *r,
                             const struct rpc_reply *reply, struct buf *out)
{
    struct msg_deployment d = *(const struct msg_deployment *)reply->body;
    (void)r;
    replica_put(g->replica, &(struct msg_catalog){ .deployments = &d, .deployments_count = 1 });
    buf_append_str(out, "{");
    api_put_string(out, "name", d.model);
    buf_printf(out, ",\"%s\":true}", d.version ? "load" : "unload");
    return 200;
}

/* The version that a load deploys; 0: none can be. */
static uint32_t choose_version(const struct catalog_model *m)
{
    if (m->deployment.version)
        return m->deployment.version;
    for (size_t n = m->versions_count; n > 0; n--) {
        const struct msg_version *v = catalog_version(m, n);
        if (v && v->check != CHECK_FAILED)
            return v->number;
    }
    return 0;
}

/* A load may bring a model along, which is not how models come here. */
static bool brings_files(struct call *c)
{
    yyjson_doc *doc = c->http->body.len ? api_body(c) : NULL;
    if (c->http->body.len && !doc)
        return true; /* answered */
    yyjson_val *parameters = yyjson_obj_get(yyjson_doc_get_root(doc), "parameters");
    bool brings = yyjson_is_obj(parameters) && yyjson_obj_get(parameters, "config");
    yyjson_doc_free(doc);
    if (brings)
        api_error(c->http, STATUS_INVALID,
                  "a model is not loaded from a request; POST it to /api/models/NAME/versions");
    return brings;
}

static void repository_load(struct call *c)
{
    if (brings_files(c))
        return;
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    struct msg_deploy ref = { .model = bytes_str(m->name), .version = choose_version(m) };
    ref.traffic = m->deployment.traffic; /* what is deployed stays as it is */
    ref.traffic_count = m->deployment.traffic_count;
    if (!api_user(c, &ref.process))
        return;
    if (ref.version)
        api_ask(c, MSG_DEPLOY, &ref, answer_repository);
    else
        api_error(c->http, STATUS_CONFLICT, "no version of '%s' can be loaded", m->name);
}

static void repository_unload(struct call *c)
{
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    struct msg_deploy ref = { .model = bytes_str(m->name) };
    if (api_user(c, &ref.process))
        api_ask(c, MSG_DEPLOY, &ref, answer_repository);
}

const struct route oip_model_routes[] = {
    { "GET", "/v2/models/stats", all_stats, NULL },
    { "GET", "/v2/models/{}/stats", stats, NULL },
    { "GET", "/v2/models/{}/versions/{}/stats", stats, NULL },
    { "GET", "/v2/models/{}/config", config, NULL },
    { "GET", "/v2/models/{}/versions/{}/config", config, NULL },
    { "POST", "/v2/repository/index", repository_index, NULL },
    { "POST", "/v2/repository/models/{}/load", repository_load, NULL },
    { "POST", "/v2/repository/models/{}/unload", repository_unload, NULL },
    { 0 },
};
