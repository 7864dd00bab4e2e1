/* test_evaluate.c - metrics against numbers that were worked out by hand. */
#include "services/trainer/evaluate/evaluate.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>
#include <yyjson.h>

static struct table t;
static struct buf json;
static yyjson_doc *doc;

static yyjson_val *evaluate(const float *probabilities)
{
    evaluate_json(&t, probabilities, NULL, &json);
    doc = yyjson_read((const char *)json.data, json.len, 0);
    cr_assert_not_null(doc, "%.*s", (int)json.len, (const char *)json.data);
    return yyjson_doc_get_root(doc);
}

static double number(yyjson_val *root, const char *name)
{
    yyjson_val *value = yyjson_obj_get(root, name);
    cr_assert(yyjson_is_num(value), "no number %s", name);
    return yyjson_get_num(value);
}

static void finish(void)
{
    table_finish(&t);
    buf_finish(&json);
    yyjson_doc_free(doc);
    doc = NULL;
}

TestSuite(evaluate, .fini = finish);
TestSuite(importance, .fini = finish);

/*            predicted
 *            0  1  2
 * true 0     2  1  0    F1 = 2*2 / (3+2) = 0.8
 * true 1     0  1  0    F1 = 2*1 / (1+2) = 2/3
 * true 2     0  0  1    F1 = 1 */
Test(evaluate, knows_what_we_know)
{
    static const float p[] = {
        .8f, .1f, .1f, .5f, .3f, .2f, .2f, .7f, .1f, .1f, .6f, .3f, 0, 0, 1
    };
    fixture_table(&t, 5, 1, 3);
    memcpy(t.y, (uint32_t[]){ 0, 0, 0, 1, 2 }, 5 * sizeof *t.y);
    yyjson_val *root = evaluate(p);
    cr_assert_float_eq(number(root, "accuracy"), 0.8, 1e-6);
    cr_assert_float_eq(number(root, "macro_f1"), (0.8 + 2.0 / 3 + 1) / 3, 1e-6);
    double loss = -(log(.8) + log(.5) + log(.2) + log(.6) + log(1)) / 5;
    cr_assert_float_eq(number(root, "log_loss"), loss, 1e-5);
    cr_assert_eq(number(root, "rows"), 5);
    static const uint64_t matrix[3][3] = { { 2, 1, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };
    yyjson_val *rows = yyjson_obj_get(root, "confusion");
    cr_assert_eq(yyjson_arr_size(rows), 3);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++)
            cr_assert_eq(yyjson_get_uint(yyjson_arr_get(yyjson_arr_get(rows, i), k)), matrix[i][k]);
}

Test(evaluate, a_class_that_nobody_has_or_says_is_no_division_by_zero)
{
    static const float p[] = { 1, 0, 0, 0, 1, 0 };
    fixture_table(&t, 2, 1, 3);
    t.y[1] = 1;
    yyjson_val *root = evaluate(p);
    cr_assert_float_eq(number(root, "accuracy"), 1, 1e-9);
    cr_assert_float_eq(number(root, "macro_f1"), 2.0 / 3, 1e-6);
}

Test(evaluate, a_certain_mistake_has_a_finite_loss)
{
    static const float p[] = { 1, 0 };
    fixture_table(&t, 1, 1, 2);
    t.y[0] = 1;
    double loss = number(evaluate(p), "log_loss");
    cr_assert(isfinite(loss) && loss > 20);
}

Test(evaluate, a_large_matrix_is_left_out)
{
    enum { CLASSES = 200 };
    float *p = mem_zalloc(CLASSES * sizeof *p);
    t = (struct table){ .rows = 1, .features = 1 };
    t.x = mem_zalloc(sizeof *t.x);
    t.y = mem_zalloc(sizeof *t.y);
    t.classes = mem_alloc(CLASSES * sizeof *t.classes);
    while (t.classes_count < CLASSES)
        t.classes[t.classes_count++] = mem_str(bytes_str("class"));
    p[0] = 1;
    yyjson_val *root = evaluate(p);
    free(p);
    cr_assert_null(yyjson_obj_get(root, "confusion"));
    cr_assert_float_eq(number(root, "accuracy"), 1, 1e-9);
}

/* ---- areas, calibration, values: what scikit-learn 1.4 gives for the same numbers ---- */

Test(evaluate, area_is_the_share_of_pairs_in_order)
{
    /* of the pairs of a row of the second class (.35 .8 .35) and one of the first (.1 .4), 4 of 6
     * are in order */
    static const float p[] = { .9f, .1f, .6f, .4f, .65f, .35f, .2f, .8f, .65f, .35f };
    fixture_table(&t, 5, 1, 2);
    memcpy(t.y, (uint32_t[]){ 0, 0, 1, 1, 1 }, 5 * sizeof *t.y);
    yyjson_val *root = evaluate(p);
    cr_assert_float_eq(number(root, "roc_auc"), 4.0 / 6, 1e-6);
    cr_assert_float_eq(evaluate_score(&t, p), 3.0 / 5, 1e-9);
}

Test(evaluate, a_tie_is_half_a_win)
{
    static const float p[] = { .5f, .5f, .5f, .5f, .5f, .5f };
    fixture_table(&t, 3, 1, 2);
    memcpy(t.y, (uint32_t[]){ 0, 1, 1 }, 3 * sizeof *t.y);
    yyjson_val *root = evaluate(p);
    cr_assert_float_eq(number(root, "roc_auc"), 0.5, 1e-9);
    cr_assert_float_eq(number(root, "balanced_accuracy"), 0.5, 1e-9);
}

Test(evaluate, area_of_one_class_alone_is_unknown)
{
    static const float p[] = { .9f, .1f, .2f, .8f };
    fixture_table(&t, 2, 1, 2);
    yyjson_val *root = evaluate(p);
    cr_assert(yyjson_is_null(yyjson_obj_get(root, "roc_auc")));
}

Test(evaluate, calibration_is_the_gap_between_confidence_and_hits)
{
    /* bin .9-1: two rows, confidence .95, both right; bin .6-.7: two rows, .65, one right */
    static const float p[] = { .95f, .05f, .95f, .05f, .65f, .35f, .65f, .35f };
    fixture_table(&t, 4, 1, 2);
    memcpy(t.y, (uint32_t[]){ 0, 0, 0, 1 }, 4 * sizeof *t.y);
    yyjson_val *c = yyjson_obj_get(evaluate(p), "calibration");
    cr_assert_float_eq(number(c, "expected_error"), (0.05 * 2 + 0.15 * 2) / 4, 1e-6);
    yyjson_val *bins = yyjson_obj_get(c, "bins");
    cr_assert_eq(yyjson_arr_size(bins), 2);
    cr_assert_float_eq(number(yyjson_arr_get(bins, 0), "accuracy"), 0.5, 1e-9);
    cr_assert_eq(number(yyjson_arr_get(bins, 1), "rows"), 2);
}

static void make_values(size_t outputs, const float *values, size_t rows)
{
    t = (struct table){ .rows = rows, .outputs = outputs };
    t.values = mem_alloc(rows * outputs * sizeof *t.values);
    memcpy(t.values, values, rows * outputs * sizeof *t.values);
}

Test(evaluate, values_have_errors_and_a_share_explained)
{
    static const float is[] = { 3, -0.5f, 2, 7 }, said[] = { 2.5f, 0, 2, 8 };
    make_values(1, is, 4);
    yyjson_val *root = evaluate(said);
    cr_assert_float_eq(number(root, "r2"), 0.948608137, 1e-6);
    cr_assert_float_eq(number(root, "rmse"), sqrt(0.375), 1e-6);
    cr_assert_float_eq(number(root, "mae"), 0.5, 1e-6);
    cr_assert_null(yyjson_obj_get(root, "outputs"));
    cr_assert_float_eq(evaluate_score(&t, said), 0.948608137, 1e-6);
}

Test(evaluate, several_outputs_are_averaged_and_told_apart)
{
    static const float is[] = { 1, 5, 2, 5, 3, 5 }, said[] = { 1, 5, 2, 5, 3, 6 };
    make_values(2, is, 3);
    yyjson_val *root = evaluate(said), *each = yyjson_obj_get(root, "outputs");
    cr_assert_float_eq(number(yyjson_arr_get(each, 0), "r2"), 1, 1e-9);
    cr_assert(yyjson_is_null(yyjson_obj_get(yyjson_arr_get(each, 1), "r2")));
    cr_assert_float_eq(number(root, "mae"), 1.0 / 6, 1e-6);
}

/* ---- importance: a model that looks at the first of two columns only ---- */

static enum status look_at_first(void *arg, size_t column, const uint32_t *order, float *answers)
{
    const float *x = arg;
    for (size_t i = 0; i < t.rows; i++) {
        float first = x[2 * (column == 0 ? order[i] : i)];
        answers[2 * i] = 1 - first;
        answers[2 * i + 1] = first;
    }
    return STATUS_OK;
}

static enum status refuse(void *arg, size_t column, const uint32_t *order, float *answers)
{
    (void)arg;
    (void)order;
    memset(answers, 0, t.rows * 2 * sizeof *answers);
    return column == 1 ? STATUS_CANCELLED : STATUS_OK;
}

static const char *name_of(void *arg, size_t column)
{
    (void)arg;
    return column ? "idle" : "needed";
}

Test(importance, is_what_a_column_is_worth)
{
    float x[400];
    struct error err;
    fixture_table(&t, 200, 1, 2);
    for (size_t i = 0; i < 200; i++) {
        t.y[i] = i % 2;
        x[2 * i] = (float)t.y[i];
        x[2 * i + 1] = (float)(i % 3);
    }
    const struct importance i = { &t, 2, 2, name_of, look_at_first, x };
    cr_assert_eq(importance_json(&i, 7, &json, &err), STATUS_OK);
    doc = yyjson_read((const char *)json.data, json.len, 0);
    yyjson_val *list = yyjson_doc_get_root(doc), *first = yyjson_arr_get(list, 0);
    cr_assert_str_eq(yyjson_get_str(yyjson_obj_get(first, "column")), "needed");
    cr_assert_float_eq(number(first, "importance"), 0.5,
                       0.15); /* half of the rows are wrong then */
    cr_assert_eq(number(yyjson_arr_get(list, 1), "importance"), 0);
}

Test(importance, ends_when_it_is_told_to)
{
    struct error err;
    fixture_table(&t, 60, 1, 2);
    const struct importance i = { &t, 2, 2, name_of, refuse, NULL };
    cr_assert_eq(importance_json(&i, 7, &json, &err), STATUS_CANCELLED);
    cr_assert_eq(json.len, 0);
}

Test(importance, work_is_bounded)
{
    cr_assert_eq(importance_rows(100000, 10, 10), IMPORTANCE_ROWS);
    cr_assert_eq(importance_rows(300, 10, 10), 300);
    cr_assert_eq(importance_rows(20, 10, 10), 0);
    cr_assert_eq(importance_rows(300, IMPORTANCE_COLUMNS + 1, 1), 0);
    cr_assert_leq(importance_rows(100000, 1000, 1000) * 1000 * 1000, IMPORTANCE_CELLS);
    cr_assert_eq(importance_rows(100000, 1000, 1000000), 0);
}
