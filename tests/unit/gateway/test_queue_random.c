/* Whatever happens to the queue, in whatever order: every request is answered exactly once,
 * with its own rows; credit is never exceeded; a job has one row shape; newer requests do not
 * pass older ones that were never in trouble; suspects run with nothing beside them. */
#include "tests/unit/gateway/queue_rig.h"

#define ENGINES  5
#define REQUESTS 400
#define STEPS    3000
#define SEEDS    60

struct asked {
    struct inference *request; /* NULL: answered or cancelled */
    int answers;
    bool cancelled;
    bool wrong;
    uint32_t rows;
    bool deadly;
};

static struct rig rig;
static struct rig_engine engines[ENGINES];
static struct asked asked[REQUESTS];
static size_t asked_count;
static unsigned seed;
static size_t outcomes[STATUS_COUNT];

static unsigned dice(unsigned sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % sides;
}

static void answered(struct inference *r, const struct outcome *o)
{
    struct asked *q = r->user;
    q->answers++;
    q->request = NULL;
    outcomes[o->status]++;
    if (o->status)
        return;
    const float(*data)[RIG_COLUMNS] = o->data[0].data;
    q->wrong |= o->outputs[0].shape.at[0] != q->rows;
    for (uint32_t i = 0; i < q->rows && !q->wrong; i++)
        q->wrong = data[i][0] != (float)(q - asked) || data[i][1] != (float)i;
}

static void submit(void)
{
    if (asked_count == REQUESTS)
        return;
    struct asked *q = &asked[asked_count];
    *q = (struct asked){ .rows = 1 + dice(3), .deadly = dice(40) == 0 };
    struct inference *r = rig_request(&rig, q->rows, (float)asked_count, answered, q);
    r->deadline_ms = rig.now_ms + 50 + dice(4000);
    r->alone = dice(20) == 0;
    if (rig_submit_to(&rig, rig.lane, r)) {
        inference_drop(&rig.queue, r);
        return;
    }
    q->request = r;
    asked_count++;
}

static void cancel(void)
{
    struct asked *q = asked_count ? &asked[dice((unsigned)asked_count)] : NULL;
    if (!q || !q->request)
        return;
    q->cancelled = true;
    queue_cancel(&rig.queue, q->request);
    q->request = NULL;
}

/* A job that is out, or NULL. */
static struct rig_job *some_job(void)
{
    size_t begin = rig.jobs_count > 40 ? rig.jobs_count - 40 : 0;
    for (size_t i = begin; i < rig.jobs_count; i++)
        if (rig.jobs[i].engine && dice(2))
            return &rig.jobs[i];
    return NULL;
}

static bool deadly(const struct rig_job *j)
{
    for (uint32_t i = 0; i < j->rows; i++)
        if (asked[(size_t)j->data[i][0]].deadly)
            return true;
    return false;
}

static void answer(void)
{
    struct rig_job *j = some_job();
    if (!j)
        return;
    if (deadly(j))
        rig_die(&rig, j->engine, true);
    else if (dice(15) == 0)
        rig_fail(&rig, j, STATUS_INVALID, 1);
    else
        cr_assert_eq(rig_echo(&rig, j, 1), STATUS_OK);
}

static void come_or_go(void)
{
    struct rig_engine *e = &engines[dice(ENGINES)];
    if (!e->link) {
        rig_join(&rig, e, 1 + dice(6), 1 + dice(3));
        rig_ahead(e, dice(3));
    } else if (dice(4) == 0)
        rig_die(&rig, e, dice(6) == 0);
    else if (dice(3) == 0)
        queue_engine_leave(&rig.queue, e->link);
    if (e->link && e->parted)
        rig_die(&rig, e, false);
}

/* What must hold of the jobs that this turn has sent. */
static void check_sent(size_t from)
{
    float newest = -1;
    for (size_t i = from; i < rig.jobs_count; i++) {
        struct rig_job *j = &rig.jobs[i];
        float row = -1;
        for (uint32_t k = 0; k < j->rows; k++) {
            const struct asked *q = &asked[(size_t)j->data[k][0]];
            cr_assert_eq(q->answers, 0, "sent after it was answered");
            cr_assert_not(q->cancelled);
            if (k > 0 && j->data[k][0] != row)
                cr_assert_leq(j->rows, j->engine->max_batch);
            row = j->data[k][0];
        }
        if (j->attempt > 1)
            cr_assert_eq(j->engine->out, 1, "something is beside a suspect");
        if (row > newest)
            newest = row;
    }
}

static void step(void)
{
    switch (dice(10)) {
    case 0:
    case 1:
    case 2:
        submit();
        break;
    case 3:
        if (dice(4) == 0)
            cancel();
        break;
    case 4:
        if (dice(3) == 0)
            come_or_go();
        break;
    case 5:
        rig.now_ms += dice(20);
        queue_expire(&rig.queue, rig.now_ms);
        break;
    default:
        answer();
    }
    size_t sent = rig.jobs_count;
    rig_turn(&rig);
    check_sent(sent);
}

static void settle_all(void)
{
    queue_expire(&rig.queue, UINT64_MAX);
    for (size_t i = 0; i < ENGINES; i++)
        if (engines[i].link)
            rig_die(&rig, &engines[i], false);
}

static void run(unsigned with)
{
    seed = with;
    asked_count = 0;
    memset(engines, 0, sizeof engines);
    rig_init(&rig, 30, 4000);
    for (int i = 0; i < STEPS; i++)
        step();
    settle_all();
    for (size_t i = 0; i < asked_count; i++) {
        cr_assert_eq(asked[i].answers, asked[i].cancelled ? 0 : 1,
                     "seed %u, request %zu: %d answers", with, i, asked[i].answers);
        cr_assert_not(asked[i].wrong, "seed %u, request %zu: wrong rows", with, i);
    }
    cr_assert_eq(lane_waiting(rig.lane), 0);
    cr_assert_null(rig.queue.jobs);
    rig_finish(&rig);
}

Test(queue_random, every_request_is_answered_once, .timeout = 120)
{
    for (unsigned i = 1; i <= SEEDS; i++)
        run(i);
    /* The dice have been everywhere. */
    cr_assert_gt(outcomes[STATUS_OK], 1000);
    cr_assert_gt(outcomes[STATUS_POISON], 20);
    cr_assert_gt(outcomes[STATUS_INVALID], 20);
    cr_assert_gt(outcomes[STATUS_TIMEOUT], 20);
}

/* Without trouble, requests leave in the order in which they came. */
Test(queue_random, order_is_kept)
{
    for (seed = 1; seed < 50;) {
        unsigned begin = seed;
        float last = -1;
        asked_count = 0;
        memset(engines, 0, sizeof engines);
        rig_init(&rig, 1000, 1 << 20);
        for (size_t i = 0; i < ENGINES; i++)
            rig_join(&rig, &engines[i], 1 + dice(6), 1 + dice(3));
        for (int i = 0; i < 1000; i++) {
            struct rig_job *j = some_job();
            if (dice(3) == 0)
                submit();
            else if (j && !deadly(j))
                rig_echo(&rig, j, 1);
            size_t sent = rig.jobs_count;
            rig_turn(&rig);
            for (; sent < rig.jobs_count; sent++) {
                for (uint32_t k = 0; k < rig.jobs[sent].rows; k++) {
                    cr_assert_geq(rig.jobs[sent].data[k][0], last);
                    last = rig.jobs[sent].data[k][0];
                }
            }
        }
        settle_all();
        rig_finish(&rig);
        seed = begin + 1;
    }
}
