/* jobs.c - from waiting requests to jobs, and from results to outcomes; see queue.h. */
#include "services/gateway/queue_parts.h"

#include <stdlib.h>

/* ---- jobs ------------------------------------------------------------------------------------- */

static bool same_row_shape(const struct inference *a, const struct inference *b)
{
    if (a->inputs_count != b->inputs_count)
        return false;
    for (size_t i = 0; i < a->inputs_count; i++) {
        size_t rank = a->inputs[i].shape.count;
        if (!rank || rank != b->inputs[i].shape.count ||
            memcmp(a->shapes[i] + 1, b->shapes[i] + 1, (rank - 1) * sizeof(int64_t)) != 0)
            return false;
    }
    return true;
}

/* How many waiting requests, from the first on, go into one job. */
static size_t batch_size(const struct lane *l, uint32_t max_batch, uint32_t *rows)
{
    const struct inference *first = l->waiting, *r;
    size_t count = 1;
    *rows = first->rows;
    if (max_batch <= 1 || first->alone)
        return 1;
    for (r = first->next; r; r = r->next) {
        if (r->alone || *rows >= max_batch || r->rows > max_batch - *rows ||
            !same_row_shape(first, r))
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

/* What is left of the latest deadline among its requests. */
static uint32_t job_timeout_ms(const struct job *j, uint64_t now_ms)
{
    uint64_t latest = now_ms;
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].request->deadline_ms > latest)
            latest = j->items[i].request->deadline_ms;
    return latest - now_ms < UINT32_MAX ? (uint32_t)(latest - now_ms) : UINT32_MAX;
}

static enum status send_job(struct queue *q, struct job *j, uint64_t now_ms)
{
    const struct inference *first = j->items[0].request;
    struct frames frames = { .count = 0 };
    struct msg_tensor inputs[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct msg_job body = { .job = j->id,
                            .attempt = j->attempt,
                            .timeout_ms = job_timeout_ms(j, now_ms),
                            .inputs = inputs,
                            .inputs_count = first->inputs_count };
    for (size_t i = 0; i < first->inputs_count; i++) {
        inputs[i] = first->inputs[i];
        struct frame *f = frames_add(&frames);
        if (j->count == 1) {
            frame_init_share(f, &first->data[i]);
            continue;
        }
        memcpy(shapes[i], first->shapes[i], sizeof shapes[i]);
        shapes[i][0] = j->rows;
        inputs[i].shape.at = shapes[i];
        join_input(j, i, f);
    }
    enum status st = q->events.send(q->arg, j->engine->peer, &body, j->rows, &frames);
    if (st)
        frames_finish(&frames);
    return st;
}

void job_destroy(struct queue *q, struct job *j)
{
    HASH_DEL(q->jobs, j);
    DL_DELETE(j->engine->jobs, j);
    free(j);
}

void job_requeue(struct queue *q, struct job *j, enum requeue why)
{
    for (size_t i = j->count; i > 0; i--) {
        struct inference *r = j->items[i - 1].request;
        if (!r)
            continue;
        r->kills += why == REQUEUE_KILLED;
        r->alone |= why != REQUEUE_UNTRIED;
        q->requeued++;
        request_move(q, r, INFERENCE_WAITING, true);
        if (r->kills < POISON_KILLS)
            continue;
        q->poisoned++;
        request_fail(q, r, STATUS_POISON,
                     "this request has crashed its model twice and is not tried again");
    }
}

/* The engine for the request that waits first; NULL: none has credit for it.  A suspect gets an
 * engine with nothing to do, and nobody gets the engine that has one. */
static struct engine_link *choose_engine(const struct lane *l)
{
    struct engine_link *e;
    bool suspect = l->waiting->kills > 0;
    DL_FOREACH(l->ready, e)
    if (!e->jobs || (!suspect && !e->jobs->suspect))
        return e;
    return NULL;
}

/* Takes requests off the lane. */
static struct job *job_create(struct queue *q, struct engine_link *e, uint64_t now_us)
{
    struct lane *l = e->lane;
    uint32_t rows;
    size_t count = batch_size(l, e->max_batch, &rows);
    struct job *j = mem_alloc(sizeof *j + count * sizeof j->items[0]);
    *j = (struct job){ .id = ++q->next_job,
                       .attempt = l->waiting->kills + 1,
                       .engine = e,
                       .suspect = l->waiting->kills > 0,
                       .count = count,
                       .rows = rows };
    for (size_t i = 0; i < count; i++) {
        struct inference *r = l->waiting;
        request_move(q, r, INFERENCE_RUNNING, false);
        r->job = j;
        r->sent_us = now_us;
        j->items[i].request = r;
        j->items[i].rows = r->rows;
    }
    HASH_ADD(hh, q->jobs, id, sizeof j->id, j);
    DL_APPEND(e->jobs, j);
    return j;
}

static bool dispatch_one(struct queue *q, struct lane *l, uint64_t now_us)
{
    struct engine_link *e = l->waiting ? choose_engine(l) : NULL;
    if (!e)
        return false;
    struct job *j = job_create(q, e, now_us);
    enum status st = send_job(q, j, now_us / 1000);
    e->credit = st ? 0 : e->credit - 1; /* its owner learns of its death by other ways */
    engine_place(e);
    if (st) {
        job_requeue(q, j, REQUEUE_UNTRIED);
        job_destroy(q, j);
        return true;
    }
    q->jobs_sent++;
    q->rows_sent += j->rows;
    return true;
}

void queue_dispatch(struct queue *q, uint64_t now_us)
{
    queue_expire(q, now_us / 1000);
    while (q->dirty) {
        struct lane *l = q->dirty;
        q->dirty = l->next_dirty;
        l->is_dirty = false;
        while (dispatch_one(q, l, now_us))
            ;
    }
}

/* ---- results ---------------------------------------------------------------------------------- */

/* Where the rows of the next request begin, in each output. */
struct cut {
    size_t at[MAX_TENSORS];
};

/* The bytes of the next rows of an output of `all` rows; tensor_check has seen it. */
static struct bytes cut_rows(const struct msg_tensor *t, struct bytes data, uint32_t rows,
                             uint32_t all, size_t *at)
{
    const char *begin = (const char *)data.data + *at;
    size_t len = 0;
    uint64_t elements = 0;
    if (t->datatype != DT_BYTES) {
        len = rows * (data.len / all);
    } else if (!shape_elements(t->shape.at + 1, t->shape.count - 1, &elements)) {
        for (uint64_t i = 0; i < rows * elements; i++) {
            uint32_t element;
            memcpy(&element, begin + len, sizeof element);
            len += sizeof element + element;
        }
    }
    *at += len;
    return bytes_of(begin, len);
}

/* An engine is trusted no more than the signature that it has shown. */
static enum status check_output(const struct msg_tensor *t, const struct msg_tensor *promised,
                                struct bytes data, struct error *err)
{
    if (!bytes_equal(t->name, promised->name) || t->datatype != promised->datatype)
        return error_set(err, STATUS_INVALID, "output '%.*s' is '%.*s' %s in the answer",
                         (int)promised->name.len, (const char *)promised->name.data,
                         (int)t->name.len, (const char *)t->name.data,
                         datatype_name(datatype_from_wire(t->datatype)));
    return tensor_check(datatype_from_wire(t->datatype), t->shape.at, t->shape.count, data, err);
}

static enum status check_result(const struct job *j, const struct msg_result *m,
                                const struct frame *frames, size_t frames_count, struct error *err)
{
    const struct msg_hello *signature = &j->engine->lane->signature;
    if (m->outputs_count != frames_count || m->outputs_count != signature->outputs_count)
        return error_set(err, STATUS_INVALID, "%zu of %zu outputs came in %zu frames",
                         m->outputs_count, signature->outputs_count, frames_count);
    for (size_t i = 0; i < m->outputs_count; i++) {
        const struct msg_tensor *t = &m->outputs[i];
        if (check_output(t, &signature->outputs[i], frame_bytes(&frames[i]), err))
            return STATUS_INVALID;
        if (j->count > 1 && (t->shape.count == 0 || t->shape.at[0] != j->rows))
            return error_set(err, STATUS_INVALID, "output %zu does not have the batch's %u rows", i,
                             j->rows);
    }
    return STATUS_OK;
}

static void finish_item(struct queue *q, struct job *j, size_t item, struct cut *cut,
                        const struct msg_result *m, const struct frame *frames)
{
    struct msg_tensor outputs[MAX_TENSORS];
    struct bytes data[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct outcome outcome = { .outputs = outputs,
                               .data = data,
                               .outputs_count = m->outputs_count,
                               .compute_us = m->compute_us };
    uint32_t rows = j->items[item].rows;
    for (size_t i = 0; i < m->outputs_count; i++) {
        outputs[i] = m->outputs[i];
        data[i] = frame_bytes(&frames[i]);
        if (j->count == 1)
            continue;
        data[i] = cut_rows(&m->outputs[i], data[i], rows, j->rows, &cut->at[i]);
        memcpy(shapes[i], m->outputs[i].shape.at, m->outputs[i].shape.count * sizeof(int64_t));
        shapes[i][0] = rows;
        outputs[i].shape.at = shapes[i];
    }
    if (j->items[item].request)
        request_finish(q, j->items[item].request, &outcome);
}

void job_fail(struct queue *q, struct job *j, enum status st, const char *text)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].request)
            request_fail(q, j->items[i].request, st, text);
}

/* The requests of a job that did not go well: who was alone is told, the others are tried alone,
 * so that one bad request does not spoil it for the rest. */
static void job_failed(struct queue *q, struct job *j, enum status st, const char *text)
{
    if (j->count > 1)
        job_requeue(q, j, REQUEUE_FAILED);
    else
        job_fail(q, j, st, text);
}

static enum status settle(struct queue *q, struct job *j, const struct msg_result *m,
                          const struct frame *frames, size_t frames_count, struct error *err)
{
    char text[MAX_REASON + 1];
    struct cut cut = { 0 };
    if (m->status) {
        enum status failed = status_from_wire(m->status);
        bool says = !bytes_copy_str(m->text, text, sizeof text) && text[0];
        job_failed(q, j, failed, says ? text : status_text(failed));
        return STATUS_OK;
    }
    enum status st = check_result(j, m, frames, frames_count, err);
    if (st) {
        job_failed(q, j, STATUS_INTERNAL, "the engine's answer makes no sense");
        return st;
    }
    for (size_t i = 0; i < j->count; i++)
        finish_item(q, j, i, &cut, m, frames);
    return STATUS_OK;
}

enum status queue_result(struct queue *q, struct engine_link *e, const struct msg_result *m,
                         const struct frame *frames, size_t frames_count, struct error *err)
{
    struct job *j = NULL;
    uint64_t id = m->job;
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
