/* kserve.c - the KServe v1 protocol, which is TensorFlow Serving's REST API.
 *
 *     {"instances": [row, ...]}             rows; of a model with several inputs, objects
 *     {"instances": {"input": [...], ...}}  columns, and so
 *     {"inputs": ...}                       which TensorFlow Serving answers with "outputs"
 *
 * Facts: kserve/kserve docs/predict-api/v1; TensorFlow Serving, RESTful API.
 */
#include "services/gateway/api/infer.h"
#include "services/gateway/api/oip.h"

#include <stdio.h>

/* ---- models -------------------------------------------------------------------------------------- */

static void list_models(struct call *c)
{
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    struct buf out = { 0 };
    size_t some = 0;
    if (!api_catalog(c))
        return;
    buf_append_str(&out, "{\"models\":[");
    for (size_t i = 0; i < catalog->count; i++) {
        if (!catalog->models[i]->deployment.version)
            continue;
        buf_append_str(&out, some++ ? "," : "");
        json_string(&out, bytes_str(catalog->models[i]->name));
    }
    buf_append_str(&out, "]}");
    api_json(c->http, 200, &out);
}

static void alive(struct call *c)
{
    struct buf out = { 0 };
    buf_append_str(&out, "{\"status\":\"alive\"}");
    api_json(c->http, 200, &out);
}

/* A model that is there, but not deployed, is not ready: 503, not 404. */
static void model_status(struct call *c)
{
    struct buf out = { 0 };
    uint32_t version;
    struct catalog_model *m = api_model(c);
    if (!m || !oip_version(c, &version))
        return;
    bool named = version;
    if (!named)
        version = route_serving(c->gateway, m);
    if (named && !catalog_version(m, version)) {
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, version);
        return;
    }
    bool ready = route_ready(c->gateway, m, version);
    buf_append_str(&out, "{");
    api_put_string(&out, "name", bytes_str(m->name));
    buf_printf(&out, ",\"ready\":%s,\"model_version_status\":[", ready ? "true" : "false");
    if (version)
        buf_printf(&out,
                   "{\"version\":\"%u\",\"state\":\"%s\","
                   "\"status\":{\"error_code\":\"OK\",\"error_message\":\"\"}}",
                   version, ready ? "AVAILABLE" : "LOADING");
    buf_append_str(&out, "]}");
    api_json(c->http, ready ? 200 : 503, &out);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

/* Where the next row of each output begins. */
struct places {
    size_t at[MAX_TENSORS];
};

/* The next row of an output, or all of it where there is one row only. */
static enum status write_row(const struct outcome *o, size_t output, uint64_t rows,
                             struct places *places, struct buf *out, struct error *err)
{
    const struct msg_tensor *t = &o->outputs[output];
    enum datatype type = datatype_from_wire(t->datatype);
    struct bytes data = o->data[output];
    size_t skip = t->shape.count && (uint64_t)t->shape.at[0] == rows ? 1 : 0;
    if (skip)
        data = tensor_cut(type, t->shape.at, t->shape.count, data, 1, &places->at[output]);
    return tensor_to_json(out, type, t->shape.at + skip, t->shape.count - skip, data, true, err);
}

/* Written once for each row, an output without rows would be as large as a client likes. */
static enum status check_rows(const struct outcome *o, uint64_t rows, struct error *err)
{
    for (size_t i = 0; i < o->outputs_count && rows > 1; i++) {
        const struct msg_tensor *t = &o->outputs[i];
        if (!t->shape.count || (uint64_t)t->shape.at[0] != rows)
            return error_set(err, STATUS_INVALID,
                             "output '%.*s' has no row for each instance; ask by columns, with "
                             "\"inputs\" in place of \"instances\"",
                             (int)t->name.len, (const char *)t->name.data);
    }
    return STATUS_OK;
}

static enum status write_rows(const struct outcome *o, uint64_t rows, struct buf *out,
                              struct error *err)
{
    struct places places = { 0 };
    enum status st = check_rows(o, rows, err);
    if (st)
        return st;
    buf_append_str(out, "[");
    for (uint64_t i = 0; i < rows && !st; i++) {
        buf_append_str(out, i ? "," : "");
        if (o->outputs_count == 1) {
            st = write_row(o, 0, rows, &places, out, err);
            continue;
        }
        for (size_t k = 0; k < o->outputs_count && !st; k++) {
            buf_append_str(out, k ? "," : "{");
            json_string(out, o->outputs[k].name);
            buf_append_str(out, ":");
            st = write_row(o, k, rows, &places, out, err);
        }
        buf_append_str(out, "}");
    }
    buf_append_str(out, "]");
    return st;
}

static enum status write_columns(const struct outcome *o, struct buf *out, struct error *err)
{
    enum status st = STATUS_OK;
    for (size_t k = 0; k < o->outputs_count && !st; k++) {
        const struct msg_tensor *t = &o->outputs[k];
        if (o->outputs_count > 1) {
            buf_append_str(out, k ? "," : "{");
            json_string(out, t->name);
            buf_append_str(out, ":");
        }
        st = tensor_to_json(out, datatype_from_wire(t->datatype), t->shape.at, t->shape.count,
                            o->data[k], true, err);
    }
    buf_append_str(out, o->outputs_count > 1 ? "}" : "");
    return st;
}

static enum status write_predictions(const struct infer_call *call, const struct outcome *o,
                                     struct infer_answer *a, struct error *err)
{
    struct buf *out = &a->text;
    buf_append_str(out, "{\"predictions\":");
    enum status st =
        call->columns ? write_columns(o, out, err) : write_rows(o, (uint64_t)call->rows, out, err);
    buf_append_str(out, ",\"model_name\":");
    json_string(out, bytes_str(lane_model(call->lane)));
    buf_printf(out, ",\"model_version\":\"%u\"}", lane_version(call->lane));
    return st;
}

static enum status write_outputs(const struct infer_call *call, const struct outcome *o,
                                 struct infer_answer *a, struct error *err)
{
    buf_append_str(&a->text, "{\"outputs\":");
    enum status st = write_columns(o, &a->text, err);
    (void)call;
    buf_append_str(&a->text, "}");
    return st;
}

/* ---- the request --------------------------------------------------------------------------------- */

static enum status take_column(struct infer_call *call, size_t i, yyjson_val *data,
                               const char *where, struct error *err)
{
    int64_t shape[MAX_RANK];
    size_t rank;
    enum status st = tensor_json_shape(data, shape, &rank, err);
    return st ? st : infer_json(call, i, data, shape, rank, where, err);
}

static enum status take_columns(struct infer_call *call, yyjson_val *columns, const char *name,
                                struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    char where[MAX_NAME + 32];
    if (!yyjson_is_obj(columns)) {
        if (s->inputs_count == 1)
            return take_column(call, 0, columns, name, err);
        return error_set(err, STATUS_INVALID,
                         "the model has %zu inputs: \"%s\" must be an object by their names",
                         s->inputs_count, name);
    }
    for (size_t i = 0; i < s->inputs_count; i++) {
        struct bytes input = s->inputs[i].name;
        yyjson_val *data = yyjson_obj_getn(columns, input.data, input.len);
        snprintf(where, sizeof where, "%s.%.*s", name, (int)input.len, (const char *)input.data);
        if (!data)
            return error_set(err, STATUS_INVALID, "%s is missing", where);
        enum status st = take_column(call, i, data, where, err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

/* One row of one input, behind those that came before. */
static enum status add_row(struct infer_call *call, size_t i, yyjson_val *row, int64_t *shape,
                           size_t *rank, const char *where, struct buf *data, struct error *err)
{
    const struct msg_tensor *want = &lane_signature(call->lane)->inputs[i];
    int64_t row_shape[MAX_RANK];
    size_t row_rank;
    struct frame f;
    enum status st = tensor_json_shape(row, row_shape, &row_rank, err);
    if (st)
        return st;
    if (!shape[0]) {
        memcpy(shape + 1, row_shape, row_rank * sizeof *shape);
        *rank = row_rank + 1;
    } else if (row_rank + 1 != *rank ||
               memcmp(shape + 1, row_shape, row_rank * sizeof *shape) != 0) {
        return error_set(err, STATUS_INVALID, "%s has another shape than the row before", where);
    }
    shape[0]++;
    st = tensor_from_json(row, datatype_from_wire(want->datatype), row_shape, row_rank, where, &f,
                          err);
    if (st)
        return st;
    buf_append_bytes(data, frame_bytes(&f));
    frame_finish(&f);
    return STATUS_OK;
}

/* One input out of the rows, each an object of inputs. */
static enum status gather(struct infer_call *call, size_t i, yyjson_val *rows, struct error *err)
{
    struct bytes input = lane_signature(call->lane)->inputs[i].name;
    int64_t shape[MAX_RANK + 1] = { 0 };
    size_t rank = 1, n, max;
    struct buf data = { 0 };
    enum status st = STATUS_OK;
    yyjson_val *row;
    buf_reserve(&data, 1);
    yyjson_arr_foreach(rows, n, max, row)
    {
        char where[MAX_NAME + 48];
        snprintf(where, sizeof where, "instances[%zu].%.*s", n, (int)input.len,
                 (const char *)input.data);
        yyjson_val *v = yyjson_obj_getn(row, input.data, input.len);
        st = v ? add_row(call, i, v, shape, &rank, where, &data, err)
               : error_set(err, STATUS_INVALID, "%s is missing", where);
        if (st)
            break;
    }
    struct frame whole;
    size_t len = data.len;
    frame_init_buf(&whole, &data);
    if (!st && rank > MAX_RANK)
        st = error_set(err, STATUS_INVALID, "instances are nested deeper than %d", MAX_RANK);
    if (!st)
        st = infer_binary(call, i, &whole, 0, len, shape, rank, "instances", err);
    frame_finish(&whole);
    return st;
}

static enum status take_rows(struct infer_call *call, yyjson_val *rows, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    enum status st = STATUS_OK;
    if (!yyjson_is_obj(yyjson_arr_get_first(rows))) {
        if (s->inputs_count == 1)
            return take_column(call, 0, rows, "instances", err);
        return error_set(err, STATUS_INVALID,
                         "the model has %zu inputs: each instance must be an object by their names",
                         s->inputs_count);
    }
    for (size_t i = 0; i < s->inputs_count && !st; i++)
        st = gather(call, i, rows, err);
    return st;
}

static enum status take(struct infer_call *call, yyjson_val *root, struct error *err)
{
    yyjson_val *instances = yyjson_obj_get(root, "instances");
    yyjson_val *inputs = yyjson_obj_get(root, "inputs");
    if (yyjson_is_arr(instances))
        return take_rows(call, instances, err);
    call->columns = true;
    if (instances)
        return take_columns(call, instances, "instances", err);
    return inputs ? take_columns(call, inputs, "inputs", err)
                  : error_set(err, STATUS_INVALID, "\"instances\" is missing");
}

static void predict(struct call *c)
{
    uint32_t version;
    if (!oip_version(c, &version))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    bool rows = yyjson_obj_get(yyjson_doc_get_root(doc), "instances");
    struct infer_call *call =
        infer_begin(c, c->params[0], version, rows ? write_predictions : write_outputs);
    if (call)
        infer_take(call, take, doc);
    else
        yyjson_doc_free(doc);
}

const struct route kserve_routes[] = {
    { "GET", "/", alive, NULL },
    { "POST", "/v1/models/{}:predict", predict, NULL },
    { "POST", "/v1/models/{}/versions/{}:predict", predict, NULL },
    { "GET", "/v1/models", list_models, NULL },
    { "GET", "/v1/models/{}", model_status, NULL },
    { "GET", "/v1/models/{}/versions/{}", model_status, NULL },
    { 0 },
};
