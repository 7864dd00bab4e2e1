/* The life of a request in the queue, event by event. */
#include "tests/unit/gateway/queue_rig.h"

static struct rig rig;
static struct rig_engine one, two;
static struct answer a[64];

static void set_up(void)
{
    rig_init(&rig, 1000, 1 << 20);
}

static void tear_down(void)
{
    rig_finish(&rig);
}

TestSuite(queue_rules, .init = set_up, .fini = tear_down);

static void expect(const struct answer *is, enum status st, const char *word)
{
    cr_assert_eq(is->count, 1, "answered %d times", is->count);
    cr_assert_eq(is->status, st, "%s: %s", status_name(is->status), is->text);
    cr_assert(strstr(is->text, word), "\"%s\" lacks \"%s\"", is->text, word);
}

Test(queue_rules, one_request_is_one_job_and_its_answer_comes_back)
{
    rig_join(&rig, &one, 8, 1);
    rig_ask(&rig, 3, 7, &a[0]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].rows, 3);
    cr_assert_eq(rig.jobs[0].attempt, 1);
    cr_assert_eq(rig.jobs[0].timeout_ms, 30000);
    rig_echo(&rig, &rig.jobs[0], 1);
    expect(&a[0], STATUS_OK, "");
    cr_assert_eq(a[0].rows, 3);
    cr_assert_eq(a[0].last[1], 2);
}

Test(queue_rules, nothing_is_sent_without_credit)
{
    rig_join(&rig, &one, 1, 2);
    for (int i = 0; i < 5; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2);
    rig_echo(&rig, &rig.jobs[0], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 3);
    cr_assert_eq(rig.jobs[2].data[0][0], 2);
}

Test(queue_rules, a_batch_takes_what_waits_in_order_up_to_the_largest)
{
    rig_join(&rig, &one, 4, 1);
    for (int i = 0; i < 6; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].rows, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(rig.jobs[0].data[i][0], i);
    rig_echo(&rig, &rig.jobs[0], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[1].rows, 2);
    rig_echo(&rig, &rig.jobs[1], 1);
    for (int i = 0; i < 6; i++) {
        expect(&a[i], STATUS_OK, "");
        cr_assert_eq(a[i].first[0], i);
    }
}

Test(queue_rules, a_batch_never_splits_a_request_nor_passes_one)
{
    rig_join(&rig, &one, 4, 1);
    rig_ask(&rig, 3, 0, &a[0]);
    rig_ask(&rig, 2, 1, &a[1]);
    rig_ask(&rig, 1, 2, &a[2]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[0].rows, 3, "the second does not fit, and the third must not pass it");
    rig_echo(&rig, &rig.jobs[0], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[1].rows, 3);
}

Test(queue_rules, a_request_larger_than_the_largest_batch_goes_alone)
{
    rig_join(&rig, &one, 4, 1);
    rig_ask(&rig, 9, 0, &a[0]);
    rig_ask(&rig, 1, 1, &a[1]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].rows, 9);
}

Test(queue_rules, other_row_shapes_and_loners_are_not_batched)
{
    rig_join(&rig, &one, 8, 4);
    rig_ask(&rig, 1, 0, &a[0]);
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &a[1]);
    r->shapes[0][1] = 3;
    cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
    r->shapes[0][1] = RIG_COLUMNS + 1;
    r = rig_request(&rig, 1, 2, rig_answered, &a[2]);
    r->alone = true;
    cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
    rig_ask(&rig, 1, 3, &a[3]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 4);
}

Test(queue_rules, the_engine_that_has_waited_longest_is_next)
{
    rig_join(&rig, &one, 1, 1);
    rig_join(&rig, &two, 1, 1);
    for (int i = 0; i < 4; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[0].engine, &one);
    cr_assert_eq(rig.jobs[1].engine, &two);
    rig_echo(&rig, &rig.jobs[1], 1);
    rig_echo(&rig, &rig.jobs[0], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[2].engine, &two);
    cr_assert_eq(rig.jobs[3].engine, &one);
}

Test(queue_rules, is_full_by_count_and_by_bytes)
{
    struct error err;
    rig_finish(&rig);
    rig_init(&rig, 2, 24);
    rig_ask(&rig, 1, 0, &a[0]);
    rig_ask(&rig, 1, 1, &a[1]);
    struct inference *r = rig_request(&rig, 1, 2, rig_answered, &a[2]);
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, 1, &err), STATUS_BUSY);
    cr_assert(strstr(err.text, "2 requests wait for version 1 of 'm'"), "%s", err.text);
    inference_drop(&rig.queue, r);
    rig_finish(&rig);
    rig_init(&rig, 9, 24);
    rig_ask(&rig, 2, 0, &a[0]);
    r = rig_request(&rig, 2, 2, rig_answered, &a[1]);
    cr_assert_eq(queue_submit(&rig.queue, rig.lane, r, 1, &err), STATUS_BUSY);
    cr_assert(strstr(err.text, "16 bytes"), "%s", err.text);
    inference_drop(&rig.queue, r);
}

Test(queue_rules, what_is_past_its_deadline_is_never_sent)
{
    rig_ask(&rig, 1, 0, &a[0])->deadline_ms = 0;
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &a[1]);
    r->deadline_ms = rig.now_ms + 5;
    cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
    rig_join(&rig, &one, 1, 1);
    rig.now_ms += 5;
    rig_turn(&rig);
    expect(&a[1], STATUS_TIMEOUT, "waited");
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].data[0][0], 0);
}

Test(queue_rules, without_an_engine_the_deadline_says_unavailable)
{
    rig_ask(&rig, 1, 0, &a[0]);
    cr_assert_eq(queue_expire(&rig.queue, rig.now_ms), rig.now_ms + 30000);
    cr_assert_eq(queue_expire(&rig.queue, rig.now_ms + 30000), 0);
    expect(&a[0], STATUS_UNAVAILABLE, "no engine");
}

Test(queue_rules, a_late_answer_is_dropped_and_its_credit_counts)
{
    rig_join(&rig, &one, 1, 1);
    rig_ask(&rig, 1, 0, &a[0]);
    rig_turn(&rig);
    queue_expire(&rig.queue, rig.now_ms + 30000);
    expect(&a[0], STATUS_TIMEOUT, "did not answer");
    rig_ask(&rig, 1, 1, &a[1]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1, "the engine is still at the old job");
    cr_assert_eq(rig_echo(&rig, &rig.jobs[0], 1), STATUS_OK);
    expect(&a[0], STATUS_TIMEOUT, "");
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2);
}

Test(queue_rules, answers_for_other_jobs_attempts_and_engines_are_late)
{
    rig_join(&rig, &one, 1, 1);
    rig_join(&rig, &two, 1, 1);
    rig_ask(&rig, 1, 0, &a[0]);
    rig_turn(&rig);
    struct msg_result m = { .job = rig.jobs[0].id + 1, .attempt = 1 };
    cr_assert_eq(queue_result(&rig.queue, one.link, rig.now_ms * 1000, &m, NULL, 0, NULL),
                 STATUS_NOT_FOUND);
    m = (struct msg_result){ .job = rig.jobs[0].id, .attempt = 2 };
    cr_assert_eq(queue_result(&rig.queue, one.link, rig.now_ms * 1000, &m, NULL, 0, NULL),
                 STATUS_NOT_FOUND);
    m.attempt = 1;
    cr_assert_eq(queue_result(&rig.queue, two.link, rig.now_ms * 1000, &m, NULL, 0, NULL),
                 STATUS_NOT_FOUND);
    cr_assert_eq(a[0].count, 0);
    cr_assert_eq(rig.queue.late, 3);
    rig_echo(&rig, &rig.jobs[0], 1);
    expect(&a[0], STATUS_OK, "");
}

Test(queue_rules, credit_is_bounded)
{
    rig_join(&rig, &one, 1, 1);
    struct msg_result m = { .job = 99, .credit = 4000000000u };
    for (int i = 0; i < 3; i++)
        cr_assert_eq(queue_result(&rig.queue, one.link, rig.now_ms * 1000, &m, NULL, 0, NULL),
                     STATUS_NOT_FOUND);
    one.credit = CREDIT_MAX;
    struct answer many[CREDIT_MAX + 5];
    for (int i = 0; i < CREDIT_MAX + 5; i++)
        rig_ask(&rig, 1, 0, &many[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, CREDIT_MAX);
    rig_finish(&rig);
    rig_init(&rig, 1, 1);
}

Test(queue_rules, a_dead_engines_requests_go_ahead_of_newer_ones_in_order)
{
    rig_join(&rig, &one, 2, 2);
    for (int i = 0; i < 4; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2);
    rig_ask(&rig, 1, 4, &a[4]);
    rig_die(&rig, &one, false);
    rig_join(&rig, &two, 5, 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[2].rows, 5, "no fault of theirs: they may share a job again");
    for (int i = 0; i < 5; i++)
        cr_assert_eq(rig.jobs[2].data[i][0], i);
}

Test(queue_rules, two_crashes_name_the_guilty_one)
{
    rig_join(&rig, &one, 3, 1);
    for (int i = 0; i < 3; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    rig_die(&rig, &one, true);
    rig_join(&rig, &two, 3, 3);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2, "a suspect runs with nothing beside it");
    cr_assert_eq(rig.jobs[1].rows, 1);
    cr_assert_eq(rig.jobs[1].attempt, 2);
    rig_echo(&rig, &rig.jobs[1], 1);
    rig_turn(&rig);
    rig_die(&rig, &two, true); /* with request 1 alone */
    expect(&a[1], STATUS_POISON, "crashed its model twice");
    rig_join(&rig, &one, 3, 1);
    rig_turn(&rig);
    rig_echo(&rig, &rig.jobs[3], 1);
    expect(&a[0], STATUS_OK, "");
    expect(&a[2], STATUS_OK, "");
    cr_assert_eq(rig.queue.poisoned, 1);
}

Test(queue_rules, a_suspect_waits_for_an_engine_with_nothing_else_to_do)
{
    rig_join(&rig, &one, 1, 1);
    rig_ask(&rig, 1, 0, &a[0]);
    rig_turn(&rig);
    rig_join(&rig, &two, 1, 2);
    rig_ask(&rig, 1, 1, &a[1]);
    rig_turn(&rig); /* engine two has one job and credit for another */
    cr_assert_eq(rig.jobs_count, 2);
    rig_die(&rig, &one, true);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2);
    rig_echo(&rig, &rig.jobs[1], 1);
    rig_ask(&rig, 1, 2, &a[2]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 3, "and then has it for itself");
    rig_echo(&rig, &rig.jobs[2], 1);
    expect(&a[0], STATUS_OK, "");
}

Test(queue_rules, one_bad_request_does_not_spoil_a_batch)
{
    rig_join(&rig, &one, 3, 1);
    for (int i = 0; i < 3; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    rig_fail(&rig, &rig.jobs[0], STATUS_INVALID, 1);
    for (size_t i = 1; i <= 3; i++) {
        rig_turn(&rig);
        cr_assert_eq(rig.jobs_count, i + 1);
        cr_assert_eq(rig.jobs[i].rows, 1);
        if (rig.jobs[i].data[0][0] == 1)
            rig_fail(&rig, &rig.jobs[i], STATUS_INVALID, 1);
        else
            rig_echo(&rig, &rig.jobs[i], 1);
    }
    expect(&a[0], STATUS_OK, "");
    expect(&a[1], STATUS_INVALID, "told to fail");
    expect(&a[2], STATUS_OK, "");
}

Test(queue_rules, an_answer_that_makes_no_sense_is_our_fault_not_the_clients)
{
    rig_join(&rig, &one, 1, 1);
    struct msg_tensor wrong[] = {
        { { "z", 1 }, DT_FP32, { (int64_t[]){ 1, 2 }, 2 } },  /* name */
        { { "y", 1 }, DT_INT32, { (int64_t[]){ 1, 2 }, 2 } }, /* type */
        { { "y", 1 }, 200, { (int64_t[]){ 1, 2 }, 2 } },
        { { "y", 1 }, DT_FP32, { (int64_t[]){ 1, 3 }, 2 } }, /* size */
        { { "y", 1 }, DT_FP32, { (int64_t[]){ -1, -2 }, 2 } },
    };
    for (size_t i = 0; i < 7; i++) {
        struct frame frames[2];
        frame_init_copy(&frames[0], bytes_of("12345678", 8));
        frame_init_empty(&frames[1]);
        rig_ask(&rig, 1, 0, &a[i]);
        rig_turn(&rig);
        struct rig_job *j = &rig.jobs[i];
        struct msg_result m = { .job = j->id,
                                .attempt = 1,
                                .outputs = &wrong[i % 5],
                                .outputs_count = i < 5,
                                .credit = 1 };
        one.credit++;
        rig_over(j);
        cr_assert_eq(
            queue_result(&rig.queue, one.link, rig.now_ms * 1000, &m, frames, i == 6 ? 2 : 1, NULL),
            STATUS_INVALID);
        expect(&a[i], STATUS_INTERNAL, "makes no sense");
        frame_finish(&frames[0]);
        frame_finish(&frames[1]);
    }
}

Test(queue_rules, who_cancels_hears_nothing)
{
    rig_join(&rig, &one, 2, 1);
    struct inference *first = rig_ask(&rig, 1, 0, &a[0]);
    rig_ask(&rig, 1, 1, &a[1]);
    rig_turn(&rig);
    struct inference *third = rig_ask(&rig, 1, 2, &a[2]);
    rig_ask(&rig, 1, 3, &a[3]);
    queue_cancel(&rig.queue, first); /* running */
    queue_cancel(&rig.queue, third); /* waiting */
    rig_echo(&rig, &rig.jobs[0], 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[1].rows, 1);
    rig_echo(&rig, &rig.jobs[1], 1);
    cr_assert_eq(a[0].count, 0);
    cr_assert_eq(a[2].count, 0);
    expect(&a[1], STATUS_OK, "");
    cr_assert_eq(a[1].first[0], 1, "rows of the cancelled one are skipped");
    expect(&a[3], STATUS_OK, "");
}

Test(queue_rules, a_leaving_engine_finishes_and_parts)
{
    rig_join(&rig, &one, 1, 2);
    rig_ask(&rig, 1, 0, &a[0]);
    rig_turn(&rig);
    queue_engine_leave(&rig.queue, one.link);
    cr_assert_eq(lane_engines(rig.lane), 0);
    rig_ask(&rig, 1, 1, &a[1]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_not(one.parted);
    rig_echo(&rig, &rig.jobs[0], 1);
    cr_assert(one.parted);
    expect(&a[0], STATUS_OK, "");
    rig_die(&rig, &one, false);
}

Test(queue_rules, an_engine_that_cannot_be_reached_costs_nobody_anything)
{
    rig_join(&rig, &one, 4, 4);
    rig_join(&rig, &two, 4, 1);
    one.refuses = true;
    for (int i = 0; i < 3; i++)
        rig_ask(&rig, 1, (float)i, &a[i]);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 1);
    cr_assert_eq(rig.jobs[0].rows, 3);
    rig_die(&rig, &one, true);
    rig_echo(&rig, &rig.jobs[0], 1);
    for (int i = 0; i < 3; i++)
        expect(&a[i], STATUS_OK, "");
}

static void count_stranded(void *arg, struct lane *l)
{
    cr_assert_eq(lane_version(l), 1);
    ++*(int *)arg;
}

Test(queue_rules, requests_move_to_the_version_that_serves)
{
    struct lane *other = queue_lane(&rig.queue, bytes_str("m"), 2);
    int stranded = 0;
    cr_assert_eq(lane_set_signature(other, &rig_input, 1, &rig_output, 1), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        struct inference *r = rig_request(&rig, 1, (float)i, rig_answered, &a[i]);
        r->pinned = i == 1;
        cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
    }
    struct inference *newer = rig_request(&rig, 1, 9, rig_answered, &a[3]);
    cr_assert_eq(rig_submit_to(&rig, other, newer), STATUS_OK);
    one = (struct rig_engine){ .credit = 1 };
    one.link = queue_engine_add(&rig.queue, other, &one, 8, 1);
    queue_each_stranded(&rig.queue, count_stranded, &stranded);
    cr_assert_eq(stranded, 1);
    queue_move(&rig.queue, rig.lane, other);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs[0].rows, 3);
    cr_assert_eq(rig.jobs[0].data[0][0], 0);
    cr_assert_eq(rig.jobs[0].data[1][0], 2);
    cr_assert_eq(rig.jobs[0].data[2][0], 9);
    cr_assert_eq(lane_waiting(rig.lane), 1, "who named the version stays");
}

Test(queue_rules, requests_do_not_move_to_other_inputs)
{
    static const int64_t shape[] = { -1, 3 };
    struct msg_tensor input = { { "x", 1 }, DT_FP32, { shape, 2 } };
    struct lane *other = queue_lane(&rig.queue, bytes_str("m"), 2);
    cr_assert_eq(lane_set_signature(other, &input, 1, &rig_output, 1), STATUS_OK);
    rig_ask(&rig, 1, 0, &a[0]);
    queue_move(&rig.queue, rig.lane, other);
    expect(&a[0], STATUS_UNAVAILABLE, "other inputs");
}

Test(queue_rules, a_signature_is_for_ever)
{
    static const int64_t shape[] = { -1, 3 };
    struct msg_tensor input = { { "x", 1 }, DT_FP32, { shape, 2 } };
    cr_assert_eq(lane_set_signature(rig.lane, &rig_input, 1, &rig_output, 1), STATUS_OK);
    cr_assert_eq(lane_set_signature(rig.lane, &input, 1, &rig_output, 1), STATUS_CONFLICT);
    cr_assert_eq(lane_signature(rig.lane)->inputs[0].shape.at[1], RIG_COLUMNS);
}

/* ---- BYTES ---------------------------------------------------------------------------------------- */

static char strings[3][32];

static void keep_strings(struct inference *r, const struct outcome *o)
{
    cr_assert_eq(o->status, STATUS_OK);
    memcpy(r->user, o->data[0].data, o->data[0].len);
}

Test(queue_rules, rows_of_strings_are_cut_where_they_end)
{
    static const int64_t shape[] = { -1, 2 };
    struct msg_tensor text = { { "y", 1 }, DT_BYTES, { shape, 2 } };
    struct lane *lane = queue_lane(&rig.queue, bytes_str("t"), 1);
    cr_assert_eq(lane_set_signature(lane, &rig_input, 1, &text, 1), STATUS_OK);
    one = (struct rig_engine){ .credit = 1 };
    one.link = queue_engine_add(&rig.queue, lane, &one, 8, 1);
    for (int i = 0; i < 3; i++) {
        struct inference *r = rig_request(&rig, 1, 0, keep_strings, strings[i]);
        cr_assert_eq(rig_submit_to(&rig, lane, r), STATUS_OK);
    }
    rig_turn(&rig);
    int64_t is[] = { 3, 2 };
    struct msg_tensor out = { { "y", 1 }, DT_BYTES, { is, 2 } };
    struct msg_result m = {
        .job = rig.jobs[0].id, .attempt = 1, .outputs = &out, .outputs_count = 1
    };
    struct frame frame;
    static const char data[] = "\1\0\0\0a\0\0\0\0\2\0\0\0bc\1\0\0\0d\0\0\0\0\3\0\0\0efg";
    frame_init_copy(&frame, bytes_of(data, sizeof data - 1));
    rig_over(&rig.jobs[0]);
    cr_assert_eq(queue_result(&rig.queue, one.link, rig.now_ms * 1000, &m, &frame, 1, NULL),
                 STATUS_OK);
    cr_assert_eq(memcmp(strings[0], "\1\0\0\0a\0\0\0\0", 9), 0);
    cr_assert_eq(memcmp(strings[1], "\2\0\0\0bc\1\0\0\0d", 11), 0);
    cr_assert_eq(memcmp(strings[2], "\0\0\0\0\3\0\0\0efg", 11), 0);
    frame_finish(&frame);
}

Test(queue_rules, scalars_are_never_compared_beyond_their_rank)
{
    struct msg_tensor scalar = { { "x", 1 }, DT_FP32, { NULL, 0 } };
    struct lane *lane = queue_lane(&rig.queue, bytes_str("s"), 1);
    cr_assert_eq(lane_set_signature(lane, &scalar, 1, &rig_output, 1), STATUS_OK);
    one = (struct rig_engine){ .credit = 0, .refuses = true };
    one.link = queue_engine_add(&rig.queue, lane, &one, 8, 1);
    for (int i = 0; i < 2; i++) {
        struct inference *r = rig_request(&rig, 1, 0, rig_answered, &a[i]);
        r->inputs[0].shape.count = 0;
        cr_assert_eq(rig_submit_to(&rig, lane, r), STATUS_OK);
    }
    rig_turn(&rig);
}
