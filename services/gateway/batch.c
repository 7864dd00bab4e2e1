/* batch.c - from waiting requests to batches and jobs, and back; see queue.h. */
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

/* Rows that a job of this engine may have. */
static uint32_t rows_max(const struct engine_link *e)
{
    uint32_t told = e->lane->options.max_batch;
    return told && told < e->max_batch ? told : e->max_batch;
}

/* May the request join a batch that has so many rows? */
static bool joins(const struct inference *first, const struct inference *r, uint32_t rows,
                  uint32_t max, enum batch_end *end)
{
    if (rows >= max || (!r->alone && r->rows > max - rows))
        *end = BATCH_FULL;
    else if (r->alone)
        *end = BATCH_ALONE;
    else if (!same_row_shape(first, r))
        *end = BATCH_SHAPE;
    else
        return true;
    return false;
}

/* Takes the requests of the next job off the lane, into q->batch; how many. */
static size_t take_batch(struct queue *q, struct lane *l, uint32_t max, uint32_t *rows)
{
    struct inference *first = waiting_first(&l->waiting), *r = first;
    bool alone = max <= 1 || first->alone;
    enum batch_end end = alone ? BATCH_ALONE : BATCH_DRAINED;
    size_t count = 0;
    *rows = 0;
    do {
        waiting_served(&l->waiting, r);
        request_move(q, r, INFERENCE_RUNNING, false);
        *rows += r->rows;
        q->batch[count++] = r;
        r = waiting_first(&l->waiting);
    } while (r && !alone && joins(first, r, *rows, max, &end));
    if (end == BATCH_DRAINED && *rows >= max)
        end = BATCH_FULL;
    l->counts.ends[end]++;
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
        q->requeued += !r->copy;
        request_move(q, r, INFERENCE_WAITING, true);
        if (r->kills < (r->copy ? 1 : POISON_KILLS))
            continue;
        q->poisoned += !r->copy;
        request_fail(q, r, STATUS_POISON,
                     "this request has crashed its model twice and is not tried again");
    }
}

/* The engine for the request that waits first; NULL: none takes it now.  A suspect gets an engine
 * with nothing to do, and nobody gets the engine that has one. */
static struct engine_link *choose_engine(const struct lane *l)
{
    struct engine_link *e;
    const struct inference *first = waiting_first(&l->waiting);
    bool suspect = first->kills > 0;
    DL_FOREACH(l->ready, e)
    if (!e->jobs || (!suspect && !e->jobs->suspect))
        return e;
    e = l->ahead;
    bool full = e && (first->alone || l->waiting.rows >= rows_max(e));
    return full && !suspect && lane_is_quick(l, AHEAD_JOB_US) ? e : NULL;
}

static struct job *job_create(struct queue *q, struct engine_link *e, uint64_t now_us)
{
    uint32_t rows, kills = waiting_first(&e->lane->waiting)->kills;
    size_t count = take_batch(q, e->lane, rows_max(e), &rows);
    struct job *j = mem_alloc(sizeof *j + count * sizeof j->items[0]);
    *j = (struct job){ .id = ++q->next_job,
                       .attempt = kills + 1,
                       .engine = e,
                       .sent_us = now_us,
                       .suspect = kills > 0,
                       .count = count,
                       .rows = rows };
    for (size_t i = 0; i < count; i++) {
        struct inference *r = q->batch[i];
        r->job = j;
        r->sent_us = now_us;
        j->items[i].request = r;
        j->items[i].rows = r->rows;
    }
    HASH_ADD(hh, q->jobs, id, sizeof j->id, j);
    DL_APPEND(e->jobs, j);
    return j;
}

/* A batch that is not full may wait for more, if the deployment says so. */
static bool may_grow(struct queue *q, struct lane *l, const struct engine_link *e, uint64_t now_us)
{
    uint64_t until = waiting_oldest_us(&l->waiting) + l->options.delay_us;
    if (!l->options.delay_us || now_us >= until || waiting_first(&l->waiting)->alone ||
        l->waiting.rows >= rows_max(e))
        return false;
    heap_remove(&q->wakes, &l->wake);
    heap_push(&q->wakes, &l->wake, until);
    return true;
}

static bool dispatch_one(struct queue *q, struct lane *l, uint64_t now_us)
{
    struct engine_link *e = l->waiting.count ? choose_engine(l) : NULL;
    if (!e || may_grow(q, l, e, now_us))
        return false;
    struct job *j = job_create(q, e, now_us);
    enum status st = send_job(q, j, now_us / 1000);
    if (st)
        e->credit = e->ahead = e->ahead_max = 0; /* its owner learns of its death by other ways */
    else if (e->credit)
        e->credit--;
    else
        e->ahead--;
    engine_place(e);
    if (st) {
        job_requeue(q, j, REQUEUE_UNTRIED);
        job_destroy(q, j);
        return true;
    }
    lane_expect_result(l, j->rows);
    if (lane_is_quick(l, SOON_JOB_US))
        q->soon_us = now_us + SOON_US;
    l->counts.jobs++;
    l->counts.rows += j->rows;
    q->jobs_sent++;
    q->rows_sent += j->rows;
    return true;
}

/* Lanes whose batches have waited long enough. */
static void wake_lanes(struct queue *q, uint64_t now_us)
{
    struct heap_node *first;
    while ((first = heap_first(&q->wakes)) && first->key <= now_us) {
        heap_remove(&q->wakes, first);
        lane_mark(q, (struct lane *)((char *)first - offsetof(struct lane, wake)));
    }
}

uint64_t queue_dispatch(struct queue *q, uint64_t now_us)
{
    queue_expire(q, now_us / 1000);
    wake_lanes(q, now_us);
    while (q->dirty) {
        struct lane *l = q->dirty;
        q->dirty = l->next_dirty;
        l->is_dirty = false;
        while (dispatch_one(q, l, now_us))
            ;
    }
    struct heap_node *first = heap_first(&q->wakes);
    return first ? first->key : 0;
}
