/* infer.c - from tensors to the queue, and from an outcome to an answer. */
#include "services/gateway/api/infer.h"

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "services/gateway/api/hold.h"

#include <stdlib.h>

#define ANSWER_FIRST_BYTES 512          /* the usual answer needs no second piece of memory */
#define ANSWER_MAX_BYTES   (1ull << 30) /* of JSON text */

static struct metric_family total_seconds = {
    .name = "maas_gateway_inference_seconds",
    .help = "time from the whole request to its answer, for answers 200",
    .type = METRIC_HISTOGRAM,
    .bounds = METRIC_SECONDS,
};
static struct metric_family queue_seconds = {
    .name = "maas_gateway_queue_seconds",
    .help = "time that a request waited for an engine",
    .type = METRIC_HISTOGRAM,
    .bounds = METRIC_SECONDS,
};
static struct metric_family compute_seconds = {
    .name = "maas_gateway_compute_seconds",
    .help = "time inside the runtime of the job that answered a request",
    .type = METRIC_HISTOGRAM,
    .bounds = METRIC_SECONDS,
};

static void on_gone(struct pending *p)
{
    struct infer_call *call = (struct infer_call *)p;
    queue_cancel(&call->gateway->queue, call->inference);
    free(call);
}

struct infer_call *infer_begin(struct call *c, struct bytes model, uint32_t version,
                               infer_write_fn *write)
{
    struct error err;
    struct lane *lane;
    bool loading;
    if (route_find(c->gateway, model, version, &lane, &loading, &err)) {
        if (loading)
            hold_request(c, model, version);
        else
            api_error(c->http, err.status, "%s", err.text);
        return NULL;
    }
    struct infer_call *call = mem_zalloc(sizeof *call);
    call->base.gone = on_gone;
    call->gateway = c->gateway;
    call->http = c->http;
    call->lane = lane;
    call->write = write;
    call->inference = inference_create(&c->gateway->queue);
    call->inference->pinned = version != 0;
    return call;
}

static enum status check_shape(const struct msg_tensor *want, const int64_t *shape, size_t rank,
                               const char *where, struct error *err)
{
    bool fits = rank == want->shape.count;
    for (size_t i = 0; fits && i < rank; i++)
        fits = shape[i] >= 0 && (want->shape.at[i] < 0 || want->shape.at[i] == shape[i]);
    if (fits)
        return STATUS_OK;
    struct buf is = { 0 }, should = { 0 };
    shape_text(shape, rank, &is);
    shape_text(want->shape.at, want->shape.count, &should);
    error_set(err, STATUS_INVALID, "%s: the shape is %s, but input '%.*s' of the model takes %s",
              where, buf_cstr(&is), (int)want->name.len, (const char *)want->name.data,
              buf_cstr(&should));
    buf_finish(&is);
    buf_finish(&should);
    return STATUS_INVALID;
}

enum status infer_input(struct infer_call *call, size_t index, yyjson_val *data,
                        const int64_t *shape, size_t rank, const char *where, struct error *err)
{
    struct inference *r = call->inference;
    const struct msg_tensor *want = &lane_signature(call->lane)->inputs[index];
    enum status st = check_shape(want, shape, rank, where, err);
    if (st)
        return st;
    if (index != r->inputs_count)
        return error_set(err, STATUS_INTERNAL, "inputs are taken in order");
    st = tensor_from_json(data, datatype_from_wire(want->datatype), shape, rank, where,
                          &r->data[index], err);
    if (st)
        return st;
    memcpy(r->shapes[index], shape, rank * sizeof *shape);
    r->inputs[index] = *want;
    r->inputs[index].shape = (struct i64s){ r->shapes[index], rank };
    r->inputs_count++;
    return STATUS_OK;
}

/* Rows can be batched only when all inputs agree on their number; a model with one input that
 * has none, or a fixed number, may still know what to do with the request: alone. */
static enum status count_rows(struct infer_call *call, struct error *err)
{
    struct inference *r = call->inference;
    const struct msg_hello *signature = lane_signature(call->lane);
    r->rows = 1;
    for (size_t i = 0; i < r->inputs_count && !r->alone; i++) {
        const struct msg_tensor *want = &signature->inputs[i];
        r->alone = want->shape.count == 0 || want->shape.at[0] >= 0 ||
                   r->shapes[i][0] != r->shapes[0][0] || r->shapes[i][0] > BATCH_MAX;
    }
    if (r->alone || !r->inputs_count)
        return STATUS_OK;
    if (r->shapes[0][0] == 0)
        return error_set(err, STATUS_INVALID, "the request has no rows");
    r->rows = (uint32_t)r->shapes[0][0];
    return STATUS_OK;
}

static void observe(struct inference *r, const struct http_request *http, uint64_t compute_us)
{
    struct lane_meters *m = lane_meters(r->lane);
    if (!m->total) {
        m->total = lane_series(r->lane, &total_seconds);
        m->wait = lane_series(r->lane, &queue_seconds);
        m->compute = lane_series(r->lane, &compute_seconds);
    }
    metric_observe(&total_seconds, m->total, (double)(clock_us() - http->begin_us) / 1e6);
    metric_observe(&queue_seconds, m->wait, (double)(r->sent_us - r->submitted_us) / 1e6);
    metric_observe(&compute_seconds, m->compute, (double)compute_us / 1e6);
}

/* Why no engine came, in the words of the worker that tried. */
static void answer_failure(struct infer_call *call, const struct outcome *outcome)
{
    struct lane *lane = call->inference->lane;
    enum status st = outcome->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : outcome->status;
    struct suite_engines view = { 0 };
    if (st == STATUS_UNAVAILABLE && !lane_engines(lane))
        view = suite_engines(call->gateway->suite, bytes_str(lane_model(lane)), lane_version(lane));
    api_error(call->http, st, "%s%s%.*s", outcome->text, view.reason.len ? ": " : "",
              (int)view.reason.len, (const char *)view.reason.data);
}

static void on_done(struct inference *r, const struct outcome *outcome)
{
    struct infer_call *call = r->user;
    struct http_request *http = call->http;
    struct buf out = { 0 };
    struct error err;
    enum status st = outcome->status;
    if (st) {
        answer_failure(call, outcome);
        free(call);
        return;
    }
    buf_reserve(&out, ANSWER_FIRST_BYTES);
    st = call->write(call, outcome, &out, &err);
    if (!st && out.len > ANSWER_MAX_BYTES)
        st = error_set(&err, STATUS_TOO_LARGE, "the answer has more than %llu bytes of JSON",
                       ANSWER_MAX_BYTES);
    free(call);
    if (st) {
        buf_finish(&out);
        api_error(http, st, "%s", err.text);
        return;
    }
    observe(r, http, outcome->compute_us);
    api_json(http, 200, &out);
}

void infer_fail(struct infer_call *call, const struct error *err)
{
    struct http_request *http = call->http;
    inference_drop(&call->gateway->queue, call->inference);
    free(call);
    api_error(http, err->status, "%s", err->text);
}

void infer_submit(struct infer_call *call)
{
    struct gateway *g = call->gateway;
    struct inference *r = call->inference;
    struct error err;
    if (count_rows(call, &err)) {
        infer_fail(call, &err);
        return;
    }
    r->done = on_done;
    r->user = call;
    r->deadline_ms = call->http->begin_us / 1000 + g->config->timeout_ms;
    if (queue_submit(&g->queue, call->lane, r, clock_us(), &err)) {
        infer_fail(call, &err);
        return;
    }
    call->http->user = &call->base;
}
