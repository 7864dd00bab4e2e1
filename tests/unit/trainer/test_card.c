/* test_card.c - model cards, and the statistics of columns. */
#include "services/trainer/evaluate/card.h"
#include "services/trainer/evaluate/statistics.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>
#include <yyjson.h>

static struct buf out;
static yyjson_doc *doc;

static yyjson_val *parsed(void)
{
    doc = yyjson_read((const char *)out.data, out.len, 0);
    cr_assert_not_null(doc);
    return yyjson_doc_get_root(doc);
}

static void finish(void)
{
    buf_finish(&out);
    yyjson_doc_free(doc);
    doc = NULL;
}

TestSuite(card, .fini = finish);
TestSuite(statistics, .fini = finish);

static struct card make(const char *metrics)
{
    return (struct card){
        .name = "iris",
        .lineage = bytes_str("{\"dataset\":\"flowers\",\"learner\":\"mlp\",\"seed\":7,"
                             "\"params\":{\"lr\":0.05,\"hidden\":[64]},\"rows\":{\"train\":120}}"),
        .metrics = bytes_str(metrics),
        .importance = bytes_str("[{\"column\":\"a|b\",\"importance\":0.25}]"),
        .findings = { "The column 'id' was left out: it names rows." },
        .findings_count = 1,
    };
}

static bool has_limit(yyjson_val *root, const char *begin)
{
    size_t i, max;
    yyjson_val *v;
    yyjson_arr_foreach(yyjson_obj_get(root, "limits"), i, max, v)
    {
        if (strncmp(yyjson_get_str(v), begin, strlen(begin)) == 0)
            return true;
    }
    return false;
}

Test(card, has_what_the_run_knows)
{
    struct card c = make("{\"accuracy\":0.95,\"balanced_accuracy\":0.95,\"rows\":1000}");
    card_json(&c, &out);
    yyjson_val *root = parsed();
    cr_assert_str_eq(yyjson_get_str(yyjson_ptr_get(doc->root, "/lineage/dataset")), "flowers");
    cr_assert_float_eq(yyjson_get_num(yyjson_ptr_get(root, "/metrics/accuracy")), 0.95, 1e-9);
    cr_assert(has_limit(root, "The column 'id'"));
    cr_assert_not(has_limit(root, "Few rows"));
    cr_assert_not(has_limit(root, "Rare classes"));
}

Test(card, warns_of_what_the_metrics_tell)
{
    struct card c = make("{\"accuracy\":0.95,\"balanced_accuracy\":0.6,\"rows\":50,"
                         "\"calibration\":{\"expected_error\":0.3}}");
    card_json(&c, &out);
    yyjson_val *root = parsed();
    cr_assert(has_limit(root, "Few rows"));
    cr_assert(has_limit(root, "Rare classes"));
    cr_assert(has_limit(root, "The probabilities"));
}

Test(card, says_when_a_regression_is_worthless)
{
    struct card c = make("{\"r2\":-0.1,\"rows\":500}");
    card_json(&c, &out);
    cr_assert(has_limit(parsed(), "The model is no better"));
}

Test(card, is_a_page_to_read)
{
    struct card c = make("{\"accuracy\":0.95,\"confusion\":[[1,0],[0,1]]}");
    card_markdown(&c, &out);
    const char *text = buf_cstr(&out);
    cr_assert_eq(strncmp(text, "# iris\n", 7), 0);
    cr_assert_not_null(strstr(text, "| dataset | flowers |"));
    cr_assert_not_null(strstr(text, "| hidden | [64] |"));
    cr_assert_not_null(strstr(text, "| train | 120 |"));
    cr_assert_not_null(strstr(text, "| ab | 0.25 |"), "a cell stays a cell");
    cr_assert_null(strstr(text, "confusion"), "what is too large for a cell is left out");
    cr_assert_not_null(strstr(text, "- The column 'id'"));
}

Test(card, of_nothing_is_no_crash)
{
    struct card c = { .name = "empty" };
    card_json(&c, &out);
    cr_assert_not_null(parsed());
    buf_finish(&out);
    card_markdown(&c, &out);
    cr_assert_gt(out.len, 0);
}

/* ---- statistics ---- */

Test(statistics, of_numbers_are_tenths_and_moments)
{
    float x[202];
    uint32_t rows[101];
    for (uint32_t i = 0; i < 101; i++) {
        rows[i] = i;
        x[2 * i + 1] = (float)(100 - i); /* the second of two columns */
    }
    x[2 * 100 + 1] = NAN; /* instead of 0 */
    struct statistics *s = statistics_create(101, NULL);
    statistics_numbers(s, "n", x + 1, 2, rows);
    statistics_end(s, &out);
    yyjson_val *root = parsed(), *c = yyjson_ptr_get(root, "/columns/0");
    cr_assert_eq(yyjson_get_uint(yyjson_obj_get(root, "rows")), 101);
    cr_assert_float_eq(yyjson_get_num(yyjson_obj_get(c, "missing")), 1.0 / 101, 1e-6);
    cr_assert_float_eq(yyjson_get_num(yyjson_obj_get(c, "mean")), 50.5, 1e-6);
    cr_assert_float_eq(yyjson_get_num(yyjson_obj_get(c, "deviation")), 28.866070, 1e-5);
    cr_assert_eq(yyjson_arr_size(yyjson_obj_get(c, "edges")), STATISTICS_BINS + 1);
    cr_assert_eq(yyjson_get_num(yyjson_ptr_get(c, "/edges/0")), 1);
    cr_assert_eq(yyjson_get_num(yyjson_ptr_get(c, "/edges/10")), 100);
    double sum = 0;
    for (size_t i = 0; i < STATISTICS_BINS; i++)
        sum += yyjson_get_num(yyjson_arr_get(yyjson_obj_get(c, "shares"), i));
    cr_assert_float_eq(sum, 100.0 / 101, 1e-5);
}

Test(statistics, of_words_are_shares)
{
    static const uint32_t codes[] = { 1, 1, 0, UINT32_MAX, 1 }, rows[] = { 0, 1, 2, 3 };
    char red[] = "red", blue[] = "blue", *words[] = { red, blue };
    struct statistics *s = statistics_create(4, NULL);
    statistics_words(s, "colour", codes, rows, words, 2);
    statistics_end(s, &out);
    yyjson_val *c = yyjson_ptr_get(parsed(), "/columns/0");
    cr_assert_str_eq(yyjson_get_str(yyjson_ptr_get(c, "/words/0/word")), "blue");
    cr_assert_eq(yyjson_get_num(yyjson_ptr_get(c, "/words/0/share")), 0.5);
    cr_assert_eq(yyjson_get_num(yyjson_ptr_get(c, "/words/1/share")), 0.25);
    cr_assert_eq(yyjson_get_num(yyjson_obj_get(c, "missing")), 0.25);
    cr_assert_eq(yyjson_get_num(yyjson_obj_get(c, "others")), 0);
}

Test(statistics, a_column_without_a_number_has_no_bins)
{
    static const float x[] = { NAN, NAN };
    static const uint32_t rows[] = { 0, 1 };
    struct statistics *s = statistics_create(2, NULL);
    statistics_numbers(s, "n", x, 1, rows);
    statistics_end(s, &out);
    yyjson_val *c = yyjson_ptr_get(parsed(), "/columns/0");
    cr_assert_eq(yyjson_get_num(yyjson_obj_get(c, "missing")), 1);
    cr_assert_null(yyjson_obj_get(c, "edges"));
}
