/* test_evaluate.c - metrics against numbers that were worked out by hand. */
#include "services/trainer/evaluate.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>
#include <yyjson.h>

static struct table t;
static struct buf json;
static yyjson_doc *doc;

static yyjson_val *evaluate(const float *probabilities)
{
    evaluate_json(&t, probabilities, &json);
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
