/* test_shadow.c - copies of requests: what they wait for, and what never waits for them. */
#include "services/gateway/shadow.h"
#include "tests/unit/gateway/queue_rig.h"

#include <uv.h>

#define TIMEOUT_MS 500

/* A model with versions 1 (serves), 2 and 3 (its shadows), 4 (neither). */
static struct rig rig;
static struct rig_engine primary, shadow;
static struct lane *lanes[5];
static struct loop *loop;
static struct shadows *shadows;
static struct catalog catalog;
static struct answer answers[SHADOW_COPIES_MAX + 8];

static void put_shadows(const int64_t *list, size_t count)
{
    static uint64_t revision;
    struct msg_share share = { .version = 1, .weight = SHARES_WHOLE };
    struct msg_deployment d = { .model = bytes_str("m"),
                                .version = 1,
                                .traffic = &share,
                                .traffic_count = 1,
                                .shadow = { list, count },
                                .revision = ++revision };
    struct msg_catalog change = { .seq = 1, .deployments = &d, .deployments_count = 1 };
    catalog_apply(&catalog, &change, false);
}

static void join_lane(struct rig_engine *e, uint32_t version, uint32_t max_batch, uint32_t credit)
{
    struct lane *before = rig.lane;
    rig.lane = lanes[version];
    rig_join(&rig, e, max_batch, credit);
    rig.lane = before;
}

static void set_up(void)
{
    rig_init(&rig, 1000, 1u << 30);
    for (uint32_t v = 1; v <= 4; v++) {
        lanes[v] = queue_lane(&rig.queue, bytes_str("m"), v);
        cr_assert_eq(lane_set_signature(lanes[v], &rig_input, 1, &rig_output, 1), STATUS_OK);
    }
    loop = loop_create();
    shadows = shadows_create(&rig.queue, loop, TIMEOUT_MS);
    put_shadows((const int64_t[]){ 2 }, 1);
    join_lane(&primary, 1, 64, 8);
    join_lane(&shadow, 2, 64, 0);
}

static void tear_down(void)
{
    rig_finish(&rig);
    shadows_destroy(shadows);
    loop_destroy(loop);
    catalog_finish(&catalog);
}

TestSuite(shadow, .init = set_up, .fini = tear_down);

static size_t body_bytes; /* of what the inputs are parts of */

/* As api/infer.c does it. */
static void on_answered(struct inference *r, const struct outcome *o)
{
    if (o->status || o->outputs[0].shape.at[1] == RIG_COLUMNS)
        rig_answered(r, o);
    if (!o->status)
        shadow_copy(shadows, &catalog, r, o, body_bytes, rig.now_ms * 1000);
}

static void ask_at(struct lane *l, uint32_t rows, float value, struct answer *a)
{
    *a = (struct answer){ 0 };
    struct inference *r = rig_request(&rig, rows, value, on_answered, a);
    cr_assert_eq(rig_submit_to(&rig, l, r), STATUS_OK);
}

static struct rig_job *last_job(void)
{
    return &rig.jobs[rig.jobs_count - 1];
}

/* One request, answered by the primary; its copy waits. */
static void answer_one(uint32_t rows, float value, struct answer *a)
{
    ask_at(lanes[1], rows, value, a);
    rig_turn(&rig);
    cr_assert_eq(last_job()->engine, &primary);
    rig_echo(&rig, last_job(), 1);
    cr_assert_eq(a->count, 1);
    cr_assert_eq(a->status, STATUS_OK);
}

/* The shadow's engine takes one job of copies. */
static struct rig_job *take_copies(void)
{
    shadow.credit++;
    queue_engine_credit(&rig.queue, shadow.link, 1);
    rig_turn(&rig);
    cr_assert_eq(last_job()->engine, &shadow);
    return last_job();
}

static struct shadow_totals totals(void)
{
    return shadow_totals(shadows, bytes_str("m"), 2);
}

/* The value of a series of the pair 1, 2. */
static unsigned long long printed(const char *name, const char *more)
{
    struct buf text = { 0 };
    char line[200];
    unsigned long long value = 0;
    snprintf(line, sizeof line,
             "\nmaas_gateway_shadow_%s{model=\"m\",version=\"1\",shadow=\"2\"%s} ", name, more);
    shadow_print(shadows, &text);
    const char *at = strstr(buf_cstr(&text), line);
    cr_assert(at, "no series %s in %s", line, buf_cstr(&text));
    value = strtoull(at + strlen(line), NULL, 10);
    buf_finish(&text);
    return value;
}

static void expect_dropped(const char *reason, unsigned long long count)
{
    char more[64];
    snprintf(more, sizeof more, ",reason=\"%s\"", reason);
    cr_assert_eq(printed("dropped_total", more), count, "%s: %llu", reason,
                 printed("dropped_total", more));
    cr_assert_eq(totals().dropped, count);
}

Test(shadow, a_copy_follows_the_answer_and_is_compared)
{
    answer_one(3, 7, &answers[0]);
    cr_assert_eq(totals().copies, 1);
    struct rig_job *j = take_copies();
    cr_assert_eq(j->rows, 3);
    cr_assert_eq(j->timeout_ms, TIMEOUT_MS);
    cr_assert(j->data[2][0] == 7 && j->data[2][1] == 2, "it has the same inputs");
    j->data[0][0] += 3; /* an answer of its own, in one of six numbers: the class stays */
    j->data[1][1] = 9;  /* and in another: (7, 9) is another class */
    rig_echo(&rig, j, 0);
    struct shadow_totals t = totals();
    cr_assert(t.compared == 1 && !t.failed && !t.dropped && t.outputs == 1);
    cr_assert(t.rows == 3 && t.agreeing == 2);
    cr_assert_float_eq(t.mean_difference, (3.0 + 8.0) / 6, 1e-9);
    cr_assert_eq(printed("rows_agreeing_total", ",output=\"y\""), 2);
    cr_assert_eq(printed("not_finite_total", ",output=\"y\""), 0);
    cr_assert_eq(answers[0].count, 1);
}

Test(shadow, a_copy_is_no_request)
{
    uint64_t submitted = rig.queue.submitted;
    answer_one(1, 1, &answers[0]);
    cr_assert_eq(rig.queue.submitted, submitted + 1);
    cr_assert_eq(lane_recent(lanes[2], rig.now_ms * 1000), 0);
    cr_assert_eq(lane_waiting(lanes[2]), 1);
    cr_assert_eq(lane_waiting(lanes[1]), 0);
}

Test(shadow, copies_come_after_all_requests_of_their_lane)
{
    struct rig_engine narrow;
    rig_die(&rig, &shadow, false);
    join_lane(&narrow, 2, 1, 0); /* one row at a time */
    for (int i = 0; i < 20; i++)
        answer_one(1, 1, &answers[i]);
    for (int i = 20; i < 40; i++)
        ask_at(lanes[2], 1, 2, &answers[i]); /* later, but by people who named the version */
    narrow.credit++;
    queue_engine_credit(&rig.queue, narrow.link, 1);
    for (int i = 0; i < 20; i++) {
        rig_turn(&rig);
        rig_echo(&rig, last_job(), 1);
    }
    size_t served = 0;
    for (int i = 20; i < 40; i++)
        served += (size_t)answers[i].count;
    cr_assert_geq(served, 18, "%zu of the first 20 jobs were requests", served);
}

Test(shadow, what_was_not_answered_well_has_no_copy)
{
    ask_at(lanes[1], 1, 1, &answers[0]);
    rig_turn(&rig);
    rig_fail(&rig, last_job(), STATUS_INVALID, 1);
    cr_assert_eq(answers[0].status, STATUS_INVALID);
    cr_assert_eq(totals().copies, 0);
}

Test(shadow, every_shadow_has_its_own_copies_but_who_serves_has_none)
{
    struct rig_engine third;
    put_shadows((const int64_t[]){ 2, 3 }, 2);
    join_lane(&third, 3, 64, 2);
    answer_one(1, 1, &answers[0]);
    cr_assert_eq(totals().copies, 1);
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 3).copies, 1);
    ask_at(lanes[3], 1, 1, &answers[1]); /* as when it stands in for the primary */
    rig_turn(&rig);
    for (size_t i = 0; i < rig.jobs_count; i++)
        if (rig.jobs[i].engine == &third)
            rig_echo(&rig, &rig.jobs[i], 1);
    cr_assert_eq(answers[1].count, 1);
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 3).copies, 1);
    cr_assert_eq(totals().copies, 2);
}

Test(shadow, a_shadow_without_engines_gets_nothing)
{
    rig_die(&rig, &shadow, false);
    answer_one(1, 1, &answers[0]);
    expect_dropped("engines", 1);
    cr_assert_eq(lane_waiting(lanes[2]), 0);
    put_shadows((const int64_t[]){ 9 }, 1); /* nobody has heard of it */
    answer_one(1, 1, &answers[0]);
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 9).dropped, 1);
}

Test(shadow, copies_of_a_pair_are_bounded)
{
    for (int i = 0; i < SHADOW_COPIES_MAX + 3; i++)
        answer_one(1, 1, &answers[i]);
    cr_assert_eq(totals().copies, SHADOW_COPIES_MAX);
    expect_dropped("count", 3);
    rig_echo(&rig, take_copies(), 0);
    cr_assert_eq(totals().compared, 64);
    answer_one(1, 1, &answers[0]);
    expect_dropped("count", 3);
}

Test(shadow, memory_of_copies_is_bounded)
{
    body_bytes = SHADOW_BYTES_MAX / 2; /* the inputs are small parts of something large */
    answer_one(1, 1, &answers[0]);
    answer_one(1, 1, &answers[1]);
    cr_assert_eq(totals().copies, 1);
    expect_dropped("bytes", 1);
    rig_echo(&rig, take_copies(), 0);
    answer_one(1, 1, &answers[2]);
    cr_assert_eq(totals().copies, 2);
}

Test(shadow, a_full_queue_drops_a_copy_and_refuses_nobody)
{
    struct lane_options options = { .waiting_max = 2 };
    lane_configure(&rig.queue, lanes[2], &options);
    for (int i = 0; i < 3; i++)
        answer_one(1, 1, &answers[i]);
    expect_dropped("queue", 1);
    cr_assert_eq(lane_counts(lanes[2])->refused[REFUSED_COUNT], 0);
    ask_at(lanes[2], 1, 1, &answers[3]); /* copies are no reason to refuse those who name it */
    ask_at(lanes[2], 1, 1, &answers[4]);
    struct inference *r = rig_request(&rig, 1, 1, rig_answered, &answers[5]);
    cr_assert_eq(rig_submit_to(&rig, lanes[2], r), STATUS_BUSY);
    inference_drop(&rig.queue, r);
    cr_assert_eq(lane_waiting(lanes[2]), 4);
}

Test(shadow, who_names_a_slow_shadow_is_not_told_to_wait_for_copies)
{
    ask_at(lanes[2], 1, 1, &answers[0]);
    struct rig_job *j = take_copies();
    rig.now_ms += 100; /* a row takes so long */
    rig_echo(&rig, j, 0);
    for (int i = 0; i < 100; i++)
        answer_one(1, 1, &answers[i]);
    cr_assert_eq(totals().copies, 3, "more would not be answered in time");
    cr_assert_eq(lane_wait_us(lanes[2]), 0);
    ask_at(lanes[2], 1, 1, &answers[100]);
    cr_assert_eq(lane_wait_us(lanes[2]), 100000);
}

Test(shadow, a_version_with_other_inputs_gets_none)
{
    struct rig_engine other;
    struct lane *wide = queue_lane(&rig.queue, bytes_str("m"), 5);
    static const int64_t shape[] = { -1, 3 };
    struct msg_tensor input = { { "x", 1 }, DT_FP32, { shape, 2 } };
    cr_assert_eq(lane_set_signature(wide, &input, 1, &rig_output, 1), STATUS_OK);
    rig.lane = wide;
    rig_join(&rig, &other, 64, 1);
    put_shadows((const int64_t[]){ 5 }, 1);
    answer_one(1, 1, &answers[0]);
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 5).dropped, 1);
    cr_assert_eq(lane_waiting(wide), 0);
}

Test(shadow, a_copy_has_a_deadline)
{
    answer_one(1, 1, &answers[0]);
    struct rig_job *j = take_copies();
    answer_one(1, 2, &answers[1]); /* waits */
    rig.now_ms += TIMEOUT_MS;
    queue_expire(&rig.queue, rig.now_ms);
    expect_dropped("deadline", 2);
    cr_assert_eq(lane_waiting(lanes[2]), 0);
    cr_assert_eq(rig_echo(&rig, j, 0), STATUS_OK);
    cr_assert_eq(totals().compared, 0);
}

Test(shadow, copies_end_with_the_shadow)
{
    answer_one(1, 1, &answers[0]);
    take_copies();
    answer_one(1, 1, &answers[1]);
    shadow_refresh(shadows, &catalog);
    cr_assert_eq(totals().dropped, 0);
    put_shadows(NULL, 0);
    shadow_refresh(shadows, &catalog);
    expect_dropped("ended", 2);
    cr_assert_eq(lane_waiting(lanes[2]), 0);
    answer_one(1, 1, &answers[2]);
    cr_assert_eq(totals().copies, 2);
}

Test(shadow, copies_end_with_the_last_engine)
{
    answer_one(1, 1, &answers[0]);
    rig_die(&rig, &shadow, false);
    shadow_refresh(shadows, &catalog);
    expect_dropped("engines", 1);
}

Test(shadow, a_copy_that_fails_is_counted)
{
    answer_one(1, 1, &answers[0]);
    rig_fail(&rig, take_copies(), STATUS_INTERNAL, 1);
    cr_assert_eq(totals().failed, 1);
    cr_assert_eq(printed("failed_total", ""), 1);
    rig_turn(&rig);
    cr_assert_eq(rig.jobs_count, 2, "it is tried again");
}

Test(shadow, one_bad_copy_spoils_no_others)
{
    for (int i = 0; i < 3; i++)
        answer_one(1, (float)i, &answers[i]);
    cr_assert_eq(take_copies()->rows, 3);
    rig_fail(&rig, last_job(), STATUS_INVALID, 1);
    for (int i = 0; i < 3; i++) { /* each alone */
        rig_turn(&rig);
        cr_assert_eq(last_job()->rows, 1);
        if (last_job()->data[0][0] == 1)
            rig_fail(&rig, last_job(), STATUS_INVALID, 1);
        else
            rig_echo(&rig, last_job(), 1);
    }
    cr_assert(totals().failed == 1 && totals().compared == 2);
}

Test(shadow, a_crash_ends_its_copies_at_once_and_condemns_no_request)
{
    struct rig_engine next;
    answer_one(1, 1, &answers[0]);
    answer_one(1, 1, &answers[1]);
    ask_at(lanes[2], 1, 2, &answers[2]); /* somebody named the version */
    cr_assert_eq(take_copies()->rows, 3);
    rig_die(&rig, &shadow, true);
    cr_assert_eq(totals().failed, 2);
    cr_assert_eq(rig.queue.poisoned, 0);
    join_lane(&next, 2, 64, 1);
    rig_turn(&rig);
    cr_assert_eq(last_job()->rows, 1, "the request goes alone now, and no copy does");
    rig_echo(&rig, last_job(), 1);
    cr_assert_eq(answers[2].status, STATUS_OK);
}

Test(shadow, an_engine_that_leaves_gives_its_copies_to_others)
{
    struct rig_engine next;
    answer_one(1, 1, &answers[0]);
    take_copies();
    join_lane(&next, 2, 64, 1);
    rig_die(&rig, &shadow, false);
    rig_turn(&rig);
    cr_assert_eq(last_job()->engine, &next);
    rig_echo(&rig, last_job(), 1);
    cr_assert_eq(totals().compared, 1);
}

/* An engine's answer with rows of so many columns, all the same. */
static void answer_wide(struct rig_job *j, int64_t columns, float value)
{
    struct rig_engine *e = j->engine;
    int64_t shape[] = { j->rows, columns };
    struct msg_tensor out = { { "y", 1 }, DT_FP32, { shape, 2 } };
    struct msg_result m = {
        .job = j->id, .attempt = j->attempt, .outputs = &out, .outputs_count = 1
    };
    struct frame frame;
    size_t count = (size_t)(j->rows * columns);
    float *data = frame_init_size(&frame, count * sizeof *data);
    for (size_t i = 0; i < count; i++)
        data[i] = value;
    rig_over(j);
    cr_assert_eq(queue_result(&rig.queue, e->link, rig.now_ms * 1000, &m, &frame, 1, NULL),
                 STATUS_OK);
    frame_finish(&frame);
}

/* Two requests in one job, and their copies in another. */
static void copy_wide(int64_t columns)
{
    ask_at(lanes[1], 1, 1, &answers[0]);
    ask_at(lanes[1], 3, 1, &answers[1]);
    rig_turn(&rig);
    answer_wide(last_job(), columns, 1);
    struct rig_job *j = take_copies();
    cr_assert_eq(j->rows, 4);
    answer_wide(j, columns, 4);
}

Test(shadow, large_outputs_are_compared_on_a_thread)
{
    copy_wide(SHADOW_INLINE_BYTES / 4 + 1); /* copied */
    copy_wide(SHADOW_COPY_BYTES);           /* shared */
    cr_assert_eq(totals().compared, 0);
    while (totals().compared < 4)
        uv_run(loop_uv(loop), UV_RUN_ONCE);
    cr_assert_eq(totals().rows, 8);
    cr_assert_float_eq(totals().mean_difference, 3, 1e-9);
}

Test(shadow, the_end_waits_for_no_comparison)
{
    copy_wide(SHADOW_COPY_BYTES); /* tear_down does the rest */
}

Test(shadow, pairs_are_forgotten_when_they_are_too_many)
{
    for (int64_t v = 0; v <= SHADOW_PAIRS_MAX; v++) {
        const int64_t list[] = { 100 + v };
        put_shadows(list, 1);
        answer_one(1, 1, &answers[0]);
    }
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 100).dropped, 0, "the oldest has gone");
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 101).dropped, 1);
    cr_assert_eq(shadow_totals(shadows, bytes_str("m"), 100 + SHADOW_PAIRS_MAX).dropped, 1);
}
