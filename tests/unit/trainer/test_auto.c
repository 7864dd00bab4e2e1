/* test_auto.c - the search: what it finds, within its budget, and that blends are exported. */
#include "common/base/clock.h"
#include "services/trainer/learners/auto.h"
#include "tests/unit/trainer/rig.h"

#include <yyjson.h>

TestSuite(auto_learner, .init = init, .fini = finish);

#define TRIALS "{\"trials\": 9, \"folds\": 3}"
#define FEW    "{\"trials\": 7, \"folds\": 2}" /* each family, and one that is drawn */

static yyjson_doc *report_of(const void *model)
{
    struct buf json = { 0 };
    learner_auto.report(model, &json);
    yyjson_doc *doc = yyjson_read((const char *)json.data, json.len, 0);
    cr_assert_not_null(doc, "%s", buf_cstr(&json));
    buf_finish(&json);
    return doc;
}

Test(auto_learner, has_a_leaderboard)
{
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    void *model = must_fit("auto", TRIALS);
    yyjson_doc *doc = report_of(model);
    yyjson_val *root = yyjson_doc_get_root(doc), *line, *list = yyjson_obj_get(root, "leaderboard");
    size_t i, max;
    double before = 2;
    cr_expect_eq(yyjson_get_uint(yyjson_obj_get(root, "trials")), 9);
    cr_expect_eq(yyjson_arr_size(list), 9);
    cr_expect_geq(yyjson_arr_size(yyjson_obj_get(root, "members")), 1);
    yyjson_arr_foreach(list, i, max, line)
    {
        double score = yyjson_get_num(yyjson_obj_get(line, "accuracy")) -
                       0.1 * yyjson_get_num(yyjson_obj_get(line, "loss"));
        if (yyjson_get_uint(yyjson_obj_get(line, "folds")) < 3)
            break;
        cr_expect_leq(score, before + 1e-4);
        before = score;
        cr_expect_not_null(learner_find(yyjson_get_str(yyjson_obj_get(line, "learner"))));
    }
    yyjson_doc_free(doc);
    cr_expect_eq(epochs_heard, 9);
    cr_expect_gt(last.validation_accuracy, 0.7);
    learner_auto.destroy(model);
}

Test(auto_learner, finds_the_same_by_trials)
{
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    must_give_the_same("auto", FEW, false);
}

Test(auto_learner, goes_on_from_a_checkpoint)
{
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    must_give_the_same("auto", FEW, true);
}

static void assert_refused(const char *params, const char *says)
{
    void *model;
    struct buf from = state;
    state = (struct buf){ 0 };
    cr_assert_eq(fit(&learner_auto, params, buf_bytes(&from), &model), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, says), "%s", err.text);
    buf_finish(&state);
    state = from;
}

Test(auto_learner, refuses_checkpoints_of_others)
{
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    learner_auto.destroy(must_fit("auto", "{\"trials\": 1, \"folds\": 3}"));
    assert_refused(TRIALS, "of other data or of other parameters");
    state.data[state.len / 2] ^= 1;
    assert_refused("{\"trials\": 1, \"folds\": 3}", "damaged");
    state.len = 7;
    assert_refused("{\"trials\": 1, \"folds\": 3}", "damaged");
}

/* What was spent of the budget before counts. */
Test(auto_learner, a_checkpoint_says_what_is_spent)
{
    static const struct learner_events events = { go_on, on_epoch, on_checkpoint };
    const struct auto_params params = { .budget_s = 30, .blend = 4 };
    const struct lesson lesson = { .table = &t, .rows = order, .train = ROWS, .events = &events };
    const struct auto_search begun = { .params = &params, .lesson = &lesson, .rows = ROWS };
    struct auto_search one = begun, two = begun;
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    one.begin_us = clock_us() - 5000000;
    one.random.state = 99;
    auto_state_describe(&one);
    auto_state_tell(&one);
    struct lesson resumed = lesson;
    resumed.resume = buf_bytes(&state);
    two.lesson = &resumed;
    two.begin_us = clock_us();
    auto_state_describe(&two);
    cr_assert_eq(auto_state_take(&two, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(two.random.state, 99);
    cr_assert_leq(two.begin_us + 5000000, clock_us());
}

Test(auto_learner, learns_values)
{
    make_values(1);
    for (size_t i = 0; i < ROWS; i++) /* networks take no missing values */
        t.x[i * 4 + 1] = isnan(t.x[i * 4 + 1]) ? 5 : t.x[i * 4 + 1];
    void *model = must_fit("auto", TRIALS);
    cr_expect_gt(last.validation_accuracy, 0.9);
    learner_auto.destroy(model);
}

Test(auto_learner, ends_in_time)
{
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    uint64_t begin = clock_ms();
    void *model = must_fit("auto", "{\"budget_s\": 0.3}");
    cr_expect_lt(clock_ms() - begin, 20000);
    learner_auto.destroy(model);
}

Test(auto_learner, is_cancelled_within_a_trial)
{
    void *model;
    fixture_clouds(&t, ROWS, 4, 3, 0.6);
    cancel_after = 2;
    cr_expect_eq(fit(&learner_auto, TRIALS, bytes_of(NULL, 0), &model), STATUS_CANCELLED);
    cr_expect_eq(epochs_heard, 2);
    cr_expect_null(model);
}

/* ---- blends -------------------------------------------------------------------------------------- */

/* Two that are wrong in different rows are right together. */
Test(auto_learner, blends_what_is_better_together)
{
    const struct auto_trial *members[AUTO_MEMBERS_MAX];
    const struct lesson lesson = { .table = &t, .rows = order };
    float answers[3][60 * 2], weights[AUTO_MEMBERS_MAX];
    unsigned char fold[60] = { 0 };
    struct auto_trial trials[3] = { 0 };
    double score;
    fixture_clouds(&t, 60, 1, 2, 1);
    for (size_t i = 0; i < 60; i++) {
        size_t y = t.y[i];
        for (size_t m = 0; m < 3; m++) {
            float right = i / 20 == m ? 0.4f : m == 2 && i < 50 ? 0.2f : 0.9f;
            answers[m][i * 2 + y] = right;
            answers[m][i * 2 + 1 - y] = 1 - right;
        }
    }
    for (size_t m = 0; m < 3; m++)
        trials[m].answers = answers[m];
    const struct auto_search s = { .lesson = &lesson,
                                   .rows = 60,
                                   .width = 2,
                                   .folds_used = 1,
                                   .fold = fold,
                                   .trials = trials,
                                   .trials_count = 3,
                                   .best = &trials[0] };
    cr_expect_eq(auto_blend(&s, 4, members, weights, &score), 2);
    cr_expect_eq(members[0], &trials[0]);
    cr_expect_eq(members[1], &trials[1]);
    cr_expect_float_eq(weights[0] + weights[1], 1, 1e-6);
    cr_expect_gt(score, 0.9);
    cr_expect_eq(auto_blend(&s, 1, members, weights, &score), 1);
    cr_expect_float_eq(weights[0], 1, 1e-6);
}

/* As good as the best one, give or take what the folds differ. */
Test(auto_learner, prefers_a_linear_model_that_is_as_good)
{
    struct auto_trial trials[2] = {
        { .learner = &learner_mlp, .folds = 3, .fold_scores = { 0.9, 0.8, 0.7 } },
        { .learner = &learner_linear, .folds = 3, .fold_scores = { 0.89, 0.82, 0.68 } },
    };
    struct auto_search s = {
        .folds_used = 3, .trials = trials, .trials_count = 2, .best = &trials[0]
    };
    cr_expect_null(auto_plain(&s));
    s.plain = &trials[1];
    cr_expect_eq(auto_plain(&s), &trials[1]);
    for (int i = 0; i < 3; i++)
        trials[1].fold_scores[i] -= 0.1;
    cr_expect_null(auto_plain(&s));
}

/* The first one has drawn nothing. */
Test(auto_learner, prefers_the_defaults_of_a_linear_model_that_are_as_good)
{
    struct auto_trial trials[2] = {
        { .learner = &learner_linear, .folds = 3, .fold_scores = { 0.88, 0.81, 0.69 } },
        { .learner = &learner_linear, .folds = 3, .fold_scores = { 0.89, 0.82, 0.68 } },
    };
    struct auto_search s = { .folds_used = 3,
                             .trials = trials,
                             .trials_count = 2,
                             .best = &trials[1],
                             .plain = &trials[1] };
    cr_expect_eq(auto_plain(&s), &trials[0]);
    for (int i = 0; i < 3; i++)
        trials[0].fold_scores[i] -= 0.1;
    cr_expect_eq(auto_plain(&s), &trials[1]);
    trials[0].folds = 1; /* it was given up */
    trials[0].fold_scores[0] = 1;
    cr_expect_eq(auto_plain(&s), &trials[1]);
}

/* Two classes that no kind of model has for itself: a product, which trees find, and a slope. */
static void make_mixed(uint64_t seed)
{
    struct random r = { .state = seed };
    fixture_table(&t, ROWS, 4, 2);
    for (size_t i = 0; i < ROWS; i++) {
        float *x = t.x + i * 4;
        for (size_t k = 0; k < 4; k++)
            x[k] = (float)random_normal(&r);
        double sum = (double)(x[0] * x[1]) + 1.2 * (double)x[2] - (double)x[3];
        t.y[i] = sum + 0.7 * random_normal(&r) > 0;
    }
}

Test(auto_learner, its_file_answers_what_the_blend_does)
{
    size_t members = 0;
    for (uint64_t seed = 1; seed <= 6 && members < 2; seed++) {
        table_finish(&t);
        make_mixed(seed);
        void *model = must_fit("auto", "{\"trials\": 6, \"folds\": 3}");
        yyjson_doc *doc = report_of(model);
        members = yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "members"));
        yyjson_doc_free(doc);
        if (members > 1)
            assert_answers(&learner_auto, model, false);
        learner_auto.destroy(model);
    }
    cr_expect_geq(members, 2, "choose data that are blended");
}
