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
    size_t count = 1;
    *rows = first->rows;
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
    const struct inference *first = j->items[0].request;
    struct frames frames = { .count = 0 };
    struct msg_tensor inputs[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct msg_job body = {
        .job = j->id, .attempt = j->attempt, .inputs = inputs, .inputs_count = first->inputs_count
    };
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
    enum status st = q->events.send(q->arg, j->engine->peer, &body, &frames);
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

/* Puts the requests of a job back, ahead of newer work and in their order. */
void job_requeue(struct queue *q, struct job *j, bool kill)
{
    for (size_t i = j->count; i > 0; i--) {
        struct inference *r = j->items[i - 1].request;
        if (!r)
            continue;
        r->kills += kill;
        r->alone = true; /* the next crash or error names the guilty one */
        q->requeued++;
        request_move(q, r, INFERENCE_WAITING, true);
        if (r->kills < POISON_KILLS)
            continue;
        q->poisoned++;
        request_fail(q, r, STATUS_POISON,
                     "this request has crashed its model twice and is not tried again");
    }
}

static bool dispatch_one(struct queue *q, struct lane *l)
{
    struct engine_link *e;
    uint32_t rows;
    DL_FOREACH(l->engines, e)
    if (e->credit && !e->leaving)
        break;
    if (!e || !l->waiting)
        return false;
    size_t count = batch_size(l, e->max_batch, &rows);
    struct job *j = mem_zalloc(sizeof *j + count * sizeof j->items[0]);
    j->id = ++q->next_job;
    j->engine = e;
    j->count = count;
    j->rows = rows;
    j->attempt = l->waiting->kills + 1;
    for (size_t i = 0; i < count; i++) {
        struct inference *r = l->waiting;
        request_move(q, r, INFERENCE_RUNNING, false);
        r->job = j;
        j->items[i].request = r;
        j->items[i].rows = r->rows;
    }
    HASH_ADD(hh, q->jobs, id, sizeof j->id, j);
    DL_APPEND(e->jobs, j);
    DL_DELETE(l->engines, e); /* least recently used first */
    DL_APPEND(l->engines, e);
    e->credit--;
    if (send_job(q, j)) {
        e->credit = 0; /* its caller learns of its death by other ways */
        job_requeue(q, j, false);
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
        q->dirty = l->next_dirty;
        l->is_dirty = false;
        while (dispatch_one(q, l))
            ;
    }
}

/* ---- results ---------------------------------------------------------------------------------- */

/* The rows [from, from + rows) of an output of `all` rows. */
static enum status slice(const struct msg_tensor *t, struct bytes data, uint32_t from,
                         uint32_t rows, uint32_t all, struct bytes *out)
{
    if (t->datatype != DT_BYTES) {
        size_t row = data.len / all;
        *out = bytes_of((const char *)data.data + from * row, rows * row);
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
        memcpy(&len, p, sizeof len); /* tensor_check has walked them */
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
        memcpy(shapes[i], m->outputs[i].shape.at, m->outputs[i].shape.count * sizeof(int64_t));
        shapes[i][0] = rows;
        outputs[i].shape.at = shapes[i];
        if (slice(&m->outputs[i], frame_bytes(&frames[i]), from, rows, j->rows, &data[i]))
            outcome = (struct outcome){ .status = STATUS_INTERNAL, .text = "bad output shape" };
    }
    request_finish(q, j->items[item].request, &outcome);
}

void job_fail(struct queue *q, struct job *j, enum status st, const char *text)
{
    for (size_t i = 0; i < j->count; i++)
        if (j->items[i].request)
            request_fail(q, j->items[i].request, st, text);
}

static enum status settle(struct queue *q, struct job *j, const struct msg_result *m,
                          const struct frame *frames, size_t frames_count, struct error *err)
{
    char text[MAX_REASON + 1];
    if (m->status && j->count > 1) {
        job_requeue(q, j, false); /* one bad request must not spoil the others */
        return STATUS_OK;
    }
    if (m->status) {
        if (bytes_copy_str(m->text, text, sizeof text))
            text[0] = 0;
        job_fail(q, j, status_from_wire(m->status), text);
        return STATUS_OK;
    }
    enum status st = check_result(j, m, frames, frames_count, err);
    if (st) {
        job_fail(q, j, STATUS_INTERNAL, "the engine's answer makes no sense");
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
