/* queue_rig.h - a queue whose engines are the test itself.
 *
 * What the queue sends is kept in order; the test answers, or lets engines die.
 */
#ifndef TESTS_UNIT_GATEWAY_QUEUE_RIG_H
#define TESTS_UNIT_GATEWAY_QUEUE_RIG_H

#include "services/gateway/queue.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define RIG_JOBS_MAX 65536
#define RIG_COLUMNS  2

struct rig_engine {
    struct engine_link *link;
    uint32_t max_batch;
    uint32_t credit; /* granted and not used, by our own count, and what it takes ahead */
    size_t out;      /* jobs that it has */
    bool suspect;    /* one of them is a suspect's */
    bool parted;
    bool refuses; /* sending to it fails */
};

struct rig_job {
    struct rig_engine *engine; /* NULL: over */
    uint64_t id;
    uint32_t attempt;
    uint32_t timeout_ms;
    uint32_t rows;
    float data[64][RIG_COLUMNS]; /* the first rows that came */
};

struct rig {
    struct queue queue;
    struct lane *lane;
    struct rig_job *jobs;
    size_t jobs_count;
    uint64_t now_ms;
};

static const int64_t rig_shape[] = { -1, RIG_COLUMNS };
static struct msg_tensor rig_input = { { "x", 1 }, DT_FP32, { rig_shape, 2 } };
static struct msg_tensor rig_output = { { "y", 1 }, DT_FP32, { rig_shape, 2 } };

static inline enum status rig_send(void *arg, void *peer, const struct msg_job *m, uint32_t rows,
                                   struct frames *frames)
{
    struct rig *rig = arg;
    struct rig_engine *e = peer;
    if (e->refuses)
        return STATUS_NOT_FOUND;
    cr_assert_gt(e->credit, 0, "a job without credit");
    e->credit--;
    e->out++;
    cr_assert_lt(rig->jobs_count, RIG_JOBS_MAX);
    struct rig_job *j = &rig->jobs[rig->jobs_count++];
    *j = (struct rig_job){
        .engine = e, .id = m->job, .attempt = m->attempt, .timeout_ms = m->timeout_ms, .rows = rows
    };
    cr_assert_eq(m->inputs_count, 1);
    cr_assert_eq(frames->count, 1);
    cr_assert_eq(m->inputs[0].shape.at[0], rows);
    struct bytes data = frame_bytes(&frames->at[0]);
    cr_assert_eq(data.len, rows * sizeof j->data[0]);
    memcpy(j->data, data.data, data.len < sizeof j->data ? data.len : sizeof j->data);
    frames_finish(frames);
    return STATUS_OK;
}

static inline void rig_parted(void *arg, void *peer)
{
    struct rig_engine *e = peer;
    (void)arg;
    cr_assert_eq(e->out, 0, "parted with jobs out");
    e->parted = true;
}

static inline void rig_init(struct rig *rig, uint32_t waiting_max, uint64_t bytes_max)
{
    static const struct queue_events events = { rig_send, rig_parted };
    struct queue_limits limits = { waiting_max, bytes_max };
    *rig = (struct rig){ .now_ms = 1000 };
    rig->jobs = mem_zalloc(RIG_JOBS_MAX * sizeof *rig->jobs);
    queue_init(&rig->queue, &limits, &events, rig);
    rig->lane = queue_lane(&rig->queue, bytes_str("m"), 1);
    cr_assert_eq(lane_set_signature(rig->lane, &rig_input, 1, &rig_output, 1), STATUS_OK);
}

static inline void rig_finish(struct rig *rig)
{
    queue_finish(&rig->queue);
    free(rig->jobs);
}

static inline void rig_join(struct rig *rig, struct rig_engine *e, uint32_t max_batch,
                            uint32_t credit)
{
    *e = (struct rig_engine){ .max_batch = max_batch, .credit = credit };
    e->link = queue_engine_add(&rig->queue, rig->lane, e, max_batch, credit);
}

static inline void rig_ahead(struct rig_engine *e, uint32_t jobs)
{
    e->credit += jobs;
    queue_engine_ahead(e->link, jobs);
}

static inline void rig_turn(struct rig *rig)
{
    queue_dispatch(&rig->queue, rig->now_ms * 1000);
}

/* Rows (value, 0), (value, 1), ...; the caller adds what else it wants and submits. */
static inline struct inference *rig_request(struct rig *rig, uint32_t rows, float value,
                                            inference_done_fn *done, void *user)
{
    struct inference *r = inference_create(&rig->queue);
    float(*data)[RIG_COLUMNS] = frame_init_size(&r->data[0], rows * sizeof *data);
    for (uint32_t i = 0; i < rows; i++) {
        data[i][0] = value;
        data[i][1] = (float)i;
    }
    r->shapes[0][0] = rows;
    r->shapes[0][1] = RIG_COLUMNS;
    r->inputs[0] = rig_input;
    r->inputs[0].shape = (struct i64s){ r->shapes[0], 2 };
    r->inputs_count = 1;
    r->rows = rows;
    r->deadline_ms = rig->now_ms + 30000;
    r->done = done;
    r->user = user;
    return r;
}

static inline enum status rig_submit_to(struct rig *rig, struct lane *lane, struct inference *r)
{
    return queue_submit(&rig->queue, lane, r, rig->now_ms * 1000, NULL);
}

static inline void rig_over(struct rig_job *j)
{
    j->engine->out--;
    j->engine = NULL;
}

/* The engine echoes the job, and grants as much credit as said. */
static inline enum status rig_echo(struct rig *rig, struct rig_job *j, uint32_t credit)
{
    struct rig_engine *e = j->engine;
    int64_t shape[] = { j->rows, RIG_COLUMNS };
    struct msg_tensor out = { { "y", 1 }, DT_FP32, { shape, 2 } };
    struct msg_result m = {
        .job = j->id, .attempt = j->attempt, .outputs = &out, .outputs_count = 1, .credit = credit
    };
    struct frame frame;
    frame_init_copy(&frame, bytes_of(j->data, j->rows * sizeof j->data[0]));
    e->credit += credit;
    rig_over(j);
    enum status st = queue_result(&rig->queue, e->link, rig->now_ms * 1000, &m, &frame, 1, NULL);
    frame_finish(&frame);
    return st;
}

static inline enum status rig_fail(struct rig *rig, struct rig_job *j, enum status why,
                                   uint32_t credit)
{
    struct rig_engine *e = j->engine;
    struct msg_result m = { .job = j->id,
                            .attempt = j->attempt,
                            .status = why,
                            .text = bytes_str("told to fail"),
                            .credit = credit };
    e->credit += credit;
    rig_over(j);
    return queue_result(&rig->queue, e->link, rig->now_ms * 1000, &m, NULL, 0, NULL);
}

static inline void rig_die(struct rig *rig, struct rig_engine *e, bool crashed)
{
    for (size_t i = 0; i < rig->jobs_count; i++)
        if (rig->jobs[i].engine == e)
            rig_over(&rig->jobs[i]);
    queue_engine_remove(&rig->queue, e->link, crashed);
    e->link = NULL;
}

/* What became of a request. */
struct answer {
    int count;
    enum status status;
    char text[128];
    uint32_t rows;
    float first[RIG_COLUMNS];
    float last[RIG_COLUMNS];
};

static inline void rig_answered(struct inference *r, const struct outcome *o)
{
    struct answer *a = r->user;
    a->count++;
    a->status = o->status;
    if (o->status) {
        snprintf(a->text, sizeof a->text, "%s", o->text);
        return;
    }
    const float(*data)[RIG_COLUMNS] = o->data[0].data;
    cr_assert_eq(o->outputs_count, 1);
    cr_assert_eq(o->data[0].len, (size_t)o->outputs[0].shape.at[0] * sizeof *data);
    a->rows = (uint32_t)o->outputs[0].shape.at[0];
    memcpy(a->first, data[0], sizeof a->first);
    memcpy(a->last, data[a->rows - 1], sizeof a->last);
}

static inline struct inference *rig_ask(struct rig *rig, uint32_t rows, float value,
                                        struct answer *a)
{
    struct inference *r = rig_request(rig, rows, value, rig_answered, a);
    *a = (struct answer){ 0 };
    cr_assert_eq(rig_submit_to(rig, rig->lane, r), STATUS_OK);
    return r;
}

#endif
