/* queue.c - requests and engines; see queue.h. */
#include "services/gateway/queue_parts.h"

#include <assert.h>
#include <stdlib.h>

#define POOL_MAX 256

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
    r->lane = NULL;
    r->inputs_count = 0;
    r->rows = 0;
    r->pinned = false;
    r->copy = false;
    r->done = NULL;
    r->user = NULL;
    r->state = INFERENCE_IDLE;
    r->job = NULL;
    r->kills = 0;
    r->priority = 0;
    r->sent_us = 0;
    r->alone = false;
    r->prev = NULL;
    r->next = q->pool;
    q->pool = r;
    q->pool_count++;
}

void inference_drop(struct queue *q, struct inference *r)
{
    assert(r->state == INFERENCE_IDLE);
    recycle(q, r);
}

/* The one function that changes a request's state, and with it the list that holds it. */
void request_move(struct queue *q, struct inference *r, enum inference_state to, bool ahead)
{
    struct lane *l = r->lane;
    if (r->state == INFERENCE_WAITING) {
        waiting_remove(&l->waiting, r);
    }
    if (to == INFERENCE_WAITING) {
        assert(r->state != INFERENCE_WAITING);
        waiting_add(&l->waiting, r, ahead);
        r->job = NULL;
        lane_mark(q, l);
    }
    r->state = to;
}

void request_finish(struct queue *q, struct inference *r, const struct outcome *outcome)
{
    request_move(q, r, INFERENCE_IDLE, false);
    heap_remove(&q->deadlines, &r->deadline);
    r->done(r, outcome);
    recycle(q, r);
}

void request_fail(struct queue *q, struct inference *r, enum status st, const char *text)
{
    request_finish(q, r, &(struct outcome){ .status = st, .text = text });
}

static enum status refuse(struct lane *l, const struct inference *r, enum refusal why,
                          struct error *err, uint64_t waits, const char *what)
{
    l->counts.refused[why] += !r->copy;
    return error_set(err, STATUS_BUSY, "%llu %s for version %u of '%s' already",
                     (unsigned long long)waits, what, l->key.version, l->key.model);
}

/* What would not be answered in time is refused now, while another place may be asked. */
static enum status admit(const struct queue *q, struct lane *l, const struct inference *r,
                         uint64_t now_us, struct error *err)
{
    const struct waiting *w = &l->waiting;
    uint64_t rows, count = waiting_before(w, r, &rows);
    bool at_once = !count && l->ready && !l->ready->jobs; /* so nothing is foretold of it */
    uint64_t usual_us = at_once ? 0 : lane_rows_us(l, rows) + lane_work_us(l);
    uint64_t need_us = usual_us + usual_us / 8; /* some take longer than usual */
    uint64_t left_us = r->deadline_ms * 1000 - now_us;
    if (count >= (l->options.waiting_max ? l->options.waiting_max : q->limits.waiting_max))
        return refuse(l, r, REFUSED_COUNT, err, count, "requests wait");
    if (w->bytes > q->limits.waiting_bytes_max || /* what was put back is not asked */
        r->bytes > q->limits.waiting_bytes_max - w->bytes)
        return refuse(l, r, REFUSED_BYTES, err, w->bytes, "bytes of requests wait");
    if (r->deadline_ms * 1000 > now_us && need_us > left_us)
        return refuse(
            l, r, REFUSED_WAIT, err, need_us / 1000,
            "milliseconds of work, which is more than the request's deadline leaves, wait");
    return STATUS_OK;
}

enum status queue_submit(struct queue *q, struct lane *l, struct inference *r, uint64_t now_us,
                         struct error *err)
{
    r->bytes = 0;
    for (size_t i = 0; i < r->inputs_count; i++)
        r->bytes += frame_bytes(&r->data[i]).len;
    if (admit(q, l, r, now_us, err))
        return STATUS_BUSY;
    r->lane = l;
    r->submitted_us = now_us;
    if (!r->copy) {
        q->submitted++;
        recent_add(&l->recent, now_us);
    }
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

static void move_one(struct queue *q, struct inference *r, struct lane *to, bool fits)
{
    if (fits) {
        request_move(q, r, INFERENCE_IDLE, false);
        r->lane = to;
        request_move(q, r, INFERENCE_WAITING, true);
    } else {
        request_fail(q, r, STATUS_UNAVAILABLE,
                     "the model was replaced by a version with other inputs or outputs while "
                     "the request waited; ask again");
    }
}

void queue_move(struct queue *q, struct lane *from, struct lane *to)
{
    bool fits = bytes_equal(buf_bytes(&from->packed), buf_bytes(&to->packed));
    for (size_t class = 0; class < PRIORITY_CLASSES; class ++) {
        struct inference *first = from->waiting.list[class], *before;
        struct inference *r = first ? first->prev : NULL; /* the last one first */
        for (bool more = r; more; r = before) {
            before = r->prev;
            more = r != first;
            if (!r->pinned)
                move_one(q, r, to, fits);
        }
    }
}

void queue_each_lane(struct queue *q, queue_lane_fn *each, void *arg)
{
    struct lane *l, *next;
    HASH_ITER(hh, q->lanes, l, next)
    each(arg, l);
}

void queue_each_stranded(struct queue *q, queue_lane_fn *each, void *arg)
{
    struct lane *l, *next;
    HASH_ITER(hh, q->lanes, l, next)
    if (l->waiting.count && !l->engines_count)
        each(arg, l);
}

static void expire_one(struct queue *q, struct inference *r)
{
    leave_job(r);
    if (r->state == INFERENCE_RUNNING)
        request_fail(q, r, STATUS_TIMEOUT, "the model did not answer within the deadline");
    else if (r->lane->engines_count)
        request_fail(q, r, STATUS_TIMEOUT, "the deadline passed while the request waited");
    else
        request_fail(q, r, STATUS_UNAVAILABLE, "no engine came up within the deadline");
}

uint64_t queue_expire(struct queue *q, uint64_t now_ms)
{
    struct heap_node *first;
    while ((first = heap_first(&q->deadlines)) && first->key <= now_ms)
        expire_one(q, (struct inference *)((char *)first - offsetof(struct inference, deadline)));
    return first ? first->key : 0;
}

bool queue_answer_is_near(const struct queue *q, uint64_t now_us)
{
    return q->jobs && now_us < q->soon_us;
}

/* ---- engines ---------------------------------------------------------------------------------- */

void engine_place(struct engine_link *e)
{
    struct lane *l = e->lane;
    if (e->list)
        DL_DELETE(*e->list, e);
    bool ahead = e->ahead && e->jobs && !e->jobs->suspect;
    e->list = e->leaving ? &l->busy : e->credit ? &l->ready : ahead ? &l->ahead : &l->busy;
    DL_APPEND(*e->list, e);
}

struct engine_link *queue_engine_add(struct queue *q, struct lane *l, void *peer,
                                     uint32_t max_batch, uint32_t credit)
{
    struct engine_link *e = slab_take(&q->engine_memory);
    e->lane = l;
    e->peer = peer;
    e->max_batch = (uint16_t)(max_batch > BATCH_MAX ? BATCH_MAX : max_batch);
    l->max_batch = e->max_batch;
    l->engines_count++;
    engine_place(e);
    queue_engine_credit(q, e, credit);
    return e;
}

void queue_engine_ahead(struct engine_link *e, uint32_t jobs)
{
    e->ahead = e->ahead_max = (uint8_t)(jobs < AHEAD_MAX ? jobs : AHEAD_MAX);
}

/* The first credit that comes back is for a job that was ahead: it runs now. */
void queue_engine_credit(struct queue *q, struct engine_link *e, uint32_t credit)
{
    uint32_t used = e->ahead_max - e->ahead, back = credit < used ? credit : used;
    uint32_t room = CREDIT_MAX - e->credit;
    credit -= back;
    e->ahead = (uint8_t)(e->ahead + back);
    e->credit = (uint16_t)(e->credit + (credit < room ? credit : room));
    if (e->list != &e->lane->ready)
        engine_place(e);
    if (e->lane->waiting.count)
        lane_mark(q, e->lane);
}

void queue_engine_leave(struct queue *q, struct engine_link *e)
{
    if (!e->leaving) {
        e->leaving = true;
        e->lane->engines_count--;
        engine_place(e);
    }
    if (!e->jobs)
        q->events.parted(q->arg, e->peer);
}

void queue_engine_remove(struct queue *q, struct engine_link *e, bool crashed)
{
    DL_DELETE(*e->list, e); /* first: what it had may go to others at once, but not to it */
    if (!e->leaving)
        e->lane->engines_count--;
    e->lane->counts.crashes += crashed && e->jobs;
    while (e->jobs) {
        struct job *j = e->jobs->prev; /* the last one first: each is put ahead */
        job_requeue(q, j, crashed ? REQUEUE_KILLED : REQUEUE_UNTRIED);
        job_destroy(q, j);
    }
    slab_give(&q->engine_memory, e);
}

uint64_t queue_engine_job(const struct engine_link *e)
{
    return e->jobs ? e->jobs->id : 0;
}

bool queue_engine_suspected(const struct engine_link *e)
{
    return e->jobs && e->jobs->suspect;
}

/* ---- life ------------------------------------------------------------------------------------- */

void queue_init(struct queue *q, const struct queue_limits *limits,
                const struct queue_events *events, void *arg)
{
    *q = (struct queue){ .limits = *limits, .events = *events, .arg = arg };
    q->lane_memory.piece_bytes = sizeof(struct lane);
    q->engine_memory.piece_bytes = sizeof(struct engine_link);
    q->batch = mem_alloc(BATCH_MAX * sizeof *q->batch);
}

void queue_finish(struct queue *q)
{
    struct lane *l, *next_lane;
    struct job *j, *next_job;
    HASH_ITER(hh, q->jobs, j, next_job)
    {
        job_fail(q, j, STATUS_CANCELLED, "the gateway is stopping");
        job_destroy(q, j);
    }
    HASH_ITER(hh, q->lanes, l, next_lane)
    {
        while (l->waiting.count)
            request_fail(q, waiting_first(&l->waiting), STATUS_CANCELLED,
                         "the gateway is stopping");
        while (l->ready)
            queue_engine_remove(q, l->ready, false);
        while (l->ahead)
            queue_engine_remove(q, l->ahead, false);
        while (l->busy)
            queue_engine_remove(q, l->busy, false);
        lane_destroy(q, l);
    }
    q->finished = true;
    slab_finish(&q->lane_memory);
    slab_finish(&q->engine_memory);
    while (q->pool) {
        struct inference *r = q->pool;
        q->pool = r->next;
        free(r);
    }
    free(q->batch);
    heap_finish(&q->deadlines);
    heap_finish(&q->wakes);
}
