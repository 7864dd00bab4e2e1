/* infer.c - from tensors to the queue, and from an outcome to an answer. */
#include "services/gateway/api/infer.h"

#include "common/base/clock.h"
#include "common/base/metrics.h"

#include <stdio.h>
#include <stdlib.h>

static struct metric_family latency = {
    .name = "maas_gateway_inference_seconds",
    .help = "time from the whole request to its answer, for answers 200",
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
    if (route_find(c->gateway, model, version, &lane, &err)) {
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
    call->inference->rows = 1;
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

/* Rows can be batched only when all inputs agree on their number. */
static enum status count_rows(struct infer_call *call, struct error *err)
{
    struct inference *r = call->inference;
    r->rows = 1;
    for (size_t i = 0; i < r->inputs_count; i++) {
        const struct msg_tensor *want = &lane_signature(call->lane)->inputs[i];
        if (want->shape.count == 0 || want->shape.at[0] >= 0)
            return STATUS_OK;
        if (r->shapes[i][0] > UINT32_MAX || (i > 0 && r->shapes[i][0] != r->shapes[0][0]))
            return STATUS_OK; /* the model may know what to do with it: alone */
    }
    if (r->inputs_count && r->shapes[0][0] == 0)
        return error_set(err, STATUS_INVALID, "the request has no rows");
    if (r->inputs_count)
        r->rows = (uint32_t)r->shapes[0][0];
    return STATUS_OK;
}

static void on_done(struct inference *r, const struct outcome *outcome)
{
    struct infer_call *call = r->user;
    struct http_request *http = call->http;
    struct buf out = { 0 };
    struct error err;
    if (outcome->status) {
        enum status st = outcome->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : outcome->status;
        api_error(http, st, "%s", outcome->text);
    } else if (call->write(call, outcome, &out, &err)) {
        buf_finish(&out);
        api_error(http, err.status, "%s", err.text);
    } else {
        static struct metric *series;
        if (!series)
            series = metrics_series(&latency, NULL, 0);
        metric_observe(&latency, series, (double)(clock_us() - http->begin_us) / 1e6);
        api_json(http, 200, &out);
    }
    free(call);
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
    r->deadline_ms = loop_now_ms(g->loop) + g->config->timeout_ms;
    if (queue_submit(&g->queue, call->lane, r, call->http->begin_us, &err)) {
        infer_fail(call, &err);
        return;
    }
    call->http->user = &call->base;
}
