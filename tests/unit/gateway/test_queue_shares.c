/* test_queue_shares.c - who is served when: priorities, batches that wait to grow, requests that
 * would come too late. */
#include "tests/unit/gateway/queue_rig.h"

#define MANY 400

static struct answer answers[MANY];

static void ask_with(struct rig *rig, size_t i, uint32_t priority)
{
    struct inference *r = rig_request(rig, 1, (float)priority, rig_answered, &answers[i]);
    answers[i] = (struct answer){ 0 };
    r->priority = priority;
    cr_assert_eq(rig_submit_to(rig, rig->lane, r), STATUS_OK);
}

/* Runs jobs of `batch` rows until so many rows were served; counts them by their first value. */
static void serve(struct rig *rig, size_t rows, unsigned count[8])
{
    for (size_t done = 0; done < rows;) {
        size_t before = rig->jobs_count;
        rig_turn(rig);
        cr_assert_gt(rig->jobs_count, before);
        struct rig_job *j = &rig->jobs[rig->jobs_count - 1];
        for (uint32_t i = 0; i < j->rows; i++)
            count[(int)j->data[i][0]]++;
        done += j->rows;
        cr_assert_eq(rig_echo(rig, j, 1), STATUS_OK);
    }
}

Test(queue_shares, a_higher_class_gets_four_times_as_much_and_none_starves)
{
    struct rig rig;
    struct rig_engine e;
    unsigned count[8] = { 0 };
    rig_init(&rig, MANY, 1u << 20);
    for (size_t i = 0; i < MANY; i++)
        ask_with(&rig, i, 1 + (uint32_t)i % 4);
    rig_join(&rig, &e, 8, 1);
    serve(&rig, 85, count); /* 64 + 16 + 4 + 1 */
    cr_assert(count[1] >= 60 && count[1] <= 68, "%u", count[1]);
    cr_assert(count[2] >= 13 && count[2] <= 19, "%u", count[2]);
    cr_assert(count[3] >= 3 && count[3] <= 6, "%u", count[3]);
    cr_assert(count[4] >= 1 && count[4] <= 2, "%u", count[4]);
    serve(&rig, MANY - count[1] - count[2] - count[3] - count[4], count);
    for (size_t i = 0; i < MANY; i++)
        cr_assert_eq(answers[i].count, 1);
    rig_finish(&rig);
}

Test(queue_shares, a_class_that_was_empty_has_saved_nothing)
{
    struct rig rig;
    struct rig_engine e;
    unsigned count[8] = { 0 };
    rig_init(&rig, MANY, 1u << 20);
    rig_join(&rig, &e, 1, 1);
    for (size_t i = 0; i < 100; i++)
        ask_with(&rig, i, 1);
    serve(&rig, 50, count);
    for (size_t i = 100; i < 200; i++)
        ask_with(&rig, i, 4);
    count[1] = 0;
    serve(&rig, 30, count);
    cr_assert_leq(count[4], 2, "the lowest class catches up: %u", count[4]);
    rig_finish(&rig);
}

Test(queue_shares, without_a_number_a_request_is_of_the_second_class)
{
    struct rig rig;
    struct rig_engine e;
    rig_init(&rig, MANY, 1u << 20);
    ask_with(&rig, 0, 3);
    ask_with(&rig, 1, 0);
    ask_with(&rig, 2, 99);
    rig_join(&rig, &e, 1, 3);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 3);
    cr_assert_eq(rig.jobs[0].data[0][0], 0); /* 0, before 3 and the lowest: ties go by class */
    rig_finish(&rig);
}

Test(queue_shares, a_batch_waits_for_more_but_no_longer_than_told)
{
    struct rig rig;
    struct rig_engine e;
    struct lane_options options = { 4, 5000, 0 };
    rig_init(&rig, MANY, 1u << 20);
    lane_configure(&rig.queue, rig.lane, &options);
    rig_join(&rig, &e, 64, 8);
    rig_ask(&rig, 1, 1, &answers[0]);
    uint64_t wake = queue_dispatch(&rig.queue, rig.now_ms * 1000);
    cr_assert_eq(rig.jobs_count, 0);
    cr_assert_eq(wake, rig.now_ms * 1000 + 5000);
    rig.now_ms += 3;
    rig_ask(&rig, 1, 2, &answers[1]);
    cr_assert_eq(queue_dispatch(&rig.queue, rig.now_ms * 1000), wake);
    rig.now_ms += 2;
    cr_assert_eq(queue_dispatch(&rig.queue, rig.now_ms * 1000), 0);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].rows, 2);
    for (size_t i = 2; i < 6; i++) /* a full one goes at once */
        rig_ask(&rig, 1, 1, &answers[i]);
    queue_dispatch(&rig.queue, rig.now_ms * 1000);
    cr_assert_eq(rig.jobs_count, 2);
    cr_assert_eq(rig.jobs[1].rows, 4);
    cr_assert_eq(lane_counts(rig.lane)->ends[BATCH_FULL], 1);
    rig_finish(&rig);
}

Test(queue_shares, the_deployment_bounds_the_batch)
{
    struct rig rig;
    struct rig_engine e;
    struct lane_options options = { 3, 0, 0 };
    rig_init(&rig, MANY, 1u << 20);
    lane_configure(&rig.queue, rig.lane, &options);
    rig_join(&rig, &e, 64, 8);
    for (size_t i = 0; i < 7; i++)
        rig_ask(&rig, 1, 1, &answers[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 3);
    cr_assert_eq(rig.jobs[0].rows, 3);
    cr_assert_eq(rig.jobs[2].rows, 1);
    cr_assert_eq(lane_max_batch(rig.lane), 3);
    rig_finish(&rig);
}

Test(queue_shares, what_would_come_too_late_is_refused_at_once)
{
    struct rig rig;
    struct rig_engine e;
    struct error err;
    rig_init(&rig, MANY, 1u << 20);
    rig_join(&rig, &e, 1, 1);
    rig_ask(&rig, 1, 1, &answers[0]);
    rig_turn(&rig);
    rig.now_ms += 100; /* so long it takes */
    rig_echo(&rig, &rig.jobs[0], 1);
    cr_assert_eq(lane_wait_us(rig.lane), 0);
    for (size_t i = 1; i <= 10; i++)
        rig_ask(&rig, 1, 1, &answers[i]);
    cr_assert_eq(lane_wait_us(rig.lane), 1000000);
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &answers[11]);
    r->deadline_ms = rig.now_ms + 1300; /* 1000 until its turn, then up to 200, and an eighth */
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, &err), STATUS_BUSY);
    cr_assert(strstr(err.text, "deadline"), "%s", err.text);
    r->deadline_ms = rig.now_ms + 1400;
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, &err), STATUS_OK);
    cr_assert_eq(lane_counts(rig.lane)->refused[REFUSED_WAIT], 1);
    rig_finish(&rig);
}

/* Else one slow job would shut the version for ever: what is refused teaches nothing. */
Test(queue_shares, an_idle_engine_takes_a_request_whatever_the_last_one_took)
{
    struct rig rig;
    struct rig_engine e;
    struct error err;
    rig_init(&rig, MANY, 1u << 20);
    rig_join(&rig, &e, 1, 2);
    rig_ask(&rig, 1, 1, &answers[0]);
    rig_turn(&rig);
    rig.now_ms += 5000;
    rig_echo(&rig, &rig.jobs[0], 1);
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &answers[1]);
    r->deadline_ms = rig.now_ms + 100;
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, NULL), STATUS_OK);
    r = rig_request(&rig, 1, 1, rig_answered, &answers[2]); /* but not behind that one */
    r->deadline_ms = rig.now_ms + 100;
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, &err), STATUS_BUSY);
    rig_turn(&rig);
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, &err), STATUS_BUSY);
    queue_engine_remove(&rig.queue, e.link, false); /* on demand, it waits for the next one */
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, rig.now_ms * 1000, &err), STATUS_OK);
    rig_finish(&rig);
}

Test(queue_shares, what_was_put_back_over_the_limit_lets_nobody_in)
{
    enum { ROW_BYTES = RIG_COLUMNS * sizeof(float) };
    struct rig rig;
    struct rig_engine e;
    rig_init(&rig, MANY, 4 * ROW_BYTES);
    rig_join(&rig, &e, 4, 1);
    rig_ask(&rig, 4, 1, &answers[0]);
    rig_turn(&rig);
    rig_ask(&rig, 4, 1, &answers[1]);
    queue_engine_remove(&rig.queue, e.link, false);
    cr_assert_eq(lane_waiting(rig.lane), 2); /* twice what may wait */
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &answers[2]);
    cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_BUSY);
    inference_drop(&rig.queue, r);
    rig_finish(&rig);
}
