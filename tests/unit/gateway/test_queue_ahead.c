/* Jobs that are sent ahead: to an engine that runs another one, when no engine is free. */
#include "tests/unit/gateway/queue_rig.h"

#define MANY 64

static struct answer answers[MANY];

/* One engine, which is known to be quick, or not. */
static void begin(struct rig *rig, struct rig_engine *e, uint32_t max_batch, uint64_t job_ms)
{
    rig_init(rig, MANY, 1u << 20);
    rig_join(rig, e, max_batch, 1);
    rig_ahead(e, 1);
    rig_ask(rig, 1, 0, &answers[0]);
    rig_turn(rig);
    rig->now_ms += job_ms;
    cr_assert_eq(rig_echo(rig, &rig->jobs[0], 1), STATUS_OK);
}

static void ask(struct rig *rig, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        rig_ask(rig, 1, (float)i, &answers[i]);
    rig_turn(rig);
}

Test(queue_ahead, one_job_waits_where_another_runs)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 1, 1);
    ask(&rig, 1, 5);
    cr_assert_eq(rig.jobs_count, 3, "%zu", rig.jobs_count);
    rig_echo(&rig, &rig.jobs[1], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 4, "again one runs and one waits");
    rig_echo(&rig, &rig.jobs[2], 1);
    rig_echo(&rig, &rig.jobs[3], 1); /* its credit is whole again */
    cr_assert_eq(e.credit, 2);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 6);
    rig_finish(&rig);
}

Test(queue_ahead, a_slow_model_is_not_sent_any)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 1, AHEAD_JOB_US / 1000 + 1);
    ask(&rig, 1, 5);
    cr_assert_eq(rig.jobs_count, 2);
    rig_finish(&rig);
}

Test(queue_ahead, nothing_is_known_before_the_first_answer)
{
    struct rig rig;
    struct rig_engine e;
    rig_init(&rig, MANY, 1u << 20);
    rig_join(&rig, &e, 1, 1);
    rig_ahead(&e, 1);
    ask(&rig, 1, 5);
    cr_assert_eq(rig.jobs_count, 1);
    rig_finish(&rig);
}

Test(queue_ahead, a_batch_that_may_grow_stays)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 4, 1);
    ask(&rig, 1, 1);
    ask(&rig, 2, 3);
    cr_assert_eq(rig.jobs_count, 2, "three rows wait for a fourth");
    ask(&rig, 5, 1);
    cr_assert_eq(rig.jobs_count, 3);
    cr_assert_eq(rig.jobs[2].rows, 4);
    rig_finish(&rig);
}

Test(queue_ahead, an_engine_that_is_free_comes_first)
{
    struct rig rig;
    struct rig_engine one, two;
    begin(&rig, &one, 1, 1);
    rig_join(&rig, &two, 1, 1);
    rig_ahead(&two, 1);
    ask(&rig, 1, 2);
    cr_assert_eq(rig.jobs_count, 3);
    cr_assert_neq(rig.jobs[1].engine, rig.jobs[2].engine);
    ask(&rig, 3, 3);
    cr_assert_eq(rig.jobs_count, 5, "then one ahead to each");
    cr_assert_neq(rig.jobs[3].engine, rig.jobs[4].engine);
    rig_finish(&rig);
}

Test(queue_ahead, a_suspect_is_neither_sent_ahead_nor_has_company)
{
    struct rig rig;
    struct rig_engine one, two;
    begin(&rig, &one, 1, 1);
    rig_join(&rig, &two, 1, 1);
    ask(&rig, 1, 3); /* one and two, and one ahead of the third */
    cr_assert_eq(rig.jobs_count, 4);
    rig_die(&rig, &one, true); /* 1 and 3 are suspects, with two jobs on the engine */
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 4, "engine two is at work");
    rig_ahead(&two, 1);
    rig_echo(&rig, &rig.jobs[2], 1);
    ask(&rig, 4, 1);
    cr_assert_eq(rig.jobs_count, 5, "the suspect is alone with engine two");
    cr_assert_eq(rig.jobs[4].attempt, 2);
    rig_finish(&rig);
}

Test(queue_ahead, time_in_the_pipe_is_not_the_models)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 1, 4);
    ask(&rig, 1, 20);
    for (size_t i = 1; i <= 20; i++) { /* each takes 4 ms, and has waited as long before */
        rig.now_ms += 4;
        cr_assert_eq(rig_echo(&rig, &rig.jobs[i], 1), STATUS_OK);
        rig_turn(&rig);
    }
    ask(&rig, 21, 12);
    cr_assert_eq(lane_wait_us(rig.lane), 10 * 4000, "%llu",
                 (unsigned long long)lane_wait_us(rig.lane));
    rig_finish(&rig);
}

Test(queue_ahead, an_engine_that_leaves_ends_what_it_has)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 1, 1);
    ask(&rig, 1, 3);
    cr_assert_eq(rig.jobs_count, 3);
    queue_engine_leave(&rig.queue, e.link);
    rig_echo(&rig, &rig.jobs[1], 1);
    rig_turn(&rig);
    cr_assert(!e.parted);
    rig_echo(&rig, &rig.jobs[2], 1);
    cr_assert(e.parted);
    cr_assert_eq(rig.jobs_count, 3);
    rig_finish(&rig);
}

/* Whether the answer of a job to an engine whose jobs take so long is looked for. */
static bool is_near(uint64_t job_ms, uint64_t after_us)
{
    struct rig rig;
    struct rig_engine e;
    begin(&rig, &e, 1, job_ms);
    cr_assert(!queue_answer_is_near(&rig.queue, rig.now_ms * 1000), "no job is out");
    ask(&rig, 1, 1);
    bool near = queue_answer_is_near(&rig.queue, rig.now_ms * 1000 + after_us);
    rig_echo(&rig, &rig.jobs[1], 1);
    cr_assert(!queue_answer_is_near(&rig.queue, rig.now_ms * 1000), "it has come");
    rig_finish(&rig);
    return near;
}

Test(queue_ahead, answers_of_quick_engines_are_near)
{
    cr_assert(is_near(0, SOON_US - 1));
    cr_assert(!is_near(0, SOON_US), "it is late: one sleeps");
    cr_assert(!is_near(SOON_JOB_US / 1000 + 1, 0));
}
