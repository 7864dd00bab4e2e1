/* oip_request.c - Open Inference Protocol v2: an inference request, with JSON and binary tensors.
 *
 * The body is JSON; with the header Inference-Header-Content-Length so many bytes of it are, and
 * behind them come the tensors of the inputs that have binary_data_size, in the request's order.
 * A length of 0 is the raw form: the body is the one input.  Binary tensors stay where they are:
 * their frames are parts of the body's memory.
 */
#include "services/gateway/api/oip.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- parts of the request -------------------------------------------------------------------- */

/* A parameter that is a whole number; absent: *out stays. */
static enum status take_uint(yyjson_val *parameters, const char *name, uint64_t max, uint64_t *out,
                             struct error *err)
{
    yyjson_val *v = yyjson_obj_get(parameters, name);
    if (!v || yyjson_is_null(v))
        return STATUS_OK;
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > max)
        return error_set(err, STATUS_INVALID, "parameters.%s must be a whole number from 0 to %llu",
                         name, (unsigned long long)max);
    *out = yyjson_get_uint(v);
    return STATUS_OK;
}

static enum status take_bool(yyjson_val *parameters, const char *name, bool *out, struct error *err)
{
    yyjson_val *v = yyjson_obj_get(parameters, name);
    if (!v || yyjson_is_null(v))
        return STATUS_OK;
    if (!yyjson_is_bool(v))
        return error_set(err, STATUS_INVALID, "parameters.%s must be true or false", name);
    *out = yyjson_get_bool(v);
    return STATUS_OK;
}

/* The "parameters" of v; NULL: there are none.  INVALID: no object. */
static enum status find_parameters(yyjson_val *v, const char *where, yyjson_val **out,
                                   struct error *err)
{
    *out = yyjson_obj_get(v, "parameters");
    if (yyjson_is_null(*out))
        *out = NULL;
    if (*out && !yyjson_is_obj(*out))
        return error_set(err, STATUS_INVALID, "%sparameters must be an object", where);
    return STATUS_OK;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Where the binary data of each of the request's inputs are. */
struct layout {
    const struct frame *body; /* NULL: the request has no binary part, and binary data no bytes */
    bool binary[MAX_TENSORS];
    size_t offset[MAX_TENSORS];
    size_t len[MAX_TENSORS];
};

/* KServe's client writes "data": null beside binary_data_size 0. */
static bool has_data(yyjson_val *input)
{
    yyjson_val *data = yyjson_obj_get(input, "data");
    return data && !yyjson_is_null(data);
}

static enum status find_size(yyjson_val *input, const char *where, bool *binary, uint64_t *len,
                             struct error *err)
{
    yyjson_val *parameters;
    enum status st = find_parameters(input, "inputs[].", &parameters, err);
    if (st)
        return st;
    yyjson_val *size = yyjson_obj_get(parameters, "binary_data_size");
    *binary = size && !yyjson_is_null(size);
    if (!*binary)
        return STATUS_OK;
    if (!yyjson_is_uint(size))
        return error_set(err, STATUS_INVALID,
                         "%s.parameters.binary_data_size must be a whole number", where);
    if (has_data(input))
        return error_set(err, STATUS_INVALID, "%s has both data and binary_data_size", where);
    *len = yyjson_get_uint(size);
    return STATUS_OK;
}

static enum status plan_layout(yyjson_val *inputs, const struct frame *body, size_t json_len,
                               struct layout *plan, struct error *err)
{
    size_t i, max, at = json_len, end = body ? frame_bytes(body).len : 0;
    yyjson_val *input;
    plan->body = body;
    yyjson_arr_foreach(inputs, i, max, input)
    {
        char where[48];
        uint64_t len = 0;
        snprintf(where, sizeof where, "inputs[%zu]", i);
        enum status st = find_size(input, where, &plan->binary[i], &len, err);
        if (st)
            return st;
        if (!plan->binary[i])
            continue;
        if (!body && len)
            return error_set(err, STATUS_INVALID,
                             "%s has binary_data_size, but the request has no header "
                             "Inference-Header-Content-Length",
                             where);
        if (len > end - at)
            return error_set(err, STATUS_INVALID,
                             "%s.parameters.binary_data_size is %llu, but only %zu bytes are left",
                             where, (unsigned long long)len, end - at);
        plan->offset[i] = at;
        plan->len[i] = (size_t)len;
        at += (size_t)len;
    }
    return !body || at == end
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "%zu bytes are left behind the inputs' binary data",
                           end - at);
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

static enum status check_datatype(yyjson_val *in, const struct msg_tensor *want, const char *where,
                                  struct error *err)
{
    const char *type = datatype_name(datatype_from_wire(want->datatype));
    yyjson_val *is = yyjson_obj_get(in, "datatype");
    if (!yyjson_is_str(is) || !datatype_parse(bytes_of(yyjson_get_str(is), yyjson_get_len(is))))
        return error_set(err, STATUS_INVALID, "%s.datatype is missing or unknown", where);
    if (strcmp(yyjson_get_str(is), type) != 0)
        return error_set(err, STATUS_INVALID, "%s.datatype is %s, but input '%.*s' takes %s", where,
                         yyjson_get_str(is), (int)want->name.len, (const char *)want->name.data,
                         type);
    return STATUS_OK;
}

/* Binary data of no bytes, in a request without a binary part. */
static enum status take_nothing(struct infer_call *call, size_t i, const int64_t *shape,
                                size_t rank, const char *where, struct error *err)
{
    struct frame none;
    frame_init_copy(&none, bytes_str(""));
    enum status st = infer_binary(call, i, &none, 0, 0, shape, rank, where, err);
    frame_finish(&none);
    return st;
}

static enum status take_input(struct infer_call *call, yyjson_val *inputs,
                              const struct layout *plan, size_t i, struct error *err)
{
    const struct msg_tensor *want = &lane_signature(call->lane)->inputs[i];
    char where[48], data_where[64];
    int64_t shape[MAX_RANK];
    size_t rank = 0, index;
    yyjson_val *in = find_named(inputs, want->name, &index);
    if (!in)
        return error_set(err, STATUS_INVALID, "input '%.*s' is missing", (int)want->name.len,
                         (const char *)want->name.data);
    snprintf(where, sizeof where, "inputs[%zu]", index);
    snprintf(data_where, sizeof data_where, "%s.data", where);
    enum status st = check_datatype(in, want, where, err);
    if (!st)
        st = tensor_json_dimensions(yyjson_obj_get(in, "shape"), where, shape, &rank, err);
    if (st)
        return st;
    if (plan->binary[index] && !plan->body)
        return take_nothing(call, i, shape, rank, where, err);
    if (plan->binary[index])
        return infer_binary(call, i, plan->body, plan->offset[index], plan->len[index], shape, rank,
                            where, err);
    if (!has_data(in))
        return error_set(err, STATUS_INVALID, "%s.data is missing", where);
    return infer_json(call, i, yyjson_obj_get(in, "data"), shape, rank, data_where, err);
}

static enum status take_inputs(struct infer_call *call, yyjson_val *inputs, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    struct layout plan = { 0 };
    if (!yyjson_is_arr(inputs))
        return error_set(err, STATUS_INVALID, "\"inputs\" must be an array of tensors");
    if (yyjson_arr_size(inputs) != s->inputs_count)
        return error_set(err, STATUS_INVALID, "the request has %zu inputs; the model takes %zu",
                         yyjson_arr_size(inputs), s->inputs_count);
    enum status st =
        plan_layout(inputs, call->has_body ? &call->body : NULL, call->json_len, &plan, err);
    for (size_t i = 0; i < s->inputs_count && !st; i++)
        st = take_input(call, inputs, &plan, i, err);
    return st;
}

/* ---- outputs --------------------------------------------------------------------------------- */

static enum status find_output(const struct infer_call *call, yyjson_val *v, size_t i,
                               struct infer_output *out, struct error *err)
{
    const struct msg_hello *s = lane_signature(call->lane);
    yyjson_val *name = yyjson_obj_get(v, "name");
    if (!yyjson_is_str(name))
        return error_set(err, STATUS_INVALID, "outputs[%zu].name is missing", i);
    struct bytes text = bytes_of(yyjson_get_str(name), yyjson_get_len(name));
    while (out->index < s->outputs_count && !bytes_equal(s->outputs[out->index].name, text))
        out->index++;
    if (out->index == s->outputs_count)
        return error_set(err, STATUS_INVALID, "outputs[%zu]: the model has no output '%.64s'", i,
                         yyjson_get_str(name));
    for (size_t n = 0; n < call->wanted_count; n++)
        if (call->wanted[n].index == out->index)
            return error_set(err, STATUS_INVALID, "output '%.64s' is asked for twice",
                             yyjson_get_str(name));
    return STATUS_OK;
}

static enum status take_outputs(struct infer_call *call, yyjson_val *outputs, struct error *err)
{
    size_t i, max;
    yyjson_val *v, *parameters;
    if (!outputs || yyjson_is_null(outputs))
        return STATUS_OK;
    if (!yyjson_is_arr(outputs) || yyjson_arr_size(outputs) > MAX_TENSORS)
        return error_set(err, STATUS_INVALID, "\"outputs\" must be an array of at most %d outputs",
                         MAX_TENSORS);
    call->named = yyjson_arr_size(outputs) > 0;
    call->wanted = call->named ? mem_alloc(yyjson_arr_size(outputs) * sizeof *call->wanted) : NULL;
    yyjson_arr_foreach(outputs, i, max, v)
    {
        struct infer_output out = { .binary = call->binary };
        uint64_t classes = 0;
        enum status st = find_output(call, v, i, &out, err);
        if (!st)
            st = find_parameters(v, "outputs[].", &parameters, err);
        if (!st)
            st = take_bool(parameters, "binary_data", &out.binary, err);
        if (!st)
            st = take_uint(parameters, "classification", CLASSES_MAX, &classes, err);
        if (st)
            return st;
        out.classes = (uint32_t)classes;
        call->wanted[call->wanted_count++] = out;
    }
    return STATUS_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum status take_parameters(struct infer_call *call, yyjson_val *root, struct error *err)
{
    uint64_t timeout_us = 0, priority = 0;
    struct bytes id;
    yyjson_val *parameters;
    enum status st = api_string(root, "id", &id, err);
    if (!st && bytes_copy_str(id, call->id, sizeof call->id))
        st = error_set(err, STATUS_INVALID, "\"id\" may have %d bytes", MAX_NAME);
    if (!st)
        st = find_parameters(root, "", &parameters, err);
    if (!st)
        st = take_bool(parameters, "binary_data_output", &call->binary, err);
    if (!st)
        st = take_uint(parameters, "timeout", UINT64_MAX, &timeout_us, err);
    if (!st)
        st = take_uint(parameters, "priority", UINT32_MAX, &priority, err);
    if (st)
        return st;
    call->timeout_ms = timeout_us / 1000 + (timeout_us % 1000 != 0);
    call->inference->priority = (uint32_t)priority;
    return STATUS_OK;
}

static enum status take_json(struct infer_call *call, yyjson_val *root, struct error *err)
{
    enum status st = take_parameters(call, root, err);
    if (!st)
        st = take_outputs(call, yyjson_obj_get(root, "outputs"), err);
    if (!st)
        st = take_inputs(call, yyjson_obj_get(root, "inputs"), err);
    return st;
}

/* The one shape that len bytes can have: one row, and at most one other dimension that is open. */
static enum status raw_shape(const struct msg_tensor *want, size_t len, int64_t shape[MAX_RANK],
                             struct error *err)
{
    size_t open = MAX_RANK, rank = want->shape.count;
    uint64_t elements, size = datatype_size(datatype_from_wire(want->datatype));
    for (size_t i = 0; i < rank; i++) {
        shape[i] = want->shape.at[i] < 0 ? 1 : want->shape.at[i];
        if ((i == 0 && rank > 1) || want->shape.at[i] >= 0)
            continue;
        if (open < MAX_RANK)
            return error_set(err, STATUS_INVALID,
                             "input '%.*s' has more than one open dimension: the raw form cannot "
                             "tell its shape",
                             (int)want->name.len, (const char *)want->name.data);
        open = i;
    }
    if (open < MAX_RANK && !shape_elements(shape, rank, &elements) && elements && size)
        shape[open] = (int64_t)(len / size / elements);
    return STATUS_OK;
}

/* An element of BYTES: its length, then itself. */
static void prefix_length(struct frame *body)
{
    struct bytes data = frame_bytes(body);
    uint32_t len = (uint32_t)data.len; /* bodies are smaller than 4 GiB */
    struct frame whole;
    char *at = frame_init_size(&whole, sizeof len + data.len);
    memcpy(at, &len, sizeof len);
    memcpy(at + sizeof len, data.data, data.len);
    frame_move(body, &whole);
    frame_finish(&whole);
}

static enum status take_raw(struct infer_call *call, yyjson_val *none, struct error *err)
{
    struct frame *body = &call->body;
    const struct msg_hello *s = lane_signature(call->lane);
    const struct msg_tensor *want = &s->inputs[0];
    int64_t shape[MAX_RANK];
    (void)none;
    call->raw = true;
    if (s->inputs_count != 1)
        return error_set(err, STATUS_INVALID,
                         "the raw form is for models with one input; this one has %zu",
                         s->inputs_count);
    if (want->datatype == DT_BYTES)
        prefix_length(body);
    enum status st = raw_shape(want, frame_bytes(body).len, shape, err);
    return st ? st
              : infer_binary(call, 0, body, 0, frame_bytes(body).len, shape, want->shape.count,
                             "the body", err);
}

/* The bytes of JSON at the beginning of the body.  *binary: there may be more behind. */
static enum status json_part(const struct http_request *r, size_t *len, bool *binary,
                             struct error *err)
{
    char *end;
    *len = r->body.len;
    *binary = r->json_length[0];
    if (!*binary)
        return STATUS_OK;
    unsigned long long n = strtoull(r->json_length, &end, 10);
    if (*end || r->json_length[0] < '0' || r->json_length[0] > '9' || n > r->body.len)
        return error_set(err, STATUS_INVALID,
                         "Inference-Header-Content-Length is \"%s\"; it must be in the range "
                         "0 to %zu",
                         r->json_length, r->body.len);
    *len = (size_t)n;
    return STATUS_OK;
}

void oip_infer(struct call *c)
{
    struct error err;
    uint32_t version;
    size_t json_len;
    bool binary;
    yyjson_doc *doc = NULL;
    if (!oip_version(c, &version))
        return;
    if (json_part(c->http, &json_len, &binary, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    bool raw = binary && json_len == 0;
    if (!raw && !(doc = api_json_body(c, json_len)))
        return;
    struct infer_call *call = infer_begin(c, c->params[0], version, oip_write);
    if (!call) {
        yyjson_doc_free(doc);
        return;
    }
    if (binary) {
        frame_init_buf(&call->body, &c->http->body);
        call->has_body = true;
        call->json_len = json_len;
    }
    infer_take(call, raw ? take_raw : take_json, doc);
}
