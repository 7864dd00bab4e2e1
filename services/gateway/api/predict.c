/* predict.c - POST /predict: rows in, rows out.
 *
 *     {"inputs": [[...], ...]}  ->  {"outputs": [[...], ...], "model": ..., "version": ...}
 *
 * A model with several inputs takes an object {"name": [[...], ...], ...} and one with several
 * outputs answers with such an object.
 */
#include "services/gateway/api/infer.h"

#include <stdio.h>

static enum status write_one(const struct outcome *o, size_t i, struct buf *out, struct error *err)
{
    const struct msg_tensor *t = &o->outputs[i];
    return tensor_to_json(out, datatype_from_wire(t->datatype), t->shape.at, t->shape.count,
                          o->data[i], true, err);
}

static enum status write_answer(const struct infer_call *call, const struct outcome *o,
                                struct infer_answer *answer, struct error *err)
{
    struct buf *out = &answer->text;
    enum status st = STATUS_OK;
    buf_append_str(out, "{\"outputs\":");
    if (o->outputs_count == 1) {
        st = write_one(o, 0, out, err);
    } else {
        for (size_t i = 0; i < o->outputs_count && !st; i++) {
            buf_append_str(out, i ? "," : "{");
            json_string(out, o->outputs[i].name);
            buf_append_str(out, ":");
            st = write_one(o, i, out, err);
        }
        buf_append_str(out, o->outputs_count ? "}" : "{}");
    }
    buf_append_str(out, ",\"model\":");
    json_string(out, bytes_str(lane_model(call->lane)));
    buf_append_str(out, ",\"version\":\"");
    buf_append_uint(out, lane_version(call->lane));
    buf_append_str(out, "\"}");
    return st;
}

static enum status take_input(struct infer_call *call, size_t i, yyjson_val *data,
                              const char *where, struct error *err)
{
    int64_t shape[MAX_RANK];
    size_t rank;
    enum status st = tensor_json_shape(data, shape, &rank, err);
    return st ? st : infer_json(call, i, data, shape, rank, where, err);
}

static enum status take_inputs(struct infer_call *call, yyjson_val *root, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    yyjson_val *inputs = yyjson_obj_get(root, "inputs");
    if (yyjson_is_arr(inputs)) {
        if (s->inputs_count != 1)
            return error_set(
                err, STATUS_INVALID,
                "the model has %zu inputs: \"inputs\" must be an object by their names",
                s->inputs_count);
        return take_input(call, 0, inputs, "inputs", err);
    }
    if (!yyjson_is_obj(inputs))
        return error_set(err, STATUS_INVALID, "\"inputs\" is missing, or no array of rows");
    if (yyjson_obj_size(inputs) != s->inputs_count)
        return error_set(err, STATUS_INVALID, "\"inputs\" names %zu inputs; the model has %zu",
                         yyjson_obj_size(inputs), s->inputs_count);
    for (size_t i = 0; i < s->inputs_count; i++) {
        char where[MAX_NAME + 16];
        yyjson_val *data = yyjson_obj_getn(inputs, s->inputs[i].name.data, s->inputs[i].name.len);
        snprintf(where, sizeof where, "inputs.%.*s", (int)s->inputs[i].name.len,
                 (const char *)s->inputs[i].name.data);
        if (!data)
            return error_set(err, STATUS_INVALID, "%s is missing", where);
        enum status st = take_input(call, i, data, where, err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

/* The model: in the body, in the query, or the only one that is deployed. */
static enum status find_model(struct call *c, yyjson_val *root, char text[MAX_NAME * 2],
                              struct bytes *model, struct error *err)
{
    enum status st = api_string(root, "model", model, err);
    if (st || model->len)
        return st;
    st = api_query(c, "model", text, MAX_NAME * 2);
    if (st == STATUS_INVALID)
        return error_set(err, st, "?model= is too long, or has a NUL");
    if (!st) {
        *model = bytes_str(text);
        return STATUS_OK;
    }
    return route_only_model(c->gateway, model, err);
}

/* ?version=, a number or an alias; 0: the plain name is meant. */
static enum status find_version(struct call *c, struct bytes model, uint32_t *version,
                                struct error *err)
{
    char text[MAX_NAME + 1];
    enum status st = api_query(c, "version", text, sizeof text);
    *version = 0;
    if (st == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (st)
        return error_set(err, st, "?version= is too long, or has a NUL");
    return api_version_of(c->gateway, model, bytes_str(text), version, err);
}

static void predict(struct call *c)
{
    char text[MAX_NAME * 2];
    struct bytes model;
    struct error err;
    uint32_t version;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (find_model(c, root, text, &model, &err) || find_version(c, model, &version, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        yyjson_doc_free(doc);
        return;
    }
    struct infer_call *call = infer_begin(c, model, version, write_answer);
    if (call)
        infer_take(call, take_inputs, doc);
    else
        yyjson_doc_free(doc);
}

const struct route predict_routes[] = { { "POST", "/predict", predict, NULL }, { 0 } };
