/* test_profile.c - what is said of a CSV file, in bounded memory. */
#include "services/trainer/data/profile.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>
#include <yyjson.h>

static struct fixture f;
static struct buf text;
static struct buf json;
static struct error err;
static yyjson_doc *doc;

static void init(void)
{
    fixture_init(&f);
}

static void finish(void)
{
    yyjson_doc_free(doc);
    buf_finish(&text);
    buf_finish(&json);
    fixture_finish(&f);
}

TestSuite(profile, .init = init, .fini = finish);

static enum status profile(const char *target)
{
    fixture_write(&f, "t.csv", buf_bytes(&text));
    const struct source_file file = { "t.csv", f.path, NULL, 0 };
    const struct profile_options options = { .target = target };
    enum status st = profile_csv(&file, &options, &json, &err);
    if (!st)
        doc = yyjson_read((const char *)json.data, json.len, 0);
    return st;
}

static yyjson_val *at(const char *pointer)
{
    yyjson_val *v = yyjson_doc_ptr_get(doc, pointer);
    cr_assert_not_null(v, "%s is not in %s", pointer, buf_cstr(&json));
    return v;
}

static double number(const char *pointer)
{
    return yyjson_get_num(at(pointer));
}

static const char *string(const char *pointer)
{
    return yyjson_get_str(at(pointer));
}

Test(profile, says_what_columns_hold)
{
    buf_append_str(&text, "i,n,b,d,c,y\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "%d,%s,%s,2024-01-%02d,%s,%c\n", i, i % 4 ? "2.5" : "",
                   i % 2 ? "yes" : "no", i % 28 + 1, i % 10 ? "often" : "rare", 'p' + i % 5 / 4);
    buf_append_str(&text, "500,2.5\n");
    cr_assert_eq(profile(""), STATUS_OK, "%s", err.text);
    cr_assert_eq(number("/rows"), 1000);
    cr_assert_eq(number("/bad_rows"), 1);
    cr_assert_str_eq(string("/columns/0/type"), "integer");
    cr_assert_eq(number("/columns/0/min"), 0);
    cr_assert_eq(number("/columns/0/max"), 999);
    cr_assert_float_eq(number("/columns/0/quantiles/0.5"), 499.5, 1e-9);
    cr_assert_float_eq(number("/columns/0/quantiles/0.95"), 949.05, 1e-3);
    cr_assert_str_eq(string("/columns/1/type"), "number");
    cr_assert_float_eq(number("/columns/1/missing"), 0.25, 1e-9);
    cr_assert_float_eq(number("/columns/1/mean"), 2.5, 1e-9);
    cr_assert_str_eq(string("/columns/2/type"), "boolean");
    cr_assert_str_eq(string("/columns/3/type"), "date");
    cr_assert_str_eq(string("/columns/4/type"), "category");
    cr_assert_str_eq(string("/columns/4/top/0/value"), "often");
    cr_assert_eq(number("/columns/4/top/1/count"), 100);
    cr_assert_str_eq(string("/class_balance/column"), "y");
    cr_assert_float_eq(number("/class_balance/classes/0/share"), 0.8, 1e-9);
}

/* More rows than the sample has, more words than are counted. */
Test(profile, large_tables_are_sampled)
{
    struct random r = { .state = 1 };
    buf_append_str(&text, "x,word,id\n");
    for (int i = 0; i < 60000; i++) {
        double u = random_uniform(&r);
        buf_printf(&text, "%.5f,", 10 + random_normal(&r));
        if (u < 0.5)
            buf_append_str(&text, "frequent");
        else if (u < 0.8)
            buf_append_str(&text, "second");
        else
            buf_printf(&text, "w%u", (unsigned)(u * 1e8) % 5000);
        buf_printf(&text, ",text %d\n", i);
    }
    cr_assert_eq(profile("id"), STATUS_OK, "%s", err.text);
    cr_assert_eq(number("/sampled_rows"), PROFILE_SAMPLE);
    cr_assert_float_eq(number("/columns/0/mean"), 10, 0.02);
    cr_assert_float_eq(number("/columns/0/std"), 1, 0.02);
    cr_assert_float_eq(number("/columns/0/quantiles/0.5"), 10, 0.05);
    cr_assert_float_eq(number("/columns/0/quantiles/0.05"), 10 - 1.645, 0.1);
    cr_assert_str_eq(string("/columns/1/top/0/value"), "frequent");
    double count = number("/columns/1/top/0/count"), error = number("/columns/1/top_error");
    cr_assert(count <= 30500 && count + error >= 29500, "%g + %g", count, error);
    cr_assert_str_eq(string("/columns/1/type"), "category");
    cr_assert_str_eq(string("/columns/2/type"), "text");
    cr_assert_null(yyjson_doc_ptr_get(doc, "/class_balance"));
}

Test(profile, a_column_that_is_not_there)
{
    buf_append_str(&text, "a,b\n1,2\n");
    cr_assert_eq(profile("c"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "t.csv: there is no column 'c'"), "%s", err.text);
}

Test(profile, a_header_alone)
{
    buf_append_str(&text, "a,b\n");
    cr_assert_eq(profile(""), STATUS_OK);
    cr_assert_eq(number("/rows"), 0);
}
