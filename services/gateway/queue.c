/* queue.c - lanes, requests, jobs; see queue.h. */
#include "services/gateway/queue.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define POOL_MAX 256

struct job {
    UT_hash_handle      hh;
    uint64_t            id;
    uint32_t            attempt;
    struct engine_link *engine;
    struct job         *next, *prev;    /* of the engine */
    size_t              count;
    uint32_t            rows;
    struct {
        struct inference *request;    /* NULL: cancelled or expired meanwhile */
        uint32_t          rows;
    } items[];
};

struct engine_link {
    struct engine_link *next, *prev;    /* of the lane; least recently used first */
    struct lane        *lane;
    void               *peer;
    uint32_t            max_batch;
    uint32_t            credit;
    bool                leaving;
    struct job         *jobs;
};

struct lane_key {
    char     model[MAX_NAME + 1];
    uint32_t version;
};

struct lane {
    UT_hash_handle      hh;
    struct lane_key     key;
    struct inference   *waiting;    /* in order */
    size_t              waiting_count;
    uint64_t            waiting_bytes;
    struct engine_link *engines;
    size_t              engines_count;    /* not leaving */
    bool                is_dirty;
    struct lane        *next_dirty;
    struct msg_hello    signature;
    struct buf          packed;     /* what signature borrows from */
    struct msg_decoder  decoder;
};

/* ---- lanes ------------------------------------------------------------------------------------ */

static void mark_dirty(struct queue *q, struct lane *l)
{
    if (l->is_dirty)
        return;
    l->is_dirty   = true;
    l->next_dirty = q->dirty;
    q->dirty      = l;
}

static bool make_key(struct lane_key *key, struct bytes model, uint32_t version)
{
    memset(key, 0, sizeof *key);
    key->version = version;
    return !bytes_copy_str(model, key->model, sizeof key->model);
}

struct lane *queue_find_lane(struct queue *q, struct bytes model, uint32_t version)
{
    struct lane_key key;
    struct lane    *l = NULL;
    if (make_key(&key, model, version))
        HASH_FIND(hh, q->lanes, &key, sizeof key, l);
    return l;
}

struct lane *queue_lane(struct queue *q, struct bytes model, uint32_t version)
{
    struct lane *l = queue_find_lane(q, model, version);
    if (l)
        return l;
    l       = mem_zalloc(sizeof *l);
    bool ok = make_key(&l->key, model, version);
    assert(ok);    /* names were checked against MAX_NAME on their way in */
    HASH_ADD(hh, q->lanes, key, sizeof l->key, l);
    return l;
}

size_t lane_engines(const struct lane *l)
{
    return l->engines_count;
}

size_t lane_waiting(const struct lane *l)
{
    return l->waiting_count;
}

uint32_t lane_version(const struct lane *l)
{
    return l->key.version;
}

const char *lane_model(const struct lane *l)
{
    return l->key.model;
}

const struct msg_hello *lane_signature(const struct lane *l)
{
    return &l->signature;
}

void lane_set_signature(struct lane *l, const struct msg_tensor *inputs, size_t inputs_count,
                        const struct msg_tensor *outputs, size_t outputs_count)
{
    struct msg_hello body = { .inputs        = (struct msg_tensor *)(uintptr_t)inputs,
                              .inputs_count  = inputs_count,
                              .outputs       = (struct msg_tensor *)(uintptr_t)outputs,
                              .outputs_count = outputs_count };
    const void      *copy;
    if (l->packed.len)
        return;    /* a version is immutable, and so is its signature */
    msg_pack(&l->packed, &schema_hello, &body);
    if (!msg_unpack(&l->decoder, &schema_hello, buf_bytes(&l->packed), &copy, NULL))
        l->signature = *(const struct msg_hello *)copy;
}

/* ---- requests --------------------------------------------------------------------------------- */

struct inference *inference_create(struct queue *q)
{
    struct inference *r = q->pool;
    if (!r)
        return mem_zalloc(sizeof *r);
    q->pool = r->next;
    q->pool_count--;
    r->next = NULL;
    return r;
}

/* Cleans what was used, no more: the struct is large. */
static void recycle(struct queue *q, struct inference *r)
{
    for (size_t i = 0; i < r->inputs_count; i++)
        frame_finish(&r->data[i]);
    if (q->pool_count >= POOL_MAX) {
        free(r);
        return;
    }
    r->lane         = NULL;
    r->inputs_count = 0;
    r->rows         = 0;
    r->pinned       = false;
    r->done         = NULL;
    r->user         = NULL;
    r->state        = INFERENCE_IDLE;
    r->job          = NULL;
    r->kills        = 0;
    r->alone        = false;
    r->prev         = NULL;
    r->next         = q->pool;
    q->pool         = r;
    q->pool_count++;
}

void inference_drop(struct queue *q, struct inference *r)
{
    assert(r->state == INFERENCE_IDLE);
    recycle(q, r);
}

/* The one function that changes a request's state, and with it the list that holds it. */
static void request_move(struct queue *q, struct inference *r, enum inference_state to, bool ahead)
{
    struct lane *l = r->lane;
    if (r->state == INFERENCE_WAITING) {
        DL_DELETE(l->waiting, r);
        l->waiting_count--;
        l->waiting_bytes -= r->bytes;
    }
    if (to == INFERENCE_WAITING) {
        assert(r->state != INFERENCE_WAITING);
        if (ahead)
            DL_PREPEND(l->waiting, r);
        else
            DL_APPEND(l->waiting, r);
        l->waiting_count++;
        l->waiting_bytes += r->bytes;
        r->job = NULL;
        mark_dirty(q, l);
    }
    r->state = to;
}

static void finish(struct queue *q, struct inference *r, const struct outcome *outcome)
{
    request_move(q, r, INFERENCE_IDLE, false);
    heap_remove(&q->deadlines, &r->deadline);
    r->done(r, outcome);
    recycle(q, r);
}

static void finish_text(struct queue *q, struct inference *r, enum status st, const char *text)
{
    finish(q, r, &(struct outcome){ .status = st, .text = text });
}

enum status queue_submit(struct queue *q, struct lane *l, struct inference *r, uint64_t now_us,
                         struct error *err)
{
    r->bytes = 0;
    for (size_t i = 0; i < r->inputs_count; i++)
        r->bytes += frame_bytes(&r->data[i]).len;
    if (l->waiting_count >= q->limits.waiting_max)
        return error_set(err, STATUS_BUSY, "%zu requests wait for version %u of '%s' already",
                         l->waiting_count, l->key.version, l->key.model);
    if (l->waiting_bytes + r->bytes > q->limits.waiting_bytes_max)
        return error_set(err, STATUS_BUSY,
                         "%llu bytes of requests wait for version %u of '%s' already",
                         (unsigned long long)l->waiting_bytes, l->key.version, l->key.model);
    r->lane         = l;
    r->submitted_us = now_us;
    heap_push(&q->deadlines, &r->deadline, r->deadline_ms);
    request_move(q, r, INFERENCE_WAITING, false);
    return STATUS_OK;
}

/* The job goes on without this request. */
static void leave_job(struct inference *r)
{
    for (size_t i = 0; r->job && i < r->job->count; i++)
        if (r->job->items[i].request == r)
            r->job->items[i].request = NULL;
    r->job = NULL;
}

void queue_cancel(struct queue *q, struct inference *r)
{
    leave_job(r);
    request_move(q, r, INFERENCE_IDLE, false);
    heap_remove(&q->deadlines, &r->deadline);
    recycle(q, r);
}

void queue_move(struct queue *q, struct lane *from, struct lane *to)
{
    struct inference *r, *next;
    DL_FOREACH_SAFE(from->waiting, r, next) {
        if (r->pinned)
            continue;
        request_move(q, r, INFERENCE_IDLE, false);
        r->lane = to;
        request_move(q, r, INFERENCE_WAITING, false);
    }
}

uint64_t queue_expire(struct queue *q, uint64_t now_ms)
{
    struct heap_node *first;
    while ((first = heap_first(&q->deadlines)) && first->key <= now_ms) {
        struct inference *r =
            (struct inference *)((char *)first - offsetof(struct inference, deadline));
        const char *text = r->state == INFERENCE_RUNNING
                               ? "the model did not answer within the deadline"
                           : r->lane->engines_count
                               ? "the deadline passed while the request waited"
                               : "no engine of this version came up within the deadline";
        leave_job(r);
        finish_text(q, r, STATUS_TIMEOUT, text);
    }
    return first ? first->key : 0;
}

/* ---- jobs ------------------------------------------------------------------------------------- */

static bool same_row_shape(const struct inference *a, const struct inference *b)
{
    if (a->inputs_count != b->inputs_count)
        return false;
    for (size_t i = 0; i < a->inputs_count; i++) {
        size_t rank = a->inputs[i].shape.count;
        if (rank != b->inputs[i].shape.count ||
            memcmp(a->shapes[i] + 1, b->shapes[i] + 1, (rank - 1) * sizeof(int64_t)) != 0)
            return false;
    }
    return true;
}

/* How many waiting requests, from the first on, go into one job. */
static size_t batch_size(const struct lane *l, uint32_t max_batch, uint32_t *rows)
{
    const struct inference *first = l->waiting, *r;
    size_t                  count = 1;
    *rows                         = first->rows;
    if (max_batch <= 1 || first->alone)
        return 1;
    for (r = first->next; r; r = r->next) {
        if (r->alone || *rows + r->rows > max_batch || !same_row_shape(first, r))
            break;
        *rows += r->rows;
        count++;
    }
    return count;
}

/* One input of a batch: the rows of all its requests, one after the other. */
static void join_input(const struct job *j, size_t input, struct frame *to)
{
    size_t len = 0;
    for (size_t i = 0; i < j->count; i++)
        len += frame_bytes(&j->items[i].request->data[input]).len;
    char *at = frame_init_size(to, len);
    for (size_t i = 0; i < j->count; i++) {
        struct bytes part = frame_bytes(&j->items[i].request->data[input]);
        memcpy(at, part.data, part.len);
        at += part.len;
    }
}

static enum status send_job(struct queue *q, struct job *j)
{
    const struct inference *first  = j->items[0].request;
    struct frames           frames = { .count = 0 };
    struct msg_tensor       inputs[MAX_TENSORS];
    int64_t                 shapes[MAX_TENSORS][MAX_RANK];
    struct msg_job          body = { .job          = j->id,
                                     .attempt      = j->attempt,
                                     .inputs       = inputs,
                                     .inputs_count = first->inputs_count };
    for (size_t i = 0; i < first->inputs_count; i++) {
        inputs[i]       = first->inputs[i];
        struct frame *f = frames_add(&frames);
        if (j->count == 1) {
            frame_init_share(f, &first->data[i]);
            continue;
        }
        memcpy(shapes[i], first->shapes[i], sizeof shapes[i]);
        shapes[i][0]       = j->rows;
        inputs[i].shape.at = shapes[i];
        join_input(j, i, f);
    }
    enum status st = q->events.send(q->arg, j->engine->peer, &body, &frames);
    if (st)
        frames_finish(&frames);
    return st;
}

static void job_destroy(struct queue *q, struct job *j)
{
    HASH_DEL(q->jobs, j);
    DL_DELETE(j->engine->jobs, j);
    free(j);
}

/* Puts the requests of a job back, ahead of newer work and in their order. */
static void requeue(struct queue *q, struct job *j, bool kill)
{
    for (size_t i = j->count; i > 0; i--) {
        struct inference *r = j->items[i - 1].request;
        if (!r)
            continue;
        r->kills += kill;
        r->alone = true;    /* the next crash or error names the guilty one */
        q->requeued++;
        request_move(q, r, INFERENCE_WAITING, true);
        if (r->kills < POISON_KILLS)
            continue;
        q->poisoned++;
        finish_text(q, r, STATUS_POISON,
                    "this request has crashed its model twice and is not tried again");
    }
}

static bool dispatch_one(struct queue *q, struct lane *l)
{
    struct engine_link *e;
    uint32_t            rows;
    DL_FOREACH(l->engines, e)
        if (e->credit && !e->leaving)
            break;
    if (!e || !l->waiting)
        return false;
    size_t      count = batch_size(l, e->max_batch, &rows);
    struct job *j     = mem_zalloc(sizeof *j + count * sizeof j->items[0]);
    j->id             = ++q->next_job;
    j->engine         = e;
    j->count          = count;
    j->rows           = rows;
    j->attempt        = l->waiting->kills + 1;
    for (size_t i = 0; i < count; i++) {
        struct inference *r = l->waiting;
        request_move(q, r, INFERENCE_RUNNING, false);
        r->job                = j;
        j->items[i].request   = r;
        j->items[i].rows      = r->rows;
    }
    HASH_ADD(hh, q->jobs, id, sizeof j->id, j);
    DL_APPEND(e->jobs, j);
    DL_DELETE(l->engines, e);    /* least recently used first */
    DL_APPEND(l->engines, e);
    e->credit--;
    if (send_job(q, j)) {
        e->credit = 0;    /* its caller learns of its death by other ways */
        requeue(q, j, false);
        job_destroy(q, j);
        return true;
    }
    q->jobs_sent++;
    q->rows_sent += rows;
    return true;
}

void queue_dispatch(struct queue *q)
{
    while (q->dirty) {
        struct lane *l = q->dirty;
        q->dirty       = l->next_dirty;
        l->is_dirty    = false;
        while (dispatch_one(q, l))
            ;
    }
}

/* ---- results ---------------------------------------------------------------------------------- */

/* The rows [from, from + rows) of an output of `all` rows. */
static enum status slice(const struct msg_tensor *t, struct bytes data, uint32_t from, uint32_t rows,
                         uint32_t all, struct bytes *out)
{
    if (t->datatype != DT_BYTES) {
        size_t row = data.len / all;
        *out       = bytes_of((const char *)data.data + from * row, rows * row);
        return STATUS_OK;
    }
    uint64_t elements;
    if (shape_elements(t->shape.at + 1, t->shape.count - 1, &elements))
        return STATUS_INVALID;
    const unsigned char *p = data.data, *begin = NULL;
    for (uint64_t i = 0; i <= (from + rows) * elements; i++) {
        uint32_t len = 0;
        if (i == from * elements)
            begin = p;
        if (i == (from + rows) * elements)
            break;
        memcpy(&len, p, sizeof len);    /* tensor_check has walked them */
        p += sizeof len + len;
    }
    *out = bytes_of(begin, (size_t)(p - begin));
    return STATUS_OK;
}

static enum status check_result(const struct job *j, const struct msg_result *m,
                                const struct frame *frames, size_t frames_count, struct error *err)
{
    if (m->outputs_count != frames_count)
        return error_set(err, STATUS_INVALID, "%zu outputs came in %zu frames", m->outputs_count,
                         frames_count);
    for (size_t i = 0; i < m->outputs_count; i++) {
        const struct msg_tensor *t = &m->outputs[i];
        if (tensor_check(datatype_from_wire(t->datatype), t->shape.at, t->shape.count,
                         frame_bytes(&frames[i]), err))
            return STATUS_INVALID;
        if (j->count > 1 && (t->shape.count == 0 || t->shape.at[0] != j->rows))
            return error_set(err, STATUS_INVALID, "output %zu does not have the batch's %u rows", i,
                             j->rows);
    }
    return STATUS_OK;
}

static void finish_item(struct queue *q, struct job *j, size_t item, uint32_t from,
                        const struct msg_result *m, const struct frame *frames)
{
    struct msg_tensor outputs[MAX_TENSORS];
    struct bytes      data[MAX_TENSORS];
    int64_t           shapes[MAX_TENSORS][MAX_RANK];
    struct outcome    outcome = { .outputs       = outputs,
                                  .data          = data,
                                  .outputs_count = m->outputs_count,
                                  .compute_us    = m->compute_us };
    uint32_t          rows    = j->items[item].rows;
    for (size_t i = 0; i < m->outputs_count; i++) {
        outputs[i] = m->outputs[i];
        data[i]    = frame_bytes(&frames[i]);
        if (j->count == 1)
            continue;
        memcpy(shapes[i], m->outputs[i].shape.at, m->outputs[i].shape.count * sizeof(int64_t));
        shapes[i][0]        = rows;
        outputs[i].shape.at = shapes[i];
        if (slice(&m->outputs[i], frame_bytes(&frames[i]), from, rows, j->rows, &data[i]))
            outcome = (struct outcome){ .status = STATUS_INTERNAL, .text = "bad output shape" };
    }
    finish(q, j->items[item].request, &outcome);
}

static void finish_all(struct queue *q, struct job *j, enum status st, const char *text)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].request)
            finish_text(q, j->items[i].request, st, text);
}

static enum status settle(struct queue *q, struct job *j, const struct msg_result *m,
                          const struct frame *frames, size_t frames_count, struct error *err)
{
    char text[MAX_REASON + 1];
    if (m->status && j->count > 1) {
        requeue(q, j, false);    /* one bad request must not spoil the others */
        return STATUS_OK;
    }
    if (m->status) {
        if (bytes_copy_str(m->text, text, sizeof text))
            text[0] = 0;
        finish_all(q, j, status_from_wire(m->status), text);
        return STATUS_OK;
    }
    enum status st = check_result(j, m, frames, frames_count, err);
    if (st) {
        finish_all(q, j, STATUS_INTERNAL, "the engine's answer makes no sense");
        return st;
    }
    for (uint32_t i = 0, from = 0; i < j->count; from += j->items[i].rows, i++)
        if (j->items[i].request)
            finish_item(q, j, i, from, m, frames);
    return STATUS_OK;
}

enum status queue_result(struct queue *q, struct engine_link *e, const struct msg_result *m,
                         const struct frame *frames, size_t frames_count, struct error *err)
{
    struct job *j = NULL;
    uint64_t    id = m->job;
    HASH_FIND(hh, q->jobs, &id, sizeof id, j);
    queue_engine_credit(q, e, m->credit);
    if (!j || j->engine != e || j->attempt != m->attempt) {
        q->late++;
        return STATUS_NOT_FOUND;
    }
    enum status st = settle(q, j, m, frames, frames_count, err);
    job_destroy(q, j);
    if (e->leaving && !e->jobs)
        q->events.parted(q->arg, e->peer);
    return st;
}

/* ---- engines ---------------------------------------------------------------------------------- */

struct engine_link *queue_engine_add(struct queue *q, struct lane *l, void *peer,
                                     uint32_t max_batch, uint32_t credit)
{
    struct engine_link *e = mem_zalloc(sizeof *e);
    e->lane               = l;
    e->peer               = peer;
    e->max_batch          = max_batch > BATCH_MAX ? BATCH_MAX : max_batch;
    DL_PREPEND(l->engines, e);
    l->engines_count++;
    queue_engine_credit(q, e, credit);
    return e;
}

void queue_engine_credit(struct queue *q, struct engine_link *e, uint32_t credit)
{
    e->credit = credit > CREDIT_MAX - e->credit ? CREDIT_MAX : e->credit + credit;
    if (e->lane->waiting)
        mark_dirty(q, e->lane);
}

void queue_engine_leave(struct queue *q, struct engine_link *e)
{
    if (!e->leaving) {
        e->leaving = true;
        e->lane->engines_count--;
    }
    if (!e->jobs)
        q->events.parted(q->arg, e->peer);
}

void queue_engine_remove(struct queue *q, struct engine_link *e, bool crashed)
{
    while (e->jobs) {
        struct job *j = e->jobs->prev;    /* the last one first: each is put ahead */
        requeue(q, j, crashed);
        job_destroy(q, j);
    }
    DL_DELETE(e->lane->engines, e);
    if (!e->leaving)
        e->lane->engines_count--;
    free(e);
}

uint64_t queue_engine_job(const struct engine_link *e)
{
    return e->jobs ? e->jobs->id : 0;
}

/* ---- life ------------------------------------------------------------------------------------- */

void queue_init(struct queue *q, const struct queue_limits *limits,
                const struct queue_events *events, void *arg)
{
    *q = (struct queue){ .limits = *limits, .events = *events, .arg = arg };
}

void queue_finish(struct queue *q)
{
    struct lane *l, *next_lane;
    struct job  *j, *next_job;
    HASH_ITER(hh, q->jobs, j, next_job) {
        finish_all(q, j, STATUS_CANCELLED, "the gateway is stopping");
        job_destroy(q, j);
    }
    HASH_ITER(hh, q->lanes, l, next_lane) {
        while (l->waiting)
            finish_text(q, l->waiting, STATUS_CANCELLED, "the gateway is stopping");
        while (l->engines)
            queue_engine_remove(q, l->engines, false);
        HASH_DEL(q->lanes, l);
        buf_finish(&l->packed);
        msg_decoder_finish(&l->decoder);
        free(l);
    }
    while (q->pool) {
        struct inference *r = q->pool;
        q->pool             = r->next;
        free(r);
    }
    heap_finish(&q->deadlines);
}
