/* infer.c - from tensors to the queue, and from an outcome to an answer. */
#include "services/gateway/api/infer.h"

#include "common/base/clock.h"
#include "services/gateway/api/encoding.h"
#include "services/gateway/api/hold.h"
#include "services/gateway/hosts.h"
#include "services/gateway/kept.h"

#include <assert.h>
#include <stdlib.h>

#define ANSWER_FIRST_BYTES 512          /* the usual answer needs no second piece of memory */
#define POOL_MAX           256          /* calls */
#define ANSWER_MAX_BYTES   (1ull << 30) /* of text */

/* Free calls, for the next ones. */
static struct infer_call *pool;
static size_t pool_count;

static struct infer_call *call_create(void)
{
    struct infer_call *call = pool;
    if (!call)
        return mem_alloc(sizeof *call);
    pool = call->next;
    pool_count--;
    return call;
}

static void call_destroy(struct infer_call *call)
{
    if (call->has_body)
        frame_finish(&call->body);
    free(call->wanted);
    if (pool_count >= POOL_MAX) {
        free(call);
        return;
    }
    call->next = pool;
    pool = call;
    pool_count++;
}

static void on_gone(struct pending *p)
{
    struct infer_call *call = (struct infer_call *)p;
    uint64_t begin_us = call->http->begin_us;
    call->http = NULL;
    if (call->working)
        return; /* the loop will see it when the thread is done */
    meter_gone(call->inference->lane, clock_us() - begin_us);
    queue_cancel(&call->gateway->queue, call->inference);
    call_destroy(call);
}

struct infer_call *infer_begin(struct call *c, struct bytes model, uint32_t version,
                               infer_write_fn *write)
{
    const struct route_ask ask = { model, version, c->http };
    struct error err;
    struct routed to;
    if (route_find(c->gateway, &ask, &to, &err)) {
        if (to.loading)
            hold_request(c, model, version);
        else
            api_error(c->http, err.status, "%s", err.text);
        return NULL;
    }
    lane_expect(to.lane);
    struct infer_call *call = call_create();
    memset(call, 0, offsetof(struct infer_call, id));
    call->id[0] = 0;
    call->base.gone = on_gone;
    call->gateway = c->gateway;
    call->http = c->http;
    call->lane = to.lane;
    call->shadowed = to.shadowed;
    call->now_us = c->now_us;
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

static const struct msg_tensor *signature_input(const struct infer_call *call, size_t index)
{
    assert(index == call->inference->inputs_count); /* inputs are taken in order */
    return &lane_signature(call->lane)->inputs[index];
}

/* The data of the next input is there. */
static void add_input(struct infer_call *call, const struct msg_tensor *want, const int64_t *shape,
                      size_t rank)
{
    struct inference *r = call->inference;
    size_t index = r->inputs_count++;
    memcpy(r->shapes[index], shape, rank * sizeof *shape);
    r->inputs[index] = *want;
    r->inputs[index].shape = (struct i64s){ r->shapes[index], rank };
}

enum status infer_json(struct infer_call *call, size_t index, yyjson_val *data,
                       const int64_t *shape, size_t rank, const char *where, struct error *err)
{
    const struct msg_tensor *want = signature_input(call, index);
    enum status st = check_shape(want, shape, rank, where, err);
    if (!st)
        st = tensor_from_json(data, datatype_from_wire(want->datatype), shape, rank, where,
                              &call->inference->data[index], err);
    if (!st)
        add_input(call, want, shape, rank);
    return st;
}

enum status infer_binary(struct infer_call *call, size_t index, const struct frame *body,
                         size_t offset, size_t len, const int64_t *shape, size_t rank,
                         const char *where, struct error *err)
{
    const struct msg_tensor *want = signature_input(call, index);
    struct bytes data = bytes_of((const char *)frame_bytes(body).data + offset, len);
    struct error why;
    enum status st = check_shape(want, shape, rank, where, err);
    if (st)
        return st;
    if (tensor_check(datatype_from_wire(want->datatype), shape, rank, data, &why))
        return error_set(err, STATUS_INVALID, "%s: %s", where, why.text);
    frame_init_slice(&call->inference->data[index], body, offset, len);
    add_input(call, want, shape, rank);
    return STATUS_OK;
}

static void count_rows(struct infer_call *call)
{
    struct inference *r = call->inference;
    call->rows = r->inputs_count && r->inputs[0].shape.count ? r->shapes[0][0] : 1;
    call->batched = lane_count_rows(call->lane, r);
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* An answer that is being written. */
struct answering {
    struct infer_call *call;
    const struct outcome *outcome;
    struct infer_answer answer;
    struct meter_times times;
    uint64_t end_us; /* when it was written */
    struct error err;
};

/* One whose outcome outlives the queue's callback. */
struct late_answer {
    struct answering a;
    struct kept kept;
};

/* Why no engine came, in the words of the worker that tried. */
static void answer_failure(struct infer_call *call, const struct outcome *outcome)
{
    struct lane *lane = call->lane;
    enum status st = outcome->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : outcome->status;
    struct suite_engines view = { 0 };
    if (st == STATUS_UNAVAILABLE && !lane_engines(lane))
        view = suite_engines(call->gateway->suite, bytes_str(lane_model(lane)), lane_version(lane));
    api_error(call->http, st, "%s%s%.*s", outcome->text, view.reason.len ? ": " : "",
              (int)view.reason.len, (const char *)view.reason.data);
}

static void add_number(struct http_request *http, const char *name, uint64_t n)
{
    buf_append_str(&http->headers, name);
    buf_append_uint(&http->headers, n);
    buf_append_str(&http->headers, "\r\n");
}

static void answer_finish(struct infer_answer *a)
{
    buf_finish(&a->text);
    while (a->parts_count)
        frame_finish(&a->parts[--a->parts_count]);
}

static void write_answer(void *arg) /* any thread */
{
    struct answering *a = arg;
    struct infer_answer *answer = &a->answer;
    uint64_t begin_us = clock_us();
    answer->text = (struct buf){ 0 };
    answer->parts_count = 0;
    buf_reserve(&answer->text, ANSWER_FIRST_BYTES);
    enum status st = a->call->write(a->call, a->outcome, answer, &a->err);
    if (!st && answer->text.len > ANSWER_MAX_BYTES)
        st = error_set(&a->err, STATUS_TOO_LARGE, "the answer has more than %llu bytes of text",
                       ANSWER_MAX_BYTES);
    a->err.status = st;
    a->end_us = clock_us();
    a->times.answer_us = a->end_us - begin_us;
}

static void send_answer(struct answering *a)
{
    struct infer_call *call = a->call;
    struct http_request *http = call->http;
    struct infer_answer *answer = &a->answer;
    http->end_us = a->end_us;
    a->times.total_us = a->end_us - http->begin_us;
    if (a->err.status) {
        meter_failure(call->lane, a->err.status, a->times.total_us);
        answer_finish(answer);
        api_error(http, a->err.status, "%s", a->err.text);
        return;
    }
    meter_success(call->lane, &a->times);
    add_number(http, "x-queue-time-us: ", a->times.queue_us);
    add_number(http, "x-compute-time-us: ", a->times.compute_us);
    if (answer->parts_count)
        add_number(http, "inference-header-content-length: ", answer->text.len);
    encoding_answer(call->gateway, http, answer->parts_count ? "application/octet-stream" : NULL,
                    &answer->text, answer->parts, answer->parts_count);
}

static void on_written(void *arg)
{
    struct late_answer *late = arg;
    struct infer_call *call = late->a.call;
    if (call->http) {
        call->http->user = NULL;
        send_answer(&late->a);
    } else {
        answer_finish(&late->a.answer);
    }
    kept_finish(&late->kept);
    lane_release(&call->gateway->queue, call->lane);
    call_destroy(call);
    free(late);
}

static void write_later(const struct answering *a)
{
    struct late_answer *late = mem_alloc(sizeof *late);
    late->a.call = a->call;
    late->a.times = a->times;
    late->a.outcome = &late->kept.outcome;
    kept_init(&late->kept, a->outcome, lane_signature(a->call->lane), 0);
    a->call->working = true;
    lane_hold(a->call->lane);
    loop_work(a->call->gateway->loop, write_answer, on_written, late);
}

/* Will much of it become text? */
static bool is_long(const struct infer_call *call, const struct outcome *o)
{
    size_t bytes = 0;
    for (size_t i = 0; i < o->outputs_count; i++)
        bytes += o->data[i].len;
    return bytes > API_INLINE_BYTES && !call->binary && !call->raw;
}

/* The answer is out, or a thread has it: now the copies. */
static void copy_to_shadows(const struct infer_call *call, const struct inference *r,
                            const struct outcome *outcome)
{
    struct gateway *g = call->gateway;
    if (!gateway_draining(g))
        shadow_copy(g->shadows, replica_catalog(g->replica), r, outcome,
                    call->has_body ? frame_bytes(&call->body).len : 0, clock_us());
}

static void on_done(struct inference *r, const struct outcome *outcome)
{
    struct infer_call *call = r->user;
    struct answering a; /* large: not zeroed */
    call->lane = r->lane;
    call->inference = NULL;
    if (outcome->status) {
        meter_failure(r->lane, outcome->status, clock_us() - call->http->begin_us);
        answer_failure(call, outcome);
        call_destroy(call);
        return;
    }
    a.call = call;
    a.outcome = outcome;
    a.times = (struct meter_times){ .sent_us = r->sent_us,
                                    .queue_us = r->sent_us - r->submitted_us,
                                    .compute_us = outcome->compute_us,
                                    .transfer_us = outcome->transfer_us };
    bool later = is_long(call, outcome);
    if (later) {
        write_later(&a);
    } else {
        write_answer(&a);
        send_answer(&a);
    }
    if (call->shadowed && (later || !a.err.status))
        copy_to_shadows(call, r, outcome);
    if (!later)
        call_destroy(call);
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void fail(struct infer_call *call, const struct error *err)
{
    struct http_request *http = call->http;
    inference_drop(&call->gateway->queue, call->inference);
    call_destroy(call);
    api_error(http, err->status, "%s", err->text);
}

/* The deadline: the client's own, in the body or in the header, but no later than the longest. */
static enum status choose_timeout(struct infer_call *call, uint64_t *ms, struct error *err)
{
    *ms = call->timeout_ms ? call->timeout_ms : call->gateway->config->timeout_ms;
    enum status st = api_timeout(call->http, ms, err);
    if (*ms > REQUEST_MS_MAX)
        *ms = REQUEST_MS_MAX;
    return st;
}

static void submit(struct infer_call *call, uint64_t now_us)
{
    struct gateway *g = call->gateway;
    struct inference *r = call->inference;
    struct error err;
    uint64_t timeout_ms;
    count_rows(call);
    if (choose_timeout(call, &timeout_ms, &err)) {
        fail(call, &err);
        return;
    }
    r->done = on_done;
    r->user = call;
    r->deadline_ms = call->http->begin_us / 1000 + timeout_ms;
    if (queue_submit(&g->queue, call->lane, r, now_us, &err)) {
        call->http->retry_after_s = (uint32_t)(lane_wait_us(call->lane) / 1000000 + 1);
        fail(call, &err);
        return;
    }
    call->http->user = &call->base;
    if (!lane_engines(call->lane))
        hosts_want(g->hosts, bytes_str(lane_model(call->lane)), lane_version(call->lane));
}

/* A body whose inputs are being taken. */
struct taking {
    struct infer_call *call;
    infer_take_fn *take;
    yyjson_doc *doc;
    struct lane *beside; /* of the version that is to be asked, too, if this one refuses; or NULL */
    bool only_here;      /* that one would have taken it */
    struct error err;
};

/* A version that a rollout brings in may have other inputs than its clients know of. */
static struct lane *lane_beside(const struct infer_call *call)
{
    bool watched = lane_meters(call->lane)->guard && !call->inference->pinned;
    return watched ? route_beside(call->gateway, call->lane) : NULL;
}

static void untake(struct infer_call *call)
{
    struct inference *r = call->inference;
    while (r->inputs_count)
        frame_finish(&r->data[--r->inputs_count]);
    free(call->wanted);
    call->wanted = NULL;
    call->wanted_count = 0;
    call->named = call->binary = false;
}

static void take_beside(struct taking *t) /* any thread */
{
    struct infer_call *call = t->call;
    struct lane *lane = call->lane;
    struct error err;
    untake(call);
    call->lane = t->beside;
    t->only_here = !t->take(call, yyjson_doc_get_root(t->doc), &err);
    call->lane = lane;
}

static void take_inputs(void *arg) /* any thread */
{
    struct taking *t = arg;
    t->err.status = t->take(t->call, yyjson_doc_get_root(t->doc), &t->err);
    if (t->err.status && t->beside)
        take_beside(t);
}

/* now_us: to look at the clock costs more than to take a small body. */
static void go_on(struct taking *t, uint64_t now_us)
{
    struct infer_call *call = t->call;
    yyjson_doc_free(t->doc);
    if (t->only_here)
        meter_refused(call->lane);
    if (!call->http) {
        inference_drop(&call->gateway->queue, call->inference);
        call_destroy(call);
    } else if (t->err.status) {
        fail(call, &t->err);
    } else {
        submit(call, now_us);
    }
}

static void on_taken(void *arg)
{
    struct taking *t = arg;
    const struct queue *q = &t->call->gateway->queue;
    t->call->working = false;
    lane_release(q, t->call->lane);
    if (t->beside)
        lane_release(q, t->beside);
    go_on(t, clock_us());
    free(t);
}

void infer_take(struct infer_call *call, infer_take_fn *take, yyjson_doc *doc)
{
    struct taking t;
    lane_expect_job(call->lane);
    t.call = call;
    t.take = take;
    t.doc = doc;
    t.beside = lane_beside(call);
    t.only_here = false;
    if (!doc || yyjson_doc_get_read_size(doc) <= API_INLINE_BYTES) {
        take_inputs(&t);
        go_on(&t, call->now_us);
        return;
    }
    struct taking *later = mem_alloc(sizeof *later);
    *later = (struct taking){ .call = call, .take = take, .doc = doc, .beside = t.beside };
    call->working = true;
    lane_hold(call->lane);
    if (t.beside)
        lane_hold(t.beside);
    call->http->user = &call->base;
    loop_work(call->gateway->loop, take_inputs, on_taken, later);
}
