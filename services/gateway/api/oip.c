/* oip.c - the Open Inference Protocol v2, REST: server, models, and the table of its routes. */
#include "services/gateway/api/oip.h"
#include "services/gateway/api/show.h"

/* ---- server ------------------------------------------------------------------------------------ */

static void server_metadata(struct call *c)
{
    struct buf out = { 0 };
    buf_append_str(&out, "{\"name\":\"maas\",\"version\":\"" MAAS_VERSION "\",\"extensions\":["
                         "\"binary_tensor_data\",\"classification\",\"model_configuration\","
                         "\"model_repository\",\"parameters\",\"schedule_policy\","
                         "\"statistics\"]}");
    api_json(c->http, 200, &out);
}

static void live(struct call *c)
{
    struct buf out = { 0 };
    buf_append_str(&out, "{\"live\":true}");
    api_json(c->http, 200, &out);
}

static void server_ready(struct call *c)
{
    struct gateway *g = c->gateway;
    bool ready = replica_synced(g->replica) && !gateway_draining(g) && !route_unready(g);
    struct buf out = { 0 };
    buf_printf(&out, "{\"live\":true,\"ready\":%s}", ready ? "true" : "false");
    api_json(c->http, ready ? 200 : 503, &out);
}

/* ---- models ------------------------------------------------------------------------------------ */

bool oip_version(struct call *c, uint32_t *version)
{
    struct error err;
    *version = 0;
    if (!c->params[1].data ||
        !api_version_of(c->gateway, c->params[0], c->params[1], version, &err))
        return true;
    api_error(c->http, err.status, "%s", err.text);
    return false;
}

const struct msg_version *oip_model(struct call *c, struct catalog_model **model)
{
    uint32_t version;
    *model = api_model(c);
    if (!*model || !oip_version(c, &version))
        return NULL;
    if (!version)
        version = route_serving(c->gateway, *model);
    const struct msg_version *v = catalog_version(*model, version);
    if (!v && version)
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", (*model)->name,
                  version);
    else if (!v)
        api_error(c->http, STATUS_NOT_FOUND, "no version of model '%s' is deployed",
                  (*model)->name);
    return v;
}

static void model_metadata(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m;
    const struct msg_version *v = oip_model(c, &m);
    if (!v)
        return;
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_append_str(&out, ",\"versions\":[");
    for (uint32_t n = 1, some = 0; n <= m->versions_count; n++)
        if (catalog_version(m, n))
            buf_printf(&out, "%s\"%u\"", some++ ? "," : "", n);
    buf_append_str(&out, "],");
    api_put_string(&out, "platform",
                   bytes_equal_str(v->format, "onnx") ? bytes_str(OIP_PLATFORM_ONNX) : v->format);
    const struct msg_version known = show_known(c->gateway, v);
    api_put_tensors(&out, "inputs", known.inputs, known.inputs_count);
    api_put_tensors(&out, "outputs", known.outputs, known.outputs_count);
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

static void model_ready(struct call *c)
{
    struct buf out = { 0 };
    uint32_t version;
    struct catalog_model *m = api_model(c);
    if (!m || !oip_version(c, &version))
        return;
    if (version && !catalog_version(m, version)) {
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, version);
        return;
    }
    if (!version)
        version = route_serving(c->gateway, m);
    bool ready = route_ready(c->gateway, m, version);
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_printf(&out, ",\"ready\":%s}", ready ? "true" : "false");
    api_json(c->http, ready ? 200 : 503, &out);
}

/* "stats" is no model here: the table of oip_models.c comes first. */
const struct route oip_routes[] = {
    { "POST", "/v2/models/{}/infer", oip_infer, NULL },
    { "POST", "/v2/models/{}/versions/{}/infer", oip_infer, NULL },
    { "GET", "/v2", server_metadata, NULL },
    { "GET", "/v2/health/live", live, NULL },
    { "GET", "/v2/health/ready", server_ready, NULL },
    { "GET", "/v2/models/{}", model_metadata, NULL },
    { "GET", "/v2/models/{}/ready", model_ready, NULL },
    { "GET", "/v2/models/{}/versions/{}", model_metadata, NULL },
    { "GET", "/v2/models/{}/versions/{}/ready", model_ready, NULL },
    { 0 },
};
