/* models.c - /api/models: versions, their state, and what is deployed. */
#include "common/base/clock.h"
#include "services/gateway/api/deployment.h"
#include "services/gateway/api/upload.h"
#include "services/gateway/tensor_json.h"

#include <stdio.h>

/* ---- reading ----------------------------------------------------------------------------------- */

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

static void put_version(struct gateway *g, struct buf *out, const struct msg_version *v, bool whole)
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
    if (whole) {
        buf_append_str(out, ",");
        api_put_json(out, "lineage", v->lineage, "{}");
        buf_append_str(out, ",");
        api_put_json(out, "tags", v->tags, "{}");
        buf_printf(out, ",\"batchable\":%s", v->batchable ? "true" : "false");
        put_files(out, v);
        api_put_tensors(out, "inputs", v->inputs, v->inputs_count);
        api_put_tensors(out, "outputs", v->outputs, v->outputs_count);
    }
    buf_append_str(out, "}");
}

static void put_deployment(struct buf *out, const struct msg_deployment *d, uint32_t serving)
{
    if (!d->version) {
        buf_append_str(out, "\"deployment\":null");
        return;
    }
    buf_printf(out, "\"deployment\":{\"version\":\"%u\",\"serving\":\"%u\",", d->version, serving);
    if (d->previous)
        buf_printf(out, "\"previous\":\"%u\",", d->previous);
    deployment_put_settings(out, d);
    buf_printf(out, "\"revision\":%llu,", (unsigned long long)d->revision);
    api_put_time(out, "changed", d->changed_ms);
    buf_append_str(out, "}");
}

static void put_model(struct gateway *g, struct buf *out, const struct catalog_model *m, bool whole)
{
    size_t some = 0;
    buf_append_str(out, "{");
    api_put_string(out, "name", bytes_str(m->name));
    buf_append_str(out, ",");
    put_deployment(out, &m->deployment, route_serving(g, m));
    buf_append_str(out, ",\"versions\":[");
    for (uint32_t n = 1; n <= m->versions_count; n++) {
        const struct msg_version *v = catalog_version(m, n);
        if (!v)
            continue;
        buf_append_str(out, some++ ? "," : "");
        put_version(g, out, v, whole);
    }
    buf_append_str(out, "]}");
}

static void list_models(struct call *c)
{
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    struct buf out = { 0 };
    if (!api_catalog(c))
        return;
    buf_append_str(&out, "{\"models\":[");
    for (size_t i = 0; i < catalog->count; i++) {
        buf_append_str(&out, i ? "," : "");
        put_model(c->gateway, &out, catalog->models[i], false);
    }
    buf_append_str(&out, "]}");
    api_json(c->http, 200, &out);
}

static void get_model(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    put_model(c->gateway, &out, m, true);
    api_json(c->http, 200, &out);
}

static void get_version(struct call *c)
{
    struct buf out = { 0 };
    struct error err;
    uint32_t number;
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    if (api_version(c->params[1], &number, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    const struct msg_version *v = catalog_version(m, number);
    if (!v) {
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, number);
        return;
    }
    put_version(c->gateway, &out, v, true);
    api_json(c->http, 200, &out);
}

/* ---- deploying --------------------------------------------------------------------------------- */

static int answer_deploy(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                         struct buf *out)
{
    struct msg_deployment d = *(const struct msg_deployment *)reply->body;
    struct msg_catalog put = { .deployments = &d, .deployments_count = 1 };
    (void)r;
    replica_put(g->replica, &put); /* so that a GET right after this shows it */
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), d.model);
    buf_append_str(out, "{");
    api_put_string(out, "model", d.model);
    buf_append_str(out, ",");
    put_deployment(out, &d, m ? route_serving(g, m) : 0);
    buf_append_str(out, "}");
    return 200;
}

static void put_deployment_request(struct call *c)
{
    struct error err = { .status = STATUS_OK };
    struct msg_version_ref ref = { .model = c->params[0] };
    if (name_check(c->params[0], "the model's name", &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    enum status st = deployment_read(yyjson_doc_get_root(doc), &ref, &err);
    yyjson_doc_free(doc);
    if (st)
        api_error(c->http, st, "%s", err.text);
    else
        api_ask(c, MSG_DEPLOY, &ref, answer_deploy);
}

/* ---- uploading --------------------------------------------------------------------------------- */

static void commit(struct body_upload *u, const struct manifest *manifest)
{
    const struct upload_target *t = upload_what(u);
    struct msg_version_commit body = { .key = bytes_str(t->key),
                                       .model = bytes_str(t->name),
                                       .format = bytes_str(t->file),
                                       .digest = bytes_of(manifest->digest.byte, DIGEST_SIZE),
                                       .size_bytes = manifest->size_bytes,
                                       .chunks = buf_bytes(&manifest->chunks),
                                       .source = bytes_str("upload") };
    upload_send_commit(u, MSG_VERSION_COMMIT, &body);
}

/* So that a GET right after the answer shows the version; its event replaces this. */
static void show_at_once(struct gateway *g, const struct upload_target *t, uint32_t number)
{
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), bytes_str(t->name));
    struct digest digest;
    if ((m && catalog_version(m, number)) || digest_parse(bytes_str(t->digest), &digest))
        return;
    struct msg_version v = { .model = bytes_str(t->name),
                             .number = number,
                             .format = bytes_str(t->file),
                             .digest = bytes_of(digest.byte, DIGEST_SIZE),
                             .size_bytes = t->size_bytes,
                             .source = bytes_str("upload"),
                             .created_ms = clock_wall_ms() };
    replica_put(g->replica, &(struct msg_catalog){ .versions = &v, .versions_count = 1 });
}

int upload_answer_version(struct gateway *g, const struct upload_target *t,
                          const struct rpc_reply *reply, struct buf *out)
{
    const struct msg_version *v = reply->body;
    show_at_once(g, t, v->number);
    buf_append_str(out, "{");
    api_put_string(out, "model", bytes_str(t->name));
    buf_printf(out, ",\"version\":\"%u\",\"digest\":\"%s\",\"size\":%llu}", v->number, t->digest,
               (unsigned long long)t->size_bytes);
    return 201;
}

static void upload_version(struct call *c)
{
    struct upload_target target = { .file = "onnx" };
    struct error err;
    char format[MAX_NAME + 1];
    if (name_check(c->params[0], "the model's name", &err) ||
        bytes_copy_str(c->params[0], target.name, sizeof target.name)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (!api_query(c, "format", format, sizeof format))
        memcpy(target.file, format, sizeof target.file);
    if (strcmp(target.file, "onnx") != 0 && strcmp(target.file, "fake") != 0) {
        api_error(c->http, STATUS_UNSUPPORTED, "the format '%s' is unknown; use onnx", target.file);
        return;
    }
    if (c->http->has_length && c->http->content_length == 0) {
        api_error(c->http, STATUS_INVALID, "the body is empty: it must be an ONNX file");
        return;
    }
    upload_begin(c, &target, commit, upload_answer_version);
}

const struct route models_routes[] = {
    { "GET", "/api/models", list_models, NULL },
    { "GET", "/api/models/{}", get_model, NULL },
    { "GET", "/api/models/{}/versions/{}", get_version, NULL },
    { "PUT", "/api/models/{}/deployment", put_deployment_request, NULL },
    { "POST", "/api/models/{}/versions", NULL, upload_version },
    { 0 },
};
