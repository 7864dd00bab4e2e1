/* results.c - from the result of a job to the outcomes of its requests; see queue.h. */
#include "services/gateway/queue_parts.h"

/* Where the rows of the next request begin, in each output. */
struct cut {
    size_t at[MAX_TENSORS];
};

static bool is_promised(const struct lane *l, size_t i, const struct msg_tensor *t)
{
    if (i == 0 && l->first_output.name_len)
        return t->datatype == l->first_output.datatype &&
               bytes_equal(t->name, bytes_of(l->first_output.name, l->first_output.name_len));
    return t->datatype == l->outputs[i].datatype && bytes_equal(t->name, l->outputs[i].name);
}

/* An engine is trusted no more than the signature that it has shown. */
static enum status check_output(const struct lane *l, size_t i, const struct msg_tensor *t,
                                struct bytes data, struct error *err)
{
    const struct msg_tensor *promised = &l->outputs[i];
    if (!is_promised(l, i, t))
        return error_set(err, STATUS_INVALID, "output '%.*s' is '%.*s' %s in the answer",
                         (int)promised->name.len, (const char *)promised->name.data,
                         (int)t->name.len, (const char *)t->name.data,
                         datatype_name(datatype_from_wire(t->datatype)));
    return tensor_check(datatype_from_wire(t->datatype), t->shape.at, t->shape.count, data, err);
}

static enum status check_result(const struct job *j, const struct msg_result *m,
                                const struct frame *frames, size_t frames_count, struct error *err)
{
    const struct lane *l = j->engine->lane;
    if (m->outputs_count != frames_count || m->outputs_count != l->outputs_count)
        return error_set(err, STATUS_INVALID, "%zu of %zu outputs came in %zu frames",
                         m->outputs_count, l->outputs_count, frames_count);
    for (size_t i = 0; i < m->outputs_count; i++) {
        const struct msg_tensor *t = &m->outputs[i];
        if (check_output(l, i, t, frame_bytes(&frames[i]), err))
            return STATUS_INVALID;
        if (j->count > 1 && (t->shape.count == 0 || t->shape.at[0] != j->rows))
            return error_set(err, STATUS_INVALID, "output %zu does not have the batch's %u rows", i,
                             j->rows);
    }
    return STATUS_OK;
}

static void finish_item(struct queue *q, struct job *j, size_t item, struct cut *cut,
                        uint64_t transfer_us, const struct msg_result *m,
                        const struct frame *frames)
{
    struct msg_tensor outputs[MAX_TENSORS];
    struct bytes data[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct outcome outcome = { .outputs = outputs,
                               .data = data,
                               .frames = frames,
                               .transfer_us = transfer_us,
                               .outputs_count = m->outputs_count,
                               .compute_us = m->compute_us };
    uint32_t rows = j->items[item].rows;
    for (size_t i = 0; i < m->outputs_count; i++) {
        outputs[i] = m->outputs[i];
        data[i] = frame_bytes(&frames[i]);
        if (j->count == 1)
            continue;
        const struct msg_tensor *t = &m->outputs[i];
        data[i] = tensor_cut(datatype_from_wire(t->datatype), t->shape.at, t->shape.count, data[i],
                             rows, &cut->at[i]);
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

/* What a job has taken, for the next request's prediction and for those who look. */
static uint64_t account(struct job *j, const struct msg_result *m, uint64_t now_us)
{
    struct lane *l = j->engine->lane;
    struct lane_counts *c = &l->counts;
    /* one that was sent ahead has waited for the job before it */
    uint64_t begin_us = j->engine->result_us > j->sent_us ? j->engine->result_us : j->sent_us;
    uint64_t whole_us = now_us > begin_us ? now_us - begin_us : 0;
    uint64_t transfer_us = whole_us > m->compute_us ? whole_us - m->compute_us : 0;
    lane_learn(l, whole_us, j->rows);
    if (j->rows > BATCH_MAX || !j->rows)
        return transfer_us;
    if (j->rows > c->batches_count) {
        c->batches = mem_resize(c->batches, j->rows * sizeof *c->batches);
        memset(c->batches + c->batches_count, 0, (j->rows - c->batches_count) * sizeof *c->batches);
        c->batches_count = j->rows;
    }
    c->batches[j->rows - 1].jobs++;
    c->batches[j->rows - 1].compute_us += m->compute_us;
    c->batches[j->rows - 1].transfer_us += transfer_us;
    return transfer_us;
}

static enum status settle(struct queue *q, struct job *j, uint64_t now_us,
                          const struct msg_result *m, const struct frame *frames,
                          size_t frames_count, struct error *err)
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
    uint64_t transfer_us = account(j, m, now_us);
    for (size_t i = 0; i < j->count; i++)
        finish_item(q, j, i, &cut, transfer_us, m, frames);
    return STATUS_OK;
}

enum status queue_result(struct queue *q, struct engine_link *e, uint64_t now_us,
                         const struct msg_result *m, const struct frame *frames,
                         size_t frames_count, struct error *err)
{
    struct job *j = NULL;
    uint64_t id = m->job;
    HASH_FIND(hh, q->jobs, &id, sizeof id, j);
    queue_engine_credit(q, e, m->credit);
    if (!j || j->engine != e || j->attempt != m->attempt) {
        q->late++;
        return STATUS_NOT_FOUND;
    }
    enum status st = settle(q, j, now_us, m, frames, frames_count, err);
    e->result_us = now_us;
    job_destroy(q, j);
    if (e->leaving && !e->jobs)
        q->events.parted(q->arg, e->peer);
    return st;
}
