/* infer_rig.h - a gateway without sockets: what the HTTP server, the catalog and an engine do is
 * done here, so that a body goes through its protocol, the queue, and back as an answer.
 *
 * Properties of every request, whatever the bytes: it is answered once.  A tensor that reaches the
 * engine has the signature's type and shape and exactly the bytes of these.  An answer of 200 is
 * JSON whose tensors have as many elements as their shapes say; any other is a 4xx with a sentence
 * (504 when its deadline has passed).
 *
 * The functions of http.h and route.c that the handlers call are defined here; so those files are
 * not linked.
 */
#ifndef TESTS_FUZZ_INFER_RIG_H
#define TESTS_FUZZ_INFER_RIG_H

#include "common/base/clock.h"
#include "services/gateway/api/dispatch.h"
#include "services/gateway/tensor_json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define RIG_ROWS_MAX 64 /* in one job */
#define RIG_SHAPE(...) \
    { (const int64_t[]){ __VA_ARGS__ }, sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t) }
#define RIG_TENSOR(text, type, ...) { { text, sizeof text - 1 }, type, RIG_SHAPE(__VA_ARGS__) }
#define RIG_INPUTS(count, ...)      .inputs = { __VA_ARGS__ }, .inputs_count = (count)
#define RIG_OUTPUTS(count, ...)     .outputs = { __VA_ARGS__ }, .outputs_count = (count)
#define RIG_TYPE(text, number, size)                  \
    { .model = #text,                                 \
      RIG_INPUTS(1, RIG_TENSOR("x", number, -1, -1)), \
      RIG_OUTPUTS(1, RIG_TENSOR("y", number, -1, 2)) },

static struct rig_model {
    const char *model;
    struct msg_tensor inputs[2];
    size_t inputs_count;
    struct msg_tensor outputs[2];
    size_t outputs_count;
    struct lane *lane;
    struct engine_link *engine;
} rig_models[] = {
    { .model = "table",
      RIG_INPUTS(1, RIG_TENSOR("x", DT_FP32, -1, 3)),
      RIG_OUTPUTS(1, RIG_TENSOR("y", DT_FP32, -1, 2)) },
    { .model = "two",
      RIG_INPUTS(2, RIG_TENSOR("a", DT_INT64, -1), RIG_TENSOR("b", DT_BYTES, -1, -1)),
      RIG_OUTPUTS(2, RIG_TENSOR("s", DT_BYTES, -1), RIG_TENSOR("p", DT_FP64, -1, -1)) },
    { .model = "fixed",
      RIG_INPUTS(1, RIG_TENSOR("x", DT_FP32, 2, 2)),
      RIG_OUTPUTS(1, RIG_TENSOR("y", DT_INT32, 2, 2)) },
    { .model = "scalar",
      RIG_INPUTS(1, { { "x", 1 }, DT_INT64, { NULL, 0 } }),
      RIG_OUTPUTS(1, { { "y", 1 }, DT_BOOL, { NULL, 0 } }) },
    { .model = "text",
      RIG_INPUTS(1, RIG_TENSOR("x", DT_BYTES, -1)),
      RIG_OUTPUTS(1, RIG_TENSOR("y", DT_BYTES, -1, 2)) },
    { .model = "image",
      RIG_INPUTS(1, RIG_TENSOR("x", DT_UINT8, -1, -1, 2, -1)),
      RIG_OUTPUTS(1, RIG_TENSOR("y", DT_FP16, -1, 3)) },
    DATATYPE_LIST(RIG_TYPE)
};

#define RIG_MODELS (sizeof rig_models / sizeof *rig_models)

static struct rig {
    struct gateway gateway;
    struct gateway_config config;
    struct bytes noise; /* what an engine's outputs are made of */
    bool json;          /* tensors that came as JSON are written and read once more */
    /* the job that is out */
    struct rig_model *asked;
    uint64_t job;
    uint32_t attempt;
    uint32_t rows;
    size_t answered;
} rig;

/* ---- in place of route.c ----------------------------------------------------------------------- */

enum status route_find(struct gateway *g, const struct route_ask *ask, struct routed *to,
                       struct error *err)
{
    (void)g;
    *to = (struct routed){ 0 };
    for (size_t i = 0; i < RIG_MODELS && ask->version <= 1; i++) {
        to->lane = rig_models[i].lane;
        if (bytes_equal_str(ask->model, rig_models[i].model))
            return STATUS_OK;
    }
    return error_set(err, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)ask->model.len,
                     (const char *)ask->model.data);
}

enum status route_only_model(struct gateway *g, struct bytes *name, struct error *err)
{
    (void)g;
    (void)err;
    *name = bytes_str(rig_models[0].model);
    return STATUS_OK;
}

uint32_t route_serving(struct gateway *g, const struct catalog_model *m)
{
    (void)g;
    (void)m;
    return 1;
}

bool route_ready(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    (void)g;
    (void)m;
    return version == 1;
}

const struct catalog_model *route_unready(struct gateway *g)
{
    (void)g;
    return NULL;
}

/* Asked only of versions that a rollout brings in. */
struct lane *route_beside(struct gateway *g, struct lane *l)
{
    (void)g;
    (void)l;
    return NULL;
}

/* No handler calls these; but a file is linked when a single function of it is missing. */
void route_refresh(struct gateway *g)
{
    (void)g;
}

void route_watch(struct gateway *g)
{
    (void)g;
}

void route_configure(struct gateway *g)
{
    (void)g;
}

void route_forget(struct gateway *g)
{
    (void)g;
}

struct lane *route_lane(struct gateway *g, struct bytes model, uint32_t version)
{
    return queue_lane(&g->queue, model, version);
}

/* ---- answers: in place of the HTTP server ------------------------------------------------------ */

static uint64_t rig_product(yyjson_val *shape)
{
    uint64_t n = 1;
    size_t i, max;
    yyjson_val *d;
    assert(yyjson_is_arr(shape));
    yyjson_arr_foreach(shape, i, max, d) n *= yyjson_get_uint(d);
    return n;
}

/* The bytes of binary data that the outputs announce. */
static uint64_t rig_check_outputs(yyjson_val *outputs)
{
    uint64_t announced = 0;
    size_t i, max;
    yyjson_val *v;
    assert(yyjson_is_arr(outputs));
    yyjson_arr_foreach(outputs, i, max, v)
    {
        yyjson_val *data = yyjson_obj_get(v, "data");
        yyjson_val *size = yyjson_ptr_get(v, "/parameters/binary_data_size");
        uint64_t elements = rig_product(yyjson_obj_get(v, "shape"));
        enum datatype type =
            datatype_parse(bytes_str(yyjson_get_str(yyjson_obj_get(v, "datatype"))));
        assert(type && !data != !size);
        assert(!data || yyjson_arr_size(data) == elements);
        assert(!size || type == DT_BYTES ||
               yyjson_get_uint(size) == elements * datatype_size(type));
        announced += yyjson_get_uint(size);
    }
    return announced;
}

static void rig_check_answer(const struct http_request *r, int status, struct bytes text,
                             uint64_t behind)
{
    char line[64];
    yyjson_doc *doc = yyjson_read(text.data, text.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert(yyjson_is_obj(root));
    if (status != 200) {
        assert(status / 100 == 4 || status == 504);
        assert(yyjson_get_len(yyjson_obj_get(root, "error")) > 0 && !behind);
    } else if (yyjson_obj_get(root, "model_name") && !yyjson_obj_get(root, "predictions")) {
        assert(rig_check_outputs(yyjson_obj_get(root, "outputs")) == behind);
        int len = snprintf(line, sizeof line, "inference-header-content-length: %zu\r\n", text.len);
        assert(!behind || memmem(r->headers.data, r->headers.len, line, (size_t)len));
    } else {
        assert(yyjson_obj_get(root, "outputs") || yyjson_obj_get(root, "predictions"));
    }
    yyjson_doc_free(doc);
}

void http_respond_parts(struct http_request *r, int status, const char *content_type,
                        struct buf *body, struct frame *parts, size_t count)
{
    uint64_t behind = 0;
    (void)content_type;
    for (size_t i = 0; i < count; i++) {
        behind += frame_bytes(&parts[i]).len;
        frame_finish(&parts[i]);
    }
    rig_check_answer(r, status, buf_bytes(body), behind);
    buf_finish(body);
    rig.answered++;
}

void http_respond(struct http_request *r, int status, const char *content_type, struct buf *body)
{
    http_respond_parts(r, status, content_type, body, NULL, 0);
}

enum status http_set_body(struct http_request *r, struct buf *body)
{
    buf_finish(&r->body);
    r->body = *body;
    *body = (struct buf){ 0 };
    return STATUS_OK;
}

size_t http_connections(const struct http_server *s)
{
    (void)s;
    return 0;
}

void http_pause(struct http_request *r)
{
    (void)r;
}

void http_resume(struct http_request *r)
{
    (void)r;
}

/* Downloads and backups are no part of this. */
bool http_stream_begin(struct http_request *r, int status, const char *content_type,
                       uint64_t length)
{
    (void)r;
    (void)status;
    (void)content_type;
    (void)length;
    abort();
}

bool http_stream_write(struct http_request *r, struct frame *piece)
{
    (void)r;
    (void)piece;
    abort();
}

void http_stream_end(struct http_request *r)
{
    (void)r;
    abort();
}

void http_stream_abort(struct http_request *r)
{
    (void)r;
    abort();
}

void http_keep_fields(struct http_server *s, bool keep)
{
    (void)s;
    (void)keep;
}

struct bytes http_field(const struct http_request *r, struct bytes name)
{
    (void)r;
    (void)name;
    return bytes_of(NULL, 0);
}

/* ---- the engine -------------------------------------------------------------------------------- */

/* What was read from JSON, written as JSON, reads as the same. */
static void rig_same_again(const struct msg_tensor *t, struct bytes data)
{
    enum datatype type = datatype_from_wire(t->datatype);
    struct buf text = { 0 };
    struct frame again;
    struct error err;
    enum status st = tensor_to_json(&text, type, t->shape.at, t->shape.count, data, true, &err);
    assert(st == STATUS_OK);
    yyjson_doc *doc = yyjson_read((char *)text.data, text.len, 0);
    st = tensor_from_json(yyjson_doc_get_root(doc), type, t->shape.at, t->shape.count, "again",
                          &again, &err);
    assert(st == STATUS_OK);
    assert(bytes_equal(frame_bytes(&again), data));
    frame_finish(&again);
    yyjson_doc_free(doc);
    buf_finish(&text);
}

static enum status rig_send(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                            struct frames *frames)
{
    struct rig_model *m = peer;
    (void)arg;
    assert(!rig.asked && rows > 0);
    assert(job->inputs_count == m->inputs_count && frames->count == m->inputs_count);
    for (size_t i = 0; i < m->inputs_count; i++) {
        const struct msg_tensor *t = &job->inputs[i], *want = &m->inputs[i];
        struct bytes data = frame_bytes(&frames->at[i]);
        assert(bytes_equal(t->name, want->name) && t->datatype == want->datatype);
        assert(t->shape.count == want->shape.count);
        for (size_t k = 0; k < want->shape.count; k++)
            assert(want->shape.at[k] < 0 || want->shape.at[k] == t->shape.at[k]);
        enum status st =
            tensor_check(datatype_from_wire(t->datatype), t->shape.at, t->shape.count, data, NULL);
        assert(st == STATUS_OK);
        if (rig.json)
            rig_same_again(t, data);
    }
    frames_finish(frames);
    rig.asked = m;
    rig.job = job->job;
    rig.attempt = job->attempt;
    rig.rows = rows;
    return STATUS_OK;
}

static void rig_parted(void *arg, void *peer)
{
    (void)arg;
    (void)peer;
}

static void rig_fill(struct buf *out, size_t len)
{
    buf_reserve(out, len + 1);
    for (size_t i = 0; i < len; i++)
        out->data[out->len++] =
            rig.noise.len ? ((const unsigned char *)rig.noise.data)[i % rig.noise.len] : 0;
}

static void rig_output(const struct msg_tensor *promised, int64_t *shape, struct msg_tensor *t,
                       struct frame *frame)
{
    enum datatype type = datatype_from_wire(promised->datatype);
    struct buf data = { 0 };
    uint64_t elements;
    for (size_t i = 0; i < promised->shape.count; i++)
        shape[i] = promised->shape.at[i] >= 0 ? promised->shape.at[i] : i ? 3 : rig.rows;
    *t = *promised;
    t->shape.at = shape;
    enum status st = shape_elements(shape, promised->shape.count, &elements);
    assert(st == STATUS_OK);
    if (type == DT_BYTES) {
        for (uint64_t i = 0; i < elements; i++) {
            uint32_t len = (uint32_t)(i % 5);
            buf_append(&data, &len, sizeof len);
            rig_fill(&data, len);
        }
    } else {
        rig_fill(&data, elements * datatype_size(type));
    }
    buf_reserve(&data, 1);
    frame_init_buf(frame, &data);
}

static void rig_work(void)
{
    struct rig_model *m = rig.asked;
    int64_t shapes[2][MAX_RANK];
    struct msg_tensor outputs[2];
    struct frame frames[2];
    struct error err;
    for (size_t i = 0; i < m->outputs_count; i++)
        rig_output(&m->outputs[i], shapes[i], &outputs[i], &frames[i]);
    struct msg_result result = { .job = rig.job,
                                 .attempt = rig.attempt,
                                 .outputs = outputs,
                                 .outputs_count = m->outputs_count,
                                 .credit = 1 };
    rig.asked = NULL;
    enum status st = queue_result(&rig.gateway.queue, m->engine, clock_us(), &result, frames,
                                  m->outputs_count, &err);
    assert(st == STATUS_OK);
    for (size_t i = 0; i < m->outputs_count; i++)
        frame_finish(&frames[i]);
}

/* ---- requests ---------------------------------------------------------------------------------- */

static inline void rig_start(void)
{
    static const struct queue_events events = { rig_send, rig_parted };
    static const struct queue_limits limits = { 100, 1 << 30 };
    rig.config = (struct gateway_config){ .timeout_ms = 60000, .max_body_bytes = 1 << 20 };
    rig.gateway.config = &rig.config;
    rig.gateway.loop = loop_create();
    rig.gateway.suite = suite_view_create();
    queue_init(&rig.gateway.queue, &limits, &events, &rig);
    rig.gateway.shadows = shadows_create(&rig.gateway.queue, rig.gateway.loop, 60000);
    for (size_t i = 0; i < RIG_MODELS; i++) {
        struct rig_model *m = &rig_models[i];
        m->lane = queue_lane(&rig.gateway.queue, bytes_str(m->model), 1);
        enum status st =
            lane_set_signature(m->lane, m->inputs, m->inputs_count, m->outputs, m->outputs_count);
        assert(st == STATUS_OK);
        m->engine = queue_engine_add(&rig.gateway.queue, m->lane, m, RIG_ROWS_MAX, 1);
    }
}

static void rig_open(struct http_request *r, const char *target, const char *json_length,
                     struct bytes body)
{
    *r = (struct http_request){
        .method = "POST", .has_length = true, .has_body = body.len > 0, .content_length = body.len
    };
    r->begin_us = clock_us();
    snprintf(r->request_id, sizeof r->request_id, "fuzz");
    snprintf(r->json_length, sizeof r->json_length, "%s", json_length);
    buf_append_str(&r->target, target);
    buf_append_bytes(&r->body, body);
    buf_reserve(&r->body, HTTP_BODY_PADDING);
    memset(r->body.data + r->body.len, 0, HTTP_BODY_PADDING);
    dispatch_events.begin(&rig.gateway, r);
    dispatch_events.complete(&rig.gateway, r);
}

static void rig_close(struct http_request *r)
{
    buf_finish(&r->target);
    buf_finish(&r->body);
    buf_finish(&r->headers);
}

/* Sends the request as often as count says, before the engine gets to see any of them. */
static inline void rig_ask(const char *target, const char *json_length, struct bytes body,
                           size_t count)
{
    struct http_request requests[2];
    struct queue *q = &rig.gateway.queue;
    assert(count <= sizeof requests / sizeof *requests);
    rig.answered = 0;
    rig.noise = body;
    for (size_t i = 0; i < count; i++)
        rig_open(&requests[i], target, json_length, body);
    while (rig.answered < count) {
        uv_run(loop_uv(rig.gateway.loop), UV_RUN_NOWAIT); /* what is large is on a thread */
        queue_dispatch(q, clock_us());
        while (rig.asked) {
            rig_work();
            queue_dispatch(q, clock_us());
        }
        queue_expire(q, clock_ms() + 2 * REQUEST_MS_MAX); /* later than any deadline */
    }
    assert(rig.answered == count && !api_open());
    for (size_t i = 0; i < count; i++)
        rig_close(&requests[i]);
}

#endif
