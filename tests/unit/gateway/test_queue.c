/* test_queue.c - the queue's rules, by example and by random histories. */
#include "services/gateway/queue.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define ROWS_MAX 4

/* A world without sockets: what was sent, and what was answered. */
struct sent {
    void *peer;
    uint64_t job;
    uint32_t attempt;
    uint32_t rows;
    float first; /* the first number of the first row: says which request is at the head */
};

struct world {
    struct queue queue;
    struct lane *lane;
    struct sent sent[64];
    size_t sent_count;
    size_t parted;
    size_t answered[8192]; /* by request number */
    enum status last_status[8192];
};

static enum status send_job(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                            struct frames *frames)
{
    struct world *w = arg;
    struct sent *s = &w->sent[w->sent_count++];
    cr_assert(w->sent_count <= 64);
    *s = (struct sent){ .peer = peer, .job = job->job, .attempt = job->attempt };
    s->rows = (uint32_t)job->inputs[0].shape.at[0];
    cr_assert(s->rows == rows);
    struct bytes data = frame_bytes(&frames->at[0]);
    cr_assert(data.len == s->rows * sizeof(float), "a job's frame holds its rows");
    memcpy(&s->first, data.data, sizeof s->first);
    frames_finish(frames);
    return STATUS_OK;
}

static void parted(void *arg, void *peer)
{
    struct world *w = arg;
    (void)peer;
    w->parted++;
}

static void on_done(struct inference *r, const struct outcome *outcome)
{
    struct world *w = r->user;
    float number;
    memcpy(&number, frame_bytes(&r->data[0]).data, sizeof number);
    size_t i = (size_t)number;
    w->answered[i]++;
    w->last_status[i] = outcome->status;
    if (outcome->status == STATUS_OK) {
        float back; /* engines answer with what they got */
        memcpy(&back, outcome->data[0].data, sizeof back);
        cr_assert(back == number, "request %zu got the answer of %g", i, (double)back);
        cr_assert(outcome->outputs[0].shape.at[0] == r->rows);
    }
}

static struct world *world_create(void)
{
    static const struct queue_events events = { send_job, parted };
    static const struct queue_limits limits = { 512, 1 << 20 };
    static const int64_t shape[] = { -1 };
    struct msg_tensor tensor = { bytes_str("x"), DT_FP32, { shape, 1 } };
    struct world *w = mem_zalloc(sizeof *w);
    queue_init(&w->queue, &limits, &events, w);
    w->lane = queue_lane(&w->queue, bytes_str("m"), 1);
    cr_assert(lane_set_signature(w->lane, &tensor, 1, &tensor, 1) == STATUS_OK);
    return w;
}

static void world_destroy(struct world *w)
{
    queue_finish(&w->queue);
    free(w);
}

/* Request number n: its rows all hold n. */
static struct inference *submit(struct world *w, size_t n, uint32_t rows, uint64_t deadline_ms)
{
    struct inference *r = inference_create(&w->queue);
    struct error err;
    float *x = frame_init_size(&r->data[0], rows * sizeof *x);
    for (uint32_t i = 0; i < rows; i++)
        x[i] = (float)n;
    r->shapes[0][0] = rows;
    r->inputs[0] = lane_signature(w->lane)->inputs[0];
    r->inputs[0].shape = (struct i64s){ r->shapes[0], 1 };
    r->inputs_count = 1;
    r->rows = rows;
    r->deadline_ms = deadline_ms;
    r->done = on_done;
    r->user = w;
    cr_assert(queue_submit(&w->queue, w->lane, r, 0, &err) == STATUS_OK);
    return r;
}

/* The engine answers job s with its own input, as `rows` numbers from `first` on; the rows of a
 * batch hold the numbers of their requests, which `numbers` lists row by row. */
static enum status answer(struct world *w, struct engine_link *e, const struct sent *s,
                          const float *numbers, enum status st)
{
    int64_t shape[] = { s->rows };
    struct msg_tensor out = { bytes_str("x"), DT_FP32, { shape, 1 } };
    struct msg_result m = { .job = s->job,
                            .attempt = s->attempt,
                            .status = st,
                            .text = bytes_str(st ? "no" : ""),
                            .outputs = &out,
                            .outputs_count = st ? 0 : 1,
                            .credit = 1 };
    struct frame frame;
    struct error err;
    frame_init_copy(&frame, bytes_of(numbers, numbers ? s->rows * sizeof *numbers : 0));
    enum status result = queue_result(&w->queue, e, 0, &m, &frame, st ? 0 : 1, &err);
    frame_finish(&frame);
    return result;
}

Test(queue, sends_only_against_credit)
{
    struct world *w = world_create();
    submit(w, 1, 1, 1000);
    queue_dispatch(&w->queue, 0);
    cr_assert(w->sent_count == 0, "nobody is there");
    queue_engine_add(&w->queue, w->lane, w, 1, 1);
    submit(w, 2, 1, 1000);
    queue_dispatch(&w->queue, 0);
    cr_assert(w->sent_count == 1 && w->sent[0].first == 1);
    world_destroy(w);
    /* queue_finish answered both. */
}

Test(queue, what_waits_becomes_one_batch_in_order)
{
    struct world *w = world_create();
    struct engine_link *e = queue_engine_add(&w->queue, w->lane, w, 4, 1);
    for (size_t n = 1; n <= 5; n++)
        submit(w, n, 1, 1000);
    queue_dispatch(&w->queue, 0);
    cr_assert(w->sent_count == 1 && w->sent[0].rows == 4);
    const float numbers[] = { 1, 2, 3, 4 };
    cr_assert(answer(w, e, &w->sent[0], numbers, STATUS_OK) == STATUS_OK);
    for (size_t n = 1; n <= 4; n++)
        cr_assert(w->answered[n] == 1);
    queue_dispatch(&w->queue, 0);
    cr_assert(w->sent_count == 2 && w->sent[1].first == 5);
    world_destroy(w);
}

Test(queue, a_batch_that_fails_is_tried_one_by_one)
{
    struct world *w = world_create();
    struct engine_link *e = queue_engine_add(&w->queue, w->lane, w, 4, 1);
    for (size_t n = 1; n <= 3; n++)
        submit(w, n, 1, 1000);
    queue_dispatch(&w->queue, 0);
    cr_assert(answer(w, e, &w->sent[0], NULL, STATUS_INVALID) == STATUS_OK);
    for (size_t n = 1; n <= 3; n++) {
        float number = (float)n;
        queue_dispatch(&w->queue, 0);
        cr_assert(w->sent[n].rows == 1 && w->sent[n].first == number, "in their order");
        answer(w, e, &w->sent[n], &number, n == 2 ? STATUS_INVALID : STATUS_OK);
        cr_assert(w->last_status[n] == (n == 2 ? STATUS_INVALID : STATUS_OK));
    }
    world_destroy(w);
}

Test(queue, two_dead_engines_make_a_request_poisonous)
{
    struct world *w = world_create();
    submit(w, 1, 1, 1000);
    for (int i = 0; i < POISON_KILLS; i++) {
        struct engine_link *e = queue_engine_add(&w->queue, w->lane, w, 4, 1);
        cr_assert(w->answered[1] == 0);
        queue_dispatch(&w->queue, 0);
        queue_engine_remove(&w->queue, e, true);
    }
    cr_assert(w->answered[1] == 1 && w->last_status[1] == STATUS_POISON);
    world_destroy(w);
}

Test(queue, a_late_result_is_dropped)
{
    struct world *w = world_create();
    struct engine_link *slow = queue_engine_add(&w->queue, w->lane, w, 1, 1);
    float one = 1;
    submit(w, 1, 1, 1000);
    queue_dispatch(&w->queue, 0);
    struct sent old = w->sent[0];
    queue_engine_remove(&w->queue, slow, true);
    struct engine_link *fresh = queue_engine_add(&w->queue, w->lane, w, 1, 1);
    queue_dispatch(&w->queue, 0);
    cr_assert(answer(w, fresh, &old, &one, STATUS_OK) == STATUS_NOT_FOUND);
    cr_assert(w->answered[1] == 0 && w->queue.late == 1);
    cr_assert(answer(w, fresh, &w->sent[1], &one, STATUS_OK) == STATUS_OK);
    cr_assert(w->answered[1] == 1);
    world_destroy(w);
}

Test(queue, deadlines_end_requests_that_wait_and_that_run)
{
    struct world *w = world_create();
    struct engine_link *e = queue_engine_add(&w->queue, w->lane, w, 1, 1);
    float one = 1;
    submit(w, 1, 1, 100);
    submit(w, 2, 1, 200);
    queue_dispatch(&w->queue, 0);
    cr_assert(queue_expire(&w->queue, 99) == 100);
    cr_assert(queue_expire(&w->queue, 100) == 200);
    cr_assert(w->answered[1] == 1 && w->last_status[1] == STATUS_TIMEOUT);
    cr_assert(queue_expire(&w->queue, 200) == 0);
    cr_assert(w->answered[2] == 1 && w->last_status[2] == STATUS_TIMEOUT);
    cr_assert(answer(w, e, &w->sent[0], &one, STATUS_OK) == STATUS_OK, "the job itself is known");
    cr_assert(w->answered[1] == 1, "nobody is answered twice");
    world_destroy(w);
}

Test(queue, an_engine_that_leaves_finishes_what_it_has)
{
    struct world *w = world_create();
    struct engine_link *e = queue_engine_add(&w->queue, w->lane, w, 1, 2);
    float one = 1;
    submit(w, 1, 1, 1000);
    queue_dispatch(&w->queue, 0);
    queue_engine_leave(&w->queue, e);
    submit(w, 2, 1, 1000);
    queue_dispatch(&w->queue, 0);
    cr_assert(w->sent_count == 1 && w->parted == 0);
    answer(w, e, &w->sent[0], &one, STATUS_OK);
    cr_assert(w->parted == 1 && w->answered[1] == 1 && w->answered[2] == 0);
    world_destroy(w);
}

Test(queue, a_full_lane_says_busy)
{
    struct world *w = world_create();
    struct error err;
    for (size_t n = 0; n < 512; n++)
        submit(w, n, 1, 1000);
    struct inference *r = inference_create(&w->queue);
    cr_assert(queue_submit(&w->queue, w->lane, r, 0, &err) == STATUS_BUSY);
    inference_drop(&w->queue, r);
    world_destroy(w);
}

/* ---- random histories: whatever happens, each request is answered exactly once ---- */

struct peer {
    struct engine_link *link;
    uint32_t credit;     /* granted and not used up by jobs */
    struct sent jobs[8]; /* out with it */
    size_t jobs_count;
};

struct history {
    struct world *w;
    struct peer peers[4];
    uint64_t state;
    size_t submitted;
    uint64_t now_ms;
};

static uint32_t dice(struct history *h, uint32_t sides)
{
    h->state = h->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(h->state >> 33) % sides;
}

static void collect(struct history *h)
{
    queue_dispatch(&h->w->queue, h->now_ms * 1000);
    for (size_t i = 0; i < h->w->sent_count; i++) {
        struct sent *s = &h->w->sent[i];
        struct peer *p = s->peer;
        cr_assert(p->credit > 0, "a job without credit");
        p->credit--;
        p->jobs[p->jobs_count++] = *s;
    }
    h->w->sent_count = 0;
}

/* All rows of a job hold the numbers of their requests: an answer must repeat them, so the jobs of
 * this test are of one request each, or are answered with a failure that splits them. */
static void act(struct history *h)
{
    struct peer *p = &h->peers[dice(h, 4)];
    float numbers[ROWS_MAX];
    switch (dice(h, 8)) {
    case 0:
    case 1:
    case 2:
        submit(h->w, ++h->submitted, 1 + dice(h, ROWS_MAX), h->now_ms + 1 + dice(h, 400));
        break;
    case 3:
        if (!p->link) {
            p->credit = 1 + dice(h, 2);
            p->link = queue_engine_add(&h->w->queue, h->w->lane, p, ROWS_MAX, p->credit);
        }
        break;
    case 4:
        if (p->link) {
            queue_engine_remove(&h->w->queue, p->link, dice(h, 2));
            *p = (struct peer){ 0 };
        }
        break;
    case 5:
        h->now_ms += dice(h, 20);
        queue_expire(&h->w->queue, h->now_ms);
        break;
    default:
        if (p->link && p->jobs_count) {
            struct sent s = p->jobs[--p->jobs_count];
            bool whole = dice(h, 3) != 0;
            for (uint32_t i = 0; i < s.rows && i < ROWS_MAX; i++)
                numbers[i] = s.first;
            /* A batch of several is answered with a failure, so that each comes back alone. */
            p->credit++;
            answer(h->w, p->link, &s, numbers, whole && s.rows == 1 ? STATUS_OK : STATUS_INTERNAL);
        }
    }
    collect(h);
}

Test(queue, random_histories_answer_each_request_once)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct history h = { .w = world_create(), .state = seed };
        for (int i = 0; i < 400; i++)
            act(&h);
        queue_expire(&h.w->queue, UINT64_MAX);
        for (size_t n = 1; n <= h.submitted; n++)
            cr_assert(h.w->answered[n] == 1, "seed %llu: request %zu was answered %zu times",
                      (unsigned long long)seed, n, h.w->answered[n]);
        cr_assert(lane_waiting(h.w->lane) == 0);
        world_destroy(h.w);
    }
}
