/* bench_queue.c - what a request costs in the gateway's queue: submitted, sent, answered.
 *
 * Prints a JSON line per measurement.  Every request is a job of its own, and the lanes are used in
 * random order, so that what grows with their number (cache misses included) is seen.
 */
#include "common/base/clock.h"
#include "services/gateway/queue.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUESTS   400000
#define ROUNDS     7
#define COUNTS     3
#define LANES_MOST 10000
#define BURST      64

static const int64_t shape[] = { -1, 4 };
static struct msg_tensor tensor = { { "x", 1 }, DT_FP32, { shape, 2 } };
static struct lane *lanes[LANES_MOST];
static struct {
    struct engine_link *engine;
    uint64_t job;
    uint32_t attempt, rows;
} sent[BURST];
static size_t sent_count, answered;

static enum status send_job(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                            struct frames *frames)
{
    (void)arg;
    sent[sent_count].engine = *(struct engine_link **)peer;
    sent[sent_count].job = job->job;
    sent[sent_count].attempt = job->attempt;
    sent[sent_count++].rows = rows;
    frames_finish(frames);
    return STATUS_OK;
}

static void parted(void *arg, void *peer)
{
    (void)arg;
    (void)peer;
}

static void done(struct inference *r, const struct outcome *o)
{
    (void)r;
    answered += o->status == STATUS_OK;
}

/* The lane of the request after next.  The gateway knows the lane from the headers, then reads the
 * body, and only then submits the request; here the requests before it take that time. */
static struct lane *draw_lane(uint64_t *random, size_t lanes_count)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    struct lane *l = lanes[(*random >> 33) % lanes_count];
    lane_expect(l);
    return l;
}

static void submit(struct queue *q, struct lane *l)
{
    struct inference *r = inference_create(q);
    float *data = frame_init_size(&r->data[0], 4 * sizeof *data);
    memset(data, 0, 4 * sizeof *data);
    r->shapes[0][0] = 1;
    r->shapes[0][1] = 4;
    r->inputs[0] = tensor;
    r->inputs[0].shape = (struct i64s){ r->shapes[0], 2 };
    r->inputs_count = 1;
    r->rows = 1;
    r->deadline_ms = 1000000;
    r->done = done;
    if (queue_submit(q, l, r, 1000, NULL))
        abort();
}

static void answer_all(struct queue *q)
{
    for (size_t i = 0; i < sent_count; i++) {
        int64_t dims[] = { sent[i].rows, 4 };
        struct msg_tensor out = { { "x", 1 }, DT_FP32, { dims, 2 } };
        struct msg_result m = { .job = sent[i].job,
                                .attempt = sent[i].attempt,
                                .credit = 1,
                                .outputs = &out,
                                .outputs_count = 1 };
        struct frame f;
        memset(frame_init_size(&f, sent[i].rows * 16), 0, sent[i].rows * 16);
        if (queue_result(q, sent[i].engine, 2000, &m, &f, 1, NULL))
            abort();
        frame_finish(&f);
    }
    sent_count = 0;
}

/* Nanoseconds for each request. */
static double measure(size_t lanes_count, size_t engines_count)
{
    static const struct queue_events events = { send_job, parted };
    struct queue_limits limits = { 1024, 1u << 30 };
    struct queue q;
    struct engine_link **engines = mem_alloc(lanes_count * engines_count * sizeof(void *));
    uint64_t random = 1;
    queue_init(&q, &limits, &events, NULL);
    for (size_t i = 0; i < lanes_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%zu", i);
        lanes[i] = queue_lane(&q, bytes_str(name), 1);
        if (lane_set_signature(lanes[i], &tensor, 1, &tensor, 1))
            abort();
        for (size_t e = i * engines_count; e < (i + 1) * engines_count; e++)
            engines[e] = queue_engine_add(&q, lanes[i], &engines[e], 1, BURST);
    }
    uint64_t begin = clock_us();
    for (size_t n = 0; n < REQUESTS; n += BURST) {
        struct lane *next = draw_lane(&random, lanes_count);
        struct lane *after = draw_lane(&random, lanes_count);
        for (size_t i = 0; i < BURST; i++) {
            struct lane *l = next;
            next = after;
            after = draw_lane(&random, lanes_count);
            lane_expect_job(next);
            submit(&q, l);
            queue_dispatch(&q, 1000);
        }
        answer_all(&q);
    }
    double ns = (double)(clock_us() - begin) * 1000 / REQUESTS;
    queue_finish(&q);
    free(engines);
    return ns;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One axis: its counts in turn, round by round, and the median of each. */
static void report(const char *axis, const size_t *counts, size_t lanes_count)
{
    double ns[COUNTS][ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < COUNTS; i++)
            ns[i][round] = lanes_count ? measure(lanes_count, counts[i]) : measure(counts[i], 1);
    for (size_t i = 0; i < COUNTS; i++) {
        qsort(ns[i], ROUNDS, sizeof ns[i][0], ascending);
        printf("{\"axis\":\"%s\",\"count\":%zu,\"ns\":%.1f}\n", axis, counts[i], ns[i][ROUNDS / 2]);
    }
    fflush(stdout);
}

int main(void)
{
    static const size_t lane_counts[COUNTS] = { 1, 100, 10000 };
    static const size_t engine_counts[COUNTS] = { 1, 10, 200 };
    report("lanes", lane_counts, 0);
    report("engines", engine_counts, 1);
    return answered == 0;
}
