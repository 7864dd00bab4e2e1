/* oip.c - the Open Inference Protocol v2, REST, with JSON tensors. */
#include "services/gateway/api/infer.h"

#include <stdio.h>

#define PLATFORM_ONNX "onnxruntime_onnx"

/* ---- server ------------------------------------------------------------------------------------ */

static void server_metadata(struct call *c)
{
    struct buf out = { 0 };
    buf_append_str(&out, "{\"name\":\"maas\",\"version\":\"" MAAS_VERSION "\",\"extensions\":[]}");
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
    bool ready = replica_synced(c->gateway->replica) && !gateway_draining(c->gateway);
    struct buf out = { 0 };
    buf_printf(&out, "{\"live\":true,\"ready\":%s}", ready ? "true" : "false");
    api_json(c->http, ready ? 200 : 503, &out);
}

/* ---- models ------------------------------------------------------------------------------------ */

/* The version in the path, 0 for the plain name.  false: it has been answered. */
static bool path_version(struct call *c, uint32_t *version)
{
    struct error err;
    *version = 0;
    if (!c->params[1].data || !api_version(c->params[1], version, &err))
        return true;
    api_error(c->http, err.status, "%s", err.text);
    return false;
}

static void model_metadata(struct call *c)
{
    struct buf out = { 0 };
    uint32_t version;
    struct catalog_model *m = api_model(c);
    if (!m || !path_version(c, &version))
        return;
    if (!version)
        version = route_serving(c->gateway, m);
    const struct msg_version *v = catalog_version(m, version);
    if (!v) {
        api_error(c->http, STATUS_NOT_FOUND,
                  version ? "model '%s' has no version %u" : "no version of model '%s' is deployed",
                  m->name, version);
        return;
    }
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_append_str(&out, ",\"versions\":[");
    for (uint32_t n = 1, some = 0; n <= m->versions_count; n++)
        if (catalog_version(m, n))
            buf_printf(&out, "%s\"%u\"", some++ ? "," : "", n);
    buf_append_str(&out, "],");
    api_put_string(&out, "platform",
                   bytes_equal_str(v->format, "onnx") ? bytes_str(PLATFORM_ONNX) : v->format);
    api_put_tensors(&out, "inputs", v->inputs, v->inputs_count);
    api_put_tensors(&out, "outputs", v->outputs, v->outputs_count);
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

static void model_ready(struct call *c)
{
    struct buf out = { 0 };
    uint32_t version;
    struct catalog_model *m = api_model(c);
    if (!m || !path_version(c, &version))
        return;
    if (!version)
        version = route_serving(c->gateway, m);
    struct lane *l = queue_find_lane(&c->gateway->queue, bytes_str(m->name), version);
    bool ready = l && lane_engines(l) > 0;
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_printf(&out, ",\"ready\":%s}", ready ? "true" : "false");
    api_json(c->http, ready ? 200 : 503, &out);
}

/* ---- infer ------------------------------------------------------------------------------------- */

static enum status write_output(const struct outcome *o, size_t i, struct buf *out,
                                struct error *err)
{
    const struct msg_tensor *t = &o->outputs[i];
    buf_append_str(out, "{");
    api_put_string(out, "name", t->name);
    buf_printf(out,
               ",\"datatype\":\"%s\",\"shape\":", datatype_name(datatype_from_wire(t->datatype)));
    shape_text(t->shape.at, t->shape.count, out);
    buf_append_str(out, ",\"data\":");
    enum status st = tensor_to_json(out, datatype_from_wire(t->datatype), t->shape.at,
                                    t->shape.count, o->data[i], false, err);
    buf_append_str(out, "}");
    return st;
}

static enum status write_answer(struct infer_call *call, const struct outcome *o, struct buf *out,
                                struct error *err)
{
    enum status st = STATUS_OK;
    size_t count = call->named ? call->wanted_count : o->outputs_count;
    buf_append_str(out, "{");
    api_put_string(out, "model_name", bytes_str(lane_model(call->inference->lane)));
    buf_printf(out, ",\"model_version\":\"%u\",", lane_version(call->inference->lane));
    if (call->id[0]) {
        api_put_string(out, "id", bytes_str(call->id));
        buf_append_str(out, ",");
    }
    buf_append_str(out, "\"outputs\":[");
    for (size_t i = 0; i < count && !st; i++) {
        size_t index = call->named ? call->wanted[i] : i;
        buf_append_str(out, i ? "," : "");
        if (index < o->outputs_count)
            st = write_output(o, index, out, err);
    }
    buf_append_str(out, "]}");
    return st;
}

static enum status read_shape(yyjson_val *list, const char *where, int64_t shape[MAX_RANK],
                              size_t *rank, struct error *err)
{
    size_t i, max;
    yyjson_val *d;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_RANK)
        return error_set(err, STATUS_INVALID, "%s.shape must be an array of at most %d dimensions",
                         where, MAX_RANK);
    yyjson_arr_foreach(list, i, max, d)
    {
        if (!yyjson_is_uint(d) || yyjson_get_uint(d) > INT64_MAX)
            return error_set(err, STATUS_INVALID, "%s.shape[%zu] is not a dimension", where, i);
        shape[i] = (int64_t)yyjson_get_uint(d);
    }
    *rank = yyjson_arr_size(list);
    return STATUS_OK;
}

/* The member of the request's inputs with this name. */
static yyjson_val *find_named(yyjson_val *list, struct bytes name, size_t *index)
{
    size_t i, max;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, max, v)
    {
        yyjson_val *is = yyjson_obj_get(v, "name");
        *index = i;
        if (yyjson_is_str(is) &&
            bytes_equal(bytes_of(yyjson_get_str(is), yyjson_get_len(is)), name))
            return v;
    }
    return NULL;
}

static enum status take_input(struct infer_call *call, yyjson_val *inputs, size_t i,
                              struct error *err)
{
    const struct msg_tensor *want = &lane_signature(call->lane)->inputs[i];
    const char *type = datatype_name(datatype_from_wire(want->datatype));
    char where[48], data_where[64];
    int64_t shape[MAX_RANK];
    size_t rank = 0, index;
    yyjson_val *in = find_named(inputs, want->name, &index);
    if (!in)
        return error_set(err, STATUS_INVALID, "input '%.*s' is missing", (int)want->name.len,
                         (const char *)want->name.data);
    snprintf(where, sizeof where, "inputs[%zu]", index);
    snprintf(data_where, sizeof data_where, "%s.data", where);
    yyjson_val *is = yyjson_obj_get(in, "datatype");
    if (!yyjson_is_str(is) || !datatype_parse(bytes_of(yyjson_get_str(is), yyjson_get_len(is))))
        return error_set(err, STATUS_INVALID, "%s.datatype is missing or unknown", where);
    if (strcmp(yyjson_get_str(is), type) != 0)
        return error_set(err, STATUS_INVALID, "%s.datatype is %s, but input '%.*s' takes %s", where,
                         yyjson_get_str(is), (int)want->name.len, (const char *)want->name.data,
                         type);
    enum status st = read_shape(yyjson_obj_get(in, "shape"), where, shape, &rank, err);
    if (st)
        return st;
    if (!yyjson_obj_get(in, "data"))
        return error_set(err, STATUS_INVALID, "%s.data is missing", where);
    return infer_input(call, i, yyjson_obj_get(in, "data"), shape, rank, data_where, err);
}

static enum status take_inputs(struct infer_call *call, yyjson_val *inputs, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    enum status st = STATUS_OK;
    if (!yyjson_is_arr(inputs))
        return error_set(err, STATUS_INVALID, "\"inputs\" must be an array of tensors");
    if (yyjson_arr_size(inputs) != s->inputs_count)
        return error_set(err, STATUS_INVALID, "the request has %zu inputs; the model takes %zu",
                         yyjson_arr_size(inputs), s->inputs_count);
    for (size_t i = 0; i < s->inputs_count && !st; i++)
        st = take_input(call, inputs, i, err);
    return st;
}

static enum status take_outputs(struct infer_call *call, yyjson_val *outputs, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    size_t i, max, k;
    yyjson_val *v;
    if (!outputs || yyjson_is_null(outputs))
        return STATUS_OK;
    if (!yyjson_is_arr(outputs) || yyjson_arr_size(outputs) > OUTPUTS_NAMED_MAX)
        return error_set(err, STATUS_INVALID, "\"outputs\" must be an array of at most %d outputs",
                         OUTPUTS_NAMED_MAX);
    call->named = yyjson_arr_size(outputs) > 0;
    yyjson_arr_foreach(outputs, i, max, v)
    {
        yyjson_val *name = yyjson_obj_get(v, "name");
        if (!yyjson_is_str(name))
            return error_set(err, STATUS_INVALID, "outputs[%zu].name is missing", i);
        struct bytes text = bytes_of(yyjson_get_str(name), yyjson_get_len(name));
        for (k = 0; k < s->outputs_count && !bytes_equal(s->outputs[k].name, text); k++)
            ;
        if (k == s->outputs_count)
            return error_set(err, STATUS_INVALID, "outputs[%zu]: the model has no output '%.64s'",
                             i, yyjson_get_str(name));
        for (size_t n = 0; n < call->wanted_count; n++)
            if (call->wanted[n] == k)
                return error_set(err, STATUS_INVALID, "output '%.64s' is asked for twice",
                                 yyjson_get_str(name));
        call->wanted[call->wanted_count++] = k;
    }
    return STATUS_OK;
}

static enum status take_id(struct infer_call *call, yyjson_val *root, struct error *err)
{
    struct bytes id;
    enum status st = api_string(root, "id", &id, err);
    if (!st && bytes_copy_str(id, call->id, sizeof call->id))
        st = error_set(err, STATUS_INVALID, "\"id\" may have %d bytes", MAX_NAME);
    return st;
}

static void infer(struct call *c)
{
    struct error err;
    uint32_t version;
    if (!path_version(c, &version))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    yyjson_val *root = yyjson_doc_get_root(doc);
    struct infer_call *call = infer_begin(c, c->params[0], version, write_answer);
    if (call) {
        enum status st = take_id(call, root, &err);
        if (!st)
            st = take_outputs(call, yyjson_obj_get(root, "outputs"), &err);
        if (!st)
            st = take_inputs(call, yyjson_obj_get(root, "inputs"), &err);
        if (st)
            infer_fail(call, &err);
        else
            infer_submit(call);
    }
    yyjson_doc_free(doc);
}

const struct route oip_routes[] = {
    { "GET", "/v2", server_metadata, NULL },
    { "GET", "/v2/health/live", live, NULL },
    { "GET", "/v2/health/ready", server_ready, NULL },
    { "GET", "/v2/models/{}", model_metadata, NULL },
    { "GET", "/v2/models/{}/ready", model_ready, NULL },
    { "POST", "/v2/models/{}/infer", infer, NULL },
    { "GET", "/v2/models/{}/versions/{}", model_metadata, NULL },
    { "GET", "/v2/models/{}/versions/{}/ready", model_ready, NULL },
    { "POST", "/v2/models/{}/versions/{}/infer", infer, NULL },
    { 0 },
};
